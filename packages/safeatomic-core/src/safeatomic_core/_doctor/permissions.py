"""Predict what the kernel will refuse a user, from capabilities and owners.

`os.access` checks the mode and the access list of a directory. It does not say whether a file in it
may be replaced: in a sticky directory this depends on the owners and on CAP_FOWNER (``may_delete``
and ``__check_sticky`` in fs/namei.c).
"""

from __future__ import annotations

import os

from .. import _mounts
from .._errors import system_error

# Attributes that prevent a rename: the flag, its word, and its letter (chattr(1)).
_ATTRIBUTES = (
    (_mounts.IMMUTABLE, "immutable", "i"),
    (_mounts.APPEND_ONLY, "append-only", "a"),
)
_CAP_FOWNER = 1 << 3  # <linux/capability.h>


def attribute(dir_fd: int, name: str = "") -> tuple[str, str] | None:
    """Return an attribute of a directory, or of a name in it, that prevents a rename.

    Returns:
        Its word and its letter; None if there is none, or that is unknown.
    """
    flags = _mounts.attributes(dir_fd, name)
    if flags is not None:
        for flag, word, letter in _ATTRIBUTES:
            if flags & flag:
                return word, letter
    return None


def may_replace_in_sticky(directory: os.stat_result, file: os.stat_result) -> bool:
    """Tell whether this user may rename over a file in a sticky directory.

    The file's owner and the directory's owner may, and a user who has CAP_FOWNER over both ids of
    the file; in a user namespace, both ids must have a number there (user_namespaces(7)).
    """
    me = os.geteuid()
    for owner in (file.st_uid, directory.st_uid):
        if owner == me and _is_mapped(owner, "uid"):
            return True
    return _has_fowner() and _is_mapped(file.st_uid, "uid") and _is_mapped(file.st_gid, "gid")


def may_in_directory(mode: int, dir_fd: int) -> bool:
    """Tell whether the mode and access list of an open directory permit this user an access.

    A refusal is confirmed, because an old seccomp filter (docker before 20.10) denies faccessat2,
    the call for the effective user. If the real user is the same, access(2) answers as well. It
    gets a path in /proc, since the C library uses faccessat2 for every name in a directory.
    """
    effective = os.access in os.supports_effective_ids
    if os.access(".", mode, dir_fd=dir_fd, effective_ids=effective):
        return True
    if (os.getuid(), os.getgid()) != (os.geteuid(), os.getegid()):
        return False
    return os.access(f"/proc/self/fd/{dir_fd}", mode)


def may_use_reserve() -> bool:
    """Tell whether this user may fill the blocks that a filesystem reserves for root."""
    return os.geteuid() == 0


def as_root(command: str) -> str:
    """Return a command that needs root, marked as such for other users."""
    return command if os.geteuid() == 0 else f"as root: {command}"


def _has_fowner() -> bool:
    try:
        for line in _mounts.read_proc("/proc/thread-self/status").splitlines():
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) & _CAP_FOWNER)
    except (system_error(), ValueError):
        pass
    return os.geteuid() == 0


def _is_mapped(number: int, kind: str) -> bool:
    """Tell whether a user or group has a number of its own in this user namespace.

    An id without a number is shown as the overflow id, which may also be a real user's.
    """
    try:
        overflow = int(_mounts.read_proc(f"/proc/sys/kernel/overflow{kind}"))
        ranges = _mounts.read_proc(f"/proc/thread-self/{kind}_map").splitlines()
        if number != overflow:
            return True
        pairs = [(int(first), int(count)) for first, _, count in map(bytes.split, ranges)]
    except (system_error(), ValueError):
        return True
    return any(first <= number < first + count for first, count in pairs)
