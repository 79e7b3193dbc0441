"""One acquisition of a lock, from the inode without a name to its release."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lock_payloads import payload
from safeatomic_core import _held_locks, inspect_lock, is_locked, release_lock, try_acquire_lock
from safeatomic_core._lock import Lock
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


@pytest.fixture
def lock(data: Path, locate: Callable[[str | Path], Target]) -> Iterator[Lock]:
    """A lock that nobody has tried to take yet."""
    made = Lock(locate(data), "strict")
    yield made
    made.release()


def test_in_an_everyday_directory_a_lock_is_complete_as_it_is_made(
    tmp_path: Path, lock: Lock, faults: Any
) -> None:
    tmp_path.chmod(0o755)
    lock.target.look_again()
    assert lock.attempt(None)
    assert not {"fchmod", "fchown", "setxattr", "removexattr"} & set(faults.calls)
    assert stat.S_IMODE((tmp_path / "data.lock").stat().st_mode) == 0o1600


def test_a_lock_that_was_not_taken_is_not_given_back(
    held: Path, locate: Callable[[str | Path], Target], steps: list[tuple[str, dict[str, object]]]
) -> None:
    lock = Lock(locate(held), "strict")
    assert not lock.attempt(None)
    steps.clear()
    lock.release()
    assert steps == []
    assert is_locked(held)


def test_a_dead_lock_that_vanishes_as_it_is_flocked_is_no_obstacle(
    data: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = data.with_name("data.lock")
    dead.write_bytes(payload(None))
    inode, really = dead.stat().st_ino, kernel.flock

    def flock(fd: int, how: int) -> None:
        really(fd, how)
        if how & fcntl.LOCK_EX and os.fstat(fd).st_ino == inode:
            dead.unlink()

    monkeypatch.setattr(kernel, "flock", flock, raising=False)
    assert lock.attempt(None)
    assert lock.owned()


def test_an_interrupt_as_a_release_begins_still_removes_the_name(
    data: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock.attempt(None)
    really, looks = kernel.stat, []

    def interrupted(*args: Any, **options: Any) -> os.stat_result:
        looks.append(args)
        if len(looks) == 1:
            raise KeyboardInterrupt
        return really(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "stat", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            lock.release()
    assert not is_locked(data)


def test_an_interrupt_before_a_kept_lock_is_released_still_releases_it(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, calls = Lock.release, []

    def interrupted(lock: Lock, dir_fd: int = -1) -> None:
        calls.append(dir_fd)
        if len(calls) == 1:
            raise KeyboardInterrupt
        really(lock, dir_fd)

    monkeypatch.setattr(Lock, "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        release_lock(held)
    assert not is_locked(held)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another file of the program's."""
    path = tmp_path / "other"
    path.write_bytes(b"of the program")
    return path


def close_its_directory(data: Path, other: Path) -> tuple[Lock, int]:
    """Let the program put a file at the number of the directory that a kept lock has open."""
    lock = _held_locks._kept[next(iter(_held_locks._kept))].lock
    assert lock.target.path == str(data)
    assert lock._handle is not None
    number = lock._handle.fd
    fd = os.open(other, os.O_RDONLY)
    os.dup2(fd, number)
    os.close(fd)
    return lock, number


def test_a_lock_whose_directory_is_closed_is_released_through_another_descriptor(
    data: Path, other: Path
) -> None:
    assert try_acquire_lock(data)
    lock, number = close_its_directory(data, other)
    assert not lock.owned()
    assert release_lock(data) is True
    assert not is_locked(data)
    assert os.path.samestat(os.fstat(number), other.stat())  # which is the program's
    os.close(number)


def test_a_lock_that_no_directory_leads_to_is_left_to_the_next_writer(
    data: Path, other: Path
) -> None:
    assert try_acquire_lock(data)
    lock, number = close_its_directory(data, other)
    lock.release()
    assert inspect_lock(data).alive == "no"
    assert release_lock(data) is False
    os.close(number)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        os.fstat(number)
    assert caught.value.errno == errno.EBADF
