"""What is mounted where, as the kernel tells it: the read-only half of the seam.

`_posix` holds the calls that touch a disk; these touch none. They read ``/proc``, ask ``statfs``,
and watch the mount table for change, so that what was once found out about a device number is not
believed after that number went to another filesystem (an unplugged disk, an automount).

Everything here raises `OSError` and writes nothing.
"""
# ruff: noqa: TID251 - /proc is no disk, and these calls must not show among those that touch one

from __future__ import annotations

import errno
import os
import select  # not left for later: a program may have entered a chroot by then

from ._posix import O_CLOEXEC, O_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65536
_NO_SUCH_FD = 2**31 - 1


def read_proc(path: str) -> bytes:
    """Read a whole file of ``/proc`` or ``/sys``, whose size is not known beforehand."""
    fd = os.open(path, os.O_RDONLY | O_CLOEXEC)
    chunks = []
    try:
        while chunk := os.read(fd, _CHUNK):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks)


def open_directory(path: str) -> int:
    """Open a directory for looking at only; ``O_PATH`` needs no permission on it (open(2))."""
    return os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | O_DIRECTORY | O_CLOEXEC)


def mount_id(fd: int) -> int | None:
    """Return the number of the mount that a descriptor was opened on (Linux 3.15, proc(5)).

    It is exact where a device number is not: a btrfs subvolume has one of its own that
    ``mountinfo`` does not list, and a bind mount shares one with others.
    """
    for line in read_proc(f"/proc/self/fdinfo/{fd}").splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line[7:])
    return None


def directory_of(fd: int) -> str:
    """Return the path of an open directory as it is now, without symbolic links."""
    return os.readlink(f"/proc/self/fd/{fd}")


def ext4_options(device: str) -> list[str]:
    """Return the options in force on a mounted ext4, the defaults among them.

    ``mountinfo`` leaves the defaults out; ``/proc/fs/ext4/<disk>/options`` has one line for each
    (``ext4_seq_options_show`` in fs/ext4/super.c).

    Args:
        device: Device number as ``"major:minor"``.
    """
    for line in read_proc("/proc/partitions").splitlines()[2:]:
        major, minor, _, disk = os.fsdecode(line).split(maxsplit=3)
        if f"{major}:{minor}" == device:
            path = f"/proc/fs/ext4/{disk.replace('/', '!')}/options"
            return os.fsdecode(read_proc(path)).splitlines()
    raise OSError(errno.ENODEV, "no such disk in /proc/partitions", device)


def fsync_is_ignored() -> bool:
    """Tell whether ``fsync(2)`` answers without looking at its argument.

    On a descriptor that cannot exist the call must fail with EBADF. Where it succeeds, somebody
    answers in the kernel's place: a preloaded library such as libeatmydata, or a seccomp filter
    (``systemd-nspawn --suppress-sync``, ``SystemCallFilter=~@sync:0``). Asking flushes nothing.
    """
    try:
        os.fsync(_NO_SUCH_FD)
    except OSError:
        return False
    return True


def statfs(fd: int) -> bytes:
    """Return the ``struct statfs`` of an open file as the C library fills it in (statfs(2)).

    Python has `os.statvfs` only, which names no filesystem.
    """
    global _fstatfs  # looked up once a process
    if _fstatfs is None:
        try:
            import ctypes  # slow to import, and Linux hardly ever comes here
        except ImportError as error:  # it cannot be found any more, in a chroot
            raise OSError(errno.ENOSYS, "no ctypes, hence no statfs") from error

        libc = ctypes.CDLL(None, use_errno=True)
        # On 64-bit Intel macOS the plain symbol is the old structure (<sys/mount.h>).
        function = getattr(libc, "fstatfs$INODE64", None) or libc.fstatfs
        buffer_type = ctypes.c_char * 4096

        def call(fd: int) -> bytes:
            buffer = buffer_type()
            if function(fd, buffer) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
            return buffer.raw

        _fstatfs = call
    return _fstatfs(fd)


_fstatfs: Callable[[int], bytes] | None = None


class MountWatch:
    """The mount table of this process, and whether it changed since it was read.

    The kernel marks an open ``mountinfo`` with POLLERR and POLLPRI when anything is mounted,
    unmounted or remounted (proc(5)), and does so once per open file description. Hence an instance
    is used by one thread at a time, and never by a forked child, which shares its description.

    A program may close every descriptor it finds (daemons do), and the number may then go to
    another file. So the file position is set to a random number that nobody reads at: whoever does
    not answer ``lseek`` with it is not our file.

    Attributes:
        entries: What the owner remembers, by device number, for as long as nothing changed.
    """

    __slots__ = ("_cookie", "_fd", "_namespace", "_pid", "_poll", "_quiet", "entries")

    def __init__(self, path: str = "/proc/self/mountinfo") -> None:
        self.entries: dict[int, object] = {}
        self._fd = -1
        self._pid = os.getpid()
        self._namespace = _namespace()
        self._cookie = int.from_bytes(os.urandom(6), "big") | 1 << 48
        self._fd = os.open(path, os.O_RDONLY | O_CLOEXEC)
        try:
            os.lseek(self._fd, self._cookie, os.SEEK_SET)
        except OSError:
            self._cookie = -1  # no such position in this file: it cannot be told from others
        self._poll: select.poll = select.poll()
        # A mountinfo that can be watched is readable and never writable; one that says otherwise
        # (an emulated /proc) has no poll of its own and would never report a change.
        events = select.POLLPRI | select.POLLERR | select.POLLIN | select.POLLOUT
        self._poll.register(self._fd, events)
        self._quiet = [(self._fd, select.POLLIN)]

    def unchanged(self) -> bool:
        """Tell whether the table is still as first read; after a no, throw this away."""
        if self._pid != os.getpid():
            return False
        try:
            if os.lseek(self._fd, 0, os.SEEK_CUR) != self._cookie:
                return False
            return self._poll.poll(0) == self._quiet
        except OSError:
            return False

    def same_namespace(self) -> bool:
        """Tell whether the process is still in the mount namespace whose table this is."""
        return self._namespace == _namespace()

    def read(self) -> bytes:
        """Read the table, leaving the file position alone."""
        chunks = []
        offset = 0
        while chunk := os.pread(self._fd, _CHUNK, offset):
            chunks.append(chunk)
            offset += len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Close the descriptor, unless its number belongs to another file by now."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if os.lseek(fd, 0, os.SEEK_CUR) == self._cookie or self._cookie < 0:
                os.close(fd)
        except OSError:
            pass  # closed by the program

    def __del__(self) -> None:
        try:
            self.close()
        except AttributeError:
            return  # the interpreter is going down and has taken our imports along


def _namespace() -> int:
    """Return the inode number that stands for this process's mount namespace, 0 if unknown."""
    try:
        return os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return 0


def fsync_provider() -> str:
    """Return the file name of the library whose ``fsync`` this process calls.

    A preloaded library that wraps the call comes first in the search order, so this names it
    whatever it is called.
    """
    name = _provider_in(None)
    if is_library(name):
        return name
    # The program itself: one that is not position-independent has an entry of its own for each C
    # function whose address it takes. So every library that is loaded is asked.
    providers = set()
    for library in _loaded_libraries():
        try:
            providers.add(_provider_in(library))
        except (OSError, AttributeError):
            continue  # no library of ours (a deleted one, perhaps), or one that knows no fsync
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
    """Return the file that holds ``fsync`` as a library, or the program, sees it (dladdr(3))."""
    import ctypes  # slow to import, and doctor alone asks

    class Info(ctypes.Structure):
        _fields_ = (
            ("fname", ctypes.c_char_p),
            ("fbase", ctypes.c_void_p),
            ("sname", ctypes.c_char_p),
            ("saddr", ctypes.c_void_p),
        )

    # With RTLD_NOLOAD nothing is loaded that is not there already.
    mode = 0 if library is None else os.RTLD_NOLOAD | os.RTLD_LAZY
    address = ctypes.cast(ctypes.CDLL(library, mode=mode).fsync, ctypes.c_void_p)
    info = Info()
    dladdr = ctypes.CDLL(None).dladdr
    dladdr.argtypes = [ctypes.c_void_p, ctypes.POINTER(Info)]
    if dladdr(address, ctypes.byref(info)) == 0 or not info.fname:
        raise OSError(errno.ENOENT, "no library admits to providing fsync")
    return os.fsdecode(info.fname)


def quota(device: str, kind: int, number: int) -> tuple[int, ...]:
    """Return the disk quota of a user (kind 0) or group (kind 1) on a block device (quotactl(2)).

    Returns:
        Hard and soft limit of space in bytes, bytes in use, hard and soft limit of inodes, inodes
        in use; 0 where there is no limit.

    Raises:
        OSError: There is no quota on that device (ESRCH), or it cannot be asked for.
    """
    import ctypes  # slow to import, and doctor alone asks

    libc = ctypes.CDLL(None, use_errno=True)
    block = (ctypes.c_uint64 * 9)()  # struct dqblk: eight numbers and a mask of valid ones
    command = _Q_GETQUOTA << 8 | kind
    if libc.quotactl(command, os.fsencode(device), number, ctypes.byref(block)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), device)
    hard, soft, used, inode_hard, inode_soft, inodes, *_ = block
    return hard * 1024, soft * 1024, used, inode_hard, inode_soft, inodes


_Q_GETQUOTA = 0x800007  # <sys/quota.h>; limits are in blocks of 1024 bytes
