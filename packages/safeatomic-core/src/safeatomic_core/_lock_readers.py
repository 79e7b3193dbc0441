"""Who may read a lock: exactly those who could remove it.

A user who can open a lock can hold its flock, and so keep a dead one alive; one who cannot open it
cannot tell a living holder from a dead one, and is blocked for ever by the latter. So a lock is
readable by those who may write *and* search its directory, in a sticky directory by its owner only
(the lock's own owner always may); nobody else may write it. Where mode and group cannot say that, an
access ACL does, and where there are no ACLs it is readable by fewer
(`docs/adr/0034-lock-readers.md`).
"""

from __future__ import annotations

import errno
import stat

from . import _log
from ._acl import (
    ACCESS,
    GROUP,
    GROUP_OBJ,
    MASK,
    NOBODY,
    OTHER,
    OVERFLOW,
    READ,
    USER,
    USER_OBJ,
    is_empty,
    pack,
    parse,
)
from ._errors import system_error
from ._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from ._acl import Entries

_WRITE_AND_SEARCH = 3
_OWN = stat.S_IRUSR | stat.S_IWUSR
_SHARED = stat.S_IWGRP | stat.S_IWOTH
_OWNER_REMOVES = stat.S_IWUSR | stat.S_IXUSR


def admit(fd: int, made: os.stat_result, directory: os.stat_result, dir_fd: int, mark: int) -> None:
    """Make a fresh lock readable by those who may remove it.

    Args:
        fd: The lock, which nobody else has seen yet.
        made: What it is.
        directory: What its directory is.
        dir_fd: The directory, open.
        mark: Bits of its mode beside the permissions.

    Raises:
        OSError: Its mode cannot be set.
    """
    owner = made.st_uid
    gives = owner == 0 and directory.st_uid not in (0, OVERFLOW)
    alone = not gives and not directory.st_mode & _SHARED and not _owner_removes(directory, owner)
    if alone and stat.S_IMODE(made.st_mode) == _OWN | mark:
        return  # as in most directories, nobody else can remove anything here
    _drop_inherited_acl(fd)
    group = made.st_gid == directory.st_gid
    if not group and not directory.st_mode & stat.S_ISVTX:
        group = _chown(fd, -1, directory.st_gid)
    grant = _Grant(fd, directory, dir_fd, mark, group=group)
    grant.to_writers(directory.st_uid if gives else owner)
    # The owner is changed last: who has given a file away may not be permitted to change its mode.
    if gives and not _give_away(fd, directory.st_uid, owner):
        grant.to_writers(owner)


class _Grant:
    """The permissions of one lock, as its directory's ask for them."""

    def __init__(
        self, fd: int, directory: os.stat_result, dir_fd: int, mark: int, *, group: bool
    ) -> None:
        self._fd = fd
        self._directory = directory
        self._dir_fd = dir_fd
        self._mode = _OWN | mark
        self._group = group  # whether the lock has the directory's group

    def to_writers(self, owner: int) -> None:
        """Set the permissions of a lock that will belong to a user."""
        directory = self._directory
        owner_in = _owner_removes(directory, owner)
        if directory.st_mode & stat.S_ISVTX:
            mode, group, acl = 0, True, None
        else:
            mode, group, acl = directory.st_mode, self._group, _read_acl(self._dir_fd)
        groups, others = _may(mode >> 3), _may(mode)
        if acl is None and group and not owner_in:
            kernel.fchmod(self._fd, self._mode | groups << 3 | others)
            return
        if acl is None:
            acl = {(GROUP_OBJ, NOBODY): mode >> 3 & 7, (OTHER, NOBODY): mode & 7}
        entries = _readers(acl, directory, group=group, owner_in=owner_in)
        kernel.fchmod(self._fd, self._mode)
        try:
            kernel.setxattr(self._fd, ACCESS, pack(entries))
        except system_error() as error:
            _log.debug("a lock has fewer readers than its directory has writers (%s)", error)
            everybody = others if groups else 0
            groups = min(groups, entries[GROUP_OBJ, NOBODY]) if group else everybody
            kernel.fchmod(self._fd, self._mode | groups << 3 | everybody)


def _owner_removes(directory: os.stat_result, owner: int) -> bool:
    """Tell whether the directory's owner is somebody else, not root, and may remove files."""
    return (
        directory.st_uid not in (0, owner, OVERFLOW)
        and directory.st_mode & _OWNER_REMOVES == _OWNER_REMOVES
    )


def _may(permissions: int) -> int:
    """Return the permission to read for those who may write and search a directory."""
    return READ if permissions & _WRITE_AND_SEARCH == _WRITE_AND_SEARCH else 0


def _readers(acl: Entries, directory: os.stat_result, *, group: bool, owner_in: bool) -> Entries:
    """Turn the entries of a directory's ACL into those of the lock's.

    Args:
        acl: Entries of the directory.
        directory: What it is.
        group: Whether the lock has the directory's group.
        owner_in: Whether the directory's owner needs an entry of its own.
    """
    mask = acl.get((MASK, NOBODY), 7)
    others = _may(acl.get((OTHER, NOBODY), 0))
    entries: Entries = {
        (USER_OBJ, NOBODY): 6,
        (GROUP_OBJ, NOBODY): 0,
        (MASK, NOBODY): READ,
        (OTHER, NOBODY): others,
    }
    for (tag, number), permissions in acl.items():
        if tag in (USER, GROUP):
            entries[tag, number] = _may(permissions & mask)
        elif tag == GROUP_OBJ:
            place = (GROUP_OBJ, NOBODY) if group else (GROUP, directory.st_gid)
            entries[place] = _may(permissions & mask)
    if not group:
        entries[GROUP_OBJ, NOBODY] = others  # the lock's group means nothing in the directory
    if owner_in:
        entries[USER, directory.st_uid] = READ
    return entries


def _read_acl(dir_fd: int) -> Entries | None:
    """Return the entries of a directory's access ACL; None when it has none that counts."""
    try:
        entries = parse(_raw_acl(dir_fd))
    except FileNotFoundError:  # no /proc: it may have one that cannot be read
        return {}
    except system_error():
        return None
    return None if is_empty(entries) else entries


def _raw_acl(dir_fd: int) -> bytes:
    try:
        raw: bytes = kernel.getxattr(dir_fd, ACCESS)
    except system_error() as error:
        if error.errno != errno.EBADF:
            raise
        # A directory that may not be read was opened for searching only (open(2), O_PATH).
        raw = kernel.getxattr_at(".", ACCESS, dir_fd)
    return raw


def _drop_inherited_acl(fd: int) -> None:
    """Remove what a default ACL of the directory gave: a later chmod would widen its mask."""
    try:
        kernel.removexattr(fd, ACCESS)
    except system_error():
        pass  # there is none, or no such thing here


def _give_away(fd: int, owner: int, before: int) -> bool:
    """Give the lock to another user, if this one can still link and remove it then.

    That takes CAP_FOWNER (fs.protected_hardlinks, sticky directories; capabilities(7)), which a
    change of the mode asks for as well.
    """
    if not _chown(fd, owner, -1):
        return False
    try:
        kernel.fchmod(fd, stat.S_IMODE(kernel.fstat(fd).st_mode))
    except system_error():
        _chown(fd, before, -1)
        return False
    return True


def _chown(fd: int, owner: int, group: int) -> bool:
    """Give the lock an owner or a group; False where that is not permitted."""
    try:
        kernel.fchown(fd, owner, group)
    except system_error() as error:
        _log.debug("a lock keeps its owner and group (%s)", error)
        return False
    return True
