from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from held_descriptors import take_number
from lock_payloads import GOOD, payload
from safeatomic_core import _lock_file as lock_file
from safeatomic_core import inspect_lock
from safeatomic_core._lock_file import CRASH_MARK, PINNED, Found, probe_free, unlike_a_lock
from safeatomic_core._posix import kernel


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def look(dir_fd: int, name: str) -> Found:
    found = Found()
    try:
        found.look(dir_fd, name)
    except BaseException:
        found.close()
        raise
    return found


def place(tmp_path: Path, raw: bytes | dict[str, object], mode: int = 0o600) -> Path:
    path = tmp_path / "data.lock"
    path.write_bytes(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    path.chmod(mode)
    return path


def test_an_empty_lock_names_the_tools_that_leave_one(tmp_path: Path, dir_fd: int) -> None:
    place(tmp_path, b"")
    found = look(dir_fd, "data.lock")
    assert "as flock(1), filelock and portalocker leave theirs" in found.describe()
    place(tmp_path, b"damaged")
    found.look(dir_fd, "data.lock")
    assert "portalocker" not in found.describe()
    found.close()


@pytest.mark.parametrize("raw", [b"", b"\0" * 4096, b"123", b"123\n", b"a b\r\n", b"[]", b"{}"])
def test_what_looks_like_a_lock_of_some_tool(tmp_path: Path, dir_fd: int, raw: bytes) -> None:
    place(tmp_path, raw)
    found = look(dir_fd, "data.lock")
    assert unlike_a_lock(found) is None
    found.close()


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"a\nb\n", "several lines"),
        (b'{"_meta": {}}', "JSON"),
        (b"[1]", "JSON"),
        (b"x" * 4097, "4096"),
        (b"\0" * 4097, "4096"),
    ],
)
def test_what_does_not_look_like_a_lock(tmp_path: Path, dir_fd: int, raw: bytes, what: str) -> None:
    place(tmp_path, raw)
    found = look(dir_fd, "data.lock")
    assert what in str(unlike_a_lock(found))
    found.close()


def test_before_a_look_nothing_is_known_to_be_there() -> None:
    found = Found()
    assert (found.exists, found.takeable, found.alive, found.corrupt) == (False, False, "no", False)
    assert (found.inode, found.owner, found.size, found.kind) == ((0, 0), -1, 0, "")
    assert (found.raw, found.fields, found.trouble, found.fd) == (None, {}, None, -1)


def test_no_more_is_read_than_shows_that_it_is_too_much(tmp_path: Path, dir_fd: int) -> None:
    place(tmp_path, b"x" * 9000)
    found = look(dir_fd, "data.lock")
    assert (len(found.raw or b""), found.size) == (4097, 9000)
    found.close()


def test_what_the_program_has_put_at_the_number_of_a_lock_is_not_closed(
    tmp_path: Path, dir_fd: int
) -> None:
    place(tmp_path, payload(None))
    found = look(dir_fd, "data.lock")
    number = found.fd
    take_number(number, tmp_path)
    found.close()
    os.close(number)


def test_nothing_there_is_not_locked(tmp_path: Path, dir_fd: int) -> None:
    found = look(dir_fd, "data.lock")
    assert (found.exists, found.alive, found.corrupt) == (False, "no", False)
    assert str(inspect_lock(tmp_path / "data")).endswith("not locked")


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_other_kinds_are_corrupt_and_never_opened(
    tmp_path: Path, dir_fd: int, kind: str, faults: Any
) -> None:
    path = tmp_path / "data.lock"
    if kind == "symlink":
        path.symlink_to("/dev/null")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    found = look(dir_fd, "data.lock")
    assert (found.exists, found.alive, found.corrupt) == (True, "unknown", True)
    assert "open" not in faults.calls
    assert "has the name of its lock, which counts as held" in found.describe()


def test_a_payload_with_a_free_flock_is_a_dead_holder_s(tmp_path: Path, dir_fd: int) -> None:
    place(tmp_path, payload(None))
    found = look(dir_fd, "data.lock")
    assert (found.alive, found.takeable, found.corrupt) == ("no", True, False)
    assert "dead" in found.describe()
    found.close()
    found.close()


def test_a_lock_that_is_released_while_it_is_looked_at_has_no_dead_holder(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(tmp_path, payload(None))
    really = kernel.flock

    def flock(fd: int, operation: int) -> None:
        path.unlink(missing_ok=True)  # a holder removes the name, then drops the flock
        really(fd, operation)

    monkeypatch.setattr(kernel, "flock", flock, raising=False)
    found = Found()
    found.look_to_tell(dir_fd, path.name)
    assert not found.exists
    found.close()


def test_a_shared_flock_keeps_a_dead_holder_s_lock(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(tmp_path, payload(None))
    found = look(dir_fd, "data.lock")
    assert not found.is_pinned()
    assert not found.is_pinned(gently=True)
    with path.open() as pin:
        fcntl.flock(pin, fcntl.LOCK_SH)
        assert found.is_pinned()
        assert found.is_pinned(gently=True)
        assert f"which is dead, but {PINNED}" in found.describe()
        monkeypatch.setattr(lock_file, "read_proc", lambda _path: b"")
        assert not found.is_pinned(gently=True)  # not seen from here
        fcntl.flock(pin, fcntl.LOCK_EX)  # somebody is taking it over
        assert not found.is_pinned()
    found.close()


def test_a_shared_flock_of_another_prober_pins_nothing(
    tmp_path: Path, dir_fd: int, faults: Any
) -> None:
    """Several processes look at a dead lock at once, as workers do that start after a crash."""
    place(tmp_path, payload(None))
    found = look(dir_fd, "data.lock")
    faults.fail("flock", errno.EWOULDBLOCK, at=1)
    assert not found.is_pinned()
    assert faults.raised == 1
    found.close()


def test_what_cannot_be_asked_is_not_called_pinned(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    def fail(_path: str) -> bytes:
        raise OSError(errno.ENOENT, "no /proc")

    place(tmp_path, payload(None))
    found = look(dir_fd, "data.lock")
    faults.fail("flock", errno.ENOLCK)
    assert not found.is_pinned()
    monkeypatch.setattr(lock_file, "read_proc", fail)
    assert not found.is_pinned(gently=True)
    found.close()


def test_a_held_flock_is_a_living_holder(tmp_path: Path, dir_fd: int) -> None:
    path = place(tmp_path, payload(None))
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        found = look(dir_fd, "data.lock")
        assert (found.alive, found.takeable) == ("yes", False)
        assert f"held by process {os.getpid()}" in found.describe()
        assert not probe_free(found.fd)
        found.close()


@pytest.mark.parametrize("raw", [b"", b"\0" * 200])
def test_a_lost_payload_with_the_crash_mark_is_a_dead_holder_s(
    tmp_path: Path, dir_fd: int, raw: bytes
) -> None:
    place(tmp_path, raw, 0o600 | CRASH_MARK)
    found = look(dir_fd, "data.lock")
    assert (found.alive, found.takeable, found.corrupt) == ("no", True, False)
    assert "unknown process" in found.describe()
    found.close()


@pytest.mark.parametrize(("raw", "mode"), [(b"", 0o600), (b"x", 0o600 | CRASH_MARK)])
def test_without_the_mark_or_with_other_bytes_it_is_corrupt(
    tmp_path: Path, dir_fd: int, raw: bytes, mode: int
) -> None:
    place(tmp_path, raw, mode)
    found = look(dir_fd, "data.lock")
    assert (found.alive, found.takeable, found.corrupt) == ("unknown", False, True)
    found.close()


def test_a_foreign_lock_is_judged_by_pid_on_this_host(tmp_path: Path, dir_fd: int) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename
    for pid, alive in ((os.getpid(), "yes"), (1, "yes"), (dead.pid, "no")):
        place(tmp_path, {**GOOD, "pid": pid, "hostname": host})
        found = look(dir_fd, "data.lock")
        assert (found.alive, found.takeable) == (alive, False)
        found.close()


def test_a_foreign_process_of_somebody_else_is_alive(
    tmp_path: Path, dir_fd: int, faults: Any
) -> None:
    place(tmp_path, {**GOOD, "hostname": os.uname().nodename})
    faults.fail("kill", errno.EPERM)
    found = look(dir_fd, "data.lock")
    assert found.alive == "yes"
    found.close()


@pytest.mark.parametrize("extra", [{}, {"kernel_lock": "ofd"}])
def test_what_cannot_be_known_is_unknown(
    tmp_path: Path, dir_fd: int, extra: dict[str, object]
) -> None:
    place(tmp_path, {**GOOD, **extra})
    found = look(dir_fd, "data.lock")
    assert (found.alive, found.takeable, found.corrupt) == ("unknown", False, False)
    assert "could not be determined" in found.describe()
    found.close()


@pytest.mark.parametrize(("call", "code"), [("open", errno.EACCES), ("flock", errno.ENOLCK)])
def test_a_lock_that_cannot_be_examined_is_unknown_not_corrupt(
    tmp_path: Path, dir_fd: int, faults: Any, call: str, code: int
) -> None:
    place(tmp_path, payload(None))
    faults.fail(call, code)
    found = look(dir_fd, "data.lock")
    assert (found.exists, found.alive, found.corrupt) == (True, "unknown", False)
    assert f"({os.strerror(code)}), so its holder may be alive" in found.describe()
    assert f"user {os.getuid()} in a sticky directory" in found.describe(sticky=True)
    found.close()


@pytest.mark.parametrize(
    ("call", "code"), [("open", errno.EMFILE), ("pread", errno.EIO), ("flock", errno.ENOMEM)]
)
def test_a_system_that_refuses_to_look_is_that_error(
    tmp_path: Path, dir_fd: int, faults: Any, call: str, code: int
) -> None:
    place(tmp_path, payload(None))
    faults.fail(call, code)
    with pytest.raises(OSError, match=os.strerror(code)):
        look(dir_fd, "data.lock")


def test_a_link_that_takes_the_name_meanwhile_is_not_followed(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(tmp_path, payload(None))
    real = kernel.open

    def swapped(*args: Any, **kwargs: Any) -> int:
        path.unlink()
        path.symlink_to("elsewhere")
        return real(*args, **kwargs)

    monkeypatch.setattr(kernel, "open", swapped, raising=False)
    found = look(dir_fd, "data.lock")
    assert (found.exists, found.kind, found.corrupt) == (True, "a symbolic link", True)
    assert found.alive == "unknown"


def test_a_fifo_that_takes_the_name_meanwhile_is_not_waited_for(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(tmp_path, payload(None))
    real = kernel.open

    def swapped(*args: Any, **kwargs: Any) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(*args, **kwargs)

    monkeypatch.setattr(kernel, "open", swapped, raising=False)
    found = look(dir_fd, "data.lock")
    assert (found.kind, found.corrupt, found.raw) == ("a FIFO", True, None)
    found.close()


def test_a_lock_that_vanishes_between_two_looks_is_gone(
    tmp_path: Path, dir_fd: int, faults: Any
) -> None:
    place(tmp_path, payload(None))
    faults.fail("open", errno.ENOENT)
    assert not look(dir_fd, "data.lock").exists


def test_an_interrupt_while_looking_leaks_no_descriptor(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path, payload(None))

    def interrupt(*_args: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "pread", interrupt, raising=False)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        look(dir_fd, "data.lock")
    assert len(os.listdir("/proc/self/fd")) == before
