"""Whether the caller may replace an existing file.

A rename needs permission for the directory only, so replacing a file would bypass the only
protection that a read-only file has. A target that the caller may not write is therefore refused,
as ``open(path, "w")`` refuses it (`docs/adr/0023-write-permission.md`).
"""

from __future__ import annotations

import errno
import os
import stat

from ._descriptor import Descriptor, closing
from ._errors import system_error
from ._posix import kernel
from ._target import READ_FLAGS, STICKY_SHARED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._target import Target

_SHARED = stat.S_IWGRP | stat.S_IWOTH
# Opens without truncating and without waiting. Tried only after a no: it wakes watchers and leases.
_PROBE = READ_FLAGS | os.O_WRONLY


def require_permission(target: Target) -> None:
    """Refuse a target that exists and that the caller may not write.

    Asked with the *effective* user and group, so for root it is what CAP_DAC_OVERRIDE allows.

    Raises:
        PermissionError: The target may not be written. It is unchanged.
        OSError: Opening it for writing fails otherwise: a filesystem that is mounted read-only
            (EROFS), an immutable file (EPERM). It is unchanged.
    """
    status = target.status
    if status is None:
        return
    if target.directory().st_mode & STICKY_SHARED == STICKY_SHARED:
        _refuse_in_shared_directory(target, status)
    if kernel.access(target.name, os.W_OK, target.dir_fd):
        return
    # Confirm the no: an old seccomp filter denies faccessat2 itself (docker before 20.10).
    probe = Descriptor()
    try:
        closing(
            probe,
            lambda: probe.open(kernel.open, target.name, _PROBE, dir_fd=target.dir_fd),
        )
    except system_error() as error:
        if error.errno == errno.ETXTBSY or _may_replace_all_the_same(error, target, status):
            return  # a running program may be replaced, not written
        raise


def _refuse_in_shared_directory(target: Target, status: os.stat_result) -> None:
    """Refuse somebody else's file in a directory where everybody may leave files.

    As the kernel does with ``protected_regular=1`` (proc(5), fs/namei.c ``may_create_in_sticky``),
    whatever the sysctl says.
    """
    if status.st_uid not in (os.geteuid(), target.directory().st_uid):
        raise PermissionError(
            errno.EACCES,
            f"the file belongs to user {status.st_uid} in a sticky directory that everybody can "
            "write to; only its owner may replace it there",
            target.path,
        )


def _may_replace_all_the_same(error: OSError, target: Target, status: os.stat_result) -> bool:
    """Tell whether the directory's owner may replace a file that this user may not write.

    Root leaves such files in a user's directory (a run under sudo), and containers leave files of
    users that have no number here.
    """
    me = os.geteuid()
    directory = target.directory()
    shared = directory.st_mode & stat.S_ISVTX and directory.st_mode & _SHARED
    mine = directory.st_uid == me != status.st_uid
    return error.errno == errno.EACCES and me != 0 and mine and not shared
