from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    LockError,
    _lock,
    force_release_lock,
    get_lock_age,
    inspect_lock,
    is_locked,
    is_stale_lock,
    release_lock,
    release_stale_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._lock_file import payload
from safeatomic_core._posix import close_held, kernel
from safeatomic_core._target import locate


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def lock_of(data: Path) -> Path:
    return data.with_name(data.name + ".lock")


def dead_lock(data: Path) -> None:
    lock_of(data).write_bytes(payload(None))


def foreign_lock(data: Path, **fields: object) -> None:
    known = {
        "version": 1,
        "pid": 4242,
        "hostname": "elsewhere",
        "timestamp": "2020-01-01T00:00:00Z",
    }
    lock_of(data).write_text(json.dumps({**known, **fields}))


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


def test_who_may_write_the_directory_may_read_the_lock(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    try_acquire_lock(tmp_path / "data")
    assert stat.S_IMODE(os.stat(tmp_path / "data.lock").st_mode) == 0o1622
    release_lock(tmp_path / "data")


def test_a_dead_holder_s_lock_is_taken_over_and_its_temps_are_swept(data: Path) -> None:
    dead_lock(data)
    orphan = data.with_name(".safeatomic-tmp-0123456789abcdef.tmp")
    orphan.write_bytes(b"x")
    assert is_stale_lock(data)
    assert try_acquire_lock(data)
    assert not orphan.exists()
    assert inspect_lock(data).alive == "yes"
    assert release_lock(data)


def test_a_write_takes_over_a_dead_lock(data: Path) -> None:
    dead_lock(data)
    write_atomic_bytes(data, b"new")
    assert data.read_bytes() == b"new"
    assert not is_locked(data)


def test_a_sweep_that_fails_does_not_stop_a_takeover(data: Path, faults: Any) -> None:
    dead_lock(data)
    faults.fail("listdir", errno.EIO)
    write_atomic_bytes(data, b"new")
    assert data.read_bytes() == b"new"


@pytest.mark.parametrize("content", [b"", b"junk", b"[" * 5000, b"\0" * 10])
def test_a_corrupt_lock_blocks_until_it_is_forced(data: Path, content: bytes) -> None:
    lock_of(data).write_bytes(content)
    assert try_acquire_lock(data) is False
    assert inspect_lock(data).corrupt
    assert "no lock of this library" in str(inspect_lock(data))
    assert not is_stale_lock(data, max_age_s=0)
    assert release_stale_lock(data, max_age_s=0) is False
    with pytest.raises(LockError, match="force_release_lock"):
        write_atomic_bytes(data, b"x")
    assert force_release_lock(data) is True
    assert force_release_lock(data) is False
    write_atomic_bytes(data, b"x")


def test_a_foreign_lock_is_never_taken_over_silently(data: Path) -> None:
    foreign_lock(data)
    assert try_acquire_lock(data) is False
    assert inspect_lock(data).alive == "unknown"
    assert not is_stale_lock(data)
    assert release_stale_lock(data) is False
    assert not is_stale_lock(data, max_age_s=1e12)
    assert is_stale_lock(data, max_age_s=60)
    assert release_stale_lock(data, max_age_s=60) is True
    assert not is_locked(data)


def test_a_foreign_lock_of_a_dead_process_needs_release_stale(data: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    foreign_lock(data, pid=dead.pid, hostname=os.uname().nodename)
    assert try_acquire_lock(data) is False
    with pytest.raises(LockError, match="release_stale_lock"):
        write_atomic_bytes(data, b"x")
    assert release_stale_lock(data) is True


def test_a_living_holder_is_never_stale_however_old(data: Path) -> None:
    try_acquire_lock(data)
    assert not is_stale_lock(data, max_age_s=0)
    assert release_stale_lock(data, max_age_s=0) is False
    assert release_lock(data)


def test_a_stale_lock_that_is_taken_meanwhile_is_left_alone(data: Path, faults: Any) -> None:
    dead_lock(data)
    with lock_of(data).open() as holder:
        # The probe saw it free; before the removal somebody flocks it.
        faults.fail("flock", errno.EWOULDBLOCK, when=lambda _fd, how: how & fcntl.LOCK_EX)
        assert release_stale_lock(data) is False
        assert holder.readable()
    assert lock_of(data).exists()


def test_a_stale_lock_that_was_replaced_meanwhile_is_left_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_lock(data)
    real = kernel.flock

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        if how & fcntl.LOCK_EX:
            os.unlink(lock_of(data))
            lock_of(data).write_bytes(b"another")

    monkeypatch.setattr(kernel, "flock", flock, raising=False)
    assert release_stale_lock(data) is False
    assert lock_of(data).read_bytes() == b"another"


def test_removing_what_is_already_gone_is_no_error(data: Path, faults: Any) -> None:
    dead_lock(data)
    faults.fail("unlink", errno.ENOENT)
    assert release_stale_lock(data) is False
    assert force_release_lock(data) is False


def test_force_under_a_living_holder_is_noticed_by_release(data: Path) -> None:
    assert try_acquire_lock(data)
    os.unlink(lock_of(data))
    assert release_lock(data) is False
    assert try_acquire_lock(data)
    assert force_release_lock(data) is True  # our own is forced like any other
    assert release_lock(data) is False
    assert not is_locked(data)


def test_a_lock_that_was_forced_away_can_be_taken_again(data: Path) -> None:
    assert try_acquire_lock(data)
    os.unlink(lock_of(data))
    before = len(os.listdir("/proc/self/fd"))
    assert try_acquire_lock(data)
    assert len(os.listdir("/proc/self/fd")) == before  # the lost one's descriptors were closed
    assert release_lock(data) is True


def test_a_directory_in_the_lock_s_place_is_left_alone_by_force(data: Path) -> None:
    lock_of(data).mkdir()
    assert try_acquire_lock(data) is False
    with pytest.raises(OSError, match="directory"):
        force_release_lock(data)
    assert lock_of(data).is_dir()


def test_holding_the_lock_oneself_is_told_apart(data: Path) -> None:
    assert try_acquire_lock(data)
    with pytest.raises(LockError, match="concurrency='none'"):
        write_atomic_bytes(data, b"x", retries=1000, delay=1000)
    write_atomic_bytes(data, b"x", concurrency="none")
    assert release_lock(data)


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
    assert "held by process" in raised[0]
    assert release_lock(data)


def test_retries_wait_for_the_holder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_of(data).write_bytes(b"junk")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            os.unlink(lock_of(data))

    monkeypatch.setattr(time, "sleep", sleep)
    assert try_acquire_lock(data, retries=5, delay=0.25)
    assert slept == [0.25] * 3
    assert inspect_lock(data).pid == os.getpid()
    assert release_lock(data)


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("flock", errno.ENOSYS, "has no flock"),
        ("flock", errno.EOPNOTSUPP, "has no flock"),
        ("open_anonymous", errno.EACCES, "does not admit this user"),
        ("open_anonymous", errno.EROFS, "read-only"),
        ("open_anonymous", errno.ENOSPC, "full"),
        ("open_anonymous", errno.EMFILE, "too many open files"),
        ("link_anonymous", errno.ENAMETOOLONG, "no room for the suffix"),
        ("link_anonymous", errno.ENOENT, "/proc"),
        ("write", errno.ESTALE, "see the chained error"),
    ],
)
def test_each_obstacle_has_its_own_message(
    data: Path, faults: Any, listing: Any, call: str, code: int, message: str
) -> None:
    faults.fail(call, code)
    with pytest.raises(LockError, match=message) as caught:
        try_acquire_lock(data)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.path == str(data)
    assert listing() == []


def test_a_lock_file_that_may_not_be_opened_is_reported_as_that(data: Path, faults: Any) -> None:
    dead_lock(data)
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: str(name).endswith(".lock"))
    with pytest.raises(LockError, match="cannot be examined"):
        try_acquire_lock(data)
    assert inspect_lock(data).alive == "unknown"
    assert not inspect_lock(data).corrupt
    assert release_stale_lock(data, max_age_s=0) is False
    assert force_release_lock(data) is True


def test_without_anonymous_files_a_temp_is_linked(data: Path, faults: Any, listing: Any) -> None:
    faults.fail("open_anonymous", errno.EOPNOTSUPP)
    assert try_acquire_lock(data)
    assert listing() == ["data.lock"]
    assert try_acquire_lock(data) is False
    assert listing() == ["data.lock"]
    assert inspect_lock(data).alive == "yes"
    assert release_lock(data)
    assert listing() == []


def test_probers_do_not_keep_a_dead_lock_alive(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_lock(data)
    prober = os.open(lock_of(data), os.O_RDONLY)
    fcntl.flock(prober, fcntl.LOCK_SH)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            os.close(prober)

    monkeypatch.setattr(time, "sleep", sleep)
    assert try_acquire_lock(data)
    assert len(pauses) == 2
    assert release_lock(data)


def test_a_pinned_dead_lock_is_contention_not_an_endless_loop(data: Path) -> None:
    dead_lock(data)
    with lock_of(data).open() as pin:
        fcntl.flock(pin, fcntl.LOCK_SH)
        assert try_acquire_lock(data) is False


def test_losing_a_dead_lock_to_another_taker_is_contention(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_lock(data)
    real = kernel.unlink

    def unlink(name: str, *, dir_fd: int) -> None:
        real(name, dir_fd=dir_fd)
        if name == "data.lock":
            lock_of(data).write_bytes(b"somebody else's")

    monkeypatch.setattr(kernel, "unlink", unlink, raising=False)
    assert try_acquire_lock(data) is False
    assert lock_of(data).read_bytes() == b"somebody else's"


def test_a_dead_lock_replaced_before_the_flock_is_not_removed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_lock(data)
    real = kernel.flock
    state = {"swapped": False}

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        name = os.readlink(f"/proc/self/fd/{fd}")
        if how & fcntl.LOCK_EX and name.endswith("data.lock") and not state["swapped"]:
            state["swapped"] = True
            os.unlink(lock_of(data))
            lock_of(data).write_bytes(b"alive")

    monkeypatch.setattr(kernel, "flock", flock, raising=False)
    assert try_acquire_lock(data) is False
    assert state["swapped"]
    assert lock_of(data).read_bytes() == b"alive"


def test_a_taker_that_flocks_first_wins(data: Path, faults: Any) -> None:
    dead_lock(data)
    blocked = {"n": 0}

    def exclusive_on_the_stale(fd: int, how: int) -> bool:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith("data.lock"):
            return False
        if how & fcntl.LOCK_EX:
            blocked["n"] += 1
        return blocked["n"] > 0 and how & fcntl.LOCK_UN == 0

    faults.fail("flock", errno.EWOULDBLOCK, when=exclusive_on_the_stale)
    assert try_acquire_lock(data) is False


def test_a_dead_lock_that_somebody_removes_first_is_no_obstacle(data: Path, faults: Any) -> None:
    dead_lock(data)
    faults.fail("unlink", errno.ENOENT, at=1)
    assert try_acquire_lock(data)
    assert release_lock(data)


def test_a_lock_that_keeps_vanishing_ends_in_contention(data: Path, faults: Any) -> None:
    faults.fail("link_anonymous", errno.EEXIST)
    assert try_acquire_lock(data) is False


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
    faults.fail("unlink", errno.EROFS)
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


def test_a_forked_child_owns_nothing(data: Path) -> None:
    assert try_acquire_lock(data)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if release_lock(data) is False and is_locked(data) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert inspect_lock(data).alive == "yes"
    assert release_lock(data) is True


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_a_bad_age_is_refused(data: Path, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_age_s"):
        is_stale_lock(data, max_age_s=value)  # type: ignore[arg-type]
    with pytest.raises(error, match="max_age_s"):
        release_stale_lock(data, max_age_s=value)  # type: ignore[arg-type]


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


def test_a_lock_of_the_parent_is_not_the_child_s_to_release(data: Path) -> None:
    target = locate(data)
    lock = _lock.Lock(target, lambda: None)
    assert lock.attempt(None) is None
    fd = lock.fd
    lock._pid = -1  # as a forked child sees it
    lock.release()
    assert lock.fd == -1
    assert is_locked(data)
    close_held(fd)
    target.close()


def test_a_lock_that_was_forced_away_during_a_takeover_is_not_removed(data: Path) -> None:
    data.with_name("data.lock").write_bytes(payload(None))
    target = locate(data)
    other = _lock.Lock(target, lambda: None)

    def recover() -> None:
        assert force_release_lock(data)
        assert other.attempt(None) is None

    lock = _lock.Lock(target, recover)
    found = lock.attempt(None)
    assert found is not None
    assert found.alive == "yes"
    assert other.owned()
    lock.release()
    other.release()
    target.close()


def test_a_lock_that_nobody_can_release_any_more_is_dead(data: Path) -> None:
    target = locate(data)
    lock = _lock.Lock(target, lambda: None)
    assert lock.attempt(None) is None
    assert is_locked(data)
    del lock
    info = inspect_lock(data)
    assert info is not None
    assert info.alive == "no"
    target.close()


def test_a_lock_that_is_lost_and_cannot_be_looked_at_is_left_alone(data: Path, faults: Any) -> None:
    assert try_acquire_lock(data)
    os.unlink(lock_of(data))
    faults.fail("stat", errno.EIO, at=2, when=lambda name, **_k: name == "data.lock")
    assert release_lock(data) is False


def test_an_interrupt_before_the_temp_is_ours_leaves_no_temp(
    data: Path, faults: Any, listing: Any
) -> None:
    faults.fail("open_anonymous", errno.EOPNOTSUPP)
    target = locate(data)
    lock = _lock.Lock(target, lambda: None)
    lock._make_inode(0o600)
    lock.fd = -1  # as if the interrupt came before the descriptor was taken over
    lock.release()
    target.close()
    assert listing() == []


def test_only_the_lock_that_is_not_kept_is_disowned(data: Path) -> None:
    other = data.with_name("other")
    assert try_acquire_lock(data)
    assert try_acquire_lock(other)
    (mine,) = (lock for key, (lock, _) in _lock._mine.items() if key[2] == "data")
    _lock.disown(mine)
    assert release_lock(data) is False
    assert release_lock(other) is True
    mine.release()
