"""What a write leaves behind when a step fails, is interrupted, or loses its lock."""

from __future__ import annotations

import errno
import gc
import logging
import os
import stat
import sys
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    LockError,
    UnsupportedEnvironmentWarning,
    force_release_lock,
    inspect_lock,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._options import Policy
from safeatomic_core._posix import kernel
from safeatomic_core._protocol import Write

Listing = Callable[[], list[str]]


def test_what_was_to_be_written_is_free_while_an_error_is_handled(
    target: Path, faults: Any
) -> None:
    data = bytearray(b"new")
    faults.fail("write", errno.EIO)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, data)
    data.clear()  # which is refused while a view shows it
    assert caught.value.__traceback__ is not None


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="nothing is freed at once here")
@pytest.mark.parametrize(
    "call",
    [
        lambda path: write_atomic_bytes(path / "missing" / "x", b"new"),
        lambda path: AtomicWriter(path / "missing" / "x"),
        lambda path: read_atomic_bytes(path / "missing" / "x", check_checksum=True),
        lambda path: inspect_lock(path / "unreadable"),
        lambda path: write_atomic_bytes(path / "data.bin", b"new"),
    ],
    ids=["write", "stream", "read", "lock", "flush"],
)
def test_an_error_that_was_handled_keeps_nothing_alive(
    target: Path, faults: Any, call: Callable[[Path], object]
) -> None:
    """What its traceback shows, as the data of the caller, would stay until a collection."""

    class Data:
        pass

    def attempt() -> None:
        data = Data()
        left.append(weakref.ref(data))
        call(target.parent)

    left: list[weakref.ref[Data]] = []
    faults.fail("fsync", errno.EIO, when=lambda fd: stat.S_ISDIR(os.fstat(fd).st_mode))
    faults.fail("stat", errno.EIO, when=lambda name, *_, **__: name == "unreadable.lock")
    gc.disable()
    try:
        try:
            attempt()
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.EIO)  # pytest.raises would keep it
        assert left[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("call", "step"),
    [("open", "Stage"), ("write", "Fill"), ("fsync", "Harden"), ("rename", "Publish")],
)
def test_a_failure_before_publish_leaves_everything(
    target: Path,
    listing: Listing,
    faults: Any,
    caplog: pytest.LogCaptureFixture,
    call: str,
    step: str,
) -> None:
    when = None
    if call == "open":
        when = lambda _name, flags, *_a, **_k: bool(flags & os.O_CREAT)  # noqa: E731
    faults.fail(call, errno.ENOSPC, when=when)
    with pytest.raises(OSError, match="the target is unchanged") as caught:
        write_atomic_bytes(target, b"new", concurrency="none")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(target)
    assert isinstance(caught.value.__cause__, OSError)
    assert f"safeatomic: {step} failed; the target is unchanged" in caught.value.__notes__
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]
    assert "clean up" not in caplog.text


@pytest.mark.usefixtures("guaranteed_place")
@pytest.mark.parametrize("checksum", [False, True])
def test_a_directory_that_cannot_be_flushed(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture, checksum: bool
) -> None:
    write_atomic_bytes(target, b"old", write_checksum=checksum)
    faults.fail("fsync", errno.EINVAL, when=lambda fd: stat.S_ISDIR(os.fstat(fd).st_mode))
    expected = "unchanged" if checksum else "durability is not confirmed"
    with pytest.raises(OSError, match=expected):
        write_atomic_bytes(target, b"strict", write_checksum=checksum)
    assert target.read_bytes() == (b"old" if checksum else b"strict")
    with pytest.warns(UnsupportedEnvironmentWarning, match="could not be flushed") as warned:
        write_atomic_bytes(target, b"warn", write_checksum=checksum, safety="warn")
    assert warned[0].filename == __file__
    assert target.read_bytes() == b"warn"
    write_atomic_bytes(target, b"best", write_checksum=checksum, safety="best_effort")
    assert target.read_bytes() == b"best"
    assert "could not be flushed" in caplog.text
    if checksum:
        # Not sealed, since the rename may still be lost: both contents verify.
        assert b"# previous=" in Path(f"{target}.sha256").read_bytes()
        assert verify_checksum(target)


def test_a_seal_that_fails_says_that_the_content_is_new(target: Path, faults: Any) -> None:
    write_atomic_bytes(target, b"old", write_checksum=True)
    faults.fail("ftruncate", errno.EIO)
    with pytest.raises(OSError, match=r"cannot seal .* accepts the previous content") as caught:
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert caught.value.errno == errno.EIO
    assert any("Seal failed; the new content is visible" in n for n in caught.value.__notes__)
    assert target.read_bytes() == b"new"
    assert verify_checksum(target)


@pytest.mark.parametrize("checksum", [False, True])
def test_a_failed_rename_puts_the_sidecar_back(
    target: Path, listing: Listing, faults: Any, checksum: bool
) -> None:
    write_atomic_bytes(target, b"old", write_checksum=True)
    before = Path(f"{target}.sha256").read_bytes()
    faults.fail("rename", errno.EBUSY, when=lambda _src, dst, **_k: dst == "data.bin")
    with pytest.raises(OSError, match="bind-mounted"):
        write_atomic_bytes(target, b"new", write_checksum=checksum)
    assert Path(f"{target}.sha256").read_bytes() == before
    assert verify_checksum(target)
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_failed_rename_removes_a_sidecar_that_was_not_there(
    target: Path, listing: Listing, faults: Any
) -> None:
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert listing() == ["data.bin"]


def test_a_roll_back_that_fails_is_logged(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    # The record took a free name; now it is to leave that again.
    faults.fail("rename_noreplace", errno.EIO, when=lambda src, *_a: src.endswith(".sha256"))
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert "could not put the checksum sidecar" in caplog.text
    assert verify_checksum(target)  # the announced record is valid for the old content, too


def test_clean_ups_that_fail_are_logged_and_mask_nothing(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("write", errno.ENOSPC)
    faults.fail("unlink", errno.EIO)
    faults.fail("close", errno.EIO)
    with caplog.at_level(logging.DEBUG), pytest.raises(OSError, match="cannot write") as caught:
        write_atomic_bytes(target, b"new", concurrency="none")
    assert caught.value.errno == errno.ENOSPC
    assert "could not clean up" in caplog.text


def test_force_under_a_living_writer_stops_it_before_publish(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel.write

    def write(fd: int, data: bytes) -> int:
        if data == b"new":
            assert force_release_lock(target)
        return real(fd, data)

    monkeypatch.setattr(kernel, "write", write, raising=False)
    for checksum in (False, True):
        with pytest.raises(LockError, match="removed by force"):
            write_atomic_bytes(target, b"new", write_checksum=checksum)
        assert target.read_bytes() == b"old"
        assert listing() == ["data.bin"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_around_the_rename_is_told_truly(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch, interrupt: Any, after: bool
) -> None:
    real = kernel.rename

    def rename(*args: Any, **kwargs: Any) -> None:
        if after:
            real(*args, **kwargs)
        raise interrupt

    monkeypatch.setattr(kernel, "rename", rename, raising=False)
    with pytest.raises(interrupt) as caught:
        write_atomic_bytes(target, b"new")
    note = caught.value.__notes__[0]
    if after:
        assert "the new content is visible" in note
        assert target.read_bytes() == b"new"
        # The lock of a dead holder, so that the next writer flushes the directory first.
        assert listing() == ["data.bin", "data.bin.lock"]
        assert inspect_lock(target).alive == "no"
        monkeypatch.undo()
        write_atomic_bytes(target, b"next")
    else:
        assert "the target is unchanged" in note
        assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_a_clean_up_that_cannot_look_at_its_lock_is_logged(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_atomic_bytes(target, b"old", write_checksum=True)
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    faults.fail(
        "stat",
        errno.EIO,
        when=lambda name, **_k: name == "data.bin.lock" and faults.raised > 0,
    )
    with pytest.raises(OSError, match="cannot replace"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert "could not clean up" in caplog.text


def test_not_knowing_whether_it_was_published_counts_as_not(target: Path, faults: Any) -> None:
    faults.fail("rename", errno.EIO)
    faults.fail("fstat", errno.EIO, when=lambda _fd: "rename" in faults.calls)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", concurrency="none")
    assert target.read_bytes() == b"old"


def test_an_error_is_explained_once(target: Path) -> None:
    write = Write(target, Policy.of(concurrency="none"))
    error = write.explained(ValueError("odd"))
    assert write.explained(error) is error
    assert len(error.__notes__) == 1
    write.close()


@pytest.mark.parametrize("times", [1, 2])
def test_a_temp_whose_name_stays_after_its_link_is_removed_in_the_end(
    tmp_path: Path, faults: Any, times: int
) -> None:
    target, refused = tmp_path / "new", list[str]()
    faults.fail("rename_noreplace", errno.EINVAL)

    def at_first(name: str, **_options: object) -> bool:
        if name.endswith(".tmp") and len(refused) < times:
            refused.append(name)
            return True
        return False

    faults.fail("unlink", errno.EIO, when=at_first)
    fails: AbstractContextManager[object] = nullcontext()
    if times > 1:
        fails = pytest.raises(OSError, match="visible")
    with fails:
        write_atomic_bytes(target, b"new", overwrite=False, concurrency="none")
    assert len(refused) == times
    assert os.listdir(tmp_path) == ["new"]


def test_a_target_whose_name_begins_a_temp_s_is_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.open

    def fail(name: str, *args: Any, **at: Any) -> int:
        if "-tmp-" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        return really(name, *args, **at)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel, "open", fail, raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic_bytes(".safeatomic", b"new")
    assert caught.value.filename == ".safeatomic"
