"""Locks in the way: of the dead, of other tools, corrupt ones; and removal by force."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lock_payloads import dead_lock, lock_of
from safeatomic_core import (
    LockError,
    _change,
    _held_locks,
    _lock,
    _lock_api,
    _waiting,
    force_release_lock,
    inspect_lock,
    is_locked,
    is_stale_lock,
    move_atomic,
    release_lock,
    release_stale_lock,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._lock_payload import payload
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


def foreign_lock(data: Path, **fields: object) -> None:
    known = {
        "version": 1,
        "pid": 4242,
        "hostname": "elsewhere",
        "timestamp": "2020-01-01T00:00:00Z",
    }
    lock_of(data).write_text(json.dumps({**known, **fields}))


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


def test_the_lock_of_a_holder_that_is_killed_is_taken_before_the_delay_is_over(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, looked = _waiting._is_free, threading.Event()

    def is_free(lock: _lock.Lock) -> bool:
        looked.set()
        return really(lock)

    code = "import sys, safeatomic_core as s; s.try_acquire_lock(sys.argv[1]); print(); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        monkeypatch.setattr(_waiting, "_is_free", is_free)
        waiting = threading.Thread(
            target=write_atomic_bytes,
            args=(data, b"waited"),
            kwargs={"retries": 1, "delay": 1000},
            daemon=True,
        )
        waiting.start()
        assert looked.wait(30)
        holder.kill()
    waiting.join(30)
    assert not waiting.is_alive()
    assert data.read_bytes() == b"waited"


@pytest.mark.parametrize("change", [write_atomic_bytes, write_checksum_file, move_atomic])
def test_what_became_a_fifo_while_the_lock_was_waited_for_is_refused(
    data: Path, change: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = _held_locks.take

    def take(*args: Any) -> bool:
        data.unlink()
        os.mkfifo(data)
        return really(*args)

    data.write_bytes(b"old")
    monkeypatch.setattr(_change, "take", take)
    second = {write_atomic_bytes: (b"new",), move_atomic: (data.with_name("moved"),)}
    with pytest.raises(OSError, match="a FIFO, not a regular file"):
        change(data, *second.get(change, ()))
    assert data.is_fifo()


def test_a_sweep_that_fails_does_not_stop_a_takeover(data: Path, faults: Any) -> None:
    dead_lock(data)
    faults.fail("listdir", errno.EIO)
    write_atomic_bytes(data, b"new")
    assert data.read_bytes() == b"new"


@pytest.mark.parametrize("content", [b"", b"junk", b"[" * 4000, b"\0" * 10])
def test_a_corrupt_lock_blocks_until_it_is_forced(data: Path, content: bytes) -> None:
    lock_of(data).write_bytes(content)
    assert try_acquire_lock(data) is False
    assert inspect_lock(data).corrupt
    assert "not a lock of this library" in str(inspect_lock(data))
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


def test_a_lock_that_is_replaced_while_it_is_forced_is_left_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    dead_lock(data)

    def recover(*_args: object) -> None:
        os.unlink(lock_of(data))
        lock_of(data).write_bytes(b"another")

    monkeypatch.setattr(_lock_api, "recover", recover)
    assert force_release_lock(data) is False
    assert lock_of(data).read_bytes() == b"another"


@pytest.mark.parametrize(
    "text",
    [
        '{"_meta": {}, "default": {}}',
        '\ufeff{"_meta": {}}',
        "[[package]]\nname = 1\n",
        "# yarn lockfile v1\n\n\n",
    ],
)
def test_what_does_not_look_like_a_lock_is_left_alone_by_force(data: Path, text: str) -> None:
    lock_of(data).write_text(text)
    with pytest.raises(LockError, match="move it away"):
        force_release_lock(data)
    with pytest.raises(LockError, match="move it away"):
        write_atomic_bytes(data, b"x")
    assert lock_of(data).read_text() == text


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
    with pytest.raises(LockError, match="is a directory"):
        force_release_lock(data)
    assert lock_of(data).is_dir()


def test_a_lock_file_that_may_not_be_opened_is_reported_as_that(data: Path, faults: Any) -> None:
    dead_lock(data)
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: str(name).endswith(".lock"))
    assert try_acquire_lock(data) is False
    with pytest.raises(LockError, match="cannot be examined"):
        write_atomic_bytes(data, b"x")
    assert inspect_lock(data).alive == "unknown"
    assert not inspect_lock(data).corrupt
    assert release_stale_lock(data, max_age_s=0) is False
    assert force_release_lock(data) is True


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


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_a_bad_age_is_refused(data: Path, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_age_s"):
        is_stale_lock(data, max_age_s=value)  # type: ignore[arg-type]
    with pytest.raises(error, match="max_age_s"):
        release_stale_lock(data, max_age_s=value)  # type: ignore[arg-type]


def test_a_lock_that_was_forced_away_during_a_takeover_is_not_removed(
    data: Path, monkeypatch: pytest.MonkeyPatch, locate: Callable[[str | Path], Target]
) -> None:
    data.with_name("data.lock").write_bytes(payload(None, "0123456789abcdef"))
    target = locate(data)
    other = _lock.Lock(target, "strict")

    def recover(*_args: object) -> None:
        assert force_release_lock(data)
        assert other.attempt(None) is True

    monkeypatch.setattr(_lock, "recover", recover)
    lock = _lock.Lock(target, "strict")
    assert lock.attempt(None) is False
    assert lock.found.alive == "yes"
    assert other.owned()
    lock.release()
    other.release()
    target.close()
