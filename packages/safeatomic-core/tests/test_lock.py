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

from held_descriptors import take_number
from lock_payloads import payload
from safeatomic_core import (
    LockError,
    _held_locks,
    inspect_lock,
    is_locked,
    release_lock,
    try_acquire_lock,
)
from safeatomic_core._forks import Held
from safeatomic_core._lock import Lock
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


@pytest.fixture
def lock(data: Path, locate: Callable[[str | Path], Target]) -> Iterator[Lock]:
    """A lock that nobody has tried to take yet."""
    made = Lock(locate(data), "strict")
    yield made
    made.release()


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another file of the program's."""
    path = tmp_path / "other"
    path.write_bytes(b"of the program")
    return path


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


def test_a_dead_lock_that_was_taken_over_is_not_kept_open(data: Path, lock: Lock) -> None:
    data.with_name("data.lock").write_bytes(payload(None))
    assert lock.attempt(None)
    assert lock.found.exists
    assert lock.found.fd == -1


def test_what_stood_in_the_way_is_closed_with_the_lock(
    held: Path, locate: Callable[[str | Path], Target]
) -> None:
    lock = Lock(locate(held), "strict")
    assert not lock.attempt(None)
    assert lock.found.fd >= 0
    lock.release()
    assert lock.found.fd == -1


def test_a_dead_lock_that_somebody_pins_is_given_up_at_once(
    data: Path, lock: Lock, faults: Any
) -> None:
    dead = data.with_name("data.lock")
    dead.write_bytes(payload(None))
    with dead.open() as pin:
        fcntl.flock(pin, fcntl.LOCK_SH)
        assert not lock.attempt(None)
    assert faults.calls.count("link_anonymous") == 1


@pytest.mark.parametrize(("lost", "phase"), [(False, "unlinked"), (True, "lost")])
def test_a_release_says_whether_the_lock_was_still_there(
    data: Path, lock: Lock, steps: list[tuple[str, dict[str, object]]], lost: bool, phase: str
) -> None:
    assert lock.attempt(None)
    if lost:
        data.with_name("data.lock").unlink()
    steps.clear()
    lock.release()
    assert [(step, facts["phase"]) for step, facts in steps] == [("Release", phase)]


def test_a_name_that_cannot_be_removed_is_tried_twice_and_reported(lock: Lock, faults: Any) -> None:
    assert lock.attempt(None)
    faults.fail("unlink", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        lock.release()
    assert faults.calls.count("unlink") == 2
    assert lock.fd == -1


def test_a_lock_without_a_standard_input_is_made_once_and_has_another_number(
    held: Path, locate: Callable[[str | Path], Target]
) -> None:
    lock, stdin = Lock(locate(held), "strict"), os.dup(0)
    os.close(0)
    try:
        assert not lock.attempt(None)
        assert lock.fd > 2
        before = os.listdir("/proc/self/fd")
        assert not lock.attempt(None)
        assert os.listdir("/proc/self/fd") == before
    finally:
        lock.release()
        os.dup2(stdin, 0)
        os.close(stdin)


# -------------------------------------------------------------------- where /proc leads nowhere


@pytest.fixture
def no_proc(faults: Any) -> None:
    """Let no inode without a name be linked."""
    faults.fail("link_anonymous", errno.ENOENT)


@pytest.mark.usefixtures("no_proc")
def test_the_inode_that_could_not_be_linked_is_closed(data: Path, lock: Lock) -> None:
    before = set(os.listdir("/proc/self/fd"))
    assert lock.attempt(None)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    lock.release()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("no_proc")
def test_an_interrupt_before_the_next_inode_is_made_leaves_no_claim_to_the_name(
    data: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_lock: Lock) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lock, "_make_named", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lock.attempt(None)
    assert not lock.linked


@pytest.mark.usefixtures("no_proc")
def test_a_link_that_takes_the_temp_s_place_is_not_followed(
    data: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    really = kernel.link

    def link(name: str, *args: Any, **options: Any) -> None:
        data.with_name(name).unlink()
        data.with_name(name).symlink_to(other)
        really(name, *args, **options)

    monkeypatch.setattr(kernel, "link", link, raising=False)
    lock.attempt(None)
    assert not lock.owned()
    assert other.stat().st_nlink == 1


@pytest.mark.usefixtures("no_proc")
def test_a_link_that_fails_is_an_error_of_the_system(data: Path, lock: Lock, faults: Any) -> None:
    faults.fail("link", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        lock.attempt(None)
    assert not isinstance(caught.value, LockError)


# ---------------------------------------------------------------------------- what ends a lock


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


def close_its_directory(data: Path, other: Path) -> tuple[Lock, int]:
    """Let the program put a file at the number of the directory that a kept lock has open."""
    lock = _held_locks._kept[next(iter(_held_locks._kept))].lock
    assert lock.target.path == str(data)
    assert lock._handle is not None
    number = lock._handle.fd
    take_number(number, other)
    return lock, number


def at_zero(directory: Path, ask: Callable[[int], bool]) -> bool:
    """Ask something of a directory that has the number of standard input."""
    fd, stdin = os.open(directory, os.O_RDONLY), os.dup(0)
    os.dup2(fd, 0)
    try:
        return ask(0)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(fd)


def test_a_lock_whose_directory_is_closed_is_released_through_another_descriptor(
    data: Path, other: Path, tmp_path: Path
) -> None:
    assert try_acquire_lock(data)
    lock, number = close_its_directory(data, other)
    assert not lock.owned()
    assert at_zero(tmp_path, lock.owned)
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


def test_an_interrupt_before_a_release_has_begun_still_removes_the_name(
    held: Path, locate: Callable[[str | Path], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    release_lock(held)
    lock, really, interrupts = Lock(locate(held), "strict"), Held.ours, iter([KeyboardInterrupt])
    assert lock.attempt(None)

    def interrupted(one: Held) -> bool:
        for interrupt in interrupts:
            raise interrupt
        return really(one)

    monkeypatch.setattr(Held, "ours", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lock.release()
    assert not is_locked(held)
    assert lock.fd == -1
