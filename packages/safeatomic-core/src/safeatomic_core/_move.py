"""Moving a file together with its checksum sidecar: one rename, never a copy.

The sidecar cannot simply be renamed along: data and sidecar are two names, and a crash between two
renames would leave one without the other. So the destination's sidecar *announces* the arriving
content as a write does, and the source's sidecar goes last. `formal/notes-checksum.md` numbers the
steps and says what each of them prevents; `formal/SafeAtomicChecksum.tla` checks them.
"""

from __future__ import annotations

import errno
import os

from . import _log, _trace
from ._announcement import Announcement, memoized
from ._errors import (
    NEW,
    NEW_UNCONFIRMED,
    UNCHANGED,
    CrossDeviceAtomicityError,
    LockError,
    explain,
)
from ._lock import release_quietly
from ._lock_file import still_named
from ._options import Policy, check_flag
from ._posix import NOT_SUPPORTED, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, close_quietly, kernel
from ._protocol import discard_quietly, new_lock, open_gate, settle_directory, take_lock
from ._sidecar_file import SUFFIX, Sidecar, agreeing, malformed
from ._target import check_path
from ._temp_file import unlink_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._lock import Lock
    from ._sidecar_file import Digest
    from ._target import Target
    from ._types import Safety, StrPath


def move_atomic(
    src: StrPath,
    dst: StrPath,
    *,
    force: bool = False,
    preserve_metadata: bool = True,
    safety: Safety = "strict",
) -> None:
    """Rename a file within one filesystem, atomically and durably, with its checksum sidecar.

    Both files are locked meanwhile. The source's content is flushed before, both directories
    after the rename. A sidecar at the destination that would not speak of the arriving content is
    removed.

    Args:
        src: The file to move. A symbolic link is followed.
        dst: Its new path; the directory must exist and be on the same filesystem.
        force: Replace an existing destination; otherwise it is refused, in one step of the kernel.
        preserve_metadata: Makes no difference: a rename carries the file itself along, with its
            mode, owner and attributes. It is taken so that options can be passed through.
        safety: As for `write_atomic_bytes`.

    Raises:
        CrossDeviceAtomicityError: The two are on different devices, under every ``safety``. Both
            are unchanged.
        FileExistsError: The destination exists and ``force`` is False. Both are unchanged.
        FileNotFoundError: The source or the destination's directory is missing. Nothing changed.
        LockError: One of the two is locked by somebody else. Both are unchanged.
        SafeAtomicError: The source's sidecar is malformed. Both are unchanged.
        UnsupportedEnvironmentError: Under ``"strict"``. Both are unchanged.
        TypeError: An argument of the wrong type. Both are unchanged.
        ValueError: An argument out of range. Both are unchanged.
        OSError: A system call failed. The note says whether the file was moved.
    """
    check_path(src, "src")
    check_path(dst, "dst")
    check_flag(force, "force")
    policy = Policy("lock", preserve_metadata, False, None, None, None, None, safety)
    move = _Move(src, dst, policy, force=force)
    try:
        move.run()
    except BaseException as error:  # noqa: BLE001 - raised again, explained
        raise move.fail(error)  # noqa: B904 - the cause is set
    finally:
        move.close()


class _Move:
    """One move under way, in the terms of the ten steps."""

    def __init__(self, src: StrPath, dst: StrPath, policy: Policy, *, force: bool) -> None:
        """Do the Gate step for both names."""
        self._policy = policy
        self._force = force
        self._step = _trace.GATE
        self._published = False
        self._publishing = False  # set before the call: an interrupt may come right after it
        self._settled = False
        self._source_fd = -1
        self._loose = False  # whether the source's sidecar is gone, but perhaps not for good
        self._announcement: Announcement | None = None
        self._locks: list[Lock] = []
        self._source_lock: Lock | None = None
        self._linked = False
        self._src = open_gate(src, policy, op="move")
        try:
            self._dst = open_gate(dst, policy, op="move")
        except BaseException:
            self._src.close()
            raise

    def run(self) -> None:
        """Do the remaining steps."""
        src, dst = self._src, self._dst
        self._refuse_early()
        if self._same_name():
            return
        self._acquire()
        self._refuse_early()
        self._harden()
        new = self._recorded()
        self._step = _trace.ANNOUNCE
        if new is not None:
            (algo, digest), rest = new[0], new[1:]
            self._announcement = announcement = Announcement(dst)
            announcement.draft(algo, digest, self._sync_destination, rest)
            self._require_locks()
            announcement.announce(self._sync_destination)
        elif kernel.exists_at(dst.name + SUFFIX, dst.dir_fd):
            self._require_locks()
            self._announcement = Announcement(dst)
            self._announcement.retire(self._sync_destination)
        self._publish()
        self._step = _trace.SETTLE
        # The destination first: at no moment may a crash show the file in neither directory.
        settled = settle_directory(dst, self._policy.safety, renamed=self._source_fd)
        self._report(_trace.SETTLE, {"durable": settled})
        if self._linked:
            kernel.unlink(src.name, dir_fd=src.dir_fd)
        record = -1
        if new is not None and settled and self._announcement is not None:
            self._step = _trace.SEAL
            self._announcement.seal()
            self._report(_trace.SEAL, {})
            # Only now: before, a crash could bring the source back without its sidecar.
            self._step = _trace.SETTLE
            self._loose = True
            unlink_if_there(src.name + SUFFIX, src.dir_fd)
            record = self._announcement.fd
        gone = settle_directory(src, self._policy.safety, renamed=self._source_fd, witness=record)
        self._settled = settled and gone
        self._loose = False
        self._report(_trace.SETTLE, {"durable": self._settled})

    def fail(self, error: BaseException) -> BaseException:
        """Put the sidecar back if nothing was moved; return the error with its explanation."""
        self._find_out_whether_published()
        outcome = UNCHANGED
        if self._published:
            outcome = NEW if self._settled else NEW_UNCONFIRMED
        else:
            self._undo()
        result = error
        if isinstance(error, FileExistsError):
            result = FileExistsError(
                errno.EEXIST,
                f"the destination exists; pass force=True to replace it. {UNCHANGED.capitalize()}",
                self._dst.path,
            )
            result.__cause__ = error
        elif isinstance(error, OSError) and error.errno == errno.EXDEV:
            result = CrossDeviceAtomicityError(self._src.path, self._dst.path)
            result.__cause__ = error
        elif isinstance(error, OSError) and error.errno is not None:
            doing = f"move {self._src.path!r}"
            result = explain(error, doing, self._path_of(error), outcome)
            result.__cause__ = error
        result.add_note(f"safeatomic: {self._step} failed; {outcome}")
        return result

    def close(self) -> None:
        """Release both locks and close every descriptor."""
        self._step = _trace.RELEASE
        if self._loose and self._source_lock is not None:
            # Otherwise the next writer of the source would not know that a crash may bring the
            # sidecar back; a dead lock tells it to flush the directory first (R2).
            self._source_lock.leave_behind()
        try:
            self._release(self._locks)
        finally:
            try:
                self._release(self._locks)  # unless an interrupt came first, a no-op
                if self._announcement is not None:
                    discard_quietly(self._announcement, self._dst)
            finally:
                try:
                    if self._source_fd >= 0:
                        close_quietly(self._source_fd)
                finally:
                    try:
                        self._src.close()
                    finally:
                        self._dst.close()

    def _release(self, locks: list[Lock]) -> None:
        """Release every lock, even if an interrupt comes in between."""
        if locks:
            try:
                release_quietly(locks[0])
            finally:
                self._release(locks[1:])

    def _undo(self) -> None:
        """Put the destination's sidecar back; never masks the error that is under way."""
        if self._announcement is None:
            return
        try:
            owned = all(lock.owned() for lock in self._locks)
            if owned and not self._announcement.roll_back(self._flush_destination):
                for lock in self._locks:
                    lock.leave_behind()
        except OSError as error:
            _log.warning("%r: could not clean up (%s)", self._dst.path, error)

    def _path_of(self, error: OSError) -> str:
        """Return the path of the caller's that an error is about."""
        name = error.filename if isinstance(error.filename, str) else ""
        if name.startswith((self._src.path, self._dst.path)):
            return name
        # Both names may begin alike: "a" and "a.txt".
        about_src = name.startswith(self._src.name) and not (
            name.startswith(self._dst.name) and len(self._dst.name) > len(self._src.name)
        )
        return str((self._src if about_src else self._dst).named(error).filename)

    def _refuse_early(self) -> None:
        """Refuse what the rename would refuse, before a lock is taken or a sidecar written."""
        src, dst = self._src, self._dst
        if src.status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), src.path)
        if kernel.fstat(dst.dir_fd).st_dev != kernel.fstat(src.dir_fd).st_dev:
            raise CrossDeviceAtomicityError(src.path, dst.path)
        if dst.status is not None and not self._force and not self._same_name():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst.path)

    def _same_name(self) -> bool:
        """Tell whether source and destination are one name of one directory."""
        if self._src.name != self._dst.name:
            return False
        a, b = kernel.fstat(self._src.dir_fd), kernel.fstat(self._dst.dir_fd)
        return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

    def _acquire(self) -> None:
        """Lock both, in an order that two opposite moves share."""
        self._step = _trace.ACQUIRE

        def order(target: Target) -> tuple[int, int, str]:
            status = kernel.fstat(target.dir_fd)
            return status.st_dev, status.st_ino, target.name

        for target in sorted((self._src, self._dst), key=order):
            lock = new_lock(target, self._policy.safety)
            self._locks.append(lock)
            if target is self._src:
                self._source_lock = lock
            take_lock(lock, target, self._policy)
            target.look_again()
            target.require_regular()

    def _harden(self) -> None:
        """Flush the source's content: nobody promised that whoever wrote it did."""
        self._step = _trace.HARDEN
        src = self._src
        flags = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        self._source_fd = kernel.open(src.name, flags, dir_fd=src.dir_fd)
        kernel.fsync(self._source_fd)
        self._report(_trace.HARDEN, {"inode": kernel.fstat(self._source_fd).st_ino})

    def _recorded(self) -> tuple[Digest, ...] | None:
        """Return what the source's sidecar says of it; None if there is none.

        It is what was recorded, never a fresh hash: a damaged file must arrive as damaged.
        """
        sidecar = Sidecar(self._src, self._policy.algo)
        sidecar.close()
        if sidecar.flaw is not None:
            raise malformed(self._src, sidecar.flaw)
        record = sidecar.record
        if record is None:
            return None
        if record.previous:
            match = agreeing(record, memoized(self._source_fd))
            return record.digests if match is None else (match,)
        return record.digests

    def _publish(self) -> None:
        """Rename, if both locks are still ours."""
        self._step = _trace.PUBLISH
        self._require_locks()
        src, dst = self._src, self._dst
        self._publishing = True
        if self._force:
            if self._hard_links_of_one_file():
                self._linked = True  # rename(2) would do nothing and report success
            else:
                kernel.rename(src.name, dst.name, src_dir_fd=src.dir_fd, dst_dir_fd=dst.dir_fd)
        else:
            self._rename_noreplace()
        self._published = True
        self._report(
            _trace.PUBLISH,
            {"inode": kernel.fstat(self._source_fd).st_ino, "lock_checked": True},
        )

    def _rename_noreplace(self) -> None:
        """Rename without replacing, by a hard link where the kernel has no such rename."""
        src, dst = self._src, self._dst
        try:
            kernel.rename_noreplace(src.name, dst.name, src.dir_fd, dst.dir_fd)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
            kernel.link(
                src.name,
                dst.name,
                src_dir_fd=src.dir_fd,
                dst_dir_fd=dst.dir_fd,
                follow_symlinks=False,
            )
            self._linked = True

    def _hard_links_of_one_file(self) -> bool:
        a, b = self._src.status, self._dst.status
        return a is not None and b is not None and (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

    def _find_out_whether_published(self) -> None:
        """Settle what an interrupt during the rename left open: did it happen?"""
        if self._publishing and not self._published:
            try:
                status = kernel.fstat(self._source_fd)
                inode = (status.st_dev, status.st_ino)
                self._published = still_named(self._dst.dir_fd, self._dst.name, inode)
            except OSError as error:
                _log.debug("%r: cannot tell whether moved (%s)", self._dst.path, error)

    def _require_locks(self) -> None:
        for lock in self._locks:
            if not lock.owned():
                raise LockError(
                    self._dst.path,
                    "a lock was removed by force while the file was being moved; nothing was "
                    "moved. Find out who called force_release_lock(), then move it again",
                )

    def _flush_destination(self) -> None:
        kernel.fsync(self._dst.dir_fd)

    def _sync_destination(self) -> None:
        settle_directory(self._dst, self._policy.safety)

    def _report(self, step: str, facts: dict[str, object]) -> None:
        if _trace.hook is not None:
            _trace.hook(step, facts)
