"""Places where there is no room, or where a limit or a sandbox refuses something."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
from pathlib import Path

import mounted

from .making import STRANGER, become, target_in

# The numbers of system calls, by machine.
CALLS = {
    "x86_64": {"linkat": 265, "flock": 73, "fsync": 74, "renameat": 264, "renameat2": 316,
               "fchmod": 91, "faccessat2": 439, "statx": 332, "fstatfs": 138, "ioctl": 16,
               "unlinkat": 263, "quotactl": 179},
    "aarch64": {"linkat": 37, "flock": 32, "fsync": 82, "renameat2": 276, "fchmod": 52,
                "faccessat2": 439, "statx": 291, "fstatfs": 44, "ioctl": 29, "unlinkat": 35,
                "quotactl": 60},
}  # fmt: skip


def fill(place: Path, blocks: int = 1) -> None:
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1024 * blocks)):
            pass


def full_ext4(work: Path) -> Path:
    point = mounted._ext(work)
    (point / "f").write_bytes(b"old")
    fill(point)
    return point / "f"


def full_for_everybody_but_root(work: Path) -> Path:
    point = mounted._ext(work, "-m", "50")
    target = target_in(point / "d", mode=0o777)
    if os.fork() == 0:
        become(STRANGER)
        fill(target.parent)
        os._exit(0)
    os.wait()
    return target


def full_but_for_roots_reserve(work: Path) -> Path:
    target = full_for_everybody_but_root(work)
    become(STRANGER)
    return target


def with_one_inode_left(work: Path) -> Path:
    point = mounted._ext(work, "-N", "16")
    with contextlib.suppress(OSError):
        for number in range(100):
            (point / f"f{number}").touch()
    (point / "f1").unlink()
    return point / "f0"


def with_a_limit_on_the_size_of_files(work: Path, most: int = 10) -> Path:
    target = target_in(work / "d")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    return target


def with_a_limit_that_is_large_enough(work: Path) -> Path:
    return with_a_limit_on_the_size_of_files(work, 4096)


def without_descriptors(work: Path) -> Path:
    target = target_in(work / "d")
    most = 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(OSError):
        while True:
            os.dup(2)
    os.close(most - 1)
    return target


def filtered(work: Path, call: str, code: int) -> Path:
    """Let a filter answer one system call with an error, as sandboxes do (seccomp(2))."""
    target = target_in(work / "d")
    number = CALLS.get(platform.machine(), {}).get(call)
    if number is None:
        raise mounted.NotPossibleError("the numbers of the system calls are not listed")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    instructions = [  # load the number; if it is this one, return the error; allow the rest
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x50000 | code),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *one) for one in instructions)
    )
    pointer = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(program))
    header = ctypes.create_string_buffer(pointer)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.addressof(header), 0, 0) != 0:
        raise mounted.NotPossibleError("no seccomp here")
    return target


def without_links(work: Path) -> Path:
    return filtered(work, "linkat", errno.EPERM)


def without_flock(work: Path) -> Path:
    return filtered(work, "flock", errno.ENOSYS)


def without_flushes(work: Path) -> Path:
    return filtered(work, "fsync", errno.EACCES)


def without_modes(work: Path) -> Path:
    return filtered(work, "fchmod", errno.EPERM)


def without_the_exchange_of_names(work: Path) -> Path:
    return filtered(work, "renameat2", errno.EPERM)


def without_the_newer_access(work: Path) -> Path:
    return filtered(work, "faccessat2", errno.EPERM)


def without_statx(work: Path) -> Path:
    return filtered(work, "statx", errno.EPERM)


def without_attributes(work: Path) -> Path:
    return filtered(work, "ioctl", errno.EPERM)


def without_statfs(work: Path) -> Path:
    return filtered(work, "fstatfs", errno.EPERM)


def without_quotactl(work: Path) -> Path:
    return filtered(work, "quotactl", errno.EPERM)
