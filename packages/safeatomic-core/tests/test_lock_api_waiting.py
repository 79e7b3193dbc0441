"""Waiting for a lock: how long, how often it is looked at, and what ends it."""

from __future__ import annotations

import contextvars
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lock_payloads import lock_of, payload
from safeatomic_core import _held_locks, _lock, inspect_lock, release_lock, try_acquire_lock
from safeatomic_core._posix import kernel


def test_retries_wait_for_the_holder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_of(data).write_bytes(b"junk")
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds
        if clock[0] > 0.7:
            lock_of(data).unlink(missing_ok=True)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert try_acquire_lock(data, retries=5, delay=0.25)
    assert 0.7 < clock[0] < 0.8
    assert inspect_lock(data).pid == os.getpid()
    assert release_lock(data)


def test_waiting_ends_after_retries_times_delay(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_of(data).write_bytes(b"junk")
    clock = [0.0]
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert try_acquire_lock(data, retries=4, delay=0.5) is False
    assert clock[0] == pytest.approx(2.0)
    assert naps[0] < 0.001
    assert max(naps) < 0.1
    naps.clear()
    assert try_acquire_lock(data, retries=7, delay=0) is False
    assert naps == [0.0] * 7


def test_a_waiter_that_loses_again_and_again_looks_more_often(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    naps: list[float] = []
    written: list[int] = []
    losses = [0]

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock[0] += seconds
        if clock[0] > 0.5:
            losses[0] += 1
            # Keeps the inode number in use.
            lock_of(data).rename(data.with_name(f"former-{losses[0]}"))
            lock_of(data).write_bytes(b"junk")

    def pwrite(fd: int, content: bytes, offset: int) -> int:
        written.append(fd)
        return os.pwrite(fd, content, offset)

    lock_of(data).write_bytes(b"junk")
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(kernel, "pwrite", pwrite)
    assert try_acquire_lock(data, retries=1, delay=0.6) is False
    after = naps[-losses[0] :]  # the first of them was a long one, in which the lock went away
    assert after[0] > 0.02
    assert 0.001 < after[1] < 0.01
    assert losses[0] > 20
    assert max(after[15:]) < 0.001
    assert len(set(written)) == 1  # one inode, and no attempt while somebody has the lock
    assert len(written) == 2


def test_a_holder_that_cannot_be_looked_at_is_tried(
    data: Path, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    lock_of(data).write_bytes(b"junk")
    tried: list[str] = []

    def sleep(_seconds: float) -> None:
        faults.fail("stat", errno.EIO, when=lambda name, **_k: name == "data.lock")
        tried.append("once")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        try_acquire_lock(data, retries=1000, delay=1000)
    assert tried == ["once"]


def test_a_lock_that_is_forced_away_from_a_living_holder_is_had_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = contextvars.Context()
    assert other.run(try_acquire_lock, data)
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] > 1:
            lock_of(data).unlink(missing_ok=True)

    monkeypatch.setattr(_held_locks, "_held_in_this_thread", lambda _: False)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert try_acquire_lock(data, retries=1, delay=60)
    assert clock[0] < 1.2
    assert release_lock(data)
    assert not other.run(release_lock, data)


def test_what_a_waiting_lock_says_is_written_anew_as_a_whole(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_of(data).write_bytes(b"junk")
    sessions = iter(["x" * 40, None])
    real = payload
    monkeypatch.setattr(_lock, "payload", lambda _, token: real(next(sessions), token))
    monkeypatch.setattr(time, "sleep", lambda _: lock_of(data).unlink(missing_ok=True))
    assert try_acquire_lock(data, retries=1, delay=0.01)
    assert not inspect_lock(data).corrupt
    assert lock_of(data).read_bytes().count(b"\n") == 1
    assert release_lock(data)


def test_a_clock_that_stands_still_ends_no_wait_later(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a library does for tests that are to run at a certain date."""
    lock_of(data).write_bytes(b"junk")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert sum(slept) < 2

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert try_acquire_lock(data, retries=4, delay=0.25) is False
    assert sum(slept) == pytest.approx(1)
