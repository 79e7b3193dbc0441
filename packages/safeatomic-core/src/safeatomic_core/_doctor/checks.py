"""The checks of `doctor` on the directory and on the file itself, without writing.

Each function takes the `Place` and returns a status and a detail: what it found and, if that is a
problem, how to fix it. None of them changes anything, and none holds a lock longer than an instant.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from .. import _mounts
from .._advice import command, quoted, typed
from .._descriptor import Descriptor, closing
from .._errors import system_error
from .._filesystems import PSEUDO
from .._gate import gate_error, pass_gate
from .._in_place import COPY_PREFIX
from .._lock_file import probe_free
from .._options import Policy
from .._permission import require_permission
from .._posix import kernel
from .._target import LOCK_SUFFIX, READ_FLAGS, SIDECAR_SUFFIX, Target
from .._temp_file import SUM_PREFIX, is_temp_name, orphans
from .._verdicts import is_mount_point
from . import permissions
from .subject import failed, need_directory, passed, shown, size_text, unknown, warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .subject import Finding, Place

PROBE_PREFIX = ".safeatomic-doctor-"
_OWN_USE = stat.S_IWUSR | stat.S_IXUSR
_INSTANT = 0.01  # seconds
_READ_ONLY = ("ro", "emergency_ro", "shutdown")  # ext4 shows the last two after an error (6.12)


# ------------------------------------------------------------------------------------ the directory


def parent_exists(place: Place) -> Finding:
    """Say whether the directory exists and can be opened."""
    if place.trouble is None:
        if place.status is not None and place.status.st_nlink == 0:
            return failed(
                f"{shown(place.directory)} was removed; create it again, and change into it"
            )
        return passed(f"{shown(place.directory)} is a directory")
    error = place.trouble
    if not place.directory and error.filename is None:  # from getcwd(2)
        return failed(_of_working_directory())
    at = shown(place.directory or os.fsdecode(error.filename))
    what = f"{at}: {error.strerror or error}"
    if error.errno == errno.ENOENT:
        fix = f"create it; the nearest directory that exists is {shown(place.nearest())}"
    else:
        fixes: dict[int | None, str] = {
            errno.ENOTDIR: "a part of the path is a file; choose another path",
            errno.ENAMETOOLONG: "choose a shorter path",
            errno.ELOOP: (
                "the path contains a loop of symbolic links, of which one must go, or its "
                "filesystem is mounted nosymfollow"
            ),
            errno.EACCES: (
                "this user may not enter it, or one of the directories above "
                f"({command('namei -l', place.directory or at)} shows which)"
            ),
            errno.ENOTCONN: "its file server is dead; unmount it ('umount -l'), mount it again",
        }
        fix = fixes.get(error.errno, "the directory cannot be used")
    return failed(f"{what}; {fix}")


def _of_working_directory() -> str:
    """Say why a relative path leads nowhere."""
    gone = kernel.stat(".").st_nlink == 0
    why = "was removed" if gone else "has no path (its filesystem was detached, or a root changed)"
    return f"the working directory {why}; use an absolute path, or change to another directory"


def parent_writable(place: Place) -> Finding:
    """Say whether this user may create and replace files there."""
    status = need_directory(place)
    read_only = [word for word in _READ_ONLY if word in place.environment.mount_options]
    if read_only == ["ro"]:
        return failed("the filesystem is mounted read-only; remount it, or write elsewhere")
    if read_only:
        return failed(
            f"the filesystem refuses every write after an error ({read_only[0]}): look into the "
            "kernel's log ('dmesg'), then check and repair it (fsck)"
        )
    if place.environment.filesystem in PSEUDO:
        return failed(f"nothing can be created in {place.environment.filesystem}; write elsewhere")
    kept = permissions.attribute(place.dir_fd)
    if kept is not None:
        word, letter = kept
        fix = permissions.as_root(command(f"chattr -{letter}", place.directory))
        return failed(
            f"the directory is {word}: names in it can be neither replaced nor removed ({fix})"
        )
    if not permissions.may_in_directory(os.W_OK | os.X_OK, place.dir_fd):
        if status.st_uid == os.geteuid() and status.st_mode & _OWN_USE == _OWN_USE:
            return failed(
                "the mode of the directory lets this user create files, and yet it is refused: the "
                "directory is in a read-only snapshot (btrfs), or a sandbox or a security module "
                "forbids it; write elsewhere"
            )
        return failed(
            f"this user may not create files in the directory ({_owner_of(place)}): it takes write "
            "and search permission; ask its owner, or write elsewhere"
        )
    if not place.listable:
        return failed(
            f"this user may not read the directory ({_owner_of(place)}): a write flushes it, and "
            "for that it must be opened for reading"
        )
    return passed("this user may create files in the directory")


def _owner_of(place: Place) -> str:
    status = need_directory(place)
    return f"mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}"


def parent_trust(place: Place) -> Finding:
    """Say who else may replace files in the directory."""
    status = need_directory(place)
    mode, owner = status.st_mode, status.st_uid
    text = _owner_of(place)
    sticky = bool(mode & stat.S_ISVTX)
    if mode & stat.S_IWOTH and not sticky:
        fix = (
            f"take that away ({command('chmod o-w', place.directory)}), "
            f"or set the sticky bit ({command('chmod +t', place.directory)})"
        )
        if os.geteuid() not in (0, owner):
            fix = "ask its owner to take that away, or write elsewhere"
        return warned(f"{text}: anybody may replace or delete files here; {fix}")
    target = place.target
    if sticky and target is not None and not permissions.may_replace_in_sticky(status, target):
        return failed(
            f"{text}, sticky: only the owner of a file may replace it, and this one belongs to "
            f"user {target.st_uid}; write as that user, or elsewhere",
        )
    if sticky and mode & (stat.S_IWOTH | stat.S_IWGRP):
        return warned(
            f"{text}, sticky: others may not replace our files, but may put a lock or a link "
            "at a name before we do; a directory of our own is safer",
        )
    if owner not in (0, os.geteuid()):
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
        f"{shown(place.directory)}: anyone who can change the link decides where files go; give "
        "the real path if that matters",
    )


# ------------------------------------------------------------------------------ the file itself


def target(place: Place) -> Finding:
    """Say whether the path can be replaced."""
    if not place.name:
        return passed("the path is a directory; give a file's path to have the file examined")
    need_directory(place)
    refused = _cannot_be_renamed_over(place) or _refused_by_gate(place)
    if refused is not None:
        return failed(refused)
    found = place.target
    if found is None:
        text = f"{shown(place.name)} does not exist yet"
        return passed(text) if place.link is None else warned(f"{text}: {_FOLLOWED}")
    if place.link is not None:
        return warned(f"the path is {_FOLLOWED}")
    if found.st_nlink > 1:
        return warned(
            f"a regular file with {found.st_nlink} hard links: a write replaces this name, "
            "and the others keep the old content",
        )
    return passed(f"a regular file of {size_text(found.st_size)}")


def _cannot_be_renamed_over(place: Place) -> str | None:
    """Say why the kernel would refuse to replace the file; None if it would not."""
    if is_mount_point(place.dir_fd, place.name):
        text = (
            "the file is itself a mount point: no rename replaces it, and others may reach it "
            "through a mount that does not show its lock. Mount the directory that holds it instead"
        )
        refused = _refused_by_gate(place)  # a write in place opens the file, which may be read-only
        if refused is not None:
            return f"{text}. It cannot be written in place either: {refused}"
        return f"{text}, or write in place, with safety='warn'"
    kept = permissions.attribute(place.dir_fd, place.name)
    if kept is not None:
        word, letter = kept
        fix = permissions.as_root(command(f"chattr -{letter}", place.join(place.name)))
        return f"the file is {word}: it cannot be replaced ({fix})"
    if _mounts.is_swap_file(place.dir_fd, place.name):
        return "the machine swaps to the file: it cannot be replaced ('swapoff' ends that)"
    return None


def _refused_by_gate(place: Place) -> str | None:
    """Say why a write would refuse this path before it touches anything; None if it would not."""
    gated = Target(place.path)

    def ask() -> None:
        pass_gate(gated, Policy.of(concurrency="none", safety="best_effort"))
        try:
            require_permission(gated)
        except system_error() as error:
            raise gate_error(error, gated) from error

    try:
        closing(gated, ask)
    except ValueError as error:
        return str(error)
    except system_error() as error:
        return error.strerror or str(error)
    return None


_FOLLOWED = "a symbolic link, which is followed; what happens to the link is unspecified"


def name_length(place: Place) -> Finding:
    """Say whether the name leaves room for its sidecars."""
    if not place.name:
        return passed("no name to measure")
    need_directory(place)
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
        text = f"the name has {length} of {most} bytes, no room for {' and '.join(missing)}"
        if "a lock" in missing:
            return failed(f"{text}; choose a shorter one, or write with concurrency='none'")
        return warned(f"{text}; choose a shorter one if its content is to be checked")
    return passed(f"{length} of {most} bytes, sidecars fit")


def leftovers(place: Place) -> Finding:
    """Look for leftovers of dead writers, and of a doctor that was killed."""
    need_directory(place)
    if not place.listable:
        return unknown("the directory may not be listed by this user")
    names = kernel.listdir(place.dir_fd)
    temps = sum(1 for name in names if is_temp_name(name))
    mine = sum(1 for name in names if name.startswith(PROBE_PREFIX))
    dead = orphans(place.dir_fd, remove=False) if temps else []
    if dead:  # a living writer's temp is one as well, for the instant before it is flocked
        time.sleep(_INSTANT)
        seen = {name for name, _size, _owner in dead}
        dead = [one for one in orphans(place.dir_fd, remove=False) if one[0] in seen]
    parts = []
    if dead:
        total = size_text(sum(size for _, size, _owner in dead))
        parts.append(
            f"{len(dead)} orphaned temporary {_files(len(dead))}, {total}: run "
            f"{command('safeatomic clean', place.directory)}"
        )
    copies = sorted(name for name in names if name.startswith(COPY_PREFIX))
    if copies:
        repair = quoted(f"cat {typed(place.join(copies[0]))} > FILE && sync FILE")
        parts.append(
            f"{len(copies)} complete {'copy' if len(copies) == 1 else 'copies'} of what was being "
            "written in place: unless that is still going on, the file is a mixture, which "
            f"{repair} repairs; then remove the copy"
        )
    known = {name for name, _size, _owner in dead}
    displaced = [name for name in names if name not in known and _is_displaced(place, name)]
    if displaced:
        parts.append(
            f"{len(displaced)} {_files(len(displaced))} of another program that a dead writer "
            f"moved aside from a checksum's name, {shown(displaced[0])} among them: look at it, "
            "and give it its name back"
        )
    if mine:
        parts.append(
            f"{mine} {'directory' if mine == 1 else 'directories'} named {PROBE_PREFIX}*: another "
            "doctor is at work, or was killed; delete them when none is"
        )
    if parts:
        return warned("; ".join(parts))
    if temps:
        return passed(f"{temps} temporary {_files(temps)} of running writers, none orphaned")
    return passed("no temporary file was left behind")


def _is_displaced(place: Place, name: str) -> bool:
    """Tell whether a file has the name of a sidecar's temp and its writer is dead."""
    if not name.startswith(SUM_PREFIX) or not is_temp_name(name):
        return False
    opened = Descriptor()

    def probe() -> bool:
        return probe_free(opened.open(kernel.open, name, READ_FLAGS, dir_fd=place.dir_fd))

    try:
        return closing(opened, probe)
    except system_error():
        return False


def _files(number: int) -> str:
    return "file" if number == 1 else "files"
