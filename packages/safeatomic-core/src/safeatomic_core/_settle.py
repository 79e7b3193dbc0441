"""Settle: the flush that makes a rename survive a crash, and the recovery behind a dead writer."""

from __future__ import annotations

import stat

from . import _log
from ._errors import UnsupportedEnvironmentWarning
from ._posix import kernel
from ._temp_file import orphans
from ._types import CRASH_DURABILITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._target import Target

# Where the flush of a directory may return too early, because somebody else's is under way
# (docs/adr/0022-overtaken-flush.md): btrfs, an overlay on one, and places that nobody looked at or
# that could not be determined.
OVERTAKEN = frozenset({"btrfs", "overlay", "unknown", ""})


def settle_directory(target: Target, safety: str, *, renamed: int = -1, witness: int = -1) -> bool:
    """Flush a target's directory; True if it is durable, False if the policy goes on without.

    Where that flush may return too early, a file that nobody else flushes goes with it: its own
    flush is never taken for done, and it waits for everything that was logged before.

    Args:
        target: What the directory was opened for.
        safety: As for `write_atomic_bytes`.
        renamed: Descriptor of the file whose rename must be durable when this returns; flushed
            first, since ext4 and xfs under an overlay then have nothing left to do.
        witness: Descriptor of a file of ours where a name was unlinked that must not come back;
            flushed last, after a change of no effect, since an unchanged file has nothing to wait
            for.

    Raises:
        OSError: A flush failed, under ``safety="strict"``.
    """
    path = target.path
    overtaken = target.filesystem in OVERTAKEN
    try:
        if overtaken and renamed >= 0:
            kernel.fsync(renamed)
        kernel.fsync(target.dir_fd)
        if overtaken and witness >= 0:
            kernel.fchmod(witness, stat.S_IMODE(kernel.fstat(witness).st_mode))
            kernel.fsync(witness)
    except OSError as error:
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


def recover(target: Target, safety: str, token: str = "") -> None:
    """Clear up behind a dead writer, while its lock still tells of it.

    Args:
        target: What the writer was changing.
        safety: As for `write_atomic_bytes`.
        token: The token of its lock, by which a temp that may not be opened is known as its.
    """
    settle_directory(target, safety)
    try:
        swept = _sweep(target.dir_fd, token)
    except OSError as error:
        _log.debug("%r: no sweep (%s)", target.path, error)
        return
    for name, size in swept:
        _log.info("%r: removed the orphaned temp %r (%d bytes)", target.path, name, size)


def _sweep(dir_fd: int, token: str) -> list[tuple[str, int]]:
    options: dict[str, Any] = {}
    if token and "named" in orphans.__code__.co_varnames:
        options["named"] = {token}
    return orphans(dir_fd, remove=True, **options)
