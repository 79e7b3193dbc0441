"""What a lock says that was left: its age, whose it was, and what is still to be done for it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import queue
import stat
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lock_payloads import TOKEN, dead_lock, lock_of
from safeatomic_core import (
    LockError,
    LockInfo,
    _lock_api,
    _lock_file,
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
from safeatomic_core._lock_file import Found
from safeatomic_core._lock_payload import payload
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


def test_an_age_counts_from_when_the_lock_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locate: Callable[[str | Path], Target]
) -> None:
    path = tmp_path / "f"
    lock = tmp_path / "f.lock"
    payload = {"version": 1, "pid": 4242, "hostname": "elsewhere"}
    lock.write_text(json.dumps({**payload, "timestamp": "2026-01-02T03:04:05Z"}))
    taken = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    for now, age in ((taken + 60, 60), (taken - 60, 0)):  # a clock that was set back
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert get_lock_age(path) == inspect_lock(path).age_s == age
        found = locate(path)
        try:
            look = Found()
            look.look(found.dir_fd, "f.lock")
            assert look.age_s() == age
            look.close()
        finally:
            found.close()
    monkeypatch.setattr(time, "time", lambda: taken + 60)
    assert not is_stale_lock(path, max_age_s=60)
    assert is_stale_lock(path, max_age_s=59.9)
    for endless in (float("inf"), float("nan"), -0.1):
        with pytest.raises(ValueError, match="max_age_s"):
            is_stale_lock(path, max_age_s=endless)


def test_what_is_known_of_no_lock_is_what_is_known_without_a_look(data: Path) -> None:
    assert inspect_lock(data) == LockInfo(path=str(data), lock_path=str(lock_of(data)))
    assert not is_stale_lock(data, max_age_s=0)
    assert release_stale_lock(data, max_age_s=0) is False


def test_what_is_no_regular_file_is_not_locked(data: Path) -> None:
    data.mkdir()
    with pytest.raises(IsADirectoryError):
        try_acquire_lock(data)
    assert not is_locked(data)


def test_what_is_left_alone_is_named_by_where_links_lead(data: Path) -> None:
    there = data.parent / "d"
    there.mkdir()
    (there / "data").touch()
    lock_of(there / "data").write_text("a document\nof two lines\n")
    data.symlink_to("d/data")
    with pytest.raises(LockError) as caught:
        force_release_lock(data)
    assert f"'{lock_of(there / 'data')}' is a text" in str(caught.value)


def test_a_link_that_leads_nowhere_is_a_lock_that_is_not_ours(data: Path) -> None:
    lock_of(data).symlink_to("nowhere")
    assert is_locked(data)
    assert inspect_lock(data).corrupt
    assert try_acquire_lock(data) is False


@pytest.mark.parametrize(("call", "code"), [("open", errno.EACCES), ("flock", errno.ENOLCK)])
def test_what_kept_a_lock_from_being_examined_is_said_in_a_few_words(
    data: Path, faults: Any, call: str, code: int
) -> None:
    dead_lock(data)

    def examines(first: object, second: int, *_rest: object, **_options: object) -> bool:
        return first == "data.lock" if call == "open" else bool(second & fcntl.LOCK_SH)

    faults.fail(call, code, when=examines)
    with pytest.raises(LockError) as caught:
        write_atomic_bytes(data, b"x")
    assert f"({os.strerror(code)})" in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_force_removes_a_dead_lock_in_turn_with_those_who_take_it_over(
    data: Path, faults: Any
) -> None:
    dead_lock(data)
    asked: list[object] = []
    faults.fail("flock", errno.EIO, when=lambda _fd, how: asked.append(how))
    faults.fail("unlink", errno.EIO, when=lambda name, **_options: asked.append(name))
    assert force_release_lock(data)
    assert asked[-2:] == [fcntl.LOCK_EX | fcntl.LOCK_NB, "data.lock"]


@pytest.mark.parametrize("kind", ["dead", "foreign"])
def test_only_a_dead_writer_s_temp_is_swept_by_its_token(
    data: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tokens: list[str] = []
    monkeypatch.setattr(_lock_api, "recover", lambda *args: tokens.append(args[2]))
    if kind == "dead":
        dead_lock(data)
    else:
        made = {"version": 1, "pid": 4242, "hostname": "elsewhere", "token": TOKEN}
        lock_of(data).write_text(json.dumps({**made, "timestamp": "2020-01-01T00:00:00Z"}))
    assert force_release_lock(data)
    assert tokens == [TOKEN if kind == "dead" else ""]


def test_a_lost_lock_is_noticed_before_anything_is_staged(data: Path, faults: Any) -> None:
    assert try_acquire_lock(data)
    os.unlink(lock_of(data))
    faults.calls.clear()
    with pytest.raises(LockError) as caught:
        write_atomic_bytes(data, b"x")
    assert caught.value.__notes__ == ["safeatomic: Acquire failed; the target is unchanged"]
    assert "write" not in faults.calls
    assert release_lock(data) is False


def test_whoever_looks_at_a_dead_lock_does_not_keep_it(
    data: Path, locate: Callable[[str | Path], Target]
) -> None:
    dead_lock(data)
    target = locate(data)
    found = Found()
    found.look(target.dir_fd, "data.lock")
    try:
        assert found.takeable
        with open(lock_of(data), "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        found.close()
        target.close()


@pytest.mark.parametrize(("size", "corrupt"), [(4096, False), (4097, True), (9000, True)])
def test_a_file_that_is_longer_than_a_lock_can_be_is_none(
    data: Path, size: int, corrupt: bool
) -> None:
    lock_of(data).write_bytes(payload(None, TOKEN).ljust(size))
    assert inspect_lock(data).corrupt is corrupt
    assert try_acquire_lock(data) is not corrupt
    release_lock(data)


@pytest.mark.parametrize("kept", [False, True])
def test_a_lock_stays_for_the_next_writer_where_a_write_may_be_lost(
    data: Path, faults: Any, kept: bool
) -> None:
    """Its own, or one that the context keeps: the next writer flushes the directory first."""
    faults.fail("fsync", errno.EIO, when=lambda fd: data.exists() and is_directory(fd))
    if kept:
        assert try_acquire_lock(data)
    with pytest.raises(OSError, match="durability is not confirmed"):
        write_atomic_bytes(data, b"new")
    assert data.read_bytes() == b"new"
    if kept:
        assert not is_stale_lock(data)
        release_lock(data)
    assert is_stale_lock(data)


def is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def test_a_lock_that_was_taken_anew_by_another_context_is_lost_to_the_first(data: Path) -> None:
    first = copy_context()
    assert first.run(try_acquire_lock, data)
    before = set(os.listdir("/proc/self/fd"))
    os.unlink(lock_of(data))
    second = copy_context()
    assert second.run(try_acquire_lock, data)
    assert len(set(os.listdir("/proc/self/fd"))) <= len(before)  # the lost one is closed
    with pytest.raises(LockError):
        first.run(write_atomic_bytes, data, b"x")
    assert second.run(release_lock, data)
    assert not is_locked(data)


def test_a_prober_keeps_nobody_from_removing_a_dead_lock(data: Path, faults: Any) -> None:
    dead_lock(data)
    refused: list[object] = []

    def beside_a_prober(_fd: int, how: int) -> bool:
        if how & fcntl.LOCK_EX and len(refused) < 3:
            refused.append(how)
            return True
        return False

    faults.fail("flock", errno.EWOULDBLOCK, when=beside_a_prober)
    assert release_stale_lock(data)
    assert len(refused) == 3
    assert not lock_of(data).exists()


def foreign_lock(data: Path, pid: int) -> None:
    """Leave the lock of another tool, which is judged by its PID."""
    fields = {"version": 1, "pid": pid, "hostname": os.uname().nodename, "session_hash": None}
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lock_of(data).write_text(json.dumps({**fields, "timestamp": stamp}))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this interpreter has no os.waitid")
def test_a_holder_that_nobody_has_reaped_is_dead(data: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    foreign_lock(data, pid)
    assert is_stale_lock(data)
    os.waitpid(pid, 0)
    assert is_stale_lock(data)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_a_number_that_a_thread_has_by_now_is_that_of_no_holder(data: Path) -> None:
    number, end = queue.Queue[int](), threading.Event()

    def work() -> None:
        number.put(threading.get_native_id())
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        foreign_lock(data, number.get())
        assert is_stale_lock(data)
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("reason", ["no /proc", "another namespace's /proc"])
def test_a_holder_of_whom_proc_says_nothing_lives(
    data: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "no /proc":
        faults.fail("readlink", errno.ENOENT)
    else:
        monkeypatch.setattr(kernel, "readlink", lambda _: "1000000", raising=False)
    foreign_lock(data, os.getpid())
    assert not is_stale_lock(data)
    assert inspect_lock(data).alive == "yes"


def test_a_holder_whose_first_thread_alone_has_ended_lives(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = b"State:\tZ (zombie)\nTgid:\t%d\nThreads:\t%d\n"
    foreign_lock(data, os.getpid())
    for threads, stale in ((2, False), (1, True)):
        said = status % (os.getpid(), threads)
        monkeypatch.setattr(_lock_file, "read_proc", lambda _, said=said: said)
        assert is_stale_lock(data) is stale
