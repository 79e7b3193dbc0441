from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    CrossDeviceAtomicityError,
    LockError,
    force_release_lock,
    get_checksum_info,
    is_stale_lock,
    move_atomic,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._move import _Move
from safeatomic_core._posix import kernel
from safeatomic_core._retirement import Retirement

Listing = Callable[[], list[str]]


@pytest.fixture
def src(tmp_path: Path) -> Path:
    path = tmp_path / "src"
    path.write_bytes(b"moved")
    return path


def test_a_file_is_renamed(src: Path, listing: Listing, steps: Any) -> None:
    src.chmod(0o640)
    move_atomic(src, src.with_name("dst"))
    assert listing() == ["dst"]
    assert stat.S_IMODE(src.with_name("dst").stat().st_mode) == 0o640
    assert [step for step, _ in steps if step not in ("Acquire", "Release")] == [
        "Gate",
        "Gate",
        "Harden",
        "Publish",
        "Settle",
        "Settle",
    ]


@pytest.mark.parametrize("same_directory", [True, False])
@pytest.mark.parametrize("src_checked", [True, False])
@pytest.mark.parametrize(
    ("force", "dst_checked"),  # a destination that exists needs force
    [(True, True), (True, False), (True, None), (False, None)],
)
def test_the_sidecar_goes_along_and_a_stale_one_goes(
    tmp_path: Path,
    same_directory: bool,
    force: bool,
    src_checked: bool,
    dst_checked: bool | None,
) -> None:
    src = tmp_path / "src"
    (tmp_path / "sub").mkdir()
    dst = tmp_path / "dst" if same_directory else tmp_path / "sub" / "dst"
    write_atomic_bytes(src, b"moved", write_checksum=src_checked)
    if dst_checked is not None:
        write_atomic_bytes(dst, b"before", write_checksum=dst_checked)
    move_atomic(src, dst, force=force)
    assert sorted(os.listdir(dst.parent)) == sorted(
        ["dst"] + (["dst.sha256"] if src_checked else []) + (["sub"] if same_directory else [])
    )
    assert not src.exists()
    assert not src.with_name("src.sha256").exists()
    assert read_atomic_bytes(dst, check_checksum=src_checked) == b"moved"
    if src_checked:
        assert b"previous" not in Path(f"{dst}.sha256").read_bytes()


def test_an_existing_destination_is_refused_without_force(src: Path) -> None:
    dst = src.with_name("dst")
    dst.write_bytes(b"stays")
    with pytest.raises(FileExistsError, match="force=True"):
        move_atomic(src, dst)
    assert (src.read_bytes(), dst.read_bytes()) == (b"moved", b"stays")


def test_a_destination_that_appears_meanwhile_is_not_replaced(
    src: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=True)
    real = kernel.rename_noreplace

    def rename_noreplace(*args: Any) -> None:
        dst.write_bytes(b"appeared")
        real(*args)

    monkeypatch.setattr(kernel, "rename_noreplace", rename_noreplace, raising=False)
    with pytest.raises(FileExistsError):
        move_atomic(src, dst)
    assert dst.read_bytes() == b"appeared"
    assert verify_checksum(src)
    assert listing() == ["dst", "src", "src.sha256"]


@pytest.mark.parametrize("checked", [True, False])
def test_without_an_exclusive_rename_a_link_is_made(
    src: Path, listing: Listing, faults: Any, checked: bool
) -> None:
    write_atomic_bytes(src, b"moved", write_checksum=checked)
    faults.fail("rename_noreplace", errno.EINVAL)
    move_atomic(src, src.with_name("dst"))
    assert listing() == (["dst", "dst.sha256"] if checked else ["dst"])
    assert os.stat(src.with_name("dst")).st_nlink == 1
    (src).write_bytes(b"another")
    with pytest.raises(FileExistsError):
        move_atomic(src, src.with_name("dst"))


def test_two_names_of_one_file_become_one(src: Path, listing: Listing) -> None:
    os.link(src, src.with_name("dst"))
    move_atomic(src, src.with_name("dst"), force=True)
    assert listing() == ["dst"]
    assert src.with_name("dst").read_bytes() == b"moved"


def test_a_file_moved_to_itself_stays(src: Path, listing: Listing) -> None:
    move_atomic(src, src)
    assert listing() == ["src"]


def test_another_device_is_refused_with_its_cause(src: Path, faults: Any) -> None:
    faults.fail("rename", errno.EXDEV)
    with pytest.raises(CrossDeviceAtomicityError) as caught:
        move_atomic(src, src.with_name("dst"), force=True, safety="best_effort")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EXDEV
    assert (caught.value.src, caught.value.dst) == (str(src), str(src.with_name("dst")))
    assert src.read_bytes() == b"moved"


def test_a_directory_on_another_device_is_refused_at_once(
    src: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel.fstat
    (src.parent / "sub").mkdir()
    inode = os.stat(src.parent / "sub").st_ino

    def fstat(fd: int) -> Any:
        status = real(fd)
        if status.st_ino != inode:
            return status
        fields = list(status)
        fields[2] += 1
        return os.stat_result(fields)

    monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
    with pytest.raises(CrossDeviceAtomicityError):
        move_atomic(src, src.parent / "sub" / "dst", safety="best_effort")
    assert listing() == ["src", "sub"]


def test_a_missing_source_is_an_error(tmp_path: Path, listing: Listing) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        move_atomic(tmp_path / "missing", tmp_path / "dst")
    assert caught.value.filename == str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        move_atomic(tmp_path / "missing", tmp_path / "no" / "dst")
    assert listing() == []


def test_a_directory_cannot_be_moved(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(IsADirectoryError):
        move_atomic(tmp_path / "sub", tmp_path / "dst")


@pytest.mark.parametrize("locked", ["src", "dst"])
def test_both_names_must_be_free(src: Path, listing: Listing, locked: str) -> None:
    try_acquire_lock(src.with_name(locked))
    with pytest.raises(LockError):
        copy_context().run(move_atomic, src, src.with_name("dst"))
    release_lock(src.with_name(locked))
    assert listing() == ["src"]


def test_a_damaged_file_arrives_as_damaged(src: Path) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"good", write_checksum=True)
    src.write_bytes(b"rotten")
    move_atomic(src, dst)
    assert verify_checksum(dst) is False


def unsealed(path: Path, faults: Any, content: bytes) -> None:
    """Write a checked file whose record still names the previous digest."""
    rule = len(faults.rules)
    faults.fail("ftruncate", errno.EIO)
    with pytest.raises(OSError, match="cannot seal"):
        write_atomic_bytes(path, content, write_checksum=True)
    del faults.rules[rule]


@pytest.mark.parametrize("rotten", [False, True])
def test_an_interrupted_record_is_resolved_on_the_way(src: Path, faults: Any, rotten: bool) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"one", write_checksum=True)
    unsealed(src, faults, b"two")
    if rotten:
        src.write_bytes(b"rotten")
    move_atomic(src, dst)
    assert verify_checksum(dst) is not rotten
    assert (b"# previous=" in Path(f"{dst}.sha256").read_bytes()) is rotten
    if rotten:
        dst.write_bytes(b"one")  # what was recorded before is still remembered
        assert verify_checksum(dst)


def test_what_is_not_the_source_s_record_stays_where_it_is(src: Path, listing: Listing) -> None:
    Path(f"{src}.sha256").write_bytes(b"notes")
    move_atomic(src, src.with_name("dst"))
    assert listing() == ["dst", "src.sha256"]
    assert Path(f"{src}.sha256").read_bytes() == b"notes"


@pytest.mark.parametrize("checked", [True, False])
def test_a_failed_rename_leaves_both_as_they_were(
    src: Path, listing: Listing, faults: Any, checked: bool
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=checked)
    write_atomic_bytes(dst, b"stays", write_checksum=True)
    faults.fail("rename", errno.EIO, when=lambda _src, name, **_k: name == "dst")
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, dst, force=True)
    assert any("Publish failed; the target is unchanged" in n for n in caught.value.__notes__)
    assert verify_checksum(dst)
    assert read_atomic_bytes(src, check_checksum=checked) == b"moved"
    info = get_checksum_info(dst)
    assert info is not None
    assert b"previous" not in Path(f"{dst}.sha256").read_bytes()


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_around_the_rename_is_told_truly(
    src: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=True)
    real = kernel.rename

    def rename(source: str, name: str, **kwargs: Any) -> None:
        if name != "dst":
            real(source, name, **kwargs)
            return
        if after:
            real(source, name, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "rename", rename, raising=False)
    with pytest.raises(KeyboardInterrupt) as caught:
        move_atomic(src, dst, force=True)
    assert ("is visible" in caught.value.__notes__[0]) is after
    assert dst.exists() is after
    assert verify_checksum(dst if after else src)


def test_a_settle_that_fails_says_that_the_file_was_moved(src: Path, faults: Any) -> None:
    faults.fail("fsync", errno.EIO, when=lambda fd: stat.S_ISDIR(os.fstat(fd).st_mode))
    with pytest.raises(OSError, match="durability is not confirmed"):
        move_atomic(src, src.with_name("dst"))
    assert src.with_name("dst").exists()


def test_without_settle_a_record_stays_unsealed(src: Path, faults: Any) -> None:
    write_atomic_bytes(src, b"moved", write_checksum=True)
    faults.fail("fsync", errno.EIO, when=lambda fd: stat.S_ISDIR(os.fstat(fd).st_mode))
    move_atomic(src, src.with_name("dst"), safety="best_effort")
    assert verify_checksum(src.with_name("dst"))
    assert src.with_name("src.sha256").exists()


def test_force_under_a_move_stops_it(
    src: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel.fsync

    def fsync(fd: int) -> None:
        monkeypatch.setattr(kernel, "fsync", real, raising=False)  # once: it flushes, too
        force_release_lock(src)
        real(fd)

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    with pytest.raises(LockError, match="removed by force"):
        move_atomic(src, src.with_name("dst"))
    assert listing() == ["src"]


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((3, "b"), {}, TypeError, "src must be"),
        (("a", 3), {}, TypeError, "dst must be"),
        (("a", ""), {}, ValueError, "dst must not be empty"),
        (("a", "b"), {"force": 1}, TypeError, "force"),
        (("a", "b"), {"preserve_metadata": 1}, TypeError, "preserve_metadata"),
        (("a", "b"), {"safety": "x"}, ValueError, "safety"),
    ],
)
def test_bad_arguments_are_refused(
    args: Any, options: Any, error: type[Exception], message: str, faults: Any
) -> None:
    with pytest.raises(error, match=message):
        move_atomic(*args, **options)
    assert faults.calls == []


def test_a_roll_back_that_fails_leaves_dead_locks_to_tell_of_it(
    src: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=True)
    faults.fail("rename_noreplace", errno.EIO, when=lambda name, *_a: name == "src")
    faults.fail("rename_noreplace", errno.EIO, when=lambda name, *_a: name == "dst.sha256")
    with pytest.raises(OSError, match="cannot move"):
        move_atomic(src, dst)
    assert "could not put the checksum sidecar" in caplog.text
    assert is_stale_lock(src)
    assert is_stale_lock(dst)


def test_a_roll_back_that_cannot_even_look_is_logged(
    src: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_atomic_bytes(src, b"moved", write_checksum=True)
    faults.fail("rename_noreplace", errno.EIO)
    faults.calls.clear()
    count = {"n": 0}

    def after_the_rename(name: str, **_options: object) -> bool:
        count["n"] += name.endswith(".lock")
        return name.endswith(".lock") and "rename_noreplace" in faults.calls

    faults.fail("stat", errno.EIO, when=after_the_rename)
    with pytest.raises(OSError, match="cannot move"):
        move_atomic(src, src.with_name("dst"))
    assert "could not clean up" in caplog.text


def test_not_knowing_whether_it_was_moved_counts_as_not(
    src: Path, faults: Any, listing: Listing
) -> None:
    faults.fail("rename", errno.EIO)
    faults.fail("fstat", errno.EIO, when=lambda _fd: "rename" in faults.calls)
    with pytest.raises(OSError, match="unchanged"):
        move_atomic(src, src.with_name("dst"), force=True)
    assert listing() == ["src"]


def test_an_unflushed_removal_of_the_sidecar_leaves_a_dead_lock_to_tell_of_it(
    src: Path, faults: Any
) -> None:
    (src.parent / "sub").mkdir()
    write_atomic_bytes(src, b"moved", write_checksum=True)
    inode = src.parent.stat().st_ino
    faults.fail("fsync", errno.EIO, when=lambda fd: os.fstat(fd).st_ino == inode)
    with pytest.raises(OSError, match="durability is not confirmed"):
        move_atomic(src, src.parent / "sub" / "dst")
    assert verify_checksum(src.parent / "sub" / "dst")
    assert is_stale_lock(src)


def test_a_move_without_locks_makes_none(src: Path, listing: Listing) -> None:
    move_atomic(src, src.with_name("dst"), concurrency="none")
    assert listing() == ["dst"]


@pytest.mark.parametrize("name", ["src.lock", "src.sha256"])
def test_names_that_belong_to_each_other_are_refused(
    src: Path, listing: Listing, name: str
) -> None:
    other = src.with_name(name)
    with pytest.raises(ValueError, match="where the checksum or the lock"):
        move_atomic(src, other, force=True)
    other.write_bytes(b"a file of that name")
    with pytest.raises(ValueError, match="where the checksum or the lock"):
        move_atomic(other, src, force=True)
    assert listing() == sorted(["src", name])


def test_the_name_of_a_temp_is_refused(src: Path) -> None:
    with pytest.raises(ValueError, match="temporary file of this library"):
        move_atomic(src, src.with_name(".safeatomic-tmp-0123456789abcdef.tmp"))


def test_a_sidecar_that_another_program_replaces_at_the_end_stays_behind(
    src: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic_bytes(src, b"moved", write_checksum=True)
    really = Retirement.take_away

    def refused(self: Any) -> bool:
        if self._target.name == "src":
            raise FileExistsError(errno.EEXIST, "taken", "src.sha256")
        return really(self)

    monkeypatch.setattr(Retirement, "take_away", refused)
    move_atomic(src, src.with_name("dst"))
    assert "stays behind" in caplog.text
    assert src.with_name("src.sha256").exists()


@pytest.mark.parametrize("same_directory", [True, False])
@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.EIO])
def test_a_source_s_sidecar_that_cannot_be_removed_stays_and_nothing_else_does(
    src: Path, faults: Any, same_directory: bool, exclusive: bool, code: int
) -> None:
    (src.parent / "sub").mkdir()
    dst = src.with_name("dst") if same_directory else src.parent / "sub" / "dst"
    write_atomic_bytes(src, b"moved", write_checksum=True)
    if not exclusive:
        faults.fail("rename_noreplace", errno.EINVAL)
        faults.fail("unlink", code, when=lambda name, **_options: name == "src.sha256")
    faults.fail("rename_noreplace", code, when=lambda name, *_rest: name == "src.sha256")
    faults.fail("rename", code, when=lambda name, *_rest, **_options: name == "src.sha256")
    with pytest.raises(OSError, match="visible and durable with its checksum") as caught:
        move_atomic(src, dst)
    assert caught.value.errno == code
    assert caught.value.filename == f"{src}.sha256"
    assert "cannot remove the source's checksum sidecar" in str(caught.value)
    assert f"{str(src) + '.sha256'!r} stays behind" in str(caught.value)
    assert "visible and durable" in caught.value.__notes__[0]
    assert sorted(os.listdir(src.parent)) == sorted(
        ["src.sha256", "sub"] + (["dst", "dst.sha256"] if same_directory else [])
    )
    assert sorted(os.listdir(dst.parent))[:2] == ["dst", "dst.sha256"]
    assert verify_checksum(dst)


def test_a_linked_source_that_cannot_be_removed_is_told_of(src: Path, faults: Any) -> None:
    faults.fail("rename_noreplace", errno.EINVAL)
    faults.fail("unlink", errno.EPERM, when=lambda name, **_options: name == "src")
    with pytest.raises(PermissionError, match="still has its name") as caught:
        move_atomic(src, src.with_name("dst"))
    assert "visible and durable" in str(caught.value)
    assert sorted(os.listdir(src.parent)) == ["dst", "src"]


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
