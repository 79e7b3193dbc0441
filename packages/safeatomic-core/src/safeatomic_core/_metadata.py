"""Harden's first half: what an overwritten file keeps.

Mode, owner, group and extended attributes (POSIX ACLs and security labels among them) are put onto
the temp before it is flushed, so that the new content never shows with the wrong ones. Timestamps
are not kept: new content has a new mtime. What this user may not preserve is logged once for each
write, never fatal.
"""

from __future__ import annotations

import errno
import stat

from . import _log
from ._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from ._target import Target
    from ._temp_file import Temp

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_ACL = "system.posix_acl_access"
# EINVAL: this user namespace, a container, has no number for that owner (user_namespaces(7)).
_NOT_OURS_TO_GIVE = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL})


def preserve(target: Target, temp: Temp) -> None:
    """Give a temp the metadata of the file it is going to replace.

    Args:
        target: The target, whose ``status`` is that of the file to be replaced.
        temp: The temp.

    Raises:
        OSError: The mode cannot be set on our own temp, or an attribute fails with a real error.
    """
    status = target.status
    assert status is not None  # noqa: S101 - callers ask for an existing file's metadata
    lost: list[str] = []
    mode = stat.S_IMODE(status.st_mode)
    # chown first: it clears setuid and setgid bits (chown(2)), which chmod then sets. Where there
    # is nothing to change it would still cost a journal entry.
    if temp.owner != (status.st_uid, status.st_gid):
        mode = _chown_what_we_may(status, temp.fd, mode, lost)
    _copy_xattrs(target, temp.fd, lost)
    kernel.fchmod(temp.fd, mode)
    if lost:
        _log.warning("%r: could not preserve %s", target.path, ", ".join(lost))


def _chown_what_we_may(status: os.stat_result, fd: int, mode: int, lost: list[str]) -> int:
    """Keep owner and group, or the group alone; return the mode that is safe with the result."""
    for owner in (status.st_uid, -1):
        try:
            kernel.fchown(fd, owner, status.st_gid)
        except OSError as error:
            if error.errno not in _NOT_OURS_TO_GIVE:
                raise
        else:
            break
    now = kernel.fstat(fd)
    # A set-id bit would now lend the rights of somebody else than it was set for.
    if now.st_uid != status.st_uid:
        lost.append(f"owner {status.st_uid}")
        if mode & stat.S_ISUID:
            lost.append("the set-user-ID bit")
        mode &= ~stat.S_ISUID
    if now.st_gid != status.st_gid:
        lost.append(f"group {status.st_gid}")
        if mode & stat.S_ISGID:
            lost.append("the set-group-ID bit")
        mode &= ~stat.S_ISGID
    return mode


def _copy_xattrs(target: Target, fd: int, lost: list[str]) -> None:
    """Make the temp's extended attributes those of the target."""
    try:
        wanted = kernel.listxattr_at(target.name, target.dir_fd)
        present = kernel.listxattr(fd)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return
        # No /proc, or the target was just removed; or a security module says no.
        if isinstance(error, FileNotFoundError | PermissionError):
            lost.append("extended attributes")
            return
        raise
    for name in wanted:
        try:
            kernel.setxattr(fd, name, kernel.getxattr_at(target.name, name, target.dir_fd))
        except OSError as error:
            _forgive(error, name, lost)
    for name in present:
        # A default ACL of the directory gave the temp one that the target does not have.
        if name not in wanted and name == _ACL:
            try:
                kernel.removexattr(fd, name)
            except OSError as error:
                _forgive(error, name, lost)


def _forgive(error: OSError, name: str, lost: list[str]) -> None:
    """Note an attribute that this user or filesystem cannot carry over; raise what is an error."""
    if error.errno not in _NO_XATTRS | {errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL}:
        raise error
    lost.append(name)
