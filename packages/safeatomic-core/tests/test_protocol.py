from __future__ import annotations

import errno
import gc
import inspect
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from held_descriptors import take_number
from safeatomic_core import (
    AtomicWriter,
    _change,
    _lock,
    _protocol,
    inspect_lock,
    is_locked,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._digests import hash_bytes
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]


@pytest.mark.parametrize(
    ("size", "checked", "early"),
    [(10, False, True), (11, False, False), (11, True, True)],
)
def test_small_or_checked_content_is_on_its_way_before_it_is_flushed(
    target: Path,
    faults: Any,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    checked: bool,
    early: bool,
) -> None:
    monkeypatch.setattr(_protocol, "_WRITTEN_BACK_EARLY", 10)
    write_atomic_bytes(target, b"x" * size, write_checksum=checked)
    before_the_flush = faults.calls[: faults.calls.index("fsync")]
    assert ("posix_fadvise" in before_the_flush) is early


def test_a_writeback_that_cannot_be_started_changes_nothing(target: Path, faults: Any) -> None:
    faults.fail("posix_fadvise", errno.EIO)
    write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"new"


class Aside:
    """A thread that hashes, and whether anybody has waited for its digest and its end."""

    def __init__(self) -> None:
        self.waited = 0
        self.ended = 0

    def __call__(self, algo: str) -> Aside:
        self._algo = algo
        return self

    def start(self, data: memoryview | bytes) -> None:
        self._digest = hash_bytes(data, self._algo)

    def hexdigest(self) -> str:
        self.waited += 1
        return self._digest

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def aside(monkeypatch: pytest.MonkeyPatch) -> Aside:
    """Let content from ten bytes on be hashed in what stands for a thread of its own."""
    made = Aside()
    monkeypatch.setattr(_protocol, "_HASH_ASIDE", 10)
    monkeypatch.setattr(_protocol, "HashAside", made)
    return made


@pytest.mark.parametrize(("size", "waited"), [(9, 0), (10, 1)])
def test_long_content_is_hashed_beside_the_writing(
    target: Path, aside: Aside, size: int, waited: int
) -> None:
    write_atomic_bytes(target, b"x" * size, write_checksum=True)
    assert verify_checksum(target)
    assert aside.waited == aside.ended == waited


def test_a_write_that_fails_waits_for_its_hash(
    target: Path, faults: Any, aside: Aside, listing: Listing
) -> None:
    """Until then the thread has the caller's buffer."""
    faults.fail("write", errno.ENOSPC, when=lambda _fd, data: len(data) == 1_000)
    with pytest.raises(OSError, match="No space"):
        write_atomic_bytes(target, b"x" * 1_000, write_checksum=True)
    assert aside.ended == 1
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_an_interrupt_just_before_release_does_not_keep_the_lock(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = _lock.release_quietly
    interrupts = iter([KeyboardInterrupt])

    def release(lock: Any) -> None:
        for interrupt in interrupts:
            raise interrupt
        really(lock)

    monkeypatch.setattr(_change, "release_quietly", release)
    with pytest.raises(KeyboardInterrupt):
        write_atomic_bytes(target, b"new")
    assert not is_locked(target)


@pytest.mark.parametrize(
    "count",
    [
        1,
        pytest.param(
            2,
            marks=pytest.mark.skipif(
                sys.implementation.name != "cpython",
                reason="elsewhere a reference goes with what it refers to, and calls nobody back",
            ),
        ),
    ],
)
def test_a_write_that_interrupts_kept_from_being_closed_is_closed_when_it_is_dropped(
    target: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """After one interrupt it is closed at once."""
    really = _change.close
    interrupts = iter([KeyboardInterrupt] * count)

    def close(change: Any) -> None:
        for interrupt in interrupts:
            raise interrupt
        really(change)

    monkeypatch.setattr(_change, "close", close)
    with pytest.raises(KeyboardInterrupt) as caught:
        write_atomic_bytes(target, b"new")
    assert is_locked(target) is (count == 2)
    del caught
    gc.collect()
    assert not is_locked(target)


def test_a_write_that_was_interrupted_by_a_signal_is_continued(target: Path, faults: Any) -> None:
    faults.fail("write", errno.EINTR, at=2)  # the first is the lock's
    with AtomicWriter(target) as file:
        file.write(b"x" * 300_000)
    assert target.read_bytes() == b"x" * 300_000


def test_an_interrupt_of_the_clean_up_leaves_no_temp(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, listing: Listing
) -> None:
    undo = _protocol.Write.undo
    interrupts = iter([KeyboardInterrupt])

    def interrupted(write: _protocol.Write) -> None:
        for interrupt in interrupts:
            raise interrupt
        undo(write)

    monkeypatch.setattr(_protocol.Write, "undo", interrupted)
    faults.fail("fsync", errno.EIO)
    with pytest.raises(KeyboardInterrupt):
        write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EIO])
def test_a_rename_that_fails_is_not_tried_again(target: Path, faults: Any, code: int) -> None:
    faults.fail("rename", code)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", safety="best_effort")
    assert faults.calls.count("rename") == 1


def test_a_sidecar_that_somebody_else_removes_meanwhile_is_no_obstacle(
    target: Path, monkeypatch: pytest.MonkeyPatch, listing: Listing
) -> None:
    write_atomic_bytes(target, b"checked", write_checksum=True)
    really = _protocol.Write.harden

    def harden(write: _protocol.Write) -> None:
        really(write)
        target.with_name("data.bin.sha256").unlink()

    monkeypatch.setattr(_protocol.Write, "harden", harden)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert target.read_bytes() == b"new"
    assert listing() == ["data.bin"]


def test_a_sidecar_that_is_there_and_cannot_be_removed_stops_the_write(
    target: Path, faults: Any
) -> None:
    write_atomic_bytes(target, b"checked", write_checksum=True)
    faults.fail("rename_noreplace", errno.EIO, when=lambda name, *_: name.endswith(".sha256"))
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"checked"


def test_the_same_content_again_is_announced_by_a_sealed_record(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic_bytes(target, b"same", write_checksum=True)
    sealed = target.with_name("data.bin.sha256").read_bytes()
    monkeypatch.setattr(_protocol.Write, "seal", lambda _write: None)
    write_atomic_bytes(target, b"same", write_checksum=True)
    again = target.with_name("data.bin.sha256").read_bytes()
    assert b"previous" not in again
    assert len(again) == len(sealed)
    write_atomic_bytes(target, b"other", write_checksum=True)
    assert b"previous" in target.with_name("data.bin.sha256").read_bytes()


@pytest.mark.parametrize("checked", [False, True])
def test_a_file_is_created_by_a_link_where_no_rename_refuses_to_replace(
    tmp_path: Path, faults: Any, listing: Listing, checked: bool
) -> None:
    faults.fail("rename_noreplace", errno.ENOSYS)
    write_atomic_bytes(tmp_path / "f", b"x", overwrite=False, write_checksum=checked)
    assert listing() == ["f", *(["f.sha256"] if checked else [])]
    with pytest.raises(FileExistsError):
        write_atomic_bytes(tmp_path / "f", b"y", overwrite=False, write_checksum=checked)
    assert (tmp_path / "f").read_bytes() == b"x"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write_atomic_bytes(tmp_path / "dangling", b"y", overwrite=False)


def test_a_file_that_is_created_while_a_stream_is_filled_wins(tmp_path: Path) -> None:
    with (
        pytest.raises(FileExistsError),
        AtomicWriter(tmp_path / "f", overwrite=False, write_checksum=True) as file,
    ):
        (tmp_path / "f").write_bytes(b"first")
        file.write(b"second")
    assert (tmp_path / "f").read_bytes() == b"first"
    assert not (tmp_path / "f.sha256").exists()


def test_a_file_that_is_created_before_the_lock_is_taken_stops_the_write_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Any
) -> None:
    really = _protocol.Write.acquire

    def created(write: _protocol.Write, target: Target) -> None:
        (tmp_path / "f").write_bytes(b"first")
        really(write, target)

    monkeypatch.setattr(_protocol.Write, "acquire", created)
    with pytest.raises(FileExistsError):
        write_atomic_bytes(tmp_path / "f", b"second", overwrite=False)
    assert (tmp_path / "f").read_bytes() == b"first"
    assert "Stage" not in dict(steps)


def test_a_file_that_is_created_while_a_stream_is_filled_is_noticed_before_the_flush(
    tmp_path: Path, steps: Any
) -> None:
    with pytest.raises(FileExistsError), AtomicWriter(tmp_path / "f", overwrite=False):
        (tmp_path / "f").write_bytes(b"first")
    assert (tmp_path / "f").read_bytes() == b"first"
    assert "Harden" not in dict(steps)


def test_a_stranger_s_sidecar_that_appears_while_a_stream_is_filled_is_never_displaced(
    target: Path, steps: Any
) -> None:
    side = target.with_name("data.bin.sha256")
    with pytest.raises(FileExistsError), AtomicWriter(target, write_checksum=True) as file:
        file.write(b"new")
        side.write_bytes(b"notes")
    assert side.read_bytes() == b"notes"
    assert "Harden" not in dict(steps)


def test_content_that_another_program_replaces_at_once_was_published_all_the_same(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = target.with_name("other")
    other.write_bytes(b"another program's")

    def replaced(fd: int) -> bool:
        if other.exists() and target.read_bytes() == b"new":
            os.replace(other, target)
        return stat.S_ISDIR(os.fstat(fd).st_mode)

    faults.fail("fsync", errno.EIO, when=replaced)
    with pytest.raises(OSError, match="the new content is visible"):
        write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"another program's"


def test_a_stream_whose_temp_the_program_has_closed_writes_nothing_into_what_took_its_number(
    target: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.touch()
    file = AtomicWriter(target)
    file.write(b"new")
    assert file._write is not None
    ours = file._write.temp.fd
    take_number(ours, theirs, os.O_RDWR)
    with pytest.raises(OSError, match="closed a descriptor of this writer"):
        file.commit()
    os.close(ours)
    assert (target.read_bytes(), theirs.read_bytes()) == (b"old", b"")


def test_a_directory_that_commit_has_examined_is_not_examined_again(
    target: Path, faults: Any
) -> None:
    with AtomicWriter(target, concurrency="none") as file:
        file.write(b"new")
    assert faults.calls[-3:] == ["fstat", "close", "close"]  # of the temp, and of the directory


def test_a_deep_stack_with_room_for_a_write_is_no_obstacle(target: Path) -> None:
    def deeper(frames: int) -> None:
        if frames:
            deeper(frames - 1)
        else:
            write_atomic_bytes(target, b"new")

    deeper(sys.getrecursionlimit() // 2)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("room", range(5, 120, 5))
def test_a_stack_without_room_is_noticed_before_it_is_too_late(
    target: Path, listing: Listing, room: int
) -> None:
    def deeper(frames: int) -> None:
        if frames:
            deeper(frames - 1)
        else:
            write_atomic_bytes(target, b"new", write_checksum=True)

    try:
        deeper(sys.getrecursionlimit() - len(inspect.stack(0)) - room)
    except RecursionError:
        assert target.read_bytes() == b"old"
        assert listing() == ["data.bin"]
    else:
        assert target.read_bytes() == b"new"
        assert verify_checksum(target)


def test_a_temp_bears_the_token_of_the_lock_that_it_is_written_under(
    target: Path, faults: Any, listing: Listing
) -> None:
    faults.fail("open_anonymous", errno.EOPNOTSUPP)
    with AtomicWriter(target) as file:
        file.write(b"new")
        (temp,) = (name for name in listing() if name.endswith(".tmp"))
        token = json.loads(inspect_lock(target).raw or "")["token"]
        assert temp == f".safeatomic-tmp-{token}.tmp"
