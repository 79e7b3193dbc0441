"""The library's system calls from one straight Python function each, and nothing around them.

No class, no check of arguments, no clean-up, no error message: whatever a Python program does
around these very calls comes on top. So these are the floor under the rows of the table, and what a
row takes beyond its floor is the library's own code. `tests-integration/test_system_calls.py` holds
the calls against those of the library.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from hashlib import sha256

from safeatomic_core._posix import LOCK_EX, LOCK_NB, POSIX_FADV_DONTNEED, kernel

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TEMP = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SIDECAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CLAIM = LOCK_EX | LOCK_NB
_LOCK_MODE = 0o1600
_PAYLOAD = b"x" * 235
_ACL = "system.posix_acl_access"

_mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
_polls = [select.poll() for _ in range(64)]  # one at a time for each thread
for _poll in _polls:
    _poll.register(_mounts, select.POLLPRI | select.POLLERR)


def straight_none(path: str, data: bytes) -> None:
    """Make the calls of ``write_atomic_bytes(concurrency="none")`` over a file."""
    k = kernel
    directory, _, name = path.rpartition("/")
    dir_fd = k.open(directory, _DIRECTORY)
    status = k.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    k.fstat(dir_fd)
    poll = _polls.pop()
    os.lseek(_mounts, 0, os.SEEK_CUR)
    poll.poll(0)
    _polls.append(poll)
    k.access(name, os.W_OK, dir_fd)
    temp = f".safeatomic-tmp-{os.urandom(8).hex()}.tmp"
    fd = k.open(temp, _TEMP, 0o600, dir_fd=dir_fd)
    k.flock(fd, _CLAIM)
    k.fstat(fd)
    k.write(fd, data)
    k.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
    k.exists_at(name + ".sha256", dir_fd)
    k.listxattr_at(name, dir_fd)
    k.listxattr(fd)
    k.fchmod(fd, stat.S_IMODE(status.st_mode))
    k.fsync(fd)
    k.rename(temp, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    k.fsync(dir_fd)
    k.close(fd)
    k.close(dir_fd)


def straight_default(path: str, data: bytes) -> None:
    """Make the calls of ``write_atomic_bytes()`` over a file."""
    k = kernel
    directory, _, name = path.rpartition("/")
    dir_fd = k.open(directory, _DIRECTORY)
    k.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    k.fstat(dir_fd)
    poll = _polls.pop()
    os.lseek(_mounts, 0, os.SEEK_CUR)
    poll.poll(0)
    _polls.append(poll)
    k.access(name, os.W_OK, dir_fd)
    lock = _lock(dir_fd, name)
    status = k.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    temp = f".safeatomic-tmp-{os.urandom(8).hex()}.tmp"
    fd = k.open(temp, _TEMP, 0o600, dir_fd=dir_fd)
    k.flock(fd, _CLAIM)
    k.fstat(fd)
    k.write(fd, data)
    k.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
    k.exists_at(name + ".sha256", dir_fd)
    k.listxattr_at(name, dir_fd)
    k.listxattr(fd)
    k.fchmod(fd, stat.S_IMODE(status.st_mode))
    k.fsync(fd)
    k.stat(name + ".lock", dir_fd=dir_fd, follow_symlinks=False)
    k.rename(temp, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    k.fsync(dir_fd)
    _unlock(dir_fd, name, lock)
    k.close(fd)
    k.close(dir_fd)


def straight_checksum(path: str, data: bytes) -> None:
    """Make the calls of ``write_atomic_bytes(write_checksum=True)`` over a file with a sidecar."""
    k = kernel
    directory, _, name = path.rpartition("/")
    side = name + ".sha256"
    dir_fd = k.open(directory, _DIRECTORY)
    k.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    k.fstat(dir_fd)
    poll = _polls.pop()
    os.lseek(_mounts, 0, os.SEEK_CUR)
    poll.poll(0)
    _polls.append(poll)
    k.access(name, os.W_OK, dir_fd)
    lock = _lock(dir_fd, name)
    status = k.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    before = k.open(side, _SIDECAR, dir_fd=dir_fd)
    k.fstat(before)
    k.pread(before, 65537, 0)
    temp = f".safeatomic-tmp-{os.urandom(8).hex()}.tmp"
    fd = k.open(temp, _TEMP, 0o600, dir_fd=dir_fd)
    k.flock(fd, _CLAIM)
    k.fstat(fd)
    digest = sha256(data).hexdigest().encode()
    k.write(fd, data)
    k.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
    k.flock(before, _CLAIM)
    record = f".safeatomic-sum-{os.urandom(8).hex()}.tmp"
    sidecar = k.open(record, _TEMP, 0o600, dir_fd=dir_fd)
    k.flock(sidecar, _CLAIM)
    k.fstat(sidecar)
    sealed = b"%b  %b\n" % (digest, name.encode())
    k.write(sidecar, b"%b# previous=sha256:%b\n" % (sealed, digest))
    k.listxattr_at(name, dir_fd)
    k.listxattr(fd)
    k.fchmod(fd, stat.S_IMODE(status.st_mode))
    k.fstat(fd)
    with contextlib.suppress(OSError):
        k.getxattr(sidecar, _ACL)
    k.fchmod(sidecar, status.st_mode & 0o644)
    k.fsync(sidecar)
    k.fsync(fd)
    k.stat(name + ".lock", dir_fd=dir_fd, follow_symlinks=False)
    k.rename_exchange(record, side, dir_fd, dir_fd)
    k.stat(record, dir_fd=dir_fd, follow_symlinks=False)
    k.pread(before, 65537, 0)
    k.fsync(dir_fd)
    k.stat(name + ".lock", dir_fd=dir_fd, follow_symlinks=False)
    k.rename(temp, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    k.stat(record, dir_fd=dir_fd, follow_symlinks=False)
    k.pread(before, 65537, 0)
    k.unlink(record, dir_fd=dir_fd)
    k.fsync(dir_fd)
    k.pread(sidecar, 65537, 0)
    k.ftruncate(sidecar, len(sealed))
    _unlock(dir_fd, name, lock)
    k.close(sidecar)
    k.close(before)
    k.close(fd)
    k.close(dir_fd)


def _lock(dir_fd: int, name: str) -> int:
    k = kernel
    lock = k.open_anonymous(_LOCK_MODE, dir_fd=dir_fd)
    k.fstat(lock)
    k.flock(lock, _CLAIM)
    os.urandom(8)
    k.pwrite(lock, _PAYLOAD, 0)
    k.link_anonymous(lock, name + ".lock", dir_fd)
    return lock


def _unlock(dir_fd: int, name: str, lock: int) -> None:
    k = kernel
    k.stat(name + ".lock", dir_fd=dir_fd, follow_symlinks=False)
    k.unlink(name + ".lock", dir_fd=dir_fd)
    k.close(lock)


STRAIGHT = {"none": straight_none, "default": straight_default, "checksum": straight_checksum}
