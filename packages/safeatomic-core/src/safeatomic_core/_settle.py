"""Settle: the flush that makes a rename survive a crash, and the recovery behind a dead writer."""

from __future__ import annotations

import errno
import stat

from . import _log
from ._descriptor import Descriptor, closing
from ._errors import UnsupportedEnvironmentWarning, system_error
from ._posix import kernel
from ._target import DIRECTORY_FLAGS
from ._temp_file import orphans
from ._types import CRASH_DURABILITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._target import Target

# Where the flush of a directory may return too early, because somebody else's is under way
# (docs/adr/0022-overtaken-flush.md): btrfs, an overlay on one, and places that nobody looked at or
# that could not be determined.
OVERTAKEN = frozenset({"btrfs", "overlay", "unknown", ""})


def settle_directory(
    target: Target, safety: str, *, renamed_fd: int = -1, barrier_fd: int = -1
) -> bool:
    """Flush a target's directory; True if it is durable, False if the policy goes on without.

    Where that flush may return too early, a file that nobody else flushes goes with it: its own
    flush is never skipped as done, and it waits for everything that was logged before.

    Args:
        target: What the directory was opened for.
        safety: As for `write_atomic_bytes`.
        renamed_fd: Descriptor of the file whose rename must be durable when this returns; flushed
            first, since ext4 and xfs under an overlay then have nothing left to do.
        barrier_fd: Descriptor of a file of ours where a name was unlinked that must not come back;
            flushed last, after a change of no effect, since an unchanged file has nothing to wait
            for.

    Raises:
        OSError: A flush failed, under ``safety="strict"``.
    """
    path = target.path
    overtaken = target.filesystem in OVERTAKEN
    try:
        if overtaken and renamed_fd >= 0:
            kernel.fsync(renamed_fd)
        try:
            kernel.fsync(target.dir_fd)
        except system_error() as error:
            if error.errno != errno.EBADF:
                raise
            _flush_reopened(target.dir_fd)
        if overtaken and barrier_fd >= 0:
            kernel.fchmod(barrier_fd, stat.S_IMODE(kernel.fstat(barrier_fd).st_mode))
            kernel.fsync(barrier_fd)
    except system_error() as error:
        if safety == "strict":
            raise
        if safety == "warn":
            _log.warn_caller(
                f"{path!r}: the directory could not be flushed ({error.strerror}); "
                f"{CRASH_DURABILITY} is not given for this write",
                UnsupportedEnvironmentWarning,
            )
        _log.warning("%r: the directory could not be flushed (%s)", path, error)
        return False
    return True


def flush_renamed(target: Target, renamed_fd: int) -> None:
    """Flush a target's directory, and before it a renamed file where that must go with it.

    Raises:
        OSError: A flush failed.
    """
    if target.filesystem in OVERTAKEN and renamed_fd >= 0:
        kernel.fsync(renamed_fd)
    kernel.fsync(target.dir_fd)


def _flush_reopened(dir_fd: int) -> None:
    """Flush a directory that was opened for looking names up only: that takes read permission."""
    opened = Descriptor()
    closing(
        opened,
        lambda: kernel.fsync(opened.open(kernel.open, ".", DIRECTORY_FLAGS, dir_fd=dir_fd)),
    )


def recover(target: Target, safety: str, token: str = "") -> None:
    """Clear up behind a dead writer, while its lock still tells of it.

    Args:
        target: What the lock is for.
        safety: What to do where the directory cannot be flushed.
        token: The dead lock's token, which names temps of another user's; empty if not known.
    """
    settle_directory(target, safety)
    try:
        swept = orphans(target.dir_fd, remove=True, named=(token,))
    except system_error() as error:
        _log.debug("%r: no sweep (%s)", target.path, error)
        return
    for name, size, _owner in swept:
        _log.info("%r: removed the orphaned temp %r (%d bytes)", target.path, name, size)
