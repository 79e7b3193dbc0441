"""Who may read a checksum record: those who may read the data, and no one else.

The digest of a short secret gives the secret away. So a record gets its owner, group, read bits and
the read entries of its ACL from the file whose content it describes. While it describes other
content as well, which other people may read, it has fewer readers than either.
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

_ACL = "system.posix_acl_access"
# No ACL, or none on this filesystem or platform.
_NO_ACL = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
# What this user may not give, or has no room here. EINVAL: this user namespace has no
# number for that owner (user_namespaces(7)).
_NOT_TO_BE_HAD = frozenset(
    {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSPC}
)
_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
# The extended attribute's form: a version, then entries (linux/posix_acl_xattr.h).
_HEADER = 4  # bytes of the version
_ENTRY = 8  # bytes of an entry: tag and permissions, two each, and the id; little endian
_ACL_USER_OBJ = 1
_ACL_READ, _ACL_WRITE = 4, 2


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


def readers_of(fd: int) -> Readers:
    """Return those who may read an open file."""
    return _readers(kernel.fstat(fd), acl_of(fd))


def acl_of(fd: int) -> bytes | None:
    """Return the access ACL of an open file, None if it has none."""
    try:
        acl: bytes = kernel.getxattr(fd, _ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return None
    return acl


def readers_at(target: Target) -> Readers | None:
    """Return those who may read what stood at a target's name; None if that is not known."""
    if target.status is None:
        return None
    try:
        acl = kernel.getxattr_at(target.name, _ACL, target.dir_fd)
    except OSError as error:
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
    mode, acl = readers.mode, readers.acl
    try:
        if record.owner[1] != readers.group:
            kernel.fchown(fd, -1, readers.group)
            record.owner = (record.owner[0], readers.group)
        _give_acl(fd, acl)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_HAD:
            raise
        _log.debug("the record does not have the group or the ACL of the data (%s)", error)
        if acl is not None or mode & _READ != _READ:  # else everybody reads it, whatever the group
            mode, acl = mode & stat.S_IRWXU, None
    if acl is None:  # which brings the mode along
        kernel.fchmod(fd, mode)
    if record.owner[0] != readers.owner:
        try:
            kernel.fchown(fd, readers.owner, -1)  # last: less may be permitted afterwards
            record.owner = (readers.owner, record.owner[1])
        except OSError as error:
            if error.errno not in _NOT_TO_BE_HAD:
                raise
            _log.debug("the record keeps our owner, not the data's (%s)", error)


def _readers(status: os.stat_result, acl: bytes | None) -> Readers:
    return Readers(
        status.st_uid, status.st_gid, status.st_mode, None if acl is None else _reading(acl)
    )


def _reading(acl: bytes) -> bytes:
    """Return an ACL that permits the same people to read, and only its owner to write."""
    changed = bytearray(acl)
    for entry in range(_HEADER, len(acl), _ENTRY):
        kept = acl[entry + 2] & _ACL_READ
        if int.from_bytes(acl[entry : entry + 2], "little") == _ACL_USER_OBJ:
            kept |= _ACL_WRITE
        changed[entry + 2 : entry + 4] = kept.to_bytes(2, "little")
    return bytes(changed)


def _give_acl(fd: int, acl: bytes | None) -> None:
    if acl is not None:
        kernel.setxattr(fd, _ACL, acl)
        return
    if acl_of(fd) is not None:
        # A default ACL of the directory gave the record one; a chmod would make it count.
        kernel.removexattr(fd, _ACL)
