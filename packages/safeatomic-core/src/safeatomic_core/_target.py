"""Where a call works: one name in one opened directory.

A path is resolved once, when the directory is opened; every later call is relative to that
descriptor, so that a parent directory that is renamed or swapped meanwhile cannot misdirect it.
"""

from __future__ import annotations

import errno
import os
import stat

from ._descriptor import Descriptor, closing, shows
from ._errors import system_error
from ._posix import MOST_LINKS, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH, kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeVar

    from ._types import StrPath

    _T = TypeVar("_T")

LOCK_SUFFIX = ".lock"
SIDECAR_SUFFIX = ".sha256"

# To read what has a name: never what a link leads to, and without waiting for a FIFO's writer.
READ_FLAGS = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
DIRECTORY_FLAGS = os.O_RDONLY | O_DIRECTORY | O_CLOEXEC
RESOLUTIONS = 8  # of a path whose links lead into a directory that was just removed
STICKY_SHARED = stat.S_ISVTX | stat.S_IWOTH

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFLNK: "a symbolic link",
}


class Target:
    """A name in a directory held open: make it, `open` it, `close` it.

    Attributes:
        path: The path as the caller gave it, as text; used in messages only.
        name: The last component, after symbolic links were followed.
        dir_fd: Descriptor of the directory that holds the name, -1 when closed.
        status: What the name was when it was looked up, None when it did not exist.
        linked: Whether the path led here through a symbolic link at its end.
        filesystem: The name of its filesystem as Gate found it; empty when nobody looked.
        handle: The owner of the directory's descriptor.
        is_mount_point: Whether Gate found the file to be mounted itself, so that no rename works.
        may_be_nameless: Whether an open file that no name here shows will do, for reading.
        nameless: Whether that is what the path leads to; `path` alone opens it.
        must_exist: Whether the call is about a file that is there already; used in messages only.
        lasting: Whether code of the program runs while this is open; it may close any descriptor.
    """

    must_exist = False
    lasting = False
    may_be_nameless = False
    nameless = False
    _flushes: bool  # as `open` was asked

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = ""
        self.dir_fd = -1
        self.status: os.stat_result | None = None
        self.linked = False
        self.filesystem = ""
        self.is_mount_point = False
        self._directory: os.stat_result | None = None
        self.handle = Descriptor()

    @classmethod
    def borrowed(cls, path: str, name: str, dir_fd: int, status: os.stat_result | None) -> Target:
        """Return a target in a directory that somebody else holds open, and closes."""
        target = cls(path)
        target.name, target.dir_fd, target.status = name, dir_fd, status
        return target

    def open(self, *, follow: bool = True, flushes: bool = False) -> None:
        """Open the directory of the path and look its last component up.

        Args:
            follow: Resolve a symbolic link at the last component (the parents always are).
            flushes: Insist on a descriptor that can be flushed, which asks for read permission.

        Raises:
            IsADirectoryError: The path can only name a directory. Nothing was touched.
            PermissionError: A link in a directory that others can write to is not to be trusted.
            OSError: The directory cannot be opened. Nothing was touched.
        """
        self._flushes = flushes
        attempts = RESOLUTIONS
        try:
            while True:
                attempts -= 1
                self.linked = self.nameless = False
                try:
                    self._open_parent(self.path)
                    status = self.look_again()
                    if not (follow and status is not None and stat.S_ISLNK(status.st_mode)):
                        return
                    self._follow()
                    if self._leads_here():
                        return
                except FileNotFoundError:
                    # Links are replaced (as in volumes of Kubernetes): it may be elsewhere by now.
                    if not (self.linked and attempts):
                        raise
                if not attempts:
                    self._refuse_nameless()
                    return
        except system_error() as error:  # not `Naming`, which would slow every read and write down
            if self.named(error) is not error:
                raise self.named(error) from error  # no variable: the traceback would hold it
            raise

    def _open_parent(self, path: str, *, of_link: bool = False) -> None:
        """Open the directory that holds the last component of a path.

        Args:
            path: The path.
            of_link: It is what a link reads as: its directory begins at that of the link.
        """
        directory, separator, name = path.rpartition(os.sep)
        if name in ("", ".", ".."):
            reason = "the path names a directory, not a file"
            raise IsADirectoryError(errno.EISDIR, reason, self.path)
        if self.name and not of_link:  # another one was looked up
            self.close()
        if separator or not of_link:
            parent, at = directory or separator or ".", self.dir_fd if of_link else None
            try:
                self.dir_fd = self.handle.open(kernel.open, parent, DIRECTORY_FLAGS, dir_fd=at)
            except PermissionError:
                if self._flushes or not O_PATH:
                    raise
                # Search permission is enough to look a name up (open(2), O_PATH), as in mode 0711.
                flags = O_PATH | O_DIRECTORY | O_CLOEXEC
                self.dir_fd = self.handle.open(kernel.open, parent, flags, dir_fd=at)
            self._directory = None
        self.name = name

    def _follow(self) -> None:
        """Follow a chain of symbolic links to its end, one by one."""
        for _ in range(MOST_LINKS):
            refuse_untrusted_link(self)
            leads = kernel.readlink(self.name, dir_fd=self.dir_fd)
            self.linked = True
            self._open_parent(leads, of_link=True)
            status = self.look_again()
            if status is None or not stat.S_ISLNK(status.st_mode):
                return
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path)

    def _leads_here(self) -> bool:
        """Tell whether the kernel follows the path to where the texts of its links lead.

        A link of ``/proc`` to an open file reads as a description, not as a path (proc(5),
        ``/proc/pid/fd``): "x (deleted)", the name of a pipe, or one of another mount namespace.
        """
        try:
            status = kernel.stat(self.path)
        except system_error() as error:
            if error.errno == errno.ELOOP:  # no link is followed on this mount (nosymfollow)
                raise
            return True  # a dangling link, or one that was replaced: the next step will tell
        if self.status is not None and identity(self.status) == identity(status):
            return True
        found = self.look_again()  # it may have been replaced between the two looks
        return found is not None and identity(found) == identity(status)

    def _refuse_nameless(self) -> None:
        """Refuse an open file that no name here shows, unless it is to be read."""
        status = kernel.stat(self.path)
        if not stat.S_ISREG(status.st_mode):
            raise refusal(self.path, status.st_mode)
        self.nameless = True
        if not self.may_be_nameless:
            reason = (
                "the path leads to an open file whose name was deleted, or that only another "
                "mount namespace shows; there is none to write to"
            )
            raise OSError(errno.EINVAL, reason, self.path)

    def look_again(self) -> os.stat_result | None:
        """Look the name up anew and remember what it is."""
        try:
            self.status = kernel.stat(self.name, dir_fd=self.dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            self.status = None
        return self.status

    def leads_elsewhere(self) -> bool:
        """Tell whether the path leads elsewhere by now, where what has vanished here may be.

        The directory must still be open, or its number would be used again.
        """

        def differs(again: Target) -> bool:
            places = [(place.name, *identity(place.directory())) for place in (again, self)]
            return places[0] != places[1]

        try:
            return visit(self.path, differs)
        except system_error():
            return False

    def directory(self) -> os.stat_result:
        """Return what the directory was when first asked; it stays the same one while open.

        Its device number is what tells the filesystem. A file may show another one: where it is
        mounted over, and on an overlay, which hands out the numbers of its layers
        (Documentation/filesystems/overlayfs.rst).
        """
        if self._directory is None:
            self._directory = kernel.fstat(self.dir_fd)
        return self._directory

    def shows_what_was_found(self) -> bool:
        """Tell whether the name shows what it showed at the last look, or still nothing."""
        try:
            status = kernel.stat(self.name, dir_fd=self.dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return self.status is None
        return self.status is not None and identity(status) == identity(self.status)

    def require_directory(self) -> None:
        """Refuse a directory that was removed since it was opened."""
        if self.dir_fd >= 0 and kernel.fstat(self.dir_fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)

    def require_regular(self) -> None:
        """Refuse anything but a regular file, saying what it is; a missing file is fine."""
        if self.status is not None and not stat.S_ISREG(self.status.st_mode):
            raise refusal(self.path, self.status.st_mode)

    def require_absent(self) -> None:
        """Refuse a name that exists, whatever it is: a dangling link counts, as for open(2)."""
        if self.status is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)

    def named(self, error: OSError) -> OSError:
        """Return an error of a system call with the caller's path for a name in the directory."""
        name, path = error.filename, self.path
        if error.errno is None or name in (path, path + SIDECAR_SUFFIX, path + LOCK_SUFFIX):
            return error
        sidecar, suffix = self.name + SIDECAR_SUFFIX, ""
        if sidecar in (name, error.filename2):  # a rename of a record names its temp first
            suffix = SIDECAR_SUFFIX
        elif name == self.name + LOCK_SUFFIX:
            suffix = LOCK_SUFFIX
        return OSError(error.errno, error.strerror, path + suffix)

    def is_open(self) -> bool:
        """Tell whether the descriptor still shows the directory that was opened."""
        return shows(self.dir_fd, identity(self.directory()))

    def close(self) -> None:
        """Close the directory."""
        self.dir_fd = -1
        if self.lasting and self._directory is not None:
            self.handle.close_if_shows(identity(self._directory))
        else:
            self.handle.close()

    def hand_over(self) -> None:
        """Leave the directory's descriptor to the owner that shares it."""
        self.dir_fd = -1
        self.handle.detach()


class Naming:
    """Let every system error that leaves a ``with`` block name the caller's path."""

    __slots__ = ("_target",)

    def __init__(self, target: Target) -> None:
        self._target = target

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, OSError) and self._target.named(exc) is not exc:
            raise self._target.named(exc) from exc


def check_path(path: StrPath, argument: str = "path") -> str:
    """Return a path as text; refuse what cannot be a path."""
    if type(path) is str:
        text = path
    else:
        try:
            text = str.__str__(os.fsdecode(path))  # not a subclass's, such as an Enum's
        except TypeError:
            kind = type(path).__name__
            raise TypeError(f"{argument} must be a str, bytes or os.PathLike, not {kind}") from None
    if not text:
        raise ValueError(f"{argument} must not be empty; give the path of a file")
    if "\0" in text:
        raise ValueError(f"{argument} must not contain a NUL character: {text!r}")
    return text


def visit(path: StrPath, work: Callable[[Target], _T]) -> _T:
    """Open the target of a path, do some work with it, and close it.

    Args:
        path: The path of a file that may or may not exist.
        work: Called with the target; its system errors name the path.
    """
    target = Target(check_path(path))

    def opened() -> _T:
        target.open()
        with Naming(target):
            return work(target)

    return closing(target, opened)


def refuse_untrusted_link(target: Target) -> None:
    """Refuse a link that somebody else put into a directory which everybody can write to.

    As the kernel does with ``protected_symlinks=1`` (proc(5), fs/namei.c ``may_follow_link``),
    whatever the sysctl says.
    """
    directory = target.directory()
    if directory.st_mode & STICKY_SHARED != STICKY_SHARED:
        return
    assert target.status is not None  # noqa: S101 - callers have found a link
    if target.status.st_uid not in (os.geteuid(), directory.st_uid):
        raise PermissionError(
            errno.EACCES,
            f"the symbolic link belongs to user {target.status.st_uid} in a sticky directory that "
            "everybody can write to; give the path that it leads to",
            target.path,
        )


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return what a file is the same file by: its device and inode number."""
    return status.st_dev, status.st_ino


def unchanged(before: os.stat_result | None, now: os.stat_result | None) -> bool:
    """Tell whether two looks at a name saw one file, with one owner, mode and ACL; or nothing."""
    if before is None or now is None:
        return before is now
    same = before.st_ino == now.st_ino and before.st_dev == now.st_dev
    return same and before.st_ctime_ns == now.st_ctime_ns


def still_named(dir_fd: int, name: str, inode: tuple[int, int]) -> bool:
    """Tell whether a name points to an inode."""
    try:
        status = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == inode


def kind_of(mode: int) -> str:
    """Say what something is that is not a regular file."""
    return _KINDS.get(stat.S_IFMT(mode), "an anonymous inode")


def require_regular_fd(fd: int, path: str) -> os.stat_result:
    """Return what an open file is, refusing anything but a regular file.

    Another user may put a FIFO or a device at a name between the look at it and the open.
    """
    status = kernel.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise refusal(path, status.st_mode)
    return status


def refusal(path: str, mode: int) -> OSError:
    """Return the error for something that is not a regular file."""
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    return OSError(code, f"{kind_of(mode)}, not a regular file; it was not touched", path)
