"""Writing a file that is itself a mount point; the mount is simulated by the seam.

`tests-integration/test_mounted_files.py` does it with real mounts.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
    _protocol,
    _verdicts,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._in_place import COPY_PREFIX, InPlace
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]


@pytest.mark.parametrize("fixture", ["mounted", "seen"])
def test_strict_refuses(fixture: str, request: pytest.FixtureRequest, listing: Listing) -> None:
    path: Path = request.getfixturevalue(fixture)
    with pytest.raises(UnsupportedEnvironmentError, match="mount point") as caught:
        write_atomic_bytes(path, b"new")
    step = "Gate" if fixture == "seen" else "Publish"
    assert caught.value.__notes__ == [f"safeatomic: {step} failed; the target is unchanged"]
    assert caught.value.guarantee == "AtomicVisibility"
    assert path.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_a_lock_that_its_other_mounts_do_not_see_is_refused(seen: Path, listing: Listing) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="its lock is beside it") as caught:
        try_acquire_lock(seen)
    assert caught.value.guarantee == "WriterExclusion"
    assert listing() == ["data.bin"]
    with pytest.warns(UnsupportedEnvironmentWarning, match="its lock is beside it"):
        assert try_acquire_lock(seen, safety="warn")
    assert release_lock(seen)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("content", [b"", b"n", b"longer than the old content" * 100_000])
def test_the_file_itself_is_written_where_the_caller_goes_on(
    seen: Path, listing: Listing, content: bytes, checked: bool
) -> None:
    inode = seen.stat().st_ino
    with pytest.warns(UnsupportedEnvironmentWarning, match="mixture"):
        write_atomic_bytes(seen, content, safety="warn", write_checksum=checked)
    assert seen.read_bytes() == content
    assert seen.stat().st_ino == inode
    assert listing() == ["data.bin", *(["data.bin.sha256"] if checked else [])]
    assert not checked or verify_checksum(seen)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
@pytest.mark.filterwarnings("ignore::safeatomic_core.UnsupportedEnvironmentWarning")
@pytest.mark.parametrize("fixture", ["mounted", "seen"])
def test_a_checksum_that_was_replaced_leaves_no_descriptor(
    target: Path, fixture: str, request: pytest.FixtureRequest
) -> None:
    write_checksum_file(target)
    path: Path = request.getfixturevalue(fixture)
    before = os.listdir("/proc/self/fd")
    write_atomic_bytes(path, b"new", safety="warn", write_checksum=True)
    assert os.listdir("/proc/self/fd") == before
    assert verify_checksum(path)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("had_checksum", [False, True])
def test_a_mount_that_only_the_rename_finds_is_written_in_place(
    target: Path,
    request: pytest.FixtureRequest,
    listing: Listing,
    checked: bool,
    had_checksum: bool,
) -> None:
    write_atomic_bytes(target, b"old", write_checksum=had_checksum)
    path: Path = request.getfixturevalue("mounted")
    write_atomic_bytes(path, b"new", safety="best_effort", write_checksum=checked)
    assert path.read_bytes() == b"new"
    assert listing() == ["data.bin", *(["data.bin.sha256"] if checked else [])]
    assert not checked or verify_checksum(path)


def test_what_is_written_in_place_has_a_durable_copy_until_it_is_flushed(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    rename, reserve = kernel.rename, kernel.posix_fallocate
    fsync, unlink = kernel.fsync, kernel.unlink

    def name(src: str, dst: str, **at: int) -> None:
        rename(src, dst, **at)
        if dst.startswith(COPY_PREFIX):
            calls.append("name")

    def flush(fd: int) -> None:
        fsync(fd)
        if os.path.samestat(os.fstat(fd), mounted.stat()):
            calls.append(f"flush {mounted.read_text()}")
        elif os.path.samestat(os.fstat(fd), mounted.parent.stat()):
            calls.append("flush the directory")

    def make_room(fd: int, offset: int, size: int) -> None:
        reserve(fd, offset, size)
        calls.append(f"reserve {os.fstat(fd).st_size}")

    def remove(name: str, **at: int) -> None:
        unlink(name, **at)
        if name.startswith(COPY_PREFIX):
            calls.append("remove")

    monkeypatch.setattr(kernel, "rename", name, raising=False)
    monkeypatch.setattr(kernel, "fsync", flush, raising=False)
    monkeypatch.setattr(kernel, "posix_fallocate", make_room, raising=False)
    monkeypatch.setattr(kernel, "unlink", remove, raising=False)
    write_atomic_bytes(mounted, b"newer", safety="best_effort")
    room = ["reserve 5"] if hasattr(os, "posix_fallocate") else []
    copied = ["name", "flush the directory", *room, "flush newer"]
    assert calls == [*copied, "remove", "flush the directory"]


def test_a_copy_that_is_busy_once_is_made_the_second_time(
    seen: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.rename
    refused: list[Any] = []

    def rename(src: Any, dst: Any, **kwargs: Any) -> None:
        if dst.startswith(COPY_PREFIX) and not refused:
            refused.append(dst)
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), src, None, dst)
        really(src, dst, **kwargs)

    monkeypatch.setattr(kernel, "rename", rename, raising=False)
    with pytest.warns(UnsupportedEnvironmentWarning, match="mixture"):
        write_atomic_bytes(seen, b"new", safety="warn")
    assert len(refused) == 1
    assert seen.read_bytes() == b"new"
    assert listing() == ["data.bin"]


def test_busy_for_another_reason_stays_an_error(
    mounted: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (_verdicts, _protocol):
        monkeypatch.setattr(module, "is_mount_point", lambda *_: False)
    for safety in ("strict", "best_effort"):
        with pytest.raises(OSError, match="unchanged") as caught:
            write_atomic_bytes(mounted, b"new", safety=safety)
        assert caught.value.errno == errno.EBUSY
    assert mounted.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize(("call", "code"), [("posix_fallocate", errno.ENOSPC)])
def test_a_disk_without_room_leaves_the_old_file(
    seen: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel, call, fail, raising=False)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(seen, b"longer", safety="best_effort")
    assert caught.value.errno == code
    assert seen.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_a_filesystem_that_reserves_nothing_is_written_all_the_same(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(kernel, "posix_fallocate", fail, raising=False)
    write_atomic_bytes(seen, b"new", safety="best_effort")
    assert seen.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("call", "stand_in"),
    [
        ("pwrite", OSError(errno.EIO, "no")),
        ("ftruncate", OSError(errno.EIO, "no")),
        ("pread", b""),
        ("pwrite", KeyboardInterrupt()),
    ],
)
def test_a_failure_on_the_way_leaves_the_complete_copy_and_says_where(
    seen: Path,
    listing: Listing,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    stand_in: BaseException | bytes,
) -> None:
    really = getattr(kernel, call)

    def fail(fd: int, *args: Any) -> Any:
        if call != "pread" and os.fstat(fd).st_ino != seen.stat().st_ino:
            return really(fd, *args)  # the lock's
        if isinstance(stand_in, BaseException):
            raise stand_in
        return stand_in

    monkeypatch.setattr(kernel, call, fail, raising=False)
    expected = KeyboardInterrupt if isinstance(stand_in, KeyboardInterrupt) else OSError
    with pytest.raises(expected) as caught:
        write_atomic_bytes(seen, b"the new content", safety="best_effort")
    (copy,) = (name for name in listing() if name != "data.bin")
    assert copy.startswith(COPY_PREFIX)
    assert (seen.parent / copy).read_bytes() == b"the new content"
    (note,) = caught.value.__notes__
    assert "mixture" in note
    assert copy in note


def test_a_target_that_cannot_be_opened_is_refused_before_anything_is_done(
    seen: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.open

    def no(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "data.bin" and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return really(path, flags, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", no, raising=False)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(seen, b"new", safety="best_effort")
    assert caught.value.errno == errno.EROFS
    assert listing() == ["data.bin"]


def test_it_is_never_a_new_file(seen: Path) -> None:
    with pytest.raises(FileExistsError):
        write_atomic_bytes(seen, b"new", safety="best_effort", overwrite=False)


def test_a_reservation_that_made_the_file_longer_is_undone_durably(
    seen: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksum_file(seen, safety="best_effort")
    flushed: list[int] = []
    really = kernel.fsync

    def fail(fd: int, _offset: int, _size: int) -> None:
        os.ftruncate(fd, 100)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fsync(fd: int) -> None:
        flushed.append(os.fstat(fd).st_ino)
        really(fd)

    monkeypatch.setattr(kernel, "posix_fallocate", fail, raising=False)
    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(seen, b"x" * 200, safety="best_effort")
    assert seen.read_bytes() == b"old"
    assert seen.stat().st_ino in flushed
    # A reader that hashed the longer file must not meet the checksum it saw before.
    assert "data.bin.sha256" not in listing()


def test_a_file_that_was_unmounted_meanwhile_is_not_written(seen: Path, listing: Listing) -> None:
    """The open descriptor would still lead to the file that nobody sees there any more."""
    other = seen.with_name("other")
    other.write_bytes(b"under the mount")
    really = kernel.fsync

    def unmount(fd: int) -> None:
        if other.exists():
            os.replace(other, seen)
        really(fd)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.warns(UnsupportedEnvironmentWarning),
        pytest.raises(OSError, match="mounted or unmounted there meanwhile") as caught,
    ):
        patch.setattr(kernel, "fsync", unmount, raising=False)
        write_atomic_bytes(seen, b"new", safety="warn")
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(seen))
    assert "the target is unchanged" in caught.value.__notes__[0]
    assert seen.read_bytes() == b"under the mount"
    assert listing() == [seen.name]


def test_what_is_mounted_instead_must_be_a_file(
    seen: Path, monkeypatch: pytest.MonkeyPatch, locate: Callable[[str | Path], Target]
) -> None:
    target = locate(seen)
    seen.unlink()
    os.mkfifo(seen)
    reader = os.open(seen, os.O_RDONLY | os.O_NONBLOCK)
    in_place = InPlace(target)
    try:
        with pytest.raises(OSError, match="a FIFO, not a regular file"):
            in_place.open()
    finally:
        in_place.close()
        target.close()
        os.close(reader)


def test_the_copy_is_the_owner_s_alone(seen: Path, faults: Any) -> None:
    """The file itself may be, whatever a new one would be."""
    seen.chmod(0o600)
    faults.fail("ftruncate", errno.EIO)
    with pytest.raises(OSError, match="mixture"):
        write_atomic_bytes(
            seen, b"secret", safety="best_effort", preserve_metadata=False, mode=0o644
        )
    (copy,) = seen.parent.glob(f"{COPY_PREFIX}*")
    assert copy.stat().st_mode & 0o777 == 0o600


def test_where_the_libc_stands_in_for_fallocate_by_reading_it_may_read(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_reading(fd: int, offset: int, _size: int) -> None:
        os.pread(fd, 1, offset)

    monkeypatch.setattr(kernel, "posix_fallocate", by_reading, raising=False)
    write_atomic_bytes(seen, b"new", safety="best_effort")
    assert seen.read_bytes() == b"new"


def test_a_file_that_may_be_written_and_not_read_is_written(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.open

    def no(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "data.bin" and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really(path, flags, *args, **kwargs)

    def by_reading(fd: int, offset: int, _size: int) -> None:
        os.pread(fd, 1, offset)

    monkeypatch.setattr(kernel, "open", no, raising=False)
    monkeypatch.setattr(kernel, "posix_fallocate", by_reading, raising=False)
    write_atomic_bytes(seen, b"new", safety="best_effort")
    assert seen.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["ftruncate", "fsync"])
def test_a_target_that_cannot_be_made_shorter_again_keeps_its_copy(
    seen: Path, listing: Listing, faults: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def half(fd: int, _offset: int, size: int) -> None:
        os.truncate(fd, size - 1)
        faults.fail(call, errno.EIO)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kernel, "posix_fallocate", half, raising=False)
    with pytest.raises(OSError, match="mixture") as caught:
        write_atomic_bytes(seen, b"the new content", safety="best_effort")
    assert caught.value.errno == errno.EIO
    (copy,) = (name for name in listing() if name.startswith(COPY_PREFIX))
    assert (seen.parent / copy).read_bytes() == b"the new content"


def test_a_target_that_takes_no_byte_keeps_its_copy(
    seen: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = kernel.pwrite, 0

    def take_nothing(fd: int, data: bytes, offset: int) -> int:
        nonlocal calls
        if not os.path.samestat(os.fstat(fd), os.stat(seen)):
            return int(really(fd, data, offset))
        calls += 1
        assert calls < 10, "repeated for ever"
        return 0

    monkeypatch.setattr(kernel, "pwrite", take_nothing, raising=False)
    with pytest.raises(OSError, match="mixture") as caught:
        write_atomic_bytes(seen, b"the new content", safety="best_effort")
    assert caught.value.errno == errno.ENOSPC
    assert [name for name in listing() if name.startswith(COPY_PREFIX)]
