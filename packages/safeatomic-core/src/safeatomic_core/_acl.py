"""POSIX access ACLs, in the form that the kernel gives and takes as an extended attribute."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Entries: TypeAlias = dict[tuple[int, int], int]  # tag and number: permissions

ACCESS = "system.posix_acl_access"
NOBODY = 0xFFFFFFFF  # stands where an entry has no number
# The number that stands for users whom this user namespace does not know (user_namespaces(7)).
OVERFLOW = 65534
# Tags of entries (linux/posix_acl.h), sorted as the kernel requires.
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
READ, WRITE = 4, 2

# A version, then entries: tag and permissions, two bytes each, and the number, four; little endian
# (linux/posix_acl_xattr.h).
_VERSION = 2
_HEADER, _ENTRY = 4, 8


def parse(raw: bytes) -> Entries:
    """Return the entries of an ACL."""
    entries: Entries = {}
    for at in range(_HEADER, len(raw), _ENTRY):
        tag = int.from_bytes(raw[at : at + 2], "little")
        permissions = int.from_bytes(raw[at + 2 : at + 4], "little")
        entries[tag, int.from_bytes(raw[at + 4 : at + _ENTRY], "little")] = permissions
    return entries


def pack(entries: Entries) -> bytes:
    """Return an ACL as the kernel takes it."""
    packed = [_VERSION.to_bytes(_HEADER, "little")]
    for (tag, number), permissions in sorted(entries.items()):
        packed.append(tag.to_bytes(2, "little") + permissions.to_bytes(2, "little"))
        packed.append(number.to_bytes(4, "little"))
    return b"".join(packed)


def with_mode(raw: bytes, mode: int) -> bytes:
    """Return an ACL as chmod(2) leaves it (``__posix_acl_chmod_masq`` in fs/posix_acl.c)."""
    entries = parse(raw)
    group = MASK if (MASK, NOBODY) in entries else GROUP_OBJ
    for tag, permissions in ((USER_OBJ, mode >> 6), (group, mode >> 3), (OTHER, mode)):
        entries[tag, NOBODY] = permissions & 0o7
    return pack(entries)


def is_empty(entries: Entries) -> bool:
    """Tell whether an ACL means nothing: with an empty mask Linux looks at the mode alone.

    See ``acl_permission_check`` in fs/namei.c: the mask stands in the mode's group bits.
    """
    return entries.get((MASK, NOBODY), READ) == 0
