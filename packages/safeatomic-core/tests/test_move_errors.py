"""What a move that fails says, and what it has not done by then."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from safeatomic_core import move_atomic, verify_checksum, write_atomic_bytes
from safeatomic_core._move import _Move
from safeatomic_core._posix import kernel


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Path, Path]:
    """A source and a destination with checksums, each in a directory of its own."""
    src, dst = tmp_path / "here" / "file", tmp_path / "there" / "file"
    for path in (src, dst):
        path.parent.mkdir()
        write_atomic_bytes(path, path.parent.name.encode(), write_checksum=True)
    return src, dst


def test_a_destination_that_exists_is_refused_before_anything_is_done(
    ends: tuple[Path, Path], steps: list[tuple[str, dict[str, object]]]
) -> None:
    src, dst = ends
    steps.clear()
    with pytest.raises(FileExistsError, match="force=True"):
        move_atomic(src, dst)
    assert {step for step, _ in steps} <= {"Gate", "Release"}
    assert dst.read_bytes() == b"there"


def test_a_destination_with_the_name_of_a_sidecar_is_refused_as_any_other(
    ends: tuple[Path, Path],
) -> None:
    src, dst = ends
    other = dst.with_name("another.sha256")
    other.touch()
    with pytest.raises(FileExistsError, match="force=True"):
        move_atomic(src, other)


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC])
def test_a_record_that_cannot_be_made_is_the_destination_s(
    ends: tuple[Path, Path], faults: Any, code: int
) -> None:
    src, dst = ends
    faults.fail("open", code, when=lambda name, *_, **_at: str(name).startswith(".safeatomic-sum-"))
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, dst, force=True)
    assert (caught.value.errno, caught.value.filename) == (code, str(dst))


def test_a_seal_that_fails_is_told_of_the_move(ends: tuple[Path, Path], faults: Any) -> None:
    src, dst = ends
    faults.fail("ftruncate", errno.EIO)
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, dst, force=True)
    assert "visible and durable" in caught.value.__notes__[0]
    assert verify_checksum(dst)


def test_of_a_sidecar_that_stays_and_a_flush_that_fails_the_flush_is_told(
    ends: tuple[Path, Path], faults: Any
) -> None:
    src, dst = ends
    faults.fail("rename_noreplace", errno.EPERM, when=lambda name, *_: name == "file.sha256")
    faults.fail("rename", errno.EPERM, when=lambda name, *_, **_at: name == "file.sha256")
    there = src.parent.stat()
    faults.fail("fsync", errno.EIO, when=lambda fd: os.path.samestat(os.fstat(fd), there))
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, dst, force=True)
    assert caught.value.errno == errno.EIO
    assert "stays behind" in str(caught.value)


@pytest.mark.parametrize("moved", [False, True])
def test_a_displaced_record_is_gone_before_the_flush_that_makes_the_rename_durable(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """A crash just after it leaves nothing to be swept."""
    src, dst = ends
    really = kernel.fsync
    left: list[list[str]] = []

    def fsync(fd: int) -> None:
        if dst.read_bytes() == b"here" and os.path.samestat(os.fstat(fd), dst.parent.stat()):
            left.append([name for name in os.listdir(dst.parent) if name.startswith(".")])
        really(fd)

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    if moved:
        move_atomic(src, dst, force=True)
    else:
        write_atomic_bytes(dst, b"here", write_checksum=True)
    assert left[0] == []
    assert verify_checksum(dst)


def test_a_destination_that_appears_before_the_locks_are_taken_is_refused_there(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, steps: Any
) -> None:
    src, dst = ends
    dst.unlink()
    really = _Move._acquire_both
    steps.clear()

    def appear(move: _Move) -> None:
        dst.write_bytes(b"another program's")
        really(move)

    monkeypatch.setattr(_Move, "_acquire_both", appear)
    with pytest.raises(FileExistsError, match="force=True"):
        move_atomic(src, dst)
    assert "Harden" not in dict(steps)
    assert dst.read_bytes() == b"another program's"


def test_a_source_that_vanishes_before_the_locks_are_taken_is_named(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = ends
    really = _Move._acquire_both

    def vanish(move: _Move) -> None:
        src.unlink()
        really(move)

    monkeypatch.setattr(_Move, "_acquire_both", vanish)
    with pytest.raises(FileNotFoundError) as caught:
        move_atomic(src, dst, force=True)
    assert caught.value.filename == str(src)


def test_a_rename_that_fails_names_the_source_where_both_have_one_name(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = ends
    really = kernel.rename

    def fail(name: str, new: str, **at: int) -> None:
        if new == dst.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), name, None, new)
        really(name, new, **at)

    monkeypatch.setattr(kernel, "rename", fail, raising=False)
    with pytest.raises(OSError, match="unchanged") as caught:
        move_atomic(src, dst, force=True)
    assert caught.value.filename == str(src)


@pytest.mark.parametrize("lost", ["here", "there"])
@pytest.mark.parametrize("concurrency", ["lock", "none"])
@pytest.mark.parametrize("step", ["announce", "publish"])
def test_of_two_directories_the_removed_one_is_named(
    ends: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
    concurrency: Literal["lock", "none"],
    step: str,
) -> None:
    src, dst = ends
    do = getattr(_Move, step)

    def remove_and_do(move: _Move) -> None:
        shutil.rmtree(src.parent.with_name(lost))
        do(move)

    monkeypatch.setattr(_Move, step, remove_and_do)
    message = f"The directory '.*{lost}' was removed; create it again"
    with pytest.raises(FileNotFoundError, match=message) as caught:
        move_atomic(src, dst, force=True, concurrency=concurrency)
    assert caught.value.filename == str(src if lost == "here" else dst)


def test_a_moved_file_that_another_program_replaces_at_once_was_moved_all_the_same(
    ends: tuple[Path, Path], faults: Any
) -> None:
    src, dst = ends
    other = dst.with_name("other")
    other.write_bytes(b"another program's")

    def replaced(fd: int) -> bool:
        if other.exists() and dst.read_bytes() == b"here":
            os.replace(other, dst)
        return dst.read_bytes() == b"another program's"

    faults.fail("fsync", errno.EIO, when=replaced)
    with pytest.raises(OSError, match="the new content is visible"):
        move_atomic(src, dst, force=True)


@pytest.mark.parametrize("unflushed", ["here", "there"])
def test_a_move_is_durable_only_where_both_directories_were_flushed(
    ends: tuple[Path, Path], faults: Any, steps: Any, unflushed: str
) -> None:
    src, dst = ends
    place = (src if unflushed == "here" else dst).parent.stat()

    def fails(fd: int) -> bool:
        moved = dst.read_bytes() == b"here"
        return moved and os.path.samestat(os.fstat(fd), place)

    faults.fail("fsync", errno.EIO, when=fails)
    move_atomic(src, dst, force=True, safety="best_effort")
    assert dict(steps)["Settle"] == {"durable": False}


def test_a_settle_that_fails_says_that_the_file_was_moved(src: Path, faults: Any) -> None:
    faults.fail("fsync", errno.EIO, when=lambda fd: stat.S_ISDIR(os.fstat(fd).st_mode))
    with pytest.raises(OSError, match="durability is not confirmed"):
        move_atomic(src, src.with_name("dst"))
    assert src.with_name("dst").exists()


def test_an_error_about_the_source_names_it_where_both_names_begin_alike(
    src: Path, faults: Any
) -> None:
    other = src.with_name("s")
    other.write_bytes(b"other")
    faults.fail("open", errno.EIO, when=lambda name, *_args, **_options: name == "src")
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, other, force=True)
    assert caught.value.filename == str(src)


@pytest.mark.parametrize("end", ["source", "destination"])
def test_the_name_whose_lock_cannot_be_made_is_named(tmp_path: Path, end: str) -> None:
    long = tmp_path / ("x" * 251)  # with no room for ".lock"
    short = tmp_path / "short"
    src, dst = (long, short) if end == "source" else (short, long)
    src.write_bytes(b"moved")
    with pytest.raises(OSError, match="use a shorter one") as caught:
        move_atomic(src, dst)
    assert (caught.value.errno, caught.value.filename) == (errno.ENAMETOOLONG, str(long))
    assert src.read_bytes() == b"moved"


def test_a_source_that_vanishes_is_named_as_the_caller_gave_it(
    src: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src.write_bytes(b"moved")

    def gone(name: str, *_args: object, **_options: object) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    really = _Move.harden

    def harden(self: _Move) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "open", gone, raising=False)
            really(self)

    monkeypatch.setattr(_Move, "harden", harden)
    with pytest.raises(FileNotFoundError) as caught:
        move_atomic(src, src.with_name("elsewhere"))
    assert caught.value.filename == str(src)


@pytest.fixture
def ignoring_case() -> Iterator[None]:
    """Let the names of a directory be the same whatever their case, as APFS does."""
    replaced: dict[str, Any] = {"stat": kernel.stat, "open": kernel.open, "unlink": kernel.unlink}

    def folding(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda name, *args, **at: real(name.lower() if at else name, *args, **at)

    for name, real in replaced.items():
        setattr(kernel, name, folding(real))
    yield
    for name, real in replaced.items():
        setattr(kernel, name, real)


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
@pytest.mark.usefixtures("ignoring_case")
def test_two_spellings_of_one_name_are_refused(tmp_path: Path, force: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"'file' and 'FILE' are the same name .* third name first"
    ):
        move_atomic(path, tmp_path / "FILE", force=force, concurrency="none")
    assert path.read_bytes() == b"x"


@pytest.mark.usefixtures("ignoring_case")
def test_of_two_spellings_in_two_directories_each_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    path, there = tmp_path / "file", tmp_path / "d" / "file"
    path.write_bytes(b"x")
    os.link(path, there)
    move_atomic(path, tmp_path / "d" / "FILE", force=True, concurrency="none")
    assert [name for name in os.listdir(tmp_path) if name != "d"] == []
    assert there.read_bytes() == b"x"


@pytest.mark.parametrize("dst", ["there/file", "file.sha256.old"])
def test_a_foreign_file_at_the_destination_s_sidecar_is_named_not_the_source_s(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, dst: str
) -> None:
    monkeypatch.chdir(ends[0].parent)
    there = Path("..", dst) if "/" in dst else Path(dst)
    foreign = Path(f"{there}.sha256")
    foreign.write_text("notes")
    with pytest.raises(FileExistsError, match="move that away") as caught:
        move_atomic("file", there, force=True)
    assert caught.value.filename == str(foreign)
    assert verify_checksum("file")


def test_a_destination_that_may_not_be_written_is_named_not_the_source(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = ends
    really = kernel.open

    def refuse(name: str, flags: int, *args: Any, **at: Any) -> int:
        if flags & os.O_WRONLY and name == dst.name:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        return really(name, flags, *args, **at)

    monkeypatch.setattr(kernel, "access", lambda *_: False)
    monkeypatch.setattr(kernel, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        move_atomic(src, dst, force=True)
    assert caught.value.filename == str(dst)


def test_a_source_s_directory_that_cannot_be_flushed_is_named(
    ends: tuple[Path, Path], faults: Any
) -> None:
    src, dst = ends
    here = src.parent.stat()
    faults.fail("fsync", errno.EIO, when=lambda fd: os.path.samestat(os.fstat(fd), here))
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, dst, force=True)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(src))
