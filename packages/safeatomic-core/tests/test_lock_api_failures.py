"""What the system refuses to a lock: what is done without it, and what is an error."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lock_payloads import lock_of
from safeatomic_core import (
    LockError,
    _posix,
    inspect_lock,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._lock_payload import payload
from safeatomic_core._posix import kernel

_anonymous = pytest.mark.skipif(
    not _posix.O_TMPFILE, reason="this interpreter has no os.O_TMPFILE: locks are linked from temps"
)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("open_anonymous", errno.EACCES),
        ("open_anonymous", errno.EROFS),
        ("open_anonymous", errno.ENOSPC),
        ("open_anonymous", errno.EMFILE),
        ("link_anonymous", errno.ENAMETOOLONG),
        ("flock", errno.EIO),
        ("pwrite", errno.ENOSPC),
        ("pwrite", errno.ESTALE),
        ("flock", errno.ENOLCK),  # out of memory, or NFS with no lock service: neither is for good
    ],
)
def test_what_the_system_refuses_is_an_error_of_the_system(
    data: Path, faults: Any, listing: Any, call: str, code: int
) -> None:
    faults.fail(call, code)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        try_acquire_lock(data)
    assert (caught.value.errno, caught.value.filename) == (code, f"{data}")
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write_atomic_bytes(data, b"x")
    assert caught.value.errno == code
    assert listing() == []


@pytest.mark.parametrize(
    ("calls", "code", "message"),
    [
        (["flock"], errno.ENOSYS, "this filesystem has no flock"),
        (["flock"], errno.EOPNOTSUPP, "this filesystem has no flock"),
        (["open_anonymous", "link"], errno.EOPNOTSUPP, "hard links are not permitted"),
        (["link_anonymous", "link"], errno.EPERM, "hard links are not permitted"),
    ],
)
def test_a_place_where_locks_cannot_work_is_a_lock_error(
    data: Path, faults: Any, listing: Any, calls: list[str], code: int, message: str
) -> None:
    for call in calls:
        faults.fail(call, code)
    with pytest.raises(LockError, match=message) as caught:
        try_acquire_lock(data)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.path == str(data)
    assert listing() == []


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EXDEV])
def test_without_proc_a_temp_is_linked(data: Path, faults: Any, listing: Any, code: int) -> None:
    faults.fail("link_anonymous", code)
    assert try_acquire_lock(data)
    assert listing() == ["data.lock"]
    assert stat.S_IMODE(os.stat(lock_of(data)).st_mode) == 0o1600
    assert inspect_lock(data).alive == "yes"
    assert release_lock(data)
    assert listing() == []


def test_a_payload_is_written_completely_or_not_at_all(
    data: Path, monkeypatch: pytest.MonkeyPatch, listing: Any
) -> None:
    real = kernel.pwrite
    monkeypatch.setattr(
        kernel, "pwrite", lambda fd, data, at: real(fd, data[:7], at), raising=False
    )
    assert try_acquire_lock(data)
    assert inspect_lock(data).pid == os.getpid()
    assert release_lock(data)
    monkeypatch.setattr(kernel, "pwrite", lambda _fd, _data, _at: 0, raising=False)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        try_acquire_lock(data)
    assert listing() == []


def test_a_descriptor_that_cannot_be_flocked_proves_nothing(data: Path, faults: Any) -> None:
    lock_of(data).write_bytes(payload(None, "0123456789abcdef"))
    faults.fail("flock", errno.EBADF, when=lambda fd, _how: _name_of(fd).endswith("data.lock"))
    assert inspect_lock(data).alive == "unknown"
    assert try_acquire_lock(data) is False


@pytest.mark.parametrize(("code", "raised"), [(errno.EBADF, False), (errno.EIO, True)])
def test_a_dead_lock_that_cannot_be_flocked_exclusively_is_not_taken_over(
    data: Path, faults: Any, code: int, raised: bool
) -> None:
    lock_of(data).write_bytes(payload(None, "0123456789abcdef"))
    faults.fail(
        "flock",
        code,
        when=lambda fd, how: how & fcntl.LOCK_EX and _name_of(fd).endswith("data.lock"),
    )
    if raised:
        with pytest.raises(OSError, match=os.strerror(code)):
            try_acquire_lock(data)
    else:
        assert try_acquire_lock(data) is False
    assert lock_of(data).exists()


def _name_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def test_without_anonymous_files_a_temp_is_linked(data: Path, faults: Any, listing: Any) -> None:
    faults.fail("open_anonymous", errno.EOPNOTSUPP)
    assert try_acquire_lock(data)
    assert listing() == ["data.lock"]
    assert try_acquire_lock(data) is False
    assert listing() == ["data.lock"]
    assert inspect_lock(data).alive == "yes"
    assert release_lock(data)
    assert listing() == []


@_anonymous
def test_a_lock_that_keeps_vanishing_ends_in_contention(data: Path, faults: Any) -> None:
    faults.fail("link_anonymous", errno.EEXIST)
    assert try_acquire_lock(data) is False
