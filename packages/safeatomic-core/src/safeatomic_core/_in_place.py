"""Writing in place: what is left where a rename cannot work, because the file is a mount point.

A single file that is mounted (``docker run -v file:file``, Kubernetes' ``subPath``) cannot be
renamed over: the kernel answers EBUSY, and the mount would still show the old inode. Under
``safety="strict"`` such a write is refused. Otherwise the content is copied into the file itself.
Readers may see a mixture meanwhile, so before the first byte of the target changes the complete new
content is beside it, flushed, under a name that no sweep removes. After a crash or a failure
there is the old file, the new one, or a mixture beside that copy
(`formal/SafeAtomicInPlace.tla`).
"""

from __future__ import annotations

import errno
import os

from . import _log
from ._descriptor import Descriptor, shows
from ._errors import system_error
from ._posix import NOT_SUPPORTED, kernel
from ._target import READ_FLAGS, identity, require_regular_fd, still_named
from ._temp_file import progress, unlink_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._target import Target
    from ._temp_file import Temp

COPY_PREFIX = ".safeatomic-copy-"
_CHUNK = 1048576  # bytes copied at a time
# EBADF: glibc stands in for a filesystem without fallocate by reading, which a descriptor that was
# opened for writing alone does not allow (posix_fallocate(3)).
_NO_ROOM_RESERVED = NOT_SUPPORTED | {errno.EBADF}


class InPlace:
    """One write into the file itself: `open` it, `overwrite`, `close` it.

    Attributes:
        copy: Name of the complete copy while there may be one, else empty. The target may hold a
            mixture then, unless it is `written`.
        was_longer: Whether the target had another length for a while, and has its own again.
        written: Whether the target holds all of the new content, durably.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._handle = Descriptor()
        self._inode: tuple[int, int] | None = None
        self.copy = ""
        self.was_longer = False
        self.written = False

    def open(self) -> None:
        """Open the target for writing, before anything is done (EROFS, EACCES, ETXTBSY)."""
        target = self._target
        name, dir_fd = target.name, target.dir_fd
        try:
            fd = self._handle.open(kernel.open, name, READ_FLAGS | os.O_RDWR, dir_fd=dir_fd)
        except PermissionError:  # it may be one that this user can write and not read
            fd = self._handle.open(kernel.open, name, READ_FLAGS | os.O_WRONLY, dir_fd=dir_fd)
        self._inode = identity(require_regular_fd(fd, target.path))

    def is_open(self) -> bool:
        """Tell whether the descriptor still shows the target that was opened."""
        return self._inode is None or shows(self._handle.fd, self._inode)

    def overwrite(self, temp: Temp, sync_directory: Callable[[], None]) -> None:
        """Copy a temp, which is complete and flushed, into the target.

        Args:
            temp: The content; its name becomes that of the copy, and is gone at the end.
            sync_directory: Flushes the target's directory.

        Raises:
            OSError: While `copy` is empty the target is unchanged. Else it may hold a mixture,
                unless it is `written` and the copy could not be removed.
        """
        dir_fd = self._target.dir_fd
        size = kernel.fstat(temp.fd).st_size
        name = f"{COPY_PREFIX}{temp.name.rpartition('-')[2]}"
        # Until the target changes it is a temp, removed if anything fails; no sweep removes a copy.
        former, temp.name = temp.name, name
        try:
            kernel.rename(former, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except system_error():
            temp.name = former
            raise
        sync_directory()
        self._require_named()
        self.copy, temp.name = name, ""  # the target may change from here on
        if size:
            self._reserve(size, temp)
        self._copy_from(temp.fd, size)
        kernel.ftruncate(self._handle.fd, size)
        kernel.fsync(self._handle.fd)
        self.written = True
        unlink_if_there(name, dir_fd)
        self.copy = ""

    def close(self) -> None:
        """Close the target."""
        if self._target.lasting and self._inode is not None:
            self._handle.close_if_shows(self._inode)
        else:
            self._handle.close()

    def _require_named(self) -> None:
        """Fail if the file was unmounted since, or another one mounted: nobody would see ours."""
        target = self._target
        inode = identity(kernel.fstat(self._handle.fd))
        if not still_named(target.dir_fd, target.name, inode):
            reason = "another file was mounted or unmounted there meanwhile; write again"
            raise OSError(errno.ESTALE, reason, target.name)

    def _reserve(self, size: int, temp: Temp) -> None:
        """Make sure that the new content finds room; the only change so far is undone if not.

        Raises:
            OSError: There is none. The target is as it was, durably, and `copy` is empty; or it is
                longer, since its length could not be set back, and the copy stays.
        """
        fd = self._handle.fd
        before = kernel.fstat(fd).st_size
        try:
            kernel.posix_fallocate(fd, 0, size)
        except system_error() as error:
            if error.errno in _NO_ROOM_RESERVED:
                _log.debug("%r: no room can be reserved (%s)", self._target.path, error)
                return
            if kernel.fstat(fd).st_size != before:
                self.was_longer = True
                kernel.ftruncate(fd, before)
                kernel.fsync(fd)  # while the copy is there: a crash must not show NULs without it
            self.copy, temp.name = "", self.copy
            raise

    def _copy_from(self, source: int, size: int) -> None:
        offset = 0
        while offset < size:
            chunk = kernel.pread(source, _CHUNK, offset)
            if not chunk:
                raise OSError(errno.EIO, "the staged content is shorter than it was")
            done = 0
            while done < len(chunk):
                done += progress(kernel.pwrite(self._handle.fd, chunk[done:], offset + done))
            offset += len(chunk)
