"""What fails while a stream is made, filled or committed; and that nothing of it is published."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from held_descriptors import exit_code, take_number
from safeatomic_core import (
    AtomicWriter,
    LockError,
    SafeAtomicError,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._posix import kernel

Listing = Callable[[], list[str]]


def test_a_writer_that_could_not_be_made_leaves_nothing(target: Path, listing: Listing) -> None:
    try_acquire_lock(target)
    with pytest.raises(LockError):
        copy_context().run(AtomicWriter, target)
    release_lock(target)
    with pytest.raises(ValueError, match="safety"):
        AtomicWriter(target, safety="x")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        AtomicWriter(target.with_name("missing") / "x")
    assert listing() == ["data.bin"]


def test_a_full_disk_aborts(target: Path, listing: Listing, faults: Any) -> None:
    faults.fail("write", errno.ENOSPC, when=lambda _fd, data: len(data) > 1000)
    with pytest.raises(OSError, match="No space") as caught, AtomicWriter(target) as file:
        file.write(b"x" * 1_000_000)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("call", ["write", "ftruncate"])
def test_what_failed_on_the_way_is_not_published_by_going_on(
    target: Path, listing: Listing, faults: Any, call: str
) -> None:
    file = AtomicWriter(target)
    file.write(b"x" * 300_000)
    faults.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space") as first:
        file.truncate(250_000) if call == "ftruncate" else file.write(b"y" * 300_000)
    faults.rules.clear()
    file.write(b"z")
    with pytest.raises(OSError, match="No space") as second:
        file.commit()
    assert str(second.value) == str(first.value)
    assert first.value.__notes__ == ["safeatomic: Fill failed; the target is unchanged"]
    assert second.value.__notes__ == first.value.__notes__
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="nothing is dropped at once here")
@pytest.mark.parametrize("call", ["write", "flush", "seek", "truncate", "close"])
def test_what_failed_keeps_no_writer_alive_that_is_dropped(
    target: Path, faults: Any, call: str
) -> None:
    """Its lock would stay until a collection, and a retry in this process would meet it."""

    def attempt() -> None:
        file = AtomicWriter(target)
        file.write(b"x")
        arguments = {"write": (b"y" * 300_000,), "seek": (0,)}.get(call, ())
        getattr(file, call)(*arguments)

    faults.fail("write", errno.ENOSPC)
    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="dropped undecided"):
            try:
                attempt()
            except OSError as error:
                assert error.errno == errno.ENOSPC  # pytest.raises would keep it
                faults.rules.clear()
        write_atomic_bytes(target, b"new")
    finally:
        gc.enable()


def test_a_failed_commit_explains_and_aborts(target: Path, listing: Listing, faults: Any) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    faults.fail("fsync", errno.EIO)
    with pytest.raises(OSError, match="cannot prepare and flush the temporary file") as caught:
        file.commit()
    assert any("Harden failed" in note for note in caught.value.__notes__)
    assert "aborted" in repr(file)
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("checked", [False, True])
def test_a_position_or_size_that_is_refused_loses_nothing(target: Path, checked: bool) -> None:
    with AtomicWriter(target, write_checksum=checked) as file:
        file.write(b"first ")
        with pytest.raises(OSError, match="EINVAL"):
            file.seek(-100, os.SEEK_END)
        with pytest.raises(OSError, match="EINVAL"):
            file.truncate(-1)
        assert file.tell() == 6
        file.write(b"second")
    assert read_atomic_bytes(target, check_checksum=checked) == b"first second"


@pytest.mark.parametrize("call", ["seek", "truncate"])
def test_what_a_flush_before_a_seek_lost_is_not_published(
    target: Path, faults: Any, call: str
) -> None:
    file = AtomicWriter(target)
    file.write(b"first")
    faults.fail("write", errno.EINVAL)
    with pytest.raises(OSError, match="EINVAL"):
        getattr(file, call)(0)
    faults.rules.clear()
    with pytest.raises(OSError, match="unchanged"):
        file.commit()
    assert target.read_bytes() == b"old"


def test_an_interrupt_while_it_is_made_leaves_nothing(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "raw_stream", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        AtomicWriter(target)
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("call", ["lseek", "ftruncate"])
def test_a_position_that_cannot_be_set_is_an_error_of_the_stream(
    target: Path, faults: Any, call: str
) -> None:
    faults.fail(call, errno.EIO)
    with pytest.raises(OSError, match="unchanged") as caught, AtomicWriter(target) as file:
        file.seek(5)
        file.truncate(2)
    assert caught.value.errno == errno.EIO
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_first_large_write_goes_to_no_other_file(
    target: Path, tmp_path: Path, kind: Callable[[bytes], Any]
) -> None:
    other = tmp_path / "other"
    other.touch()
    file = AtomicWriter(target)
    take_number(file._write.temp.fd, other, os.O_WRONLY)  # type: ignore[union-attr]
    with pytest.raises(OSError, match="closed a descriptor"):
        file.write(kind(b"x" * 1_048_576))
    file.abort()
    assert other.read_bytes() == b""


def test_a_writer_whose_content_is_visible_does_not_call_itself_aborted(
    target: Path, faults: Any
) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    faults.fail("fsync", errno.EIO, when=lambda fd: os.path.isdir(f"/proc/self/fd/{fd}"))
    with pytest.raises(OSError, match="new content is visible"):
        file.commit()
    assert "published" in repr(file)
    with pytest.raises(ValueError, match="published already"):
        file.commit()
    assert target.read_bytes() == b"new"


def test_a_forked_child_is_told_that_it_flushes_nothing(target: Path) -> None:
    file = AtomicWriter(target)
    file.write(b"the parent's")
    pid = os.fork()
    if pid == 0:
        try:
            file.flush()
        except SafeAtomicError:
            os._exit(7)
        os._exit(0)
    assert exit_code(pid) == 7
    file.commit()
    assert target.read_bytes() == b"the parent's"


@pytest.mark.parametrize("checked", [False, True])
def test_what_replaced_the_temporary_file_is_not_published(
    target: Path, checked: bool, listing: Listing
) -> None:
    """As an editor of every file of a directory does, which has seen a part of the content."""
    write_atomic_bytes(target, b"old", write_checksum=checked)
    before = listing()
    file = AtomicWriter(target, write_checksum=checked)
    file.write(b"the beginning")
    file.flush()
    (temp,) = target.parent.glob(".safeatomic-tmp-*")
    copy = target.with_name("copy")
    copy.write_bytes(temp.read_bytes())
    copy.rename(temp)
    file.write(b" and the end")
    with pytest.raises(FileNotFoundError, match="was removed or replaced during the write"):
        file.commit()
    assert read_atomic_bytes(target, check_checksum=checked) == b"old"
    assert listing() == before


def test_a_target_that_was_closed_meanwhile_is_told_from_the_temporary_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AtomicWriter(target)
    really = kernel.open

    def refuse(name: str, flags: int, *args: Any, **at: Any) -> int:
        if flags & os.O_WRONLY and name == target.name:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        return really(name, flags, *args, **at)

    monkeypatch.setattr(kernel, "access", lambda name, *_: name != target.name)
    monkeypatch.setattr(kernel, "open", refuse)
    with pytest.raises(PermissionError, match="cannot open the target") as caught:
        file.commit()
    assert caught.value.__notes__ == ["safeatomic: Gate failed; the target is unchanged"]
    assert "The file " in str(caught.value)
    assert "open file" not in str(caught.value)


def test_an_interrupt_as_a_block_ends_leaves_no_writer_that_the_program_still_has_undecided(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that goes on after a time-out keeps its variable, and so the lock."""

    def interrupt(_writer: AtomicWriter) -> None:
        raise KeyboardInterrupt

    with (
        monkeypatch.context() as context,
        pytest.raises(KeyboardInterrupt),
        AtomicWriter(target) as file,
    ):
        file.write(b"new")
        context.setattr(AtomicWriter, "commit", interrupt)
    write_atomic_bytes(target, b"newer")
    assert repr(file) == f"<AtomicWriter {str(target)!r} aborted>"
    assert target.read_bytes() == b"newer"
    assert listing() == ["data.bin"]
