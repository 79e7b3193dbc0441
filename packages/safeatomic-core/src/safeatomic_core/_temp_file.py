"""Temporary files: how they are named, made, and swept when their writer is dead.

A temp lives in the target's directory under a name of fixed length, and its writer keeps an
exclusive flock on it for as long as it is in flight. So the kernel knows which temps are orphans:
a sweeper that gets the flock has the proof, and a writer whose fresh temp was swept in the instant
between its creation and its flock notices and makes another.
"""

from __future__ import annotations

import errno
import os
import stat

from . import _log
from ._checksum_record import has_record_form
from ._descriptor import closing
from ._errors import system_error
from ._forks import Held
from ._posix import (
    LOCK_EX,
    LOCK_NB,
    NO_FLOCK,
    O_CLOEXEC,
    O_NOFOLLOW,
    POSIX_FADV_DONTNEED,
    kernel,
)
from ._target import READ_FLAGS, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

PREFIX = ".safeatomic-tmp-"
SUM_PREFIX = ".safeatomic-sum-"  # of records, and of the sidecars that they displaced
SUFFIX = ".tmp"
_PREFIXES = (PREFIX, SUM_PREFIX)
_HEX = frozenset("0123456789abcdef")
_LENGTH = len(PREFIX) + 16 + len(SUFFIX)
_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC
NAMES = 100  # tried at most; 64 random bits never collide by chance, but a loop has to end


class Temp(Held):
    """One temporary file in flight; its name is known first, so `discard` is always safe.

    It owns its descriptor, open for reading and writing, and with it the flock.

    Attributes:
        name: Its name in the directory; empty once it was published or discarded.
        owner: User and group number that the file was created with.
    """

    __slots__ = ("_prefix", "dir_fd", "name", "owner", "token")

    def __init__(
        self, dir_fd: int, token: str = "", prefix: str = PREFIX, *, lasting: bool = True
    ) -> None:
        """Make nothing yet.

        Args:
            dir_fd: The directory.
            token: The token of the lock it is written under, 16 hexadecimal digits. The name
                contains them, and so tells who takes over a dead writer's lock which orphan is
                that writer's.
            prefix: What the name begins with.
            lasting: See `Held`.
        """
        super().__init__(lasting=lasting)
        self._prefix = prefix
        self.token = token
        self.dir_fd = dir_fd
        self.name = ""
        self.owner = (-1, -1)

    def create(self, mode: int) -> None:
        """Create the file under a new name and flock it.

        Args:
            mode: Permission bits; the kernel applies the umask and default ACLs to them.
        """
        token = self.token
        for _ in range(NAMES):
            self.name = fresh_name(self._prefix, token)
            token = ""
            try:
                fd = self.open(kernel.open, self.name, _CREATE, mode, dir_fd=self.dir_fd)
            except FileExistsError:
                self.name = ""
                continue
            except system_error():
                if self.fd < 0:  # else it was made, and could not get another number
                    self.name = ""  # nothing was made, so nothing is to be discarded
                raise
            if self._claim(fd):
                return
            self.discard()  # the other process may only have examined it
        raise FileExistsError(errno.EEXIST, "no free name for a temporary file", self.name)

    def _claim(self, fd: int) -> bool:
        """Flock the fresh file; False when a sweeper was quicker."""
        try:
            kernel.flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        except system_error() as error:
            if error.errno not in NO_FLOCK:
                raise  # without flock no sweeper can prove anything either
        status = kernel.fstat(fd)
        self.shows(status)
        self.owner = (status.st_uid, status.st_gid)
        # Some filesystems in user space count no links at all: there the name itself is asked.
        return status.st_nlink > 0 or bool(kernel.exists_at(self.name, self.dir_fd))

    def write_all(self, data: memoryview | bytes) -> None:
        """Write every byte at the descriptor's position, however short the single writes are."""
        fd = self.fd
        written = kernel.write(fd, data)
        if written == len(data):
            return
        with memoryview(data) as view:
            while written < len(view):
                with view[written:] as rest:
                    written += progress(kernel.write(fd, rest))

    def discard(self) -> None:
        """Remove the file if it is there, then close it; the flock goes last."""
        try:
            if self.name:
                unlink_if_there(self.name, self.dir_fd)
        except system_error():
            self.name = ""
            raise
        else:
            self.name = ""  # only now: what an interrupt cuts short is done once more
        finally:
            self.close()


def progress(written: int) -> int:
    """Return how many bytes a write took; one that takes none would be repeated for ever.

    A filesystem in user space may answer so. It is taken for a full one, as SQLite does
    (``unixWrite`` in os_unix.c).
    """
    if written <= 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return written


def fresh_name(prefix: str, token: str) -> str:
    """Return a name of a temp to try.

    Args:
        prefix: What it begins with.
        token: The lock's token, for the first name; empty without one, and for a random name.
    """
    return f"{prefix}{token or fresh_token()}{SUFFIX}"


def fresh_token() -> str:
    """Return 16 random hexadecimal digits.

    Raises:
        OSError: There are no random numbers here, for which Python has another error.
    """
    try:
        return os.urandom(8).hex()
    except NotImplementedError as error:
        what = "cannot get random numbers: getrandom is refused, /dev/urandom is missing"
        raise OSError(errno.ENOSYS, what) from error


def unlink_if_there(name: str, dir_fd: int) -> None:
    """Remove a name of ours in a clean-up.

    A first failure may be passing (or an interrupt), so there is a second attempt; what that raises
    is reported.
    """
    try:
        kernel.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass  # never made, or already removed
    except BaseException as error:
        _unlink_once_more(name, dir_fd)
        if not isinstance(error, system_error()):
            raise


def _unlink_once_more(name: str, dir_fd: int) -> None:
    try:
        kernel.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass


def start_writeback(fd: int) -> None:
    """Let the kernel write a file's pages back while we continue; otherwise fsync waits longer.

    Linux starts the writeback of dirty pages that are said not to be needed (mm/fadvise.c).
    """
    try:
        kernel.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
    except system_error() as error:
        _log.debug("no early writeback (%s)", error)


def is_temp_name(name: str) -> bool:
    """Tell whether a name has exactly the form of our temporary files."""
    return (
        len(name) == _LENGTH
        and name.startswith(_PREFIXES)
        and name.endswith(SUFFIX)
        and _HEX.issuperset(name[len(PREFIX) : -len(SUFFIX)])
    )


def orphans(
    dir_fd: int,
    *,
    remove: bool,
    named: Container[str] = frozenset(),
    refused: list[OSError] | None = None,
) -> list[tuple[str, int, int]]:
    """Find the temps in a directory whose writers are proven dead.

    Args:
        dir_fd: The directory.
        remove: Unlink them as well.
        named: Tokens of dead locks that were taken over. They prove that a temp is an orphan which
            cannot be opened, because it is another user's.
        refused: Gets the error of each proven orphan that could not be removed.

    Returns:
        Name, size in bytes and owner of each orphan (removed or not). What cannot be opened,
        flocked or removed is not a proven orphan and is left out. So is a file that has the name of
        a record's temp but not the form of a record: another program's file, which was displaced.
    """
    found = []
    for name in sorted(kernel.listdir(dir_fd)):
        if is_temp_name(name):
            status = _reap(name, dir_fd, remove, named, refused)
            if status is not None:
                found.append((name, status.st_size, status.st_uid))
    return found


def _reap(
    name: str, dir_fd: int, remove: bool, named: Container[str], refused: list[OSError] | None
) -> os.stat_result | None:
    """Return what a proven orphan is, unlinking it if asked; None for anything else."""
    opened, proven = Held(), False

    def reap() -> os.stat_result | None:
        nonlocal proven
        status = _prove(opened, name, dir_fd, named)
        if status is not None:
            proven = True
            if remove:
                kernel.unlink(name, dir_fd=dir_fd)
        return status

    try:
        return closing(opened, reap)
    except system_error() as error:
        if proven and refused is not None and error.errno != errno.ENOENT:
            refused.append(OSError(error.errno, error.strerror, name))
        return None


def _prove(opened: Held, name: str, dir_fd: int, named: Container[str]) -> os.stat_result | None:
    """Return what stands at a temp's name, opened and flocked if possible; None for no orphan.

    Raises:
        OSError: Its writer lives, or that cannot be found out.
    """
    status = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return None
    try:
        fd = opened.open(kernel.open, name, READ_FLAGS, dir_fd=dir_fd)
    except PermissionError:
        if name[len(PREFIX) : -len(SUFFIX)] not in named or not _may_be_draft(name, status):
            return None
    else:
        kernel.flock(fd, LOCK_EX | LOCK_NB)
        if name.startswith(SUM_PREFIX) and not has_record_form(fd):
            return None
        # Under the flock the name must still be this inode: its writer may have published it and
        # another temp may have taken the name (not by chance, but a proof asks for it).
        status = kernel.fstat(fd)
        opened.shows(status)
    named_now = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    return status if identity(status) == identity(named_now) else None


def _may_be_draft(name: str, status: os.stat_result) -> bool:
    """Tell whether what may not be opened can be a temp by its mode: records begin as 0600."""
    return not name.startswith(SUM_PREFIX) or stat.S_IMODE(status.st_mode) == _OWNER_ONLY
