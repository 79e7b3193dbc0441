"""The recording of a checksum: Announce alone, of content that is there already."""

from __future__ import annotations

import errno
import os

from ._announcement import Announcement
from ._digests import hash_fd
from ._posix import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, Descriptor, kernel
from ._settle import settle_directory
from ._target import identity, still_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._change import Change
    from ._target import Target

_OPEN = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC


def record_present(change: Change) -> None:
    """Record the digest of a target's present content, durably.

    Args:
        change: A change that holds the target's lock, or whose caller excludes writers.
    """
    if change.announcement is not None:  # of what was retired before
        change.discard_quietly(change.announcement)
    token = change.token(change.target)
    change.announcement = announcement = Announcement(change.target, token)
    announcement.look(change.policy.algo)

    def sync_directory() -> None:
        settle_directory(change.target, change.policy.safety, renamed=announcement.fd)

    while not _record(change, sync_directory):
        change.target.look_again()  # another content has taken the name meanwhile


def require_present(target: Target) -> None:
    """Refuse a target that is missing or not a regular file."""
    if target.status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target.path)
    target.require_regular()


def _record(change: Change, sync_directory: Callable[[], None]) -> bool:
    """Make the present content durable, then record its digest; False if it was replaced."""
    target, algo, announcement = change.target, change.policy.algo, change.announcement
    assert announcement is not None  # noqa: S101 - made by the caller
    require_present(target)
    opened = Descriptor()
    try:
        fd = opened.open(kernel.open, target.name, _OPEN, dir_fd=target.dir_fd)
        inode = identity(kernel.fstat(fd))
        digest = hash_fd(fd, algo)
        # What is accepted must survive a crash before its record does: somebody else's write may
        # be neither flushed nor settled.
        kernel.fsync(fd)
        sync_directory()
        if not still_named(target.dir_fd, target.name, inode):
            return False
        target.look_again()
        announcement.draft_plain(algo, digest)
        change.require_locks()
        announcement.permit(fd)
        announcement.announce(sync_directory)
        announcement.drop_displaced()
        return True
    finally:
        opened.close()
