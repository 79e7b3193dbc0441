"""What `doctor` sees without writing: one function for each line of its report.

Each takes the `Place` and returns a status and a detail: what was seen and, unless all is well,
what to do about it. None of them changes anything, and none holds a lock longer than an instant.
"""

from __future__ import annotations

import errno
import os
import stat

from .. import _mounts
from .._environment import lives_in_memory
from .._errors import ChecksumMismatchError, SafeAtomicError
from .._filesystems import UNKNOWN
from .._lock_api import inspect_lock
from .._posix import kernel
from .._reader import AtomicReader
from .._sidecar_file import Sidecar
from .._target import LOCK_SUFFIX, SIDECAR_SUFFIX, Target, refusal
from .._temp_file import is_temp_name, orphans
from .._types import CRASH_DURABILITY
from . import block_device, process
from .subject import failed, passed, shown, size_text, unknown, warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._guarantees import GuaranteeReport
    from .subject import Finding, Place

PROBE_PREFIX = ".safeatomic-doctor-"
_TIGHT = 1 << 20  # bytes; less than this beside the new content is called tight
_FEW_INODES = 16  # a checked write needs four for a moment: temp, lock, two sidecars


# ------------------------------------------------------------------------------------ the directory


def parent_exists(place: Place) -> Finding:
    """Say whether the directory is there and can be opened."""
    if place.trouble is None:
        return passed(f"{shown(place.directory)} is a directory")
    error = place.trouble
    what = f"{shown(place.directory)}: {error.strerror or error}"
    cure = {
        errno.ENOENT: f"create it; the nearest directory that exists is {shown(place.nearest())}",
        errno.ENOTDIR: "a part of the path is a file; choose another path",
        errno.ENAMETOOLONG: "choose a shorter path",
        errno.ELOOP: "the path holds a loop of symbolic links; remove one of them",
        errno.EACCES: "this user may not search one of the directories above (see namei -l)",
    }.get(error.errno or 0, "the directory cannot be used")
    return failed(f"{what}; {cure}")


def parent_writable(place: Place) -> Finding:
    """Say whether this user may create and replace files there, as far as the mode tells."""
    _need_directory(place)
    if "ro" in place.environment.mount_options:
        return failed("the filesystem is mounted read-only; remount it, or write elsewhere")
    effective = os.access in os.supports_effective_ids
    if os.access(place.directory, os.W_OK | os.X_OK, effective_ids=effective):
        return passed("this user may create files in the directory")
    return failed(
        "this user may not create files in the directory: it takes write and search permission "
        "(chmod u+wx), and no immutable flag (lsattr -d)",
    )


def parent_trust(place: Place) -> Finding:
    """Say who else may replace files in the directory."""
    status = _need_directory(place)
    mode, owner = status.st_mode, status.st_uid
    me = os.geteuid()
    text = f"mode {stat.S_IMODE(mode):04o}, owner {owner}"
    sticky = bool(mode & stat.S_ISVTX)
    if mode & stat.S_IWOTH and not sticky:
        return warned(
            f"{text}: anybody may replace or delete files here; chmod o-w, or set the sticky bit "
            "(chmod +t)",
        )
    target = place.target
    if sticky and target is not None and me not in (0, owner, target.st_uid):
        return failed(
            f"{text}, sticky: only the owner of a file may replace it, and this one belongs to "
            f"user {target.st_uid}; write as that user, or elsewhere",
        )
    if sticky and mode & (stat.S_IWOTH | stat.S_IWGRP):
        return warned(
            f"{text}, sticky: others may not replace our files, but may put a lock or a link "
            "at a name before we do; a directory of our own is safer",
        )
    if owner not in (0, me):
        return warned(f"{text}: its owner, not this user, decides over the files in it")
    if mode & stat.S_IWGRP:
        return passed(f"{text}: group {status.st_gid} may replace files here as well")
    return passed(f"{text}: only its owner may replace files here")


def parent_symlink(place: Place) -> Finding:
    """Say whether the directory is reached through a symbolic link."""
    if place.directory == place.given_directory:
        return passed("no symbolic link on the way to the directory")
    return warned(
        f"{shown(place.given_directory)} leads through a symbolic link to "
        f"{shown(place.directory)}: whoever may change the link decides where files go; give the "
        "real path if that matters",
    )


# ----------------------------------------------------------------------------------- the filesystem


def filesystem(place: Place, report: GuaranteeReport) -> Finding:
    """Say what the filesystem is, and what it does not guarantee apart from durability."""
    environment = place.environment
    text = shown(str(environment).partition("; ")[0])
    others = [name for name in report.degraded() if name != CRASH_DURABILITY]
    if not others:
        return passed(text)
    # Several guarantees are often degraded for one and the same reason: say it once.
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name in others:
        key = report.guarantees[name], report.reasons[name]
        by_reason.setdefault(key, []).append(name)
    reasons = "; ".join(
        f"{level} for {', '.join(names)}: {reason}" for (level, reason), names in by_reason.items()
    )
    if any(report.guarantees[name] in ("NonTarget", "Unsupported") for name in others):
        hint = "use a local filesystem, or pass safety='warn' and accept the risk"
        if environment.filesystem_class == UNKNOWN and environment.filesystem == UNKNOWN:
            hint = "mount /proc if it is missing; " + hint
        return failed(f"{text}. {reasons}; {hint}")
    return warned(f"{text}. {reasons}")


def durability(place: Place, report: GuaranteeReport) -> Finding:
    """Say whether what was written survives a crash of the machine, and what takes that away."""
    level, reason = report.guarantees[CRASH_DURABILITY], report.reasons[CRASH_DURABILITY]
    if level == "Guaranteed":
        return passed("nothing was found that keeps flushes from the disk")
    if level == "BestEffort":
        if place.environment.filesystem_class == "local_posix_memory" or lives_in_memory(
            place.environment
        ):
            return warned(f"{reason}; keep what matters on a disk")
        return warned(reason)
    if place.environment.durability_findings:
        return failed(
            f"{reason}. Data that was reported as written can be lost: remount with barriers on, "
            "without 'volatile', or start the program without the library or filter, as named",
        )
    return failed(f"{reason}; use a local filesystem for data that must survive")


def fsync_provider(place: Place) -> Finding:
    """Say which library answers this process's fsync."""
    name = process.fsync_provider()
    if place.environment.durability_findings and _mounts.fsync_is_ignored():
        return failed(f"fsync succeeds on a descriptor that does not exist ({shown(name)})")
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
    _need_directory(place)
    found = kernel.fstatvfs(place.dir_fd)
    if found.f_blocks == 0:
        return unknown("the filesystem does not say how large it is")
    free = found.f_bavail * found.f_frsize
    target = place.target
    size = target.st_size if target is not None and stat.S_ISREG(target.st_mode) else 0
    text = f"{size_text(free)} free"
    if size:
        text += f", the file has {size_text(size)}"
    if free == 0 or free < size:
        return failed(
            f"{text}: a write needs room for the old and the new version at once; free some space",
        )
    if free < 2 * size + _TIGHT:
        return warned(f"{text}: tight for the old and the new version at once")
    return passed(text)


def free_inodes(place: Place) -> Finding:
    """Say whether files can still be created."""
    _need_directory(place)
    found = kernel.fstatvfs(place.dir_fd)
    if found.f_files == 0:
        return passed("the filesystem has no fixed number of inodes")
    text = f"{found.f_favail} of {found.f_files} inodes free"
    if found.f_favail == 0:
        return failed(f"{text}: no file can be created; delete some (df -i)")
    if found.f_favail < _FEW_INODES:
        return warned(f"{text}: a write needs up to four for a moment; delete some files (df -i)")
    return passed(text)


def quota(place: Place) -> Finding:
    """Say whether a disk quota is in the way."""
    status = _need_directory(place)
    source = place.environment.source
    seen = []
    unclear = False
    group = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
    for kind, number, who in ((0, os.geteuid(), "user"), (1, group, "group")):
        try:
            limits = process.quota(source, kind, number)
        except OSError as error:
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
        return unknown("the filesystem does not tell whether it has quotas")
    return passed("no quota is enforced here")


_NO_QUOTA = frozenset({errno.ESRCH, errno.ENOSYS, errno.ENOTSUP})  # quotactl(2)


# ------------------------------------------------------------------------------ the file itself


def target(place: Place) -> Finding:
    """Say whether the path is something that can be replaced."""
    if not place.name:
        return passed("the path is a directory; give a file's path to have the file examined")
    _need_directory(place)
    if place.target is None:
        text = f"{shown(place.name)} does not exist yet"
        return passed(text) if place.link is None else warned(f"{text}: {_FOLLOWED}")
    if not stat.S_ISREG(place.target.st_mode):
        return failed(f"{refusal(place.path, place.target.st_mode).strerror}; choose another path")
    if place.link is not None:
        return warned(f"the path is {_FOLLOWED}")
    if place.target.st_nlink > 1:
        return warned(
            f"a regular file with {place.target.st_nlink} hard links: a write replaces this name, "
            "and the others keep the old content",
        )
    return passed(f"a regular file of {size_text(place.target.st_size)}")


_FOLLOWED = "a symbolic link, which is followed; what happens to the link is unspecified"


def name_length(place: Place) -> Finding:
    """Say whether the name leaves room for its sidecars."""
    if not place.name:
        return passed("no name to measure")
    _need_directory(place)
    most = kernel.fstatvfs(place.dir_fd).f_namemax
    length = len(os.fsencode(place.name))
    if length > most:
        return failed(f"the name has {length} bytes, {most} are allowed; choose a shorter one")
    missing = [
        what
        for suffix, what in ((LOCK_SUFFIX, "a lock"), (SIDECAR_SUFFIX, "a checksum"))
        if length + len(suffix) > most
    ]
    if missing:
        return warned(
            f"the name has {length} of {most} bytes, which leaves no room for "
            f"{' and '.join(missing)}; choose a shorter one, or do without (concurrency='none')",
        )
    return passed(f"{length} of {most} bytes, sidecars fit")


def leftovers(place: Place) -> Finding:
    """Look for temporary files whose writers are dead, and for those of a killed doctor."""
    _need_directory(place)
    if not place.listable:
        return unknown("the directory may not be listed by this user")
    names = kernel.listdir(place.dir_fd)
    temps = sum(1 for name in names if is_temp_name(name))
    mine = sum(1 for name in names if name.startswith(PROBE_PREFIX))
    dead = orphans(place.dir_fd, remove=False) if temps else []
    parts = []
    if dead:
        total = size_text(sum(size for _, size in dead))
        parts.append(
            f"{len(dead)} orphaned temporary {_files(len(dead))}, {total}: run 'safeatomic clean' "
            "on the directory"
        )
    if mine:
        parts.append(
            f"{mine} {_files(mine)} named {PROBE_PREFIX}*: another doctor is at work, or was "
            "killed; delete them when none is"
        )
    if parts:
        return warned("; ".join(parts))
    if temps:
        return passed(f"{temps} temporary {_files(temps)} of writers at work, no orphan")
    return passed("no temporary file was left behind")


def _files(number: int) -> str:
    return "file" if number == 1 else "files"


def lock(place: Place) -> Finding:
    """Say who holds the file's lock, and whether it stands in the way."""
    if not place.name:
        return passed("a directory has no lock")
    _need_directory(place)
    info = inspect_lock(place.join(place.name))
    if not info.exists:
        return passed("not locked")
    if info.corrupt:
        return failed(
            f"{shown(os.path.basename(info.lock_path))} is no lock of this library, and no writer "
            "gets past it; if nobody else's program made it, remove it with force_release_lock()",
        )
    age = info.age_s
    since = "" if age is None else f" for {age:.0f} s"
    holder = f"process {info.pid} on {shown(str(info.hostname))}{since}"
    if info.alive == "yes":
        return passed(f"held by {holder}, which is alive")
    if info.alive == "unknown":
        return warned(
            f"held by {holder}, of which it cannot be known whether it lives; if it does not, "
            "remove the lock with release_stale_lock(max_age_s=...) or force_release_lock()",
        )
    if _heals_itself(info.raw):
        return warned(f"left behind by {holder}, which is dead; the next writer takes it over")
    return failed(
        f"left behind by {holder}, which is dead; it was not taken with flock and is not taken "
        "over silently: remove it with release_stale_lock()",
    )


def _heals_itself(raw: str | None) -> bool:
    """Tell whether a dead lock is one that the next writer takes over by itself."""
    text = (raw or "").strip("\0")
    return not text or '"kernel_lock"' in text


def checksum(place: Place) -> Finding:
    """Hold the file against its checksum sidecar."""
    if not place.name:
        return passed("a directory has no checksum")
    _need_directory(place)
    look = Target.borrowed(place.path, place.name, place.dir_fd, place.target)
    sidecar = Sidecar(look, "sha256")
    sidecar.close()
    if not sidecar.exists:
        return passed("no checksum is kept for this file")
    name = shown(place.name + SIDECAR_SUFFIX)
    if sidecar.flaw is not None:
        return failed(
            f"{name} is no checksum sidecar ({sidecar.flaw}); look at the file, then write a new "
            "one with write_checksum_file()",
        )
    if place.target is None:
        return warned(f"{name} is there, but the file it speaks of is not; delete it, or restore")
    try:
        with AtomicReader(place.join(place.name), check_checksum=True, safety="best_effort"):
            pass
    except ChecksumMismatchError as error:
        return failed(
            f"the content does not match: recorded {error.expected[:16]}…, found "
            f"{error.actual[:16]}…; restore the file from a good copy, or bless it with "
            "write_checksum_file() if the change was meant",
        )
    except SafeAtomicError as error:
        return unknown(shown(str(error)))
    if sidecar.record is not None and sidecar.record.previous:
        return warned(
            "the content is good, but a checked write is under way or was interrupted: the sidecar "
            "still allows the previous content too; the next checked write, or "
            "write_checksum_file(), settles it",
        )
    return passed("the content matches its checksum")


def _need_directory(place: Place) -> os.stat_result:
    """Return what the directory is; a check of one that cannot be opened is skipped."""
    if place.dir_fd < 0 or place.status is None:
        raise SkippedError("skipped: the directory cannot be opened")
    return place.status


class SkippedError(SafeAtomicError):
    """A check cannot be made; the message says why."""
