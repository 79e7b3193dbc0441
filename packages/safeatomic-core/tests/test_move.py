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
    AtomicWriter,
    CrossDeviceAtomicityError,
    LockError,
    force_release_lock,
    move_atomic,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._posix import kernel
from safeatomic_core._retirement import Retirement

Listing = Callable[[], list[str]]


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


def test_what_another_program_puts_at_the_former_name_of_a_hard_link_stays(
    src: Path, faults: Any
) -> None:
    os.link(src, src.with_name("dst"))

    def replace(*_args: Any, **_options: Any) -> bool:
        if src.read_bytes() != b"theirs":
            src.with_name("theirs").write_bytes(b"theirs")
            src.with_name("theirs").replace(src)
        return False

    faults.fail("fsync", errno.EIO, when=replace)
    move_atomic(src, src.with_name("dst"), force=True, concurrency="none")
    assert src.read_bytes() == b"theirs"


def test_a_file_is_moved_over_what_another_program_puts_at_its_second_name(
    src: Path, listing: Listing, faults: Any
) -> None:
    """Without that, its only name left would be removed."""
    dst, theirs = src.with_name("dst"), src.with_name("theirs")
    os.link(src, dst)
    theirs.write_bytes(b"theirs")

    def replace(*_args: Any, **_options: Any) -> bool:
        if theirs.exists():
            theirs.replace(dst)
        return False

    faults.fail("fsync", errno.EIO, when=replace)
    move_atomic(src, dst, force=True)
    assert dst.read_bytes() == b"moved"
    assert listing() == ["dst"]


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


@pytest.mark.parametrize("prefix", [".safeatomic-tmp-", ".safeatomic-sum-"])
def test_the_name_of_a_temp_is_refused(src: Path, prefix: str, listing: Listing) -> None:
    temp = src.with_name(f"{prefix}0123456789abcdef.tmp")
    with pytest.raises(ValueError, match="temporary file of this library"):
        move_atomic(src, temp)
    with pytest.raises(ValueError, match="temporary file of this library"):
        write_atomic_bytes(temp, b"x")
    with pytest.raises(ValueError, match="temporary file of this library"):
        AtomicWriter(temp)
    assert listing() == ["src"]
    temp.write_bytes(b"rescued")
    with pytest.raises(ValueError, match="temporary file of this library"):
        move_atomic(temp, src, force=True)
    assert read_atomic_bytes(temp) == b"rescued"


def test_a_sidecar_that_another_program_replaces_at_the_end_stays_behind(
    src: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic_bytes(src, b"moved", write_checksum=True)
    really = Retirement.take_away

    def refused(self: Any, **options: bool) -> bool:
        if self._target.name == "src":
            raise FileExistsError(errno.EEXIST, "taken", "src.sha256")
        return really(self, **options)

    monkeypatch.setattr(Retirement, "take_away", refused)
    move_atomic(src, src.with_name("dst"))
    assert "stays behind" in caplog.text
    assert src.with_name("src.sha256").exists()
