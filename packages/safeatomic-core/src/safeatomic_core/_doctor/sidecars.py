"""The checks of `doctor` on a file's lock and checksum; they take and change neither."""

from __future__ import annotations

import stat

from .._advice import command
from .._descriptor import closing
from .._errors import ChecksumMismatchError, SafeAtomicError, age_text
from .._lock_file import PINNED, Found, unlike_a_lock
from .._posix import kernel
from .._reading import verify_file
from .._sidecar_file import Looks
from .._target import LOCK_SUFFIX, SIDECAR_SUFFIX, Target
from .._verdicts import is_mount_point
from . import permissions
from .subject import failed, need_directory, passed, shown, unknown, warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .subject import Finding, Place


def lock(place: Place) -> Finding:
    """Say who holds the file's lock, and whether it blocks writers."""
    if not place.name:
        return passed("a directory has no lock")
    need_directory(place)
    found = Found()

    def look() -> Finding:
        found.look_to_tell(place.dir_fd, place.name + LOCK_SUFFIX)
        return _judge(place, found)

    return closing(found, look)


def _judge(place: Place, found: Found) -> Finding:
    """Say what a lock means for a writer."""
    name = place.name + LOCK_SUFFIX
    if not found.exists:
        return passed("not locked")
    if found.corrupt:
        # A file that does not look like any lock is not removed by force either.
        removal = "move it away"
        if unlike_a_lock(found) is None:
            removal = "remove it with force_release_lock() or 'safeatomic unlock --force'"
        return failed(
            f"{shown(name)} is not a lock of this library, and "
            f"blocks every writer; inspect it, and if it is not needed, {removal}"
        )
    age = found.age_s()
    since = "" if age is None else f" for {age_text(age)}"
    pid, host = found.fields.get("pid"), found.fields.get("hostname")
    holder = f"process {pid} on {shown(str(host))}{since}"
    if found.alive == "yes":
        return passed(f"held by {holder}, which is alive")
    if found.alive == "unknown" and pid is None:
        return failed(
            "its lock file cannot be examined, so it counts as held; it belongs to another user: "
            "ask that user"
        )
    if found.alive == "unknown":
        return failed(
            f"held by {holder}, and whether that process is running could not be determined, so "
            "no writer takes it over; if it is not, remove the lock with "
            "release_stale_lock(max_age_s=…) or force_release_lock()",
        )
    if found.takeable:
        kept = PINNED if found.is_pinned(gently=True) else _kept_in_place(place, name)
        if kept is not None:
            return failed(f"left behind by {holder}, which is dead, and {kept}")
        return warned(f"left behind by {holder}, which is dead; the next writer takes it over")
    return failed(
        f"left behind by {holder}, which is dead; it was not taken with flock and is not taken "
        "over silently: remove it with release_stale_lock() or 'safeatomic unlock --stale'",
    )


def _kept_in_place(place: Place, name: str) -> str | None:
    """Say why the kernel would refuse to rename or remove a sidecar; None if it would not."""
    path = place.join(name)
    kept = permissions.attribute(place.dir_fd, name)
    if kept is not None:
        word, letter = kept
        fix = permissions.as_root(command(f"chattr -{letter}", path))
        return f"{shown(name)} is {word}: it cannot be removed ({fix})"
    if is_mount_point(place.dir_fd, name):
        fix = permissions.as_root(command("umount", path))
        return f"{shown(name)} is itself a mount point: it cannot be removed ({fix})"
    status = need_directory(place)
    file = kernel.stat(name, dir_fd=place.dir_fd, follow_symlinks=False)
    if status.st_mode & stat.S_ISVTX and not permissions.may_replace_in_sticky(status, file):
        return (
            f"{shown(name)} belongs to user {file.st_uid} in a sticky directory, where only its "
            "owner may remove it"
        )
    return None


def checksum(place: Place) -> Finding:
    """Verify the file with its checksum sidecar."""
    if not place.name:
        return passed("a directory has no checksum")
    need_directory(place)
    look = Target.borrowed(place.path, place.name, place.dir_fd, place.target)
    looks = Looks()
    sidecar = closing(looks, lambda: looks.look(look, "sha256"))
    if not sidecar.exists:
        return passed("no checksum is kept for this file")
    name = shown(place.name + SIDECAR_SUFFIX)
    if sidecar.claim is None:
        return warned(
            f"{name} is not a checksum sidecar of this file: it {sidecar.flaw}. A plain write "
            "leaves it alone; before one with a checksum, look at it and move it away"
        )
    kept = _kept_in_place(place, place.name + SIDECAR_SUFFIX)
    if kept is not None:
        return failed(f"every write replaces or removes the checksum, and {kept}")
    if place.target is None:
        return warned(f"{name} is there, but the file it describes is not; delete it, or restore")
    try:
        verify_file(place.reach(place.name))
    except ChecksumMismatchError as error:
        return failed(
            f"the content does not match: recorded {error.expected[:16]}…, found "
            f"{error.actual[:16]}…; restore the file from a good copy, or, if the change was "
            "meant, accept it with write_checksum_file() or 'safeatomic checksum'",
        )
    except SafeAtomicError as error:
        return unknown(shown(str(error)))
    if sidecar.record is not None and sidecar.record.previous:
        return warned(
            "the content is good, but a checked write is in progress or was interrupted: the "
            "sidecar still allows the previous content too; the next checked write, or "
            "write_checksum_file(), settles it",
        )
    return passed("the content matches its checksum")
