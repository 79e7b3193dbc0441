"""The lock as its holders use it: taken, kept from others, released."""

from __future__ import annotations

import bisect
import errno
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lock_payloads import lock_of
from safeatomic_core import (
    LockError,
    LockInfo,
    _held_locks,
    _lock,
    _lock_api,
    get_lock_age,
    inspect_lock,
    is_locked,
    is_stale_lock,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._change import finish
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


def test_a_lock_is_taken_once_and_released(data: Path) -> None:
    assert try_acquire_lock(data, session="run") is True
    assert is_locked(data)
    assert try_acquire_lock(data) is False
    info = inspect_lock(data)
    assert (info.exists, info.alive, info.pid, info.corrupt) == (True, "yes", os.getpid(), False)
    assert info.lock_path == str(lock_of(data))
    assert info.session_hash is not None
    assert info.raw is not None
    assert "alive: yes" in str(info)
    age = get_lock_age(data)
    assert age is not None
    assert age >= 0
    assert release_lock(data) is True
    assert release_lock(data) is False
    assert not is_locked(data)
    assert get_lock_age(data) is None


def test_the_lock_file_is_private_and_bears_the_crash_mark(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    try_acquire_lock(tmp_path / "data")
    assert stat.S_IMODE(os.stat(tmp_path / "data.lock").st_mode) == 0o1600
    release_lock(tmp_path / "data")


def test_another_thread_of_the_process_is_excluded_like_anybody(data: Path) -> None:
    assert try_acquire_lock(data)
    raised: list[str] = []

    def write() -> None:
        try:
            write_atomic_bytes(data, b"x", retries=2, delay=0)
        except LockError as error:
            raised.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert "held by another task or thread of this process" in raised[0]
    assert release_lock(data)


@pytest.mark.parametrize("call", ["stat", "unlink"])
def test_release_survives_one_passing_error(data: Path, faults: Any, call: str) -> None:
    assert try_acquire_lock(data)
    faults.fail(
        call, errno.EIO, at=2 if call == "stat" else 1, when=lambda name, **_k: name == "data.lock"
    )
    release_lock(data)
    assert not is_locked(data)


def test_a_release_that_fails_leaves_a_dead_lock(
    data: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("unlink", errno.EROFS, when=lambda name, **_k: name == "data.lock")
    write_atomic_bytes(data, b"new")
    assert data.read_bytes() == b"new"
    assert "could not remove the lock" in caplog.text
    assert is_stale_lock(data)


def test_an_interrupt_during_release_still_releases(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert try_acquire_lock(data)
    real, calls = kernel.unlink, []

    def unlink(name: str, *, dir_fd: int) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(kernel, "unlink", unlink, raising=False)
    with pytest.raises(KeyboardInterrupt):
        release_lock(data)
    assert not is_locked(data)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc to count descriptors in")
def test_an_interrupt_before_an_acquisition_cleans_up_leaves_no_descriptor(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def interrupted(endings: Any) -> None:
        calls.append(endings)
        if len(calls) == 1:
            raise KeyboardInterrupt
        finish(endings)

    assert try_acquire_lock(data)
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr("safeatomic_core._lock_api.finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        try_acquire_lock(data)
    assert os.listdir("/proc/self/fd") == before
    monkeypatch.undo()
    assert release_lock(data)


def test_a_forked_child_owns_nothing(data: Path) -> None:
    assert try_acquire_lock(data)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if release_lock(data) is False and is_locked(data) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert inspect_lock(data).alive == "yes"
    assert release_lock(data) is True


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"session": 1}, TypeError, "session"),
        ({"retries": -1}, ValueError, "retries"),
        ({"delay": -1}, ValueError, "delay"),
        ({"safety": "lax"}, ValueError, "safety must be one of 'strict', 'warn', 'best_effort'"),
        ({"safety": None}, TypeError, "safety"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_touched(
    data: Path, listing: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        try_acquire_lock(data, **options)
    assert listing() == []


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_acquire_lock(tmp_path / "missing" / "data")
    with pytest.raises(FileNotFoundError):
        is_locked(tmp_path / "missing" / "data")


def test_a_lock_of_the_parent_is_not_the_child_s_to_release(
    data: Path, locate: Callable[[str | Path], Target]
) -> None:
    target = locate(data)
    lock = _lock.Lock(target, "strict")
    assert lock.attempt(None)
    lock._held._born = -1  # as a forked child sees it
    lock.release()
    assert lock.fd == -1
    assert is_locked(data)
    target.close()


def test_a_lock_that_is_lost_and_cannot_be_looked_at_is_left_alone(data: Path, faults: Any) -> None:
    assert try_acquire_lock(data)
    os.unlink(lock_of(data))
    faults.fail("stat", errno.EIO, at=2, when=lambda name, **_k: name == "data.lock")
    assert release_lock(data) is False


def test_an_interrupt_before_the_temp_is_ours_leaves_no_temp(
    data: Path, faults: Any, listing: Any, locate: Callable[[str | Path], Target]
) -> None:
    faults.fail("open_anonymous", errno.EOPNOTSUPP)
    target = locate(data)
    lock = _lock.Lock(target, "strict")
    lock._make_named()
    lock._held.close()  # as if the interrupt came before the descriptor was taken over
    lock.release()
    target.close()
    assert listing() == []


def test_only_the_lock_that_is_given_up_is_released(data: Path) -> None:
    other = data.with_name("other")
    assert try_acquire_lock(data)
    assert try_acquire_lock(other)
    (mine,) = (kept.lock for key, kept in _held_locks._kept.items() if key[2] == "data")
    _held_locks.give_up([mine])
    assert release_lock(data) is False
    assert not is_locked(data)
    assert release_lock(other) is True


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc to count descriptors in")
def test_a_nearly_full_stack_leaves_no_descriptor_and_no_lock(data: Path) -> None:
    def below(frames: int, call: Callable[[], object]) -> object:
        return below(frames - 1, call) if frames else call()

    # PyPy may find no room to say what it was.
    full = (RecursionError, TypeError) if sys.implementation.name == "pypy" else RecursionError

    def goes(frames: int) -> bool:
        try:
            below(frames, bool)
        except full:
            return False
        return True

    # Not by the limit and the frames on the stack: PyPy's stack is limited in bytes.
    deepest = bisect.bisect_left(range(200_000), 1, key=lambda frames: not goes(frames)) - 1
    assert try_acquire_lock(data)  # opens what stays open, the mount table for instance
    release_lock(data)
    before = len(os.listdir("/proc/self/fd"))
    refused = 0
    lefts = (*range(60), *range(60, 2000, 50))
    for left in lefts:
        try:
            below(max(0, deepest - left), lambda: try_acquire_lock(data))
        except full:
            refused += 1
        release_lock(data)
        assert len(os.listdir("/proc/self/fd")) == before, f"{left} frames left"
        assert not is_locked(data)
    assert 0 < refused < len(lefts)


@pytest.mark.parametrize("times", [1, 2])
def test_what_an_interrupt_keeps_from_returning_is_not_held(
    data: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    really, interrupts = finish, iter([KeyboardInterrupt] * times)

    def interrupted(endings: list[Callable[[], None]]) -> None:
        for interrupt in interrupts:
            raise interrupt
        really(endings)

    with monkeypatch.context() as patch:
        patch.setattr(_lock_api, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            try_acquire_lock(data)
    assert not is_locked(data)
    assert not release_lock(data)
    assert try_acquire_lock(data)
    assert release_lock(data)


def test_the_lock_of_a_link_is_where_the_link_leads(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    link, real = tmp_path / "here" / "link", tmp_path / "there" / "real"
    link.symlink_to("../there/real")
    assert try_acquire_lock(real)
    info = inspect_lock(link)
    assert (info.path, info.exists) == (str(link), True)
    assert info.lock_path == os.path.realpath(f"{real}.lock")
    assert release_lock(link)


def test_a_forged_host_name_ends_no_line(data: Path) -> None:
    info = LockInfo(str(data), f"{data}.lock", True, 1, "a\n\x1b[31mb")
    assert "on a\\n\\x1b[31mb (alive: no)" in str(info)


@pytest.mark.parametrize(
    "age", [-(10**5000), -1, float("nan"), float("-inf")], ids=["huge", "-1", "nan", "-inf"]
)
def test_an_age_that_is_refused_names_the_argument(data: Path, age: float) -> None:
    with pytest.raises(ValueError, match="max_age_s must be 0 or more seconds and finite"):
        is_stale_lock(data, max_age_s=age)


@pytest.mark.parametrize("when", ["entered", "dropped"])
def test_an_interrupt_of_the_list_of_locks_spoils_no_later_write(
    data: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Seen:
        def get(self) -> Any:
            return really.get()

        def set(self, value: Any) -> None:
            really.set(value)
            raise KeyboardInterrupt

    def interrupt(_kept: object) -> None:
        raise KeyboardInterrupt

    really = _held_locks._seen
    if when == "dropped":
        assert try_acquire_lock(data)
    with monkeypatch.context() as patch:
        if when == "entered":
            patch.setattr(_held_locks, "_seen", Seen())
        else:
            patch.setattr(_held_locks, "_drop", interrupt)
        with pytest.raises(KeyboardInterrupt):
            try_acquire_lock(data) if when == "entered" else release_lock(data)
    assert not is_locked(data)
    write_atomic_bytes(data, b"later")
