"""The checks of `doctor` on the filesystem and the disk: their promises, and the free space.

Each function takes the `Place` and returns a status and a detail; none of them changes anything.
"""

from __future__ import annotations

import errno
import os
import stat

from .. import _mounts
from .._errors import system_error
from .._filesystems import MOUNT_POINT, MOUNT_POINT_ADVICE, UNKNOWN, advice
from .._posix import kernel
from .._types import CRASH_DURABILITY
from . import block_device, permissions, process
from .subject import failed, need_directory, passed, shown, size_text, unknown, warned, where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._guarantees import GuaranteeReport
    from .subject import Finding, Place

_IT = CRASH_DURABILITY
_MOUNT_ABOVE = MOUNT_POINT_ADVICE[:1].lower() + MOUNT_POINT_ADVICE[1:]
_TIGHT = 1 << 20  # bytes; less than this beside the new content is called tight
_FEWEST = 2  # inodes, and blocks: a lock and a temp at once
_FEW_INODES = 16  # a checked write needs four for a moment: temp, lock, two sidecars


def filesystem(place: Place, report: GuaranteeReport) -> Finding:
    """Name the filesystem, and the guarantees besides durability that it does not give."""
    environment = place.environment
    others = [name for name in report.degraded() if name != CRASH_DURABILITY]
    if not others:
        return passed(where(environment))
    # Several guarantees are often degraded for the same reason; state it once.
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name in others:
        key = report.guarantees[name], report.reasons[name]
        by_reason.setdefault(key, []).append(name)
    reasons = "; ".join(
        f"{level} for {', '.join(names)}: {reason}" for (level, reason), names in by_reason.items()
    )
    if any(report.guarantees[name] in ("NonTarget", "Unsupported") for name in others):
        remedy = "use a local filesystem"
        if report.reasons[_IT] == MOUNT_POINT[_IT]:
            remedy = _MOUNT_ABOVE
        hint = f"{remedy}, or pass safety='warn' and accept the risk"
        if environment.filesystem_class == UNKNOWN and environment.filesystem == UNKNOWN:
            hint = "mount /proc if it is missing; " + hint
        return failed(f"{reasons}; {hint}")
    return warned(reasons)


def durability(place: Place, report: GuaranteeReport) -> Finding:
    """Say whether written data survives a crash of the machine, and if not, why."""
    level, reason = report.guarantees[CRASH_DURABILITY], report.reasons[CRASH_DURABILITY]
    if level == "Guaranteed":
        return passed("nothing was found that keeps flushes from the disk")
    if any(reason == report.reasons[name] for name in report.degraded() if name != _IT):
        text = f"{level}, for the reason that is given under 'filesystem'"
        return warned(text) if level == "BestEffort" else failed(text)
    if reason == MOUNT_POINT[_IT]:
        return failed(f"{reason}; {_MOUNT_ABOVE}")
    if level == "BestEffort":  # in memory; every other cause degrades the integrity as well
        return warned(f"{reason}; keep what matters on a disk")
    if place.environment.durability_findings:
        return failed(
            f"{reason}. Data that was reported as written can be lost. "
            + advice(place.environment.filesystem, place.environment.filesystem_class, (reason,))
        )
    return failed(f"{reason}; use a local filesystem for data that must survive")


def fsync_provider(place: Place, report: GuaranteeReport) -> Finding:
    """Say which library provides this process's fsync."""
    name = process.fsync_provider()
    if place.environment.durability_findings and _mounts.fsync_is_ignored():
        text = f"fsync succeeds on a descriptor that does not exist ({shown(name)})"
        # In memory, no flush is missed: strict goes on there.
        return failed(text) if report.guarantees[_IT] == "Unsupported" else warned(text)
    if process.is_c_library(name):
        return passed(f"fsync is the C library's own ({shown(name)})")
    if not process.is_library(name):
        return passed(f"fsync is linked into the program itself ({shown(name)})")
    return warned(
        f"fsync is provided by {shown(name)}, not by the C library: find out what that library "
        "does with it, or start the program without it (LD_PRELOAD, /etc/ld.so.preload)",
    )


def write_cache(place: Place) -> Finding:
    """Say whether flushes reach the block device."""
    if place.environment.filesystem_class not in ("local_posix_persistent", "windows"):
        return unknown("no local block device is under this filesystem")
    return block_device.write_cache(place.environment)


def free_space(place: Place) -> Finding:
    """Say whether a second version of the file fits beside the first."""
    need_directory(place)
    found = kernel.fstatvfs(place.dir_fd)
    if found.f_blocks == 0:
        return unknown("the filesystem does not say how large it is")
    blocks = _free_blocks(place, found)
    free = blocks * found.f_frsize
    target = place.target
    size = target.st_size if target is not None and stat.S_ISREG(target.st_mode) else 0
    text = f"{size_text(free)} free"
    if size:
        text += f", the file has {size_text(size)}"
    if blocks < _FEWEST:
        return failed(
            f"{text}: a write needs room for the old and the new version at once; free some space",
        )
    if free < size:
        return warned(f"{text}: the old and a new version of this size do not fit at once")
    if free < 2 * size + _TIGHT:
        return warned(f"{text}: tight for the old and the new version at once")
    return passed(text)


def _free_blocks(place: Place, found: os.statvfs_result) -> int:
    """Return the number of blocks that this user may fill.

    Root may use the blocks that are reserved for it. Ext4 also reserves some for itself, which it
    counts as free but gives to no user (Documentation/ABI/testing/sysfs-fs-ext4,
    reserved_clusters).
    """
    if not permissions.may_use_reserve():
        return found.f_bavail
    own = block_device.reserved_by_ext4(place.environment)
    return max(found.f_bavail, found.f_bfree - own, 0)


def free_inodes(place: Place) -> Finding:
    """Say whether there are inodes for new files."""
    need_directory(place)
    found = kernel.fstatvfs(place.dir_fd)
    if found.f_files == 0:
        return passed("the filesystem has no fixed number of inodes")
    free = found.f_ffree if permissions.may_use_reserve() else found.f_favail
    text = f"{free} of {found.f_files} inodes free"
    if free < _FEWEST:
        return failed(
            f"{text}: a write needs {_FEWEST}, for a lock and the new content; delete some "
            "files ('df -i')"
        )
    if free < _FEW_INODES:
        return warned(f"{text}: a write needs up to four for a moment; delete some files ('df -i')")
    return passed(text)


def quota(place: Place) -> Finding:
    """Say whether a disk quota prevents writes."""
    status = need_directory(place)
    source = place.environment.source
    seen = []
    unclear = False
    group = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
    for kind, number, who in ((0, os.geteuid(), "user"), (1, group, "group")):
        try:
            limits = process.quota(source, kind, number)
        except system_error() as error:
            if error.errno not in _NO_QUOTA:
                unclear = True
            continue
        hard, soft, used, inode_hard, inode_soft, inodes = limits
        text = f"{who} {number}: {size_text(used)}, {inodes} inodes in use"
        if (hard and used >= hard) or (inode_hard and inodes >= inode_hard):
            return failed(
                f"{text}, and the quota allows {size_text(hard)}, {inode_hard} inodes (0: no "
                "limit): writes fail with EDQUOT; free some space, or have the quota raised"
            )
        if (soft and used > soft) or (inode_soft and inodes > inode_soft):
            return warned(f"{text}: over the soft limit; writes fail when its grace period ends")
        if hard or soft or inode_hard or inode_soft:
            text += f", limits {size_text(hard or soft)} and {inode_hard or inode_soft} inodes"
        seen.append(text)
    if seen:
        return passed("; ".join(seen))
    if unclear:
        return unknown("the filesystem does not say whether it has quotas")
    return passed("no quota is enforced here")


_NO_QUOTA = frozenset({errno.ESRCH, errno.ENOSYS, errno.ENOTSUP})  # quotactl(2)
