"""A held lock that is taken away, or whose directory or descriptors go."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from pathlib import Path

import pytest

from lock_outcomes import FENCED, ITS_OWN, LOST, OTHER, OWN, in_thread, outcome
from safeatomic_core import (
    AtomicWriter,
    LockError,
    _held_locks,
    _lock_api,
    force_release_lock,
    inspect_lock,
    is_locked,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._lock import Lock
from safeatomic_core._target import Target

# ------------------------------------------------------------------------------------ a lost lock


def test_a_lost_lock_is_remembered_whoever_holds_the_name_now(data: Path) -> None:
    async def successor() -> str:
        assert try_acquire_lock(data)
        return outcome(data)

    async def main() -> None:
        assert try_acquire_lock(data)
        assert force_release_lock(data)
        assert outcome(data) == LOST
        assert outcome(data, "none") == LOST
        assert await asyncio.to_thread(outcome, data, "none") == LOST
        assert await asyncio.create_task(successor()) == OWN
        assert outcome(data, "none") == LOST
        assert await asyncio.to_thread(outcome, data, "none") == LOST
        assert release_lock(data) is False
        assert is_locked(data), "the successor's lock was touched"
        assert outcome(data) == OTHER
        assert release_lock(data) is True

    asyncio.run(main())


def test_a_new_acquisition_ends_the_memory_of_a_lost_lock(held: Path) -> None:
    os.unlink(f"{held}.lock")
    assert outcome(held) == LOST
    assert try_acquire_lock(held)
    assert outcome(held) == OWN
    assert outcome(held, "none") == FENCED


def test_a_lock_that_was_taken_anew_is_the_only_one_that_counts(held: Path) -> None:
    os.unlink(f"{held}.lock")
    assert try_acquire_lock(held)
    assert release_lock(held)
    assert outcome(held) == ITS_OWN
    assert outcome(held, "none") == FENCED


def test_an_interrupt_as_a_lock_is_entered_leaves_none_that_counts(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(target: Target, lock: Lock) -> None:
        _held_locks.keep(target, lock)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_lock_api, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            try_acquire_lock(data)
    assert outcome(data) == ITS_OWN
    assert release_lock(data) is False


def test_a_context_that_goes_on_in_another_thread_does_not_wait_for_itself(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_: object) -> bool:
        raise AssertionError("it waits for its own lock")

    context = contextvars.copy_context()
    assert context.run(try_acquire_lock, data)
    monkeypatch.setattr(_held_locks, "wait", wait)
    assert in_thread(lambda: context.run(try_acquire_lock, data, retries=1, delay=0)) is False
    assert context.run(release_lock, data)


def test_a_lock_that_was_removed_while_a_write_ran_is_noticed_before_it_publishes(
    held: Path,
) -> None:
    held.write_bytes(b"old")
    for concurrency in ("lock", "none"):
        writer = AtomicWriter(held, concurrency=concurrency)
        writer.write(b"new")
        assert force_release_lock(held)
        with pytest.raises(LockError, match="taken away"):
            writer.commit()
        assert held.read_bytes() == b"old"
        assert release_lock(held) is False
        assert try_acquire_lock(held)


def test_a_lock_that_is_released_while_a_write_relies_on_it_is_lost(held: Path) -> None:
    writer = AtomicWriter(held, concurrency="none")
    assert release_lock(held)
    with pytest.raises(LockError, match="taken away"):
        writer.commit()


def test_a_lock_of_another_thread_that_is_released_meanwhile_is_no_lock(held: Path) -> None:
    ready, go_on = threading.Event(), threading.Event()

    def write() -> None:
        writer = AtomicWriter(held, concurrency="none")
        ready.set()
        assert go_on.wait(60)
        writer.commit()

    thread = contextvars.Context().run(threading.Thread, target=write)
    thread.start()
    assert ready.wait(60)
    assert release_lock(held)
    go_on.set()
    thread.join()
    assert held.read_bytes() == b""


def test_a_lock_of_another_thread_that_is_forced_away_is_a_lost_fence(held: Path) -> None:
    def write() -> None:
        file = AtomicWriter(held, concurrency="none")
        file.write(b"new")
        assert force_release_lock(held)
        with pytest.raises(LockError, match="taken away"):
            file.commit()

    thread = contextvars.Context().run(threading.Thread, target=write)
    thread.start()
    thread.join()
    assert not held.exists()


def test_a_retired_sidecar_is_not_touched_by_a_writer_that_lost_its_lock(held: Path) -> None:
    write_atomic_bytes(held, b"old", write_checksum=True)
    assert force_release_lock(held)
    for options in ({"write_checksum": True}, {}):
        with pytest.raises(LockError, match="taken away"):
            write_atomic_bytes(held, b"new", concurrency="none", **options)  # type: ignore[arg-type]
    assert read_atomic_bytes(held, check_checksum=True) == b"old"


# ------------------------------------------------------- directories that go, descriptors that go


def test_a_lock_whose_directory_was_renamed_can_be_released(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert try_acquire_lock(tmp_path / "d" / "data")
    (tmp_path / "d").rename(tmp_path / "e")
    before = _open_descriptors()
    assert release_lock(tmp_path / "d" / "data") is True
    assert os.listdir(tmp_path / "e") == []
    assert len(_open_descriptors()) == len(before) - 2


def test_a_lock_whose_directory_was_replaced_can_be_released(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert try_acquire_lock(tmp_path / "d" / "data")
    (tmp_path / "d").rename(tmp_path / "e")
    (tmp_path / "d").mkdir()
    assert release_lock(tmp_path / "d" / "data") is True
    assert os.listdir(tmp_path / "e") == []


def test_a_lock_whose_directory_was_removed_is_released_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path / "d")
    assert try_acquire_lock("data")
    os.unlink("data.lock")
    os.rmdir(tmp_path / "d")
    before = _open_descriptors()
    assert release_lock("data") is False
    assert len(_open_descriptors()) == len(before) - 2
    assert release_lock("data") is False


def test_descriptors_that_the_program_closed_are_neither_used_nor_closed_again(
    data: Path, tmp_path: Path
) -> None:
    pid = os.fork()
    if pid == 0:
        assert try_acquire_lock(data)
        os.closerange(3, 256)
        mine = [os.open(tmp_path / f"mine{n}", os.O_RDWR | os.O_CREAT) for n in range(9)]
        lost = outcome(data) == LOST and release_lock(data) is False
        for fd in mine:
            os.fstat(fd)
        os._exit(0 if lost else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert inspect_lock(data).alive == "no"


def test_a_lock_whose_directory_s_descriptor_is_closed_is_still_used_and_released(
    held: Path,
) -> None:
    kept = [*_held_locks._kept.values()][-1]
    assert kept.lock._handle is not None
    os.close(kept.lock._handle.fd)
    assert outcome(held) == OWN
    assert release_lock(held) is True
    assert not is_locked(held)


def test_a_directory_that_nobody_can_reach_any_more_keeps_a_dead_lock(
    tmp_path: Path, held: Path
) -> None:
    kept = [*_held_locks._kept.values()][-1]
    assert kept.lock._handle is not None
    os.close(kept.lock._handle.fd)
    assert _held_locks.let_go(kept) is False
    assert inspect_lock(held).alive == "no"
    force_release_lock(held)


def test_a_release_through_no_directory_at_all_keeps_a_dead_lock(held: Path) -> None:
    kept = [*_held_locks._kept.values()][-1]
    assert kept.lock._handle is not None
    os.close(kept.lock._handle.fd)
    kept.lock.release()
    assert inspect_lock(held).alive == "no"
    force_release_lock(held)


def _open_descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")
