"""Who may read a checksum record: those who may read the data, and no one else.

The digest of a short secret gives the secret away. So a record gets its owner, group, read bits and
the read entries of its ACL from the file whose content it describes. While it describes other
content as well, which other people may read, it has fewer readers than either.
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
    WRITE,
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
    from ._target import Target
    from ._temp_file import Temp

# No ACL, or none on this filesystem or platform.
_NO_ACL = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
# What this user may not give, or has no room here. EINVAL: this user namespace has no
# number for that owner (user_namespaces(7)).
_NOT_TO_BE_HAD = frozenset(
    {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSPC}
)
_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_MASKED = (USER, GROUP_OBJ, GROUP)


class Readers:
    """Those who may read a file, as a record of it repeats them.

    Attributes:
        owner: User number.
        group: Group number.
        mode: Permission bits: who may read, and the owner may write.
        acl: The access ACL of the same meaning, None where mode and group say it all.
    """

    __slots__ = ("acl", "group", "mode", "owner")

    def __init__(self, owner: int, group: int, mode: int, acl: bytes | None) -> None:
        self.owner = owner
        self.group = group
        self.mode = (mode & _READ) | stat.S_IWUSR
        self.acl = acl

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Readers):
            return NotImplemented
        return (self.owner, self.group, self.mode, self.acl) == (
            other.owner,
            other.group,
            other.mode,
            other.acl,
        )

    __hash__ = None  # type: ignore[assignment]

    def restricted(self, other: Readers | None) -> Readers:
        """Return those who may read both this and another file, or fewer.

        Args:
            other: Those who may read the other, None if that is not known.
        """
        if self == other:
            return self
        if (
            other is not None
            and self.group == other.group
            and self.acl is None
            and other.acl is None
        ):
            return Readers(self.owner, self.group, self.mode & (other.mode | stat.S_IRUSR), None)
        return Readers(self.owner, self.group, self.mode & stat.S_IRWXU, None)


def readers_of(fd: int, *, without_acl: bool = False) -> Readers:
    """Return those who may read an open file.

    Args:
        fd: The file.
        without_acl: It is known to have none.
    """
    status = kernel.fstat(fd)
    try:
        return _readers(status, None if without_acl else acl_of(fd))
    except PermissionError as error:  # a sandbox's: what it may be hiding makes the mode uncertain
        _log.debug("the ACL of the data could not be read (%s): fewer may read its record", error)
        return Readers(status.st_uid, status.st_gid, status.st_mode & stat.S_IRWXU, None)


def acl_of(fd: int) -> bytes | None:
    """Return the access ACL of an open file, None if it has none."""
    try:
        acl: bytes = kernel.getxattr(fd, ACCESS)
    except system_error() as error:
        if error.errno not in _NO_ACL:
            raise
        return None
    return acl


def readers_at(target: Target, *, without_acl: bool) -> Readers | None:
    """Return those who may read what stood at a target's name; None if that is not known."""
    if target.status is None:
        return None
    if without_acl:
        return _readers(target.status, None)
    try:
        acl = kernel.getxattr_at(target.name, ACCESS, target.dir_fd)
    except system_error() as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT):  # or there is no /proc
            _log.debug("%r: its ACL could not be read (%s)", target.path, error)
            return None
        if error.errno not in _NO_ACL:
            raise
        acl = None
    return _readers(target.status, acl)


def admit(record: Temp, readers: Readers) -> None:
    """Let them read a record of ours; where that fails, fewer."""
    fd = record.fd
    everybody = readers.acl is None and readers.mode & _READ == _READ
    given = True
    try:
        _give_group(record, readers.group)
        _give_acl(fd, readers.acl)
    except system_error() as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        _log.debug("the record does not have the group or the ACL of the data (%s)", error)
        given = everybody  # everybody may read it then, whatever its group
    if not given:
        if not _give_names(record, readers):
            kernel.fchmod(fd, readers.mode & stat.S_IRWXU)
    elif readers.acl is None:  # else the ACL has set the mode as well
        kernel.fchmod(fd, readers.mode)
    if record.owner[0] == readers.owner:
        return
    try:
        kernel.fchown(fd, readers.owner, -1)  # last: less may be permitted afterwards
        record.owner = (readers.owner, record.owner[1])
    except system_error() as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        _log.debug("the record keeps our owner, not the data's (%s)", error)
        if not everybody:
            _give_names(record, readers)


def _readers(status: os.stat_result, acl: bytes | None) -> Readers:
    return Readers(
        status.st_uid, status.st_gid, status.st_mode, None if acl is None else _reading(acl)
    )


def _reading(acl: bytes) -> bytes:
    """Return an ACL that permits the same people to read, and only its owner to write."""
    entries = parse(acl)
    mask = entries.get((MASK, NOBODY), 0)
    for tag, number in entries:
        kept = entries[tag, number] & READ
        # With an empty mask Linux looks at the mode alone (fs/namei.c, acl_permission_check): it
        # stays empty if it was, and must not become so because it permits writing only.
        if mask and tag in _MASKED:
            kept &= mask
        if mask and tag == MASK:
            kept = READ
        entries[tag, number] = kept | (WRITE if tag == USER_OBJ else 0)
    return pack(entries)


def _give_names(record: Temp, readers: Readers) -> bool:
    """Let them read a record that does not have the data's owner or group: its ACL names those.

    Returns:
        Whether that can be said, and was.
    """
    if OVERFLOW in (readers.owner, readers.group):
        return False
    try:
        kernel.setxattr(record.fd, ACCESS, pack(_naming(readers, *record.owner)))
    except system_error() as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        _log.debug("the record has fewer readers than the data (%s)", error)
        return False
    return True


def _naming(readers: Readers, owner: int, group: int) -> Entries:
    """Return the entries that let the same people read a file of another owner or group."""
    mode = readers.mode
    entries = {} if readers.acl is None else parse(readers.acl)
    if is_empty(entries) or not entries:
        entries = {(GROUP_OBJ, NOBODY): mode >> 3 & READ, (OTHER, NOBODY): mode & READ}
    if group != readers.group:
        entries[GROUP, readers.group] = entries[GROUP_OBJ, NOBODY]
        # For a member of several groups one entry that permits is enough.
        others = min(may for (tag, _), may in entries.items() if tag in (GROUP, OTHER))
        entries[GROUP_OBJ, NOBODY] = entries.get((GROUP, group), others)
    if owner != readers.owner:
        entries[USER, readers.owner] = mode >> 6 & READ
    entries[USER_OBJ, NOBODY] = READ | WRITE
    entries[MASK, NOBODY] = READ
    return entries


def _give_group(record: Temp, group: int) -> None:
    if record.owner[1] != group:
        kernel.fchown(record.fd, -1, group)
        record.owner = (record.owner[0], group)


def _give_acl(fd: int, acl: bytes | None) -> None:
    if acl is not None:
        kernel.setxattr(fd, ACCESS, acl)
        return
    if acl_of(fd) is not None:
        # A default ACL of the directory gave the record one; a chmod would make it count.
        kernel.removexattr(fd, ACCESS)
