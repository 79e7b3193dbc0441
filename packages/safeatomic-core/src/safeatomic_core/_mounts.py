"""What is mounted where, as the kernel tells it: the read-only half of the seam.

`_posix` holds the calls that touch a disk; these touch none. They read ``/proc``, ask ``statfs``,
and watch the mount table for changes, so that what was found out about a device number is not used
after that number has gone to another filesystem (an unplugged disk, an automount).

Everything here raises `OSError` and writes nothing.
"""
# ruff: noqa: TID251 - /proc is not a disk, and these calls must not show among those that touch one

from __future__ import annotations

import errno
import os
import select  # not left for later: a program may have entered a chroot by then
import sys
from _weakref import ref  # weakref itself is slow to import

from ._descriptor import Descriptor, closing
from ._errors import system_error
from ._forks import generation
from ._hashes import unloadable
from ._posix import O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH

try:
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # an interpreter that has it in Python only
    from functools import partial  # slow to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65536
_LONG_TABLE = 65536  # bytes; about a thousand mounts, which take the kernel a millisecond
_NO_SUCH_FD = 2**31 - 1


def read_proc(path: str) -> bytes:
    """Read a whole file of ``/proc`` or ``/sys``, whose size is not known beforehand."""
    opened: list[int] = []  # filled by the call that opens, for the reason given in `_descriptor`
    closing = map(os.close, opened)
    chunks = []
    try:
        opened.extend(map(os.open, (path,), (os.O_RDONLY,)))
        while chunk := os.read(opened[0], _CHUNK):
            chunks.append(chunk)
    finally:
        any(closing)
    return b"".join(chunks)


# Opens a directory only to look at it; ``O_PATH`` needs no permission on it (open(2)). Not written
# in Python, where an interrupt could separate the descriptor from its owner (`_descriptor`).
open_directory: Callable[[str], int] = partial(os.open, flags=O_PATH | O_DIRECTORY)


# STATX_ATTR_IMMUTABLE and STATX_ATTR_APPEND (statx(2), ioctl_iflags(2))
IMMUTABLE, APPEND_ONLY = 0x10, 0x20
_STATX_SIZE = 256
_STATX_ATTRIBUTES, _STATX_MASK = 8, 56  # where struct statx has them, unsigned 64-bit numbers
_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100


def attributes(dir_fd: int, name: str = "") -> int | None:
    """Return the attributes of a directory, or of a name in it; None where they are not known.

    By ``statx``, which opens nothing: a file that this user may not read has attributes, too.
    """
    try:
        import ctypes  # slow to import, and impossible without a descriptor or after a chroot

        function = getattr(ctypes.CDLL(None), "statx", None)
    except unloadable(TypeError, MemoryError):  # as for `_posix`'s renameat2
        return None
    if function is None:
        return None
    buffer = (ctypes.c_char * _STATX_SIZE)()
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    if function(dir_fd, os.fsencode(name), flags, 0, buffer) != 0:
        return None
    found, known = (
        int.from_bytes(buffer.raw[offset : offset + 8], sys.byteorder)
        for offset in (_STATX_ATTRIBUTES, _STATX_MASK)
    )
    return found if known & IMMUTABLE else None


def is_swap_file(dir_fd: int, name: str) -> bool:
    """Tell whether the machine swaps to a file, as far as can be seen from here.

    Such a file can be neither renamed nor removed (``may_delete`` in fs/namei.c).
    """
    try:
        file = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        swaps = read_proc("/proc/swaps").splitlines()[1:]
    except system_error():
        return False
    for line in swaps:
        try:
            if os.path.samestat(os.stat(unescaped(line.split()[0])), file):
                return True
        except system_error():
            continue  # in another mount namespace
    return False


def unescaped(field: bytes) -> str:
    r"""Undo the kernel's octal escapes, such as ``\040`` for a space."""
    first, *rest = field.split(b"\\")
    if not rest:
        return os.fsdecode(field)
    parts = [first]
    for part in rest:
        digits = part[:3]
        if len(digits) == 3 and digits.isdigit() and max(digits) < 0x38 and digits[0] < 0x34:
            parts.append(bytes((int(digits, 8),)) + part[3:])
        else:
            parts.append(b"\\" + part)
    return os.fsdecode(b"".join(parts))


def mount_id(fd: int) -> int | None:
    """Return the number of the mount that a descriptor was opened on (Linux 3.15, proc(5)).

    It is exact where a device number is not: a btrfs subvolume has one of its own that
    ``mountinfo`` does not list, and a bind mount shares one with others.
    """
    for line in read_proc(f"/proc/self/fdinfo/{fd}").splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line.removeprefix(b"mnt_id:"))
    return None


def mount_id_at(dir_fd: int, name: str) -> int | None:
    """Return the number of the mount on which a name in an open directory is shown.

    It is another one than the directory's where something is mounted on that very name. A symbolic
    link is not followed, and nothing is opened in earnest (``O_PATH``, open(2)).
    """
    opened, flags = Descriptor(), O_PATH | O_NOFOLLOW | O_NONBLOCK

    def look() -> int | None:
        return mount_id(opened.open(os.open, name, flags, dir_fd=dir_fd))

    return closing(opened, look)


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
    except system_error():
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
        except ImportError as error:  # it can no longer be found, in a chroot
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

    An interrupt may take a watch from its user before it is closed. There is no finalizer for that:
    what a signal handler raises inside one goes nowhere (``object.__del__``). Its descriptor is
    closed when the next watch is made (`close_lost`).

    Attributes:
        entries: What the owner remembers, by device number, for as long as nothing changed.
    """

    __slots__ = (
        "__weakref__",
        "_born",
        "_cookie",
        "_fd",
        "_namespace",
        "_poll",
        "_quiet",
        "_table",
        "entries",
    )

    def __init__(self, path: str = "/proc/self/mountinfo") -> None:
        close_lost()
        self.entries: dict[int, object] = {}
        self._born = generation()
        self._namespace = _namespace()
        self._table = table = _Table()
        _tables[table] = ref(self)
        try:
            table.start(path)
            self._fd, self._cookie = table.fd, table.cookie
            self._poll: select.poll = select.poll()
            # A mountinfo that can be watched is readable and never writable; one that says
            # otherwise (an emulated /proc) has no poll of its own and would never report a change.
            # A change is a POLLERR, which nobody has to ask for (poll(2)).
            self._poll.register(self._fd, select.POLLIN | select.POLLOUT)
            self._quiet = [(self._fd, select.POLLIN)]
        except BaseException:
            table.close()
            raise

    def unchanged(self) -> bool:
        """Tell whether the table is still as first read; if not, this watch is of no more use."""
        if self._born != generation():
            return False
        try:
            if os.lseek(self._fd, 0, os.SEEK_CUR) != self._cookie:
                return False
            return self._poll.poll(0) == self._quiet
        except system_error():
            return False

    def same_namespace(self) -> bool:
        """Tell whether the process is still in the mount namespace whose table this is."""
        return self._namespace == _namespace()

    def read(self, number: int | None = None) -> tuple[bytes, bool]:
        """Read the table, leaving the file position alone.

        Args:
            number: The mount that is looked for. In a long table nothing is read behind its line:
                ten thousand mounts take the kernel 12 ms (`docs/adr/0019-watched-mount-table.md`).

        Returns:
            The table up to there, and whether that is the whole.
        """
        line = None if number is None else b"%d " % number
        chunks = []
        offset = 0
        found = False
        while chunk := os.pread(self._fd, _CHUNK, offset):
            chunks.append(chunk)
            offset += len(chunk)
            if line is not None and not found:
                found = chunk.startswith(line) or b"\n" + line in chunk
            if found and offset >= _LONG_TABLE and chunk.endswith(b"\n"):
                return b"".join(chunks), False
        return b"".join(chunks), True

    def close(self) -> None:
        """Close the descriptor, unless its number belongs to another file by now."""
        self._table.close()


class _Table(Descriptor):
    """The descriptor of a watch, which outlives one that an interrupt took from its user.

    A program may close every descriptor it finds (daemons do), and the number may then go to
    another file. So the file position is set into the middle of an early line, where no reader
    stops: a file that does not answer ``lseek`` with it is not ours. An early one, because the
    kernel writes every line before a position in order to find it (``traverse`` in fs/seq_file.c).

    Attributes:
        cookie: That position; -1 for a file that has none, where the inode has to do.
    """

    __slots__ = ("_inode", "cookie")

    def __init__(self) -> None:
        super().__init__()
        self._inode: int | None = None
        self.cookie = 1 + (id(self) >> 4) % 1022  # no multiple of a buffer

    def start(self, path: str) -> None:
        """Open the table and set the position."""
        fd = self.open(os.open, path, os.O_RDONLY)
        try:
            os.lseek(fd, self.cookie, os.SEEK_SET)
        except system_error():
            self.cookie = -1
        self._inode = os.fstat(fd).st_ino

    def close(self) -> None:
        """Close it, unless the program has closed it; `close_lost` finishes what is interrupted."""
        if not self._is_ours():
            self.release()
        super().close()
        _tables.pop(self, None)

    def _is_ours(self) -> bool:
        if self._inode is None:
            return True  # cut short while it was being opened
        try:
            at = self.cookie if self.cookie < 0 else os.lseek(self.fd, 0, os.SEEK_CUR)
            return at == self.cookie and os.fstat(self.fd).st_ino == self._inode
        except system_error():
            return False


# All that are open, each with the watch that it belongs to.
_tables: dict[_Table, ref[MountWatch]] = {}


def close_lost() -> None:
    """Close what belongs to watches that are gone, since an interrupt kept their users from it."""
    for table, watch in list(_tables.items()):
        if watch() is None:
            table.close()


def _namespace() -> int:
    """Return the inode number that stands for this process's mount namespace, 0 if unknown."""
    try:
        return os.stat("/proc/self/ns/mnt").st_ino
    except system_error():
        return 0
