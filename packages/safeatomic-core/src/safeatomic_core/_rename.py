"""A rename that replaces nothing, and what to know of the two names of one file."""

from __future__ import annotations

import errno
import os
import stat

from ._errors import system_error
from ._posix import NOT_SUPPORTED, kernel
from ._target import identity, still_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._target import Target

# link(2) where the filesystem, a sandbox or the kernel's fs.protected_hardlinks allows none.
NO_LINK = NOT_SUPPORTED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV}
_LOOKS = 5  # at two names between which others may move a file


def rename_new(src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> bool:
    """Give a file a name that must not exist, in one step of the kernel.

    Returns:
        Whether it still has its former name, which is then the caller's to unlink: where no rename
        refuses to replace, a hard link does.

    Raises:
        FileExistsError: The new name exists. Nothing was changed.
        OSError: Nothing was changed.
    """
    try:
        kernel.rename_noreplace(src, dst, src_dir_fd, dst_dir_fd)
    except system_error() as error:
        if not lacks_rename_flag(error, kernel.rename_noreplace):
            raise
        _require_removable(src, src_dir_fd)
        kernel.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)
        return True
    return False


def unlink_former(target: Target, fd: int) -> None:
    """Remove the former name of an open file that has a new one.

    Flushes may have taken a while since it got the new one: whatever another program has put at the
    former name meanwhile stays.
    """
    if still_named(target.dir_fd, target.name, identity(kernel.fstat(fd))):
        kernel.unlink(target.name, dir_fd=target.dir_fd)


def rename_to_free(src: str, dst: str, dir_fd: int) -> None:
    """Rename to a name that must be free.

    Where no system call refuses to replace a file, look just before; a window stays.
    """
    try:
        linked = rename_new(src, dst, dir_fd, dir_fd)
    except system_error() as error:
        if error.errno not in NO_LINK:  # FileExistsError, for example
            raise
        if kernel.exists_at(dst, dir_fd):
            raise FileExistsError(errno.EEXIST, "the name is taken", dst) from error
        kernel.rename(src, dst, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        return
    if linked:
        kernel.unlink(src, dir_fd=dir_fd)


def are_one_entry(src: Target, dst: Target) -> bool:
    """Tell whether two different names of one file are one entry of a directory.

    They are where it ignores case, as APFS does unless told otherwise. There a rename between the
    two does nothing on Linux, and unlinking one of them would remove the file.
    """
    if identity(src.directory()) != identity(dst.directory()):
        return False
    # Other moves may come between the looks at the two, but not each time.
    return all(_look_like_one_entry(src, dst) for _ in range(_LOOKS))


def _look_like_one_entry(src: Target, dst: Target) -> bool:
    if {src.name, dst.name} <= set(kernel.listdir(dst.dir_fd)):
        return False
    one, other = src.look_again(), dst.look_again()
    return one is not None and other is not None and identity(one) == identity(other)


def lacks_rename_flag(error: OSError, call: Callable[[str, str, int, int], None]) -> bool:
    """Tell whether a rename failed because its flag is not known here, by kernel or filesystem.

    A seccomp filter answers EPERM or EACCES, and so does a directory where nothing may be renamed
    (it is sticky, immutable, append-only, closed). A filter answers before anything is looked at,
    the kernel knows that no file has an empty name (path_resolution(7)).
    """
    if error.errno not in (errno.EPERM, errno.EACCES):
        return error.errno in NOT_SUPPORTED
    try:
        call("", "", -1, -1)
    except system_error() as asked:
        return asked.errno != errno.ENOENT
    return False


def _require_removable(name: str, dir_fd: int) -> None:
    """Refuse to link a file whose former name could not be unlinked afterwards."""
    directory = kernel.fstat(dir_fd)
    if directory.st_mode & stat.S_ISVTX:
        file = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if os.geteuid() not in (0, file.st_uid, directory.st_uid):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
