"""Harden's first half: what an overwritten file keeps.

Mode, owner, group and extended attributes (POSIX ACLs and security labels among them) are put onto
the temp before it is flushed, so that the new content never shows with the wrong ones. Timestamps
are not kept: new content has a new mtime. What this user may not preserve is never fatal; it is
logged.
"""

from __future__ import annotations

import errno
import stat

from . import _log, _mounts
from ._descriptor import Descriptor, closing
from ._errors import system_error
from ._posix import kernel
from ._target import READ_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ._target import Target
    from ._temp_file import Temp

    # What one write could not preserve, and whether anybody gains or loses access by it.
    Loss: TypeAlias = tuple[str, bool]

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_ACL = "system.posix_acl_access"
# A hash or signature of the former content, with which a kernel that appraises files would refuse
# to open the new one (security/integrity/ima/ima_appraise.c), and one of the inode's metadata.
_OF_THE_CONTENT = frozenset({"security.ima", "security.evm"})
# EINVAL: this user namespace, a container, has no number for that owner (user_namespaces(7)).
_NOT_OURS_TO_GIVE = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL})
_SET_ID = stat.S_ISUID | stat.S_ISGID
_OVERFLOW_ID = 65534  # what an owner without a number here looks like (proc(5), overflowuid)
_READ_WRITE = 0o6


def preserve(target: Target, temp: Temp, *, keep_mode: bool) -> bool:
    """Give a temp the metadata of the file it is going to replace.

    The owner goes last: once the file is somebody else's, less may be done to it.

    Args:
        target: The target, whose ``status`` is that of the file to be replaced.
        temp: The temp.
        keep_mode: Leave the temp's mode alone; its maker has chosen it.

    Returns:
        Whether neither of them was seen to have an access ACL, in a list of their attributes.

    Raises:
        OSError: The mode cannot be set on our own temp, or an attribute fails with a real error.
    """
    status = target.status
    assert status is not None  # noqa: S101 - callers ask for an existing file's metadata
    lost: list[Loss] = []
    fd = temp.fd
    mode = stat.S_IMODE(status.st_mode)
    uid, gid = temp.owner
    if gid != status.st_gid:
        gid = _give(fd, status.st_gid, gid, "gid_map")
        if gid != status.st_gid:
            lost.append((f"group {status.st_gid}", True))
            if mode & stat.S_ISGID:
                lost.append(("the set-group-ID bit", True))
                mode &= ~stat.S_ISGID
    without_acl = _copy_xattrs(target, fd, lost)
    if uid == status.st_uid:
        if not keep_mode:
            kernel.fchmod(fd, mode)
    else:
        if not keep_mode:
            kernel.fchmod(fd, mode & ~_SET_ID)  # chown(2) clears these bits
        uid = _give(fd, status.st_uid, uid, "uid_map")
        if uid != status.st_uid:
            # Everybody keeps their access where the group may do what the owner may.
            same = mode >> 6 & _READ_WRITE == mode >> 3 & _READ_WRITE and gid == status.st_gid
            lost.append((f"owner {status.st_uid}", not same))
            if mode & stat.S_ISUID:
                # It would now lend the rights of somebody else than it was set for.
                lost.append(("the set-user-ID bit", True))
                mode &= ~stat.S_ISUID
        if mode & _SET_ID and not keep_mode:
            _set_id_bits(fd, mode, lost)
    if lost:
        _report(target.path, lost)
    return without_acl


def _report(path: str, lost: list[Loss]) -> None:
    """Log what was lost: a warning where it matters, once in a process for each kind."""
    grave = {what for what, matters in lost if matters} - _warned
    _warned.update(grave)
    log = _log.warning if grave else _log.debug
    log("%r: could not preserve %s", path, ", ".join(what for what, _ in lost))


_warned: set[str] = set()


def _give(fd: int, wanted: int, before: int, table: str) -> int:
    """Change owner or group, where that may be done; return what it is then.

    Args:
        fd: The temp.
        wanted: The number that it is to have.
        before: The number that it has.
        table: ``"uid_map"`` for the owner, ``"gid_map"`` for the group.
    """
    if wanted == _OVERFLOW_ID and not _has_every_number(table):
        return before  # it may be anybody's, and a chown would make it nobody's
    owner, group = (wanted, -1) if table == "uid_map" else (-1, wanted)
    try:
        kernel.fchown(fd, owner, group)
    except system_error() as error:
        if error.errno not in _NOT_OURS_TO_GIVE:
            raise
        return before
    return wanted


def _has_every_number(table: str) -> bool:
    """Tell whether this is a user namespace in which every user has a number of their own."""
    try:
        return _mounts.read_proc(f"/proc/self/{table}").split() == [b"0", b"0", b"4294967295"]
    except system_error():
        return False


def _set_id_bits(fd: int, mode: int, lost: list[Loss]) -> None:
    """Set the set-id bits again, on a file that may be somebody else's by now."""
    try:
        kernel.fchmod(fd, mode)
    except system_error() as error:
        if error.errno not in _NOT_OURS_TO_GIVE:
            raise
        lost.append(("the set-user-ID and set-group-ID bits", True))


def _copy_xattrs(target: Target, fd: int, lost: list[Loss]) -> bool:
    """Make the temp's extended attributes those of the target.

    Returns:
        Whether the lists show that neither has an access ACL.
    """
    try:
        try:
            wanted: list[str] = kernel.listxattr_at(target.name, target.dir_fd)
        except (FileNotFoundError, PermissionError):  # no /proc, or a sandbox's
            _copy_from_open(target, fd, lost)
            return False
        present: list[str] = kernel.listxattr(fd)
    except system_error() as error:
        if error.errno in _NO_XATTRS:
            return False
        raise
    if wanted or present:
        at, dir_fd = target.name, target.dir_fd
        _copy(wanted, present, lambda name: kernel.getxattr_at(at, name, dir_fd), fd, lost)
    return _ACL not in wanted and _ACL not in present


def _copy_from_open(target: Target, fd: int, lost: list[Loss]) -> None:
    """Make them those of the target where they are to be had from an open file only."""
    source = Descriptor()

    def copy() -> None:
        wanted: list[str] = []
        try:
            opened = source.open(kernel.open, target.name, READ_FLAGS, dir_fd=target.dir_fd)
            wanted = kernel.listxattr(opened)
        except (FileNotFoundError, PermissionError):
            # The target was just removed, or may not be read; or a security module says no.
            lost.append(("extended attributes", True))
        present: list[str] = kernel.listxattr(fd)
        _copy(wanted, present, lambda name: kernel.getxattr(source.fd, name), fd, lost)

    closing(source, copy)


def _copy(
    wanted: list[str],
    present: list[str],
    value_of: Callable[[str], bytes],
    fd: int,
    lost: list[Loss],
) -> None:
    """Give a temp attributes, and take away a default one that the target does not have.

    Args:
        wanted: Names of the target's.
        present: Names of those that the temp has already.
        value_of: Returns the value of one of the target's.
        fd: The temp.
        lost: Takes what cannot be had.
    """
    for name in wanted:
        if name in _OF_THE_CONTENT:
            continue
        try:
            kernel.setxattr(fd, name, value_of(name))
        except system_error() as error:
            _forgive(error, name, lost)
    if _ACL in present and _ACL not in wanted:  # the directory's default ACL
        try:
            kernel.removexattr(fd, _ACL)
        except system_error() as error:
            _forgive(error, _ACL, lost)


def _forgive(error: OSError, name: str, lost: list[Loss]) -> None:
    """Note an attribute that this user or filesystem cannot carry over; raise what is an error."""
    if error.errno not in _NO_XATTRS | {errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL}:
        raise error
    lost.append((name, name == _ACL or name.startswith("security.")))
