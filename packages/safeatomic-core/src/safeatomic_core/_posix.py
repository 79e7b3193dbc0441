"""The one seam between the library and the operating system.

Every system call that touches a disk is an entry of `kernel`, under the call's own name; nothing
else in the package calls an effectful `os` function (a lint rule holds that). Tests replace entries
with `intercept` to record, delay or fail them; what differs between platforms (a flush that reaches
the platters, anonymous files, a rename that refuses to replace) is settled here and nowhere else.

All calls raise `OSError`; none is retried except by Python itself on EINTR (PEP 475). All of them
may be used from any thread.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys

from . import _log
from ._errors import system_error
from ._hashes import unloadable

try:
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # an interpreter that has it in Python only
    from functools import partial  # slow to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    from _typeshed import ReadableBuffer

    _F = TypeVar("_F", bound=Callable[..., Any])

try:
    import fcntl
except ImportError:  # Windows: importing works, every call that needs it says ENOSYS
    fcntl = None  # type: ignore[assignment]

O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
O_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
O_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
# PyPy's os lacks these two names of Linux's open(2). The numbers are those of asm-generic/fcntl.h,
# which hold on every machine that PyPy runs on.
_UNNAMED = sys.platform == "linux" and sys.implementation.name == "pypy"
O_PATH: int = getattr(os, "O_PATH", 0o10000000 if _UNNAMED else 0)
O_TMPFILE: int = getattr(os, "O_TMPFILE", 0o20000000 | O_DIRECTORY if _UNNAMED else 0)
POSIX_FADV_DONTNEED: int = getattr(os, "POSIX_FADV_DONTNEED", 0)

LOCK_SH, LOCK_EX, LOCK_NB = 1, 2, 4

MOST_LINKS = 40  # as many as the kernel follows (path_resolution(7))
F_DUPFD_CLOEXEC: int = getattr(fcntl, "F_DUPFD_CLOEXEC", 1030)  # linux/fcntl.h
STANDARD = 3  # numbers below are those of the standard streams
_BSD = sys.platform == "darwin" or "bsd" in sys.platform
_EFTYPE = 79  # <sys/errno.h> of the BSDs and macOS; Python has no name for it
# How "not here" is reported (open(2), link(2), flock(2), fsync(2), rename(2)).
NOT_SUPPORTED = frozenset(
    {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY}
)
# ENOLCK of flock(2) can be temporary: a lock service of NFS does not answer, or memory is short
# (fcntl(2)). A lock fails with it; a temp goes without, since some mounts never have a service.
NO_FLOCK = NOT_SUPPORTED | {errno.ENOLCK}


def _missing(name: str, code: int = errno.ENOSYS) -> Callable[..., Any]:
    def unavailable(*_args: object, **_kwargs: object) -> Any:
        raise OSError(code, f"{name} is not available on {sys.platform}")

    return unavailable


def _or_missing(name: str, call: _F | None) -> _F:
    """Return the call, or one that raises ENOSYS where the platform lacks it."""
    return call if call is not None else _missing(name)  # type: ignore[return-value]


def _fsync(fd: int) -> None:
    """Flush a file or directory to stable storage.

    On macOS ``fsync(2)`` leaves the data in the drive's cache; ``F_FULLFSYNC`` flushes that as well
    (macOS fsync(2)), and some filesystems do not have it.
    """
    try:
        fcntl.fcntl(fd, _F_FULLFSYNC)
    except system_error() as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        os.fsync(fd)


_F_FULLFSYNC = 51  # <sys/fcntl.h> of macOS; Python exposes it under that platform only


def _fchmod(fd: int, mode: int) -> None:
    """Set a mode, without the sticky bit where only root may give it to a file (BSD chmod(2))."""
    try:
        os.fchmod(fd, mode)
    except system_error() as error:
        if error.errno != _EFTYPE or not mode & stat.S_ISVTX:
            raise
        os.fchmod(fd, mode & ~stat.S_ISVTX)  # it lets nobody in; ADR 16 says what is lost


def _opener_of_anonymous(flag: int) -> Callable[..., int]:
    """Return what creates a file without a name (``O_TMPFILE``, Linux 3.11), in one C call."""
    missing = _missing("O_TMPFILE", errno.EOPNOTSUPP)
    return partial(os.open, ".", flag | os.O_RDWR | O_CLOEXEC) if flag else missing


def _link_anonymous(fd: int, name: str, dir_fd: int) -> None:
    """Give an anonymous file a name that must not exist (linkat(2), the ``/proc/self/fd`` way)."""
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=dir_fd, follow_symlinks=True)


def _exists_at(name: str, dir_fd: int) -> int:
    """Return the mode of what has a name, 0 if nothing has; one that is too long cannot be there.

    Not by `os.access`, which takes every error for a no: an EIO would hide a sidecar.
    """
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    except system_error() as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
        return 0


def _listxattr_at(name: str, dir_fd: int) -> list[str]:
    """List the extended attributes of a name in an open directory.

    There is no ``listxattrat``; the way through ``/proc/self/fd`` cannot be misdirected by a parent
    directory that is renamed meanwhile.
    """
    return os.listxattr(f"/proc/self/fd/{dir_fd}/{name}", follow_symlinks=False)


def _getxattr_at(name: str, attribute: str, dir_fd: int) -> bytes:
    """Read one extended attribute of a name in an open directory."""
    return os.getxattr(f"/proc/self/fd/{dir_fd}/{name}", attribute, follow_symlinks=False)


def _listdir(directory: int | str) -> list[str]:
    """List the names in a directory, given by descriptor or path.

    A descriptor is rewound first: what was created after it was opened need not show otherwise
    (readdir(3p)), and on btrfs does not.
    """
    if isinstance(directory, int):
        os.lseek(directory, 0, os.SEEK_SET)
    return os.listdir(directory)


def _rename_noreplace(src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename unless the destination exists, in one step of the kernel.

    ``renameat2(RENAME_NOREPLACE)`` on Linux, ``renameatx_np(RENAME_EXCL)`` on macOS; some
    filesystems answer EINVAL or ENOTSUP, which the caller handles.
    """
    _rename_with_flags(0, src, dst, src_dir_fd, dst_dir_fd)


def _rename_exchange(src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Exchange two names that both exist, in one step of the kernel.

    ``renameat2(RENAME_EXCHANGE)`` on Linux, ``renameatx_np(RENAME_SWAP)`` on macOS; some
    filesystems answer EINVAL or ENOTSUP, which the caller handles.
    """
    _rename_with_flags(1, src, dst, src_dir_fd, dst_dir_fd)


def _rename_with_flags(which: int, src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> None:
    global _renameat2
    if _renameat2 is None:
        _renameat2 = _find_renameat2()
    _renameat2(which, src, dst, src_dir_fd, dst_dir_fd)


_renameat2: Callable[[int, str, str, int, int], None] | None = None


def _find_renameat2() -> Callable[[int, str, str, int, int], None]:
    """Return the C function, or one that raises ENOSYS where libc or ctypes cannot give it.

    Raises:
        OSError: ENOSYS: no descriptor is left to load ctypes with.
    """
    # RENAME_NOREPLACE and RENAME_EXCHANGE (linux/fs.h), RENAME_EXCL and RENAME_SWAP (macOS).
    name, flags = ("renameatx_np", (4, 2)) if sys.platform == "darwin" else ("renameat2", (1, 2))
    try:
        import ctypes  # slow to import, and only a move without force and a checksum need it

        libc = ctypes.CDLL(None, use_errno=True)
    # A chroot may hide the standard library; SELinux and PR_SET_MDWE the memory that ctypes makes
    # executable.
    except unloadable(TypeError, MemoryError) as error:
        _log.debug("no %s (%s)", name, error)
        missing = _missing(name)
        if any(os.strerror(code) in str(error) for code in (errno.EMFILE, errno.ENFILE)):
            missing()  # raises: this is not remembered, since the next call may find it
        return missing
    function = getattr(libc, name, None)
    if function is None:
        return _or_missing(name, None)
    function.argtypes = [*(ctypes.c_int, ctypes.c_char_p) * 2, ctypes.c_uint]

    def renameat2(which: int, src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        old, new = os.fsencode(src), os.fsencode(dst)
        if function(src_dir_fd, old, dst_dir_fd, new, flags[which]) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), src, None, dst)

    return renameat2


def _raw_stream(fd: int, mode: str) -> io.RawIOBase:
    """Return an unbuffered stream in C (ADR 24) on a descriptor, which it does not close."""
    return io.FileIO(fd, mode, closefd=False)


def _access(name: str, mode: int, dir_fd: int) -> bool:
    """Tell whether the effective user may access a name in an open directory (faccessat2(2)).

    Every error is a no, which the caller confirms by another call.
    """
    try:
        return os.access(name, mode, dir_fd=dir_fd, effective_ids=True, follow_symlinks=False)
    except NotImplementedError:
        return False


def _realpath(path: str) -> str:
    """Return the absolute path without links, as far as it exists; of a loop, as it is.

    Not by `os.path.realpath`, which takes a time-out (ADR 37) for a place that is missing.
    """
    resolved = os.sep if path.startswith(os.sep) else os.getcwd()
    ahead = path.split(os.sep)[::-1]
    left = MOST_LINKS
    while ahead:
        name = ahead.pop()
        if name in ("", os.curdir):
            continue
        if name == os.pardir:
            resolved = os.path.dirname(resolved)
            continue
        place = os.path.join(resolved, name)
        if not _is_link(place):
            resolved = place
            continue
        if not left:
            return os.path.abspath(path)
        left -= 1
        leads = os.readlink(place)
        if leads.startswith(os.sep):
            resolved = os.sep
        ahead += leads.split(os.sep)[::-1]
    return resolved


def _is_link(path: str) -> bool:
    """Tell whether a symbolic link stands there; what cannot be seen is none."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except system_error():
        return False


class Kernel:
    """The table of system calls; an instance attribute of the same name overrides an entry."""

    # descriptors
    open = staticmethod(os.open)
    open_anonymous = staticmethod(_opener_of_anonymous(O_TMPFILE))
    dupfd = staticmethod(_or_missing("dupfd", getattr(fcntl, "fcntl", None)))
    close = staticmethod(os.close)
    read = staticmethod(os.read)
    pread = staticmethod(_or_missing("pread", getattr(os, "pread", None)))
    write = staticmethod(os.write)
    pwrite = staticmethod(_or_missing("pwrite", getattr(os, "pwrite", None)))
    lseek = staticmethod(os.lseek)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(_fsync if sys.platform == "darwin" else os.fsync)
    posix_fallocate = staticmethod(
        _or_missing("posix_fallocate", getattr(os, "posix_fallocate", None))
    )
    posix_fadvise = staticmethod(_or_missing("posix_fadvise", getattr(os, "posix_fadvise", None)))
    raw_stream = staticmethod(_raw_stream)
    flock = staticmethod(_or_missing("flock", getattr(fcntl, "flock", None)))
    # metadata
    access = staticmethod(_access)
    stat = staticmethod(os.stat)
    fstat = staticmethod(os.fstat)
    fchmod = staticmethod(_or_missing("fchmod", _fchmod if _BSD else getattr(os, "fchmod", None)))
    fchown = staticmethod(_or_missing("fchown", getattr(os, "fchown", None)))
    listxattr = staticmethod(_or_missing("listxattr", getattr(os, "listxattr", None)))
    listxattr_at = staticmethod(
        _listxattr_at if hasattr(os, "listxattr") else _missing("listxattr")
    )
    getxattr_at = staticmethod(_getxattr_at if hasattr(os, "getxattr") else _missing("getxattr"))
    getxattr = staticmethod(_or_missing("getxattr", getattr(os, "getxattr", None)))
    setxattr = staticmethod(_or_missing("setxattr", getattr(os, "setxattr", None)))
    removexattr = staticmethod(_or_missing("removexattr", getattr(os, "removexattr", None)))
    fstatvfs = staticmethod(_or_missing("fstatvfs", getattr(os, "fstatvfs", None)))
    exists_at = staticmethod(_exists_at)
    # names
    rename = staticmethod(os.rename)
    rename_noreplace = staticmethod(_rename_noreplace)
    rename_exchange = staticmethod(_rename_exchange)
    link = staticmethod(_or_missing("link", getattr(os, "link", None)))
    link_anonymous = staticmethod(
        _link_anonymous if hasattr(os, "link") else _missing("link")  # Termux has none
    )
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    listdir = staticmethod(_listdir)
    readlink = staticmethod(os.readlink)
    realpath = staticmethod(_realpath)
    # processes
    kill = staticmethod(os.kill)


ENTRIES = tuple(name for name in vars(Kernel) if not name.startswith("_"))

kernel = Kernel()


class _TableStream(io.RawIOBase):
    """What stands in for `io.FileIO` while the entries of the table are replaced: it uses them."""

    def __init__(self, fd: int, mode: str) -> None:
        self._fd = fd
        self._writing = mode == "wb"

    def readable(self) -> bool:
        return not self._writing

    def writable(self) -> bool:
        return self._writing

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: ReadableBuffer, /) -> int:
        return kernel.write(self._fd, data)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = kernel.read(self._fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return kernel.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        # No entry: the buffer above drops what the first one raises (Modules/_io/bufferedio.c).
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def truncate(self, size: int | None = None, /) -> int:
        length = self.tell() if size is None else size
        kernel.ftruncate(self._fd, length)
        return length


class intercept:  # noqa: N801 - reads as the function it is used as
    """Replace every entry of `kernel` inside a ``with`` block (for tests).

    Args:
        wrap: Called as ``wrap(name, call)`` for each entry; returns what stands in for it. A
            wrapper of ``close`` must close the descriptor even when it then raises.
    """

    def __init__(self, wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
        self._wrap = wrap

    def __enter__(self) -> None:
        self._before = {name: getattr(kernel, name) for name in ENTRIES}
        for name, call in self._before.items():
            setattr(kernel, name, self._wrap(name, call))
        kernel.raw_stream = _TableStream

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not deleted: code that PyPy has compiled may go on with the former value of an attribute
        # that was deleted and set anew.
        for name, call in self._before.items():
            setattr(kernel, name, call)
