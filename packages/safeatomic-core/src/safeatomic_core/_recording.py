"""Recording the checksum of existing content: Announce alone.

Many files of one directory share its flushes: a `Batch` flushes it once before, so that what is
recorded is durable, and once at the end, so that the records are.
"""

from __future__ import annotations

import errno
import os
import stat

from ._announcement import Announcement
from ._descriptor import Descriptor, closing
from ._digests import hash_fd
from ._errors import system_error
from ._gate import pass_gate
from ._posix import kernel
from ._settle import OVERTAKEN, settle_directory
from ._target import READ_FLAGS, Target, identity, refusal, require_regular_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._change import Change
    from ._options import Policy


class Batch:
    """Recordings in one directory; `prepare` before them, `settle` after them, always `close`.

    Where the flush of a directory may return too early (docs/adr/0022-overtaken-flush.md) each
    recording makes its own, with its own file.
    """

    def __init__(self, path: str, policy: Policy) -> None:
        """Open the directory of a path.

        Raises:
            OSError: It cannot be opened.
            UnsupportedEnvironmentError: Under ``safety="strict"``.
        """
        self._safety = policy.safety
        self._durable: dict[str, tuple[int, int]] = {}
        self._pending = False
        self._target = Target(path)
        try:
            pass_gate(self._target, policy, op="sidecar")
            self._place = identity(self._target.directory())
        except BaseException:
            self.close()
            raise
        self._shares = self._target.filesystem not in OVERTAKEN

    def prepare(self, names: Iterable[str]) -> None:
        """Make durable what is there at names, for all of them with one flush of the directory."""
        if not self._shares:
            return
        found = {}
        for name in names:
            try:
                found[name] = self._flush(name)
            except system_error():
                pass  # recording it fails in the same way, and reports that
        self._durable = found if settle_directory(self._target, self._safety) else {}

    def _flush(self, name: str) -> tuple[int, int]:
        """Flush a file; return its device and inode number."""
        opened = Descriptor()

        def flush() -> tuple[int, int]:
            dir_fd = self._target.dir_fd
            # Who writes to a FIFO loses what it writes to somebody who only opens it.
            found = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise refusal(name, found.st_mode)
            fd = opened.open(kernel.open, name, READ_FLAGS, dir_fd=dir_fd)
            inode = identity(kernel.fstat(fd))
            kernel.fsync(fd)
            return inode

        return closing(opened, flush)

    def is_durable(self, target: Target, inode: tuple[int, int]) -> bool:
        """Tell whether a name was flushed since it got its inode."""
        return self._durable.get(target.name) == inode and self._is_here(target)

    def defer(self, target: Target) -> bool:
        """Leave a flush of a target's directory to `settle`; False if it is another directory."""
        if not (self._shares and self._is_here(target)):
            return False
        self._pending = True
        return True

    def settle(self) -> None:
        """Make the records durable."""
        if self._pending:
            settle_directory(self._target, self._safety)

    def close(self) -> None:
        """Close the directory."""
        self._target.close()

    def _is_here(self, target: Target) -> bool:
        return identity(target.directory()) == self._place


def record_present(
    change: Change,
    batch: Batch | None = None,
    on_hashed: Callable[[int], None] | None = None,
) -> None:
    """Record the digest of a target's present content, durably.

    Args:
        change: A change that holds the target's lock, or whose caller excludes writers.
        batch: Makes the record durable later.
        on_hashed: Called with the size of each chunk in bytes, for a progress bar.
    """
    if change.announcement is not None:  # of what was retired before
        change.discard_quietly(change.announcement)
    token = change.token(change.target)
    change.announcement = announcement = Announcement(change.target, token)
    announcement.look(change.policy.algo)

    def sync_directory() -> None:
        if batch is None or not batch.defer(change.target):
            settle_directory(change.target, change.policy.safety, renamed_fd=announcement.fd)

    opened, recorded = Descriptor(), False
    while not recorded:  # again if other content has taken the name meanwhile
        recorded = closing(
            opened, lambda: _record(change, opened, batch, sync_directory, on_hashed)
        )


def require_present(target: Target) -> None:
    """Refuse a target that is missing or not a regular file."""
    if target.status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target.path)
    target.require_regular()


def _record(
    change: Change,
    opened: Descriptor,
    batch: Batch | None,
    sync_directory: Callable[[], None],
    on_hashed: Callable[[int], None] | None,
) -> bool:
    """Make the present content durable, then record its digest; False if it was replaced."""
    target, algo, announcement = change.target, change.policy.algo, change.announcement
    assert announcement is not None  # noqa: S101 - made by the caller
    require_present(target)
    fd = opened.open(kernel.open, target.name, READ_FLAGS, dir_fd=target.dir_fd)
    inode = identity(require_regular_fd(fd, target.path))
    digest = hash_fd(fd, algo, on_hashed)
    # What is accepted must survive a crash before its record does: somebody else's write may be
    # neither flushed nor settled.
    kernel.fsync(fd)
    if batch is None or not batch.is_durable(target, inode):
        # Where the file must be flushed with the directory, that was just done.
        settle_directory(target, change.policy.safety)
    found = target.look_again()
    if found is None or identity(found) != inode:
        return False
    announcement.draft_plain(algo, digest)
    announcement.harden(fd)
    change.require_locks()
    announcement.announce(sync_directory)
    announcement.drop_displaced()
    return True
