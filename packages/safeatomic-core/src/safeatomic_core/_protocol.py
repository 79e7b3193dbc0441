"""The steps of one write, in their order; every way to write a file is a use of this class.

    Gate      arguments valid, target regular or absent, environment allows it; nothing touched yet
    Acquire   the cooperative lock, so that two writers cannot interleave
    Stage     a temporary file beside the target
    Fill      every byte into it, hashed on the way if a checksum is wanted
    Harden    metadata onto it, then a flush: from here its content survives a crash
    Announce  the checksum sidecar says "new or previous", durably
    Publish   rename over the target: the one instant at which readers see the new content
    Settle    flush the directory: from here the rename survives a crash
    Seal      the sidecar says "new"
    Release   the lock's name goes, then its flock

Before Publish every failure leaves the target, its sidecar and its metadata as they were and no
temp behind; after it nothing is rolled back. Each error says in a note which step failed and what
became of the target. `docs/protocol.md` explains each step, `formal/` checks their order.
"""

from __future__ import annotations

import os
import stat

from . import _log, _trace
from ._announcement import Announcement, start_writeback
from ._errors import NEW, NEW_UNCONFIRMED, UNCHANGED, LockError, SafeAtomicError, explain
from ._guarantees import gate, warn_caller
from ._lock import Lock, acquire, contention, release_quietly
from ._lock_file import still_named
from ._metadata import preserve
from ._posix import kernel
from ._sidecar_file import SUFFIX as SIDECAR_SUFFIX
from ._sidecar_file import new_hash
from ._target import locate
from ._temp_file import Temp, orphans
from ._types import ATOMIC_VISIBILITY, CRASH_DURABILITY, INTEGRITY_DETECTION, WRITER_EXCLUSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from hashlib import _Hash

    from ._options import Policy
    from ._target import Target
    from ._types import StrPath

_NEEDED = {
    (False, False): (ATOMIC_VISIBILITY, CRASH_DURABILITY),
    (True, False): (ATOMIC_VISIBILITY, CRASH_DURABILITY, WRITER_EXCLUSION),
    (False, True): (ATOMIC_VISIBILITY, CRASH_DURABILITY, INTEGRITY_DETECTION),
    (True, True): (ATOMIC_VISIBILITY, CRASH_DURABILITY, WRITER_EXCLUSION, INTEGRITY_DETECTION),
}
_NEW_FILE_MODE = 0o666  # the kernel applies the umask and default ACLs, as for open(path, "w")
_OVERWRITE_MODE = stat.S_IRUSR | stat.S_IWUSR
_NOTE = "safeatomic: "
# Bytes up to which the time gained counts. Of a larger file the kernel would drop from its cache
# what is on the disk by then, and would have to read it again (POSIX_FADV_DONTNEED, mm/fadvise.c).
_WRITTEN_BACK_EARLY = 8 * 2**20
_HASH_ASIDE = 262144  # bytes from which hashing in a second thread pays for starting one


class Write:
    """One write under way. Call the steps in order; on any error call `fail`, always `close`.

    Attributes:
        target: The name that is written.
        step: The step that is being done, for error notes.
        published: Whether the new content is visible.
        temp: The temporary file.
    """

    __slots__ = (
        "_announcement",
        "_digest",
        "_hash",
        "_hash_thread",
        "_lock",
        "_policy",
        "_settled",
        "published",
        "publishing",
        "step",
        "target",
        "temp",
    )

    def __init__(self, path: StrPath, policy: Policy) -> None:
        """Do the Gate step.

        Raises:
            IsADirectoryError: The target is a directory. It is unchanged.
            UnsupportedEnvironmentError: Under ``safety="strict"``. The target is unchanged.
            OSError: The target is no regular file or its directory cannot be opened. It is
                unchanged.
        """
        self._policy = policy
        self._announcement: Announcement | None = None
        self._digest = ""
        self._hash: _Hash | None = None
        self._hash_thread: threading.Thread | None = None
        self._lock: Lock | None = None
        self._settled = False
        self.published = False
        self.publishing = False
        self.step = _trace.GATE
        self.target = open_gate(path, policy)
        self.temp = Temp(self.target.dir_fd)

    def acquire(self) -> None:
        """Take the lock, so that nobody else is between Stage and Seal at the same time."""
        if not self._policy.lock:
            return
        self.step = _trace.ACQUIRE
        # Known to close() before it is taken: an interrupt in between must not leave it held.
        self._lock = new_lock(self.target, self._policy.safety)
        take_lock(self._lock, self.target, self._policy)
        # What the last holder published while we waited is what we overwrite.
        self.target.look_again()
        self.target.require_regular()

    def stage(self) -> None:
        """Create the temp beside the target: a rename works within one filesystem only."""
        self.step = _trace.STAGE
        keep = self._policy.preserve_metadata and self.target.status is not None
        # What replaces a private file must never be readable by others, not even half-written.
        self.temp.create(_OVERWRITE_MODE if keep else _NEW_FILE_MODE)
        if _trace.hook is not None:
            inode = kernel.fstat(self.temp.fd).st_ino
            _trace.hook(_trace.STAGE, {"temp": self.temp.name, "inode": inode})

    def fill(self, data: memoryview | bytes) -> None:
        """Write the whole content, hashing it on the way."""
        self.step = _trace.FILL
        if self._policy.write_checksum:
            self._hash_aside(data)
        self.temp.write_all(data)
        self.filled(len(data))

    def filled(self, size: int, digest: str | None = None) -> None:
        """Take note that the temp is complete, and of its digest if the caller knows it."""
        if digest is not None:
            self._digest = digest
        if self._policy.write_checksum or size <= _WRITTEN_BACK_EARLY:
            # The disk works on the content while we do what does not need it.
            start_writeback(self.temp.fd)
        if _trace.hook is not None:
            _trace.hook(_trace.FILL, {"bytes": size})

    def commit(self) -> None:
        """Do the remaining steps up to Seal."""
        checked = self._policy.write_checksum
        announcement = None
        self.step = _trace.ANNOUNCE
        if checked:
            self._join_hash()
            self._announcement = announcement = Announcement(self.target)
            announcement.draft(self._policy.algo, self._digest, self._sync_directory)
        elif kernel.exists_at(self.target.name + SIDECAR_SUFFIX, self.target.dir_fd):
            self._announcement = announcement = Announcement(self.target)
        self.harden()
        if announcement is not None:
            self.step = _trace.ANNOUNCE
            if self._lock is not None:
                self._require_lock()
            if checked:
                announcement.announce(self._sync_directory)
            else:
                announcement.retire(self._sync_directory)
        self.publish()
        self.settle()
        if checked and self._settled:
            self.seal()

    def harden(self) -> None:
        """Give the temp its metadata and flush it; without this a crash may publish NULs."""
        self.step = _trace.HARDEN
        if self._policy.preserve_metadata and self.target.status is not None:
            preserve(self.target, self.temp)
        # A failed flush is never tried again: the kernel has dropped the pages it could not write
        # and a second call would report success (fsync(2), PostgreSQL's fsyncgate).
        kernel.fsync(self.temp.fd)
        if _trace.hook is not None:
            _trace.hook(_trace.HARDEN, {"inode": kernel.fstat(self.temp.fd).st_ino})

    def publish(self) -> None:
        """Rename the temp over the target, if the lock is still ours."""
        self.step = _trace.PUBLISH
        if self._lock is not None:
            self._require_lock()
        dir_fd = self.target.dir_fd
        temp = self.temp
        self.publishing = True  # an interrupt after the call must not be taken for one before it
        kernel.rename(temp.name, self.target.name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        self.published = True
        temp.name = ""
        if _trace.hook is not None:
            facts: dict[str, object] = {
                "inode": kernel.fstat(temp.fd).st_ino,
                "lock_checked": self._lock is not None,
            }
            _trace.hook(_trace.PUBLISH, facts)

    def settle(self) -> None:
        """Flush the directory; without this a crash may bring the old content back."""
        self.step = _trace.SETTLE
        self._settled = settle_directory(self.target, self._policy.safety, renamed=self.temp.fd)
        if _trace.hook is not None:
            _trace.hook(_trace.SETTLE, {"durable": self._settled})

    def seal(self) -> None:
        """Cut the previous digest off the record; until then a roll-back would go unnoticed."""
        self.step = _trace.SEAL
        assert self._announcement is not None  # noqa: S101 - only a checked write is sealed
        try:
            self._announcement.seal()
        except OSError as error:
            raise SafeAtomicError(
                f"cannot seal the checksum sidecar of {self.target.path!r} ({error.strerror}); "
                f"{NEW}, and it verifies, but so would the previous content; write it again"
            ) from error
        if _trace.hook is not None:
            _trace.hook(_trace.SEAL, {})

    def fail(self, error: BaseException) -> BaseException:
        """Undo what was not published, and return the error the caller is to raise.

        Args:
            error: What the step raised.

        Returns:
            For an error of the operating system one of the same class that says what to do, with
            the cause chained; else the error itself. Both carry the note.
        """
        self._find_out_whether_published()
        result = self.explained(error)
        self.undo()
        return result

    def explained(self, error: BaseException) -> BaseException:
        """Return an error that says what failed and what became of the target; once is enough."""
        if any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
            return error
        result = error
        outcome = self.outcome()
        if isinstance(error, OSError) and error.errno is not None:
            result = explain(error, _DOING[self.step], self.target.path, outcome)
            result.__cause__ = error
        result.add_note(f"{_NOTE}{self.step} failed; {outcome}")
        return result

    def outcome(self) -> str:
        """Say what became of the target."""
        if not self.published:
            return UNCHANGED
        return NEW if self._settled else NEW_UNCONFIRMED

    def close(self) -> None:
        """Do the Release step, which fails in the log only, then close every descriptor."""
        self.step = _trace.RELEASE
        lock = self._lock
        try:
            if lock is not None:
                release_quietly(lock)
        finally:
            try:
                if self._hash_thread is not None:
                    self._join_hash()
                if self._announcement is not None:
                    discard_quietly(self._announcement, self.target)
            finally:
                try:
                    if self.temp.name:
                        discard_quietly(self.temp, self.target)
                    else:
                        self.temp.close()
                finally:
                    try:
                        if lock is not None and lock.fd >= 0:
                            release_quietly(lock)  # an interrupt came before the first attempt
                    finally:
                        self.target.close()

    def undo(self) -> None:
        """Put the sidecar back and remove the temp; never masks an error that is under way.

        What is published stays: the former sidecar beside the new content would be a false alarm.
        """
        self._find_out_whether_published()
        if self.published:
            return
        try:
            announcement = self._announcement
            if announcement is not None and (self._lock is None or self._lock.owned()):
                undone = announcement.roll_back(self._flush_directory)
                if not undone and self._lock is not None:
                    self._lock.leave_behind()
        except OSError as error:
            _log.warning("%r: could not clean up (%s)", self.target.path, error)
        finally:
            discard_quietly(self.temp, self.target)

    def _find_out_whether_published(self) -> None:
        """Settle what an interrupt during the rename left open: did it happen?"""
        if self.publishing and not self.published and self.temp.fd >= 0:
            try:
                status = kernel.fstat(self.temp.fd)
                inode = (status.st_dev, status.st_ino)
                self.published = still_named(self.target.dir_fd, self.target.name, inode)
            except OSError as error:
                _log.debug("%r: cannot tell whether published (%s)", self.target.path, error)
            if self.published:
                self.temp.name = ""

    def _require_lock(self) -> None:
        """Fail if the lock was forced away: it belongs to somebody who may be writing now."""
        assert self._lock is not None  # noqa: S101 - callers have just looked
        if not self._lock.owned():
            raise LockError(
                self.target.path,
                "the lock was removed by force while this write was under way; the target is "
                "unchanged. Find out who called force_release_lock(), then write again",
            )

    def _sync_directory(self) -> None:
        """Flush the directory in the middle of a write, by the same policy as Settle."""
        settle_directory(self.target, self._policy.safety)

    def _flush_directory(self) -> None:
        kernel.fsync(self.target.dir_fd)

    def _hash_aside(self, data: memoryview | bytes) -> None:
        """Hash the content, beside the writing when that is worth a thread."""
        self._hash = digest = new_hash(self._policy.algo)
        if len(data) < _HASH_ASIDE:
            digest.update(data)
            return
        import threading

        # hashlib releases the interpreter lock while it works, and so does write(2).
        self._hash_thread = threading.Thread(target=digest.update, args=(data,), daemon=True)
        self._hash_thread.start()

    def _join_hash(self) -> None:
        """Wait for the digest."""
        thread, self._hash_thread = self._hash_thread, None
        if thread is not None:
            thread.join()
        if self._hash is not None:
            self._digest = self._hash.hexdigest()


def open_gate(path: StrPath, policy: Policy, *, op: str = "write") -> Target:
    """Find the target and refuse what cannot be written safely; the whole of Gate."""
    try:
        target = locate(path)
    except OSError as error:
        raise gate_error(error, os.fsdecode(path)) from error
    try:
        target.require_regular()
        needed = _NEEDED[policy.lock, policy.write_checksum]
        target.filesystem = gate(
            target.directory().st_dev, policy.safety, target.path, needed, target.dir_fd
        )
        if _trace.hook is not None:
            status = target.directory()
            _trace.hook(
                _trace.GATE,
                {
                    "op": op,
                    "target": target.name,
                    "dir": f"{status.st_dev}:{status.st_ino}",
                    "exists": target.status is not None,
                    "checksum": policy.write_checksum,
                    "lock": policy.lock,
                },
            )
    except BaseException as error:
        target.close()
        if isinstance(error, OSError):
            raise gate_error(error, target.path) from error
        raise
    return target


def gate_error(error: OSError, path: str) -> OSError:
    """Return the error of a target that cannot be opened or must not be written."""
    result = explain(error, _DOING[_trace.GATE], path, UNCHANGED)
    result.add_note(f"{_NOTE}{_trace.GATE} failed; {UNCHANGED}")
    return result


def discard_quietly(resource: Temp | Announcement, target: Target) -> None:
    """Remove a temp; what cannot be removed is an orphan, swept by a later writer or `clean`."""
    try:
        resource.discard()
    except OSError as error:
        _log.warning("%r: could not clean up (%s)", target.path, error)


def take_lock(lock: Lock, target: Target, policy: Policy) -> None:
    """Acquire the lock or say who holds it."""
    found = acquire(
        lock, target, session=policy.session, retries=policy.retries, delay=policy.delay
    )
    if found is not None:
        raise contention(target, found)


# Where the flush of a directory may return too early, because somebody else's is under way
# (docs/adr/0022-overtaken-flush.md): btrfs, an overlay on one, and places that nobody looked at or
# that could not be told.
_OVERTAKEN = frozenset({"btrfs", "overlay", "unknown", ""})


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
    overtaken = target.filesystem in _OVERTAKEN
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
            warn_caller(
                f"{path!r}: the directory could not be flushed ({error.strerror}); "
                f"{CRASH_DURABILITY} is not given for this write"
            )
        _log.warning("%r: the directory could not be flushed (%s)", path, error)
        return False
    return True


def new_lock(target: Target, safety: str) -> Lock:
    """Return a lock of the target, not yet taken."""
    return Lock(target, lambda: recover(target, safety))


def recover(target: Target, safety: str) -> None:
    """Clear up behind a dead writer, while its lock still tells of it."""
    settle_directory(target, safety)
    try:
        swept = orphans(target.dir_fd, remove=True)
    except OSError as error:
        _log.debug("%r: no sweep (%s)", target.path, error)
        return
    for name, size in swept:
        _log.info("%r: removed the orphaned temp %r (%d bytes)", target.path, name, size)


_DOING = {
    _trace.GATE: "open the target",
    _trace.ACQUIRE: "take the lock",
    _trace.STAGE: "create a temporary file beside the target",
    _trace.FILL: "write the temporary file",
    _trace.HARDEN: "flush the temporary file",
    _trace.ANNOUNCE: "announce the checksum",
    _trace.PUBLISH: "replace the target",
    _trace.SETTLE: "flush the parent directory",
    _trace.SEAL: "seal the checksum",
    _trace.RELEASE: "release the lock",
}
