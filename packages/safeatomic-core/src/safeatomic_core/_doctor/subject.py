"""The location of a file, opened for examination by `doctor`.

Opening never fails: a missing part stays None or -1, and the reason is kept, so that every check
can report it instead of raising.
"""

from __future__ import annotations

import errno
import os
import stat

from .. import _mounts
from .._descriptor import Descriptor
from .._errors import SafeAtomicError, system_error
from .._guarantees import nearest_directory, way_to
from .._posix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, kernel
from .._target import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from .._environment import Environment
    from .._types import CheckStatus

    Finding: TypeAlias = tuple[CheckStatus, str]


class Place:
    """A directory, and perhaps one name in it. `close` it.

    Attributes:
        path: The path as the caller gave it, as text.
        given_directory: The directory part of that path, absolute, symbolic links not followed.
        directory: The directory after following them.
        name: The file's name in it; empty when the path is a directory itself.
        listable: Whether the directory's names can be read.
        trouble: Why the directory cannot be opened, None if it can.
        status: The result of stat for the directory, None if unknown.
        target: The result of lstat for the name, None if it does not exist.
        link: The result of lstat for the path itself if it is a symbolic link, else None.
        astray: Whether the path, as a write uses it, leads to another directory than its absolute
            form without links, or that form leads nowhere. This happens below a working directory
            that was mounted over, lies below a closed one, or has too long a path, and through
            ``/proc/PID/root`` into another mount namespace.
        environment: The environment, set by the doctor.
    """

    __slots__ = (
        "_handle",
        "_way",
        "astray",
        "directory",
        "environment",
        "given_directory",
        "link",
        "listable",
        "name",
        "path",
        "status",
        "target",
        "trouble",
    )

    def __init__(self, path: str, environment: Environment) -> None:
        self.path = path
        self.environment = environment
        self._handle = Descriptor()
        self.listable = False
        self.trouble: OSError | None = None
        self.status: os.stat_result | None = None
        self.target: os.stat_result | None = None
        self.link: os.stat_result | None = None
        self.given_directory = self.directory = self.name = ""
        self._way = ""  # the path that opens the directory, if not the absolute one
        self.astray = False

    def open(self) -> None:
        """Open the directory and examine it; on failure, the reason is in `trouble`."""
        try:
            self._resolve()
            self._open()
            self._look()
        except system_error() as error:
            self.trouble = error

    @property
    def dir_fd(self) -> int:
        """Descriptor of the directory, -1 if it cannot be opened."""
        return self._handle.fd

    def _resolve(self) -> None:
        """Find the directory and the name in it, even if the working directory is gone."""
        absolute = os.path.abspath(self.path)
        resolved = kernel.realpath(self.path)
        if _is_directory(self.path):
            self.given_directory, self.directory = absolute, resolved
        else:
            self.given_directory = os.path.dirname(absolute)
            self.directory, self.name = os.path.split(resolved)
        if os.path.isabs(self.path) and not self.path.startswith("/proc/"):
            return
        if not self.name:
            self._way = self.path
        elif (found := way_to(self.path)) is not None:
            self._way, self.name = found

    def _open(self) -> None:
        flags = os.O_RDONLY | O_DIRECTORY | O_CLOEXEC
        if not self._way:
            # The resolved path has no links; one that appeared since leads somewhere else.
            flags |= O_NOFOLLOW
        way = self._way or self.directory
        try:
            self._handle.open(kernel.open, way, flags)
            self.listable = True
        except system_error() as error:
            self.trouble = error
            if isinstance(error, NotADirectoryError):
                kernel.stat(way)  # may raise ELOOP
            if error.errno != errno.EACCES:
                return
            try:  # without read permission, it may still be searchable
                self._handle.open(_mounts.open_directory, way)
                self.trouble = None
            except system_error() as closed:
                self.trouble = closed

    def _look(self) -> None:
        if self.dir_fd < 0:
            return
        self.status = kernel.fstat(self.dir_fd)
        if self._way and not self._is_at(self.directory):
            self.astray = True
            self._name_directory()
        if self.name:
            self.target = _stat_or_none(self.name, self.dir_fd)
            link = _stat_or_none(self.path)
            if link is not None and stat.S_ISLNK(link.st_mode):
                self.link = link

    def _is_at(self, path: str) -> bool:
        """Tell whether a path leads to the directory that was opened."""
        found = _stat_or_none(path)
        return found is not None and identity(found) == identity(need_directory(self))

    def _name_directory(self) -> None:
        """Find a path to show for a directory to which the absolute one does not lead."""
        try:
            path = _mounts.directory_of(self.dir_fd)
        except system_error():
            path = self._way
        if not self._is_at(path):  # as in another mount namespace, or below what was mounted over
            path = self._way
        self.directory = self.given_directory = path

    def nearest(self) -> str:
        """Return the nearest directory above that exists."""
        try:
            return nearest_directory(self.path)
        except system_error():
            return "not to be seen from here"

    def join(self, name: str) -> str:
        """Return the path of another name in the directory, for display."""
        return os.path.join(self.directory, name)

    def reach(self, name: str) -> str:
        """Return the path by which this process reaches another name in the directory."""
        return os.path.join(self._way or self.directory, name)

    def close(self) -> None:
        """Close the directory."""
        self._handle.close()


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(kernel.stat(path).st_mode)
    except system_error():
        return False


def _stat_or_none(path: str, dir_fd: int | None = None) -> os.stat_result | None:
    """Return the result of lstat for a name, None on failure."""
    try:
        return kernel.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except system_error():
        return None


def need_directory(place: Place) -> os.stat_result:
    """Return the directory's stat result; if it cannot be opened, skip the check."""
    if place.status is None:
        raise SkippedError("skipped: the directory cannot be opened")
    return place.status


class SkippedError(SafeAtomicError):
    """A check cannot be made; the message says why."""


def passed(detail: str) -> Finding:
    """Return the finding that there is no problem."""
    return "pass", detail


def warned(detail: str) -> Finding:
    """Return the finding of a possible problem."""
    return "warn", detail


def failed(detail: str) -> Finding:
    """Return the finding of a problem."""
    return "fail", detail


def unknown(detail: str) -> Finding:
    """Return the finding that nothing could be determined."""
    return "unknown", detail


def shown(text: str) -> str:
    """Return a text for a terminal: unprintable characters are escaped, and blanks are quoted."""
    if not text.isprintable():
        text = repr(text)[1:-1]
    if " " not in text:
        return text
    return f'"{text}"' if "'" in text else f"'{text}'"


def where(environment: Environment) -> str:
    """Return the filesystem of a place, and where it is mounted."""
    name, kind, point = (
        environment.filesystem,
        environment.filesystem_class,
        environment.mount_point,
    )
    at = "" if point is None else f" at {shown(point)}"
    return f"{shown(name)} ({kind}){at}, device {environment.device}"


def size_text(size: float) -> str:
    """Return a number of bytes in a readable unit."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
