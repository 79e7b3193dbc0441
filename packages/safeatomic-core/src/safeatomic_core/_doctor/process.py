"""Facts about the process and its user: the provider of its fsync, and its disk quota.

Both need ctypes, and only the doctor needs them.
"""

from __future__ import annotations

import errno
import os
import sys

from .._hashes import unloadable
from .._mounts import read_proc


def fsync_provider() -> str:
    """Return the file name of the library whose ``fsync`` this process calls.

    A preloaded library that wraps the call comes first in the search order, so this finds it under
    any name.
    """
    name = _provider_in(None)
    if is_library(name):
        return name
    # A program that is not position-independent has an entry of its own for each C function whose
    # address it takes, and answers with itself. So ask every loaded library.
    providers = set()
    for library in _loaded_libraries():
        try:
            providers.add(_provider_in(library))
        except unloadable(AttributeError):
            continue  # a library that cannot be opened (it may be deleted), or has no fsync
    strangers = sorted(found for found in providers if not is_c_library(found))
    return (strangers or sorted(providers) or [name])[0]


def is_library(path: str) -> bool:
    """Tell whether a file name is a shared library's."""
    return ".so" in os.path.basename(path) or path.endswith(".dylib")


def is_c_library(path: str) -> bool:
    """Tell whether a file name is one of those that C libraries have."""
    name = os.path.basename(path)
    return name.startswith(
        ("libc.", "libc-", "libpthread.", "libpthread-", "ld-musl", "libSystem", "libsystem_")
    )


def _loaded_libraries() -> list[str]:
    """Return the paths of the libraries that this process has mapped (proc(5))."""
    paths = set()
    for line in read_proc("/proc/self/maps").splitlines():
        path = os.fsdecode(line.split(None, 5)[-1])
        if is_library(path):
            paths.add(path)
    return sorted(paths)


def _provider_in(library: str | None) -> str:
    """Return the file whose ``fsync`` a library, or the program, calls (dladdr(3))."""
    import ctypes  # slow to import

    class Info(ctypes.Structure):
        _fields_ = (
            ("fname", ctypes.c_char_p),
            ("fbase", ctypes.c_void_p),
            ("sname", ctypes.c_char_p),
            ("saddr", ctypes.c_void_p),
        )

    # RTLD_NOLOAD loads no new library.
    mode = os.RTLD_LAZY if library is None else os.RTLD_NOLOAD | os.RTLD_LAZY
    address = ctypes.cast(ctypes.CDLL(library, mode=mode).fsync, ctypes.c_void_p)
    info = Info()
    dladdr = ctypes.CDLL(None).dladdr
    dladdr.argtypes = [ctypes.c_void_p, ctypes.POINTER(Info)]
    if dladdr(address, ctypes.byref(info)) == 0 or not info.fname:
        raise OSError(errno.ENOENT, "no library that provides fsync was found")
    return os.fsdecode(info.fname)


def quota(device: str, kind: int, number: int) -> tuple[int, ...]:
    """Return the disk quota of a user (kind 0) or group (kind 1) on a block device (quotactl(2)).

    Returns:
        Hard and soft limit of space in bytes, bytes in use, hard and soft limit of inodes, inodes
        in use; 0 where there is no limit.

    Raises:
        OSError: There is no quota on that device (ESRCH), or it cannot be read.
    """
    if sys.platform != "linux":
        raise OSError(errno.EINVAL, "the quotactl of this system takes other arguments", device)
    import ctypes  # slow to import

    libc = ctypes.CDLL(None, use_errno=True)
    block = (ctypes.c_uint64 * 9)()  # struct dqblk: eight numbers and a mask of valid ones
    command = _Q_GETQUOTA << 8 | kind
    if libc.quotactl(command, os.fsencode(device), number, ctypes.byref(block)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), device)
    hard, soft, used, inode_hard, inode_soft, inodes, *_ = block
    return hard * 1024, soft * 1024, used, inode_hard, inode_soft, inodes


_Q_GETQUOTA = 0x800007  # <sys/quota.h>; limits are in blocks of 1024 bytes
