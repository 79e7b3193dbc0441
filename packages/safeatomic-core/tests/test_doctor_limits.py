"""What the doctor sees of a sandbox and of the limits of the process."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import doctor, write_checksum_file
from safeatomic_core._doctor import limits
from safeatomic_core._doctor.subject import Place
from safeatomic_core._posix import kernel

At = Callable[..., Place]


def test_without_limits_nothing_keeps_the_process_from_writing(at: At, target: Path) -> None:
    before = os.listdir(target.parent)
    assert limits.process(at(target)) == ("pass", "no limit keeps it from writing")
    assert os.listdir(target.parent) == before


@pytest.mark.parametrize("call", ["fsync", "fchmod", "pwrite", "flock", "rename", "link", "unlink"])
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_a_call_that_a_filter_refuses_is_named(
    at: At, target: Path, faults: Any, call: str, code: int
) -> None:
    place = at(target)
    faults.fail(call, code)
    status, detail = limits.process(place)
    assert status == "fail"
    assert f"may not call {call} ({errno.errorcode[code]}), so" in detail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "EACCES"),
        (NotImplementedError("/dev/urandom (or equivalent) not found"), "ENOSYS"),
    ],
)
def test_a_process_without_random_numbers_gets_a_report(
    target: Path, monkeypatch: Any, error: Exception, code: str
) -> None:
    """A seccomp filter refuses getrandom; no temporary file gets a name."""

    def refuse(_count: int) -> bytes:
        raise error

    monkeypatch.setattr(os, "urandom", refuse)
    report = doctor(target, destructive=True)
    checks = {check.name: check for check in report.checks}
    assert checks["process"].status == "fail"
    assert f"may not call getrandom ({code}), so" in checks["process"].detail
    assert checks["probe_cleanup"].status == "pass"
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize(
    ("most", "size", "status", "said"),
    [
        (0, 0, "fail", "less than a lock has"),
        (100, 0, "fail", "less than a lock has"),
        (4096, 4096, "pass", "no limit"),
        (4096, 4097, "warn", "the file has 4"),
    ],
)
def test_the_limit_for_a_file_s_size(
    at: At, target: Path, monkeypatch: Any, most: int, size: int, status: str, said: str
) -> None:
    target.write_bytes(bytes(size))
    # Not put for real: what pytest prints may go to a file.
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (most, most))
    found = limits.process(at(target))
    assert found[0] == status
    assert said in found[1]


def test_a_limit_that_a_lock_just_fits_is_enough(at: At, held: Path, monkeypatch: Any) -> None:
    size = Path(f"{held}.lock").stat().st_size
    for most, status in ((size, "pass"), (size - 1, "fail")):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, most=most: (most, most))
        assert limits.process(at(held))[0] == status


@pytest.mark.parametrize(
    ("code", "room", "sidecar", "status", "said"),
    [
        (errno.EMFILE, 1, False, "fail", "the process may open only 2 more files"),
        (errno.ENFILE, 1, False, "fail", "the system may open only 2 more files"),
        (errno.EMFILE, 2, False, "warn", "a write with a checksum needs 5"),
        (errno.EMFILE, 2, True, "fail", "a write needs 4"),
        (errno.EMFILE, 3, True, "warn", "the process may open only 4 more files"),
        (errno.EMFILE, 4, True, "pass", "no limit"),
        (errno.EIO, 0, False, "pass", "no limit"),
    ],
)
def test_descriptors_are_counted_and_given_back(
    at: At,
    target: Path,
    monkeypatch: Any,
    code: int,
    room: int,
    sidecar: bool,
    status: str,
    said: str,
) -> None:
    if sidecar:
        write_checksum_file(target)
    place = at(target)
    opened: list[int] = []
    closed: list[int] = []

    def open_some(*_args: Any, **_options: Any) -> int:
        if len(opened) == room:
            raise OSError(code, os.strerror(code))
        opened.append(1000 + len(opened))
        return opened[-1]

    monkeypatch.setattr(kernel, "open", open_some, raising=False)
    monkeypatch.setattr(kernel, "close", closed.append, raising=False)
    found = limits.process(place)
    monkeypatch.undo()
    assert found[0] == status
    assert said in found[1]
    assert sorted(closed) == opened
