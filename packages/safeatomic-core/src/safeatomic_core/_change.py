"""One frame for every change of a file: a write, a move, the recording of a checksum.

A `Change` knows what it holds (locks, an announced checksum), how far it got (its step, whether
the new content is visible, whether that is durable), and how it ends: explained, undone, closed.
What the steps *do* is written where each change is; how any of them fails is written here, to which
`_Move` adds which of its two names an error is about.
"""

from __future__ import annotations

from _weakref import ref  # weakref itself is slow to import

from . import _log, _trace
from ._advice import explained
from ._errors import NEW, NEW_UNCONFIRMED, UNCHANGED, LockError, system_error
from ._forks import generation
from ._held_locks import begin, contention, end, fence_of, own_lock, refuse_nested, take
from ._lock import Lock, release_quietly
from ._posix import kernel
from ._settle import flush_renamed, settle_directory
from ._stack import require_stack
from ._target import identity, still_named

try:
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # an interpreter that has it in Python only
    from functools import partial  # slow to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ._announcement import Announcement
    from ._held_locks import Mark
    from ._lock import Fence
    from ._options import Policy
    from ._target import Target
    from ._temp_file import Temp

_NOTE = "safeatomic: "
_ATTEMPTS = 8  # to close a change, each but the last cut short by a signal handler that raises

# What failed, as "cannot …" goes on, by step.
DOING = {
    _trace.GATE: "open the target",
    _trace.ACQUIRE: "take the lock",
    _trace.STAGE: "create a temporary file beside the target",
    _trace.FILL: "write the temporary file",
    _trace.HARDEN: "prepare and flush the temporary file",
    _trace.ANNOUNCE: "announce the checksum",
    _trace.PUBLISH: "replace the target",
    _trace.SETTLE: "flush the parent directory",
    _trace.SEAL: "seal the checksum",
    _trace.RELEASE: "release the lock",
}


class Change:
    """One change under way; `carry_out` does its steps and ends it.

    Attributes:
        policy: The options of the call.
        target: The name that shows the new content when it is published.
        step: The step that is being done, for error notes.
        published: Whether the new content is visible.
        publishing: Whether the call that makes it visible may have been made.
        settled: Whether that is durable.
        closed: Whether everything was released.
        locks: What is held or relied on, in the order of acquisition.
        announcement: The checksum sidecar's part, if it has one.
        guard: What closes it if nobody else does, see `carry_out`.
    """

    target: Target

    def __init__(self, policy: Policy) -> None:
        require_stack()
        self.policy = policy
        self.step = _trace.GATE
        self.published = False
        self.publishing = False
        self.settled = False
        self.closed = False
        self.locks: list[Fence] = []
        self._marks: list[Mark] = []
        self.announcement: Announcement | None = None
        self.guard: object = None

    # ------------------------------------------------------- what a kind of change says of itself

    def inode_fd(self) -> int:
        """Return the descriptor of what the target's name shows once published; -1 if none."""
        return -1

    def doing(self) -> str:
        """Say what the present step does, as "cannot …" goes on."""
        return DOING[self.step]

    def path_of(self, error: OSError) -> str:
        """Return the path of the caller's that a system error is about."""
        return str(self.target.named(error).filename)

    def about(self, _error: OSError) -> Target:
        """Return which of the names that are changed a system error is about."""
        return self.target

    def translated(self, error: OSError) -> BaseException:
        """Return the error the caller sees for one of the operating system."""
        about = self.path_of(error), self.outcome(), self.step
        return explained(error, self.doing(), *about, self.about(error))

    def lost_lock(self) -> str:
        """Say what a lock that was taken away means here."""
        return (
            "the lock was removed by force while this write was under way; the target is "
            "unchanged. Find out who called force_release_lock(), then write again"
        )

    # ----------------------------------------------------------------------------- what it holds

    def enter(self, target: Target) -> None:
        """Do the locks' part of Gate: refuse a nested change, find the lock that fences this one.

        Raises:
            LockError: The running context is changing the name already. Nothing was touched.
        """
        refuse_nested(target)
        if not self.policy.lock:
            fence = fence_of(target)
            if fence is not None:
                self.locks.append(fence)

    def acquire(self, target: Target) -> None:
        """Take the lock of a name, or use the one that the running context holds."""
        self.step = _trace.ACQUIRE
        policy = self.policy
        # Before the lock is taken close() must know of it: no interrupt may leave it held.
        begin(target, self._marks)
        own = own_lock(target)
        if own is not None:
            self.locks.append(own)
        else:
            lock = Lock(target, policy.safety)
            self.locks.append(lock)
            if not take(lock, policy.session, policy.retries, policy.delay):
                raise contention(target, lock)
            self._marks[-1].inode = lock.inode
        # What the last holder published while we waited is what we replace.
        target.look_again()
        target.require_regular()

    def require_locks(self) -> None:
        """Fail if a lock was taken away: it belongs to somebody who may be writing now.

        Raises:
            LockError: It was.
            FileNotFoundError: The directory was removed.
        """
        for lock in self.locks:
            if not lock.owned():
                lock.target.require_directory()  # it takes the lock with it, by nobody's force
                raise LockError(self.target.path, lock.lost or self.lost_lock())

    def token(self, target: Target) -> str:
        """Return the token of a target's lock, for the names of temps; empty without one."""
        for lock in self.locks:
            if lock.target is target:
                return lock.token
        return ""

    def sync_directory(self) -> None:
        """Flush the directory in the middle of a change, by the same policy as Settle."""
        settle_directory(self.target, self.policy.safety)

    # -------------------------------------------------------------------------------- how it ends

    def fail(self, error: BaseException) -> BaseException:
        """Undo what was not published, and return the error the caller is to raise.

        Args:
            error: What the step raised.

        Returns:
            For an error of the operating system one of the same class that says what to do, with
            the cause chained; else the error itself. Both carry the note.
        """
        self.find_out_whether_published()
        result = self.explained(error)
        self.undo()
        if self.published and not self.settled:
            self._leave_locks()  # the next writer is to flush the directory first
        return result

    def explained(self, error: BaseException) -> BaseException:
        """Return an error that says what failed and what became of the target; once is enough."""
        if any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
            return error
        result = error
        if isinstance(error, OSError) and error.errno is not None:
            result = self.translated(error)
            result.__cause__ = error
        result.add_note(f"{_NOTE}{self.step} failed; {self.outcome()}")
        return result

    def outcome(self) -> str:
        """Say what became of the target."""
        if not self.published:
            return UNCHANGED
        return NEW if self.settled else NEW_UNCONFIRMED

    def find_out_whether_published(self) -> None:
        """Settle what an interrupt during the rename left open: did it happen?"""
        fd = self.inode_fd()
        if self.publishing and not self.published and fd >= 0:
            try:
                inode = identity(kernel.fstat(fd))
                self.published = still_named(self.target.dir_fd, self.target.name, inode)
            except system_error() as error:
                path = self.target.path
                _log.debug("%r: could not find out whether it is published (%s)", path, error)

    def undo(self) -> None:
        """Put the sidecar back; never masks the error that is under way, harmless when done twice.

        What is published stays: the former sidecar beside the new content would be a false alarm.
        """
        self.find_out_whether_published()
        if not self.published:
            self.put_back()

    def put_back(self) -> None:
        """Put the former sidecar back, if the locks are still ours."""
        announcement = self.announcement
        if announcement is None or not (announcement.announced or announcement.retired):
            return
        try:
            if not self._locked_again():
                announcement.leave("the lock was taken away by force, and another holder has it")
            elif not announcement.roll_back(self._flush_renamed):
                self._leave_locks()
        except (system_error(), LockError) as error:
            _log.warning("%r: could not clean up (%s)", self.target.path, error)

    def close(self) -> None:
        """Do the Release step, which fails in the log only, then close every descriptor."""
        self.step = _trace.RELEASE
        finish(self.endings())
        self.guard = None
        self.closed = True

    def endings(self) -> list[Callable[[], None]]:
        """Return what is to be done at the end, last first; each may be done twice."""
        endings = [self.target.close]
        if self.announcement is not None:
            endings.append(self._discard_announcement)
        if self.locks or self._marks:
            endings.append(self._release_locks)
        if not self.published:
            endings.append(self.undo)  # an interrupt may have kept `fail` from it
        return endings

    def discard_quietly(self, resource: Temp | Announcement) -> None:
        """Remove a temp; one that cannot be removed is an orphan, swept later."""
        try:
            resource.discard()
        except system_error() as error:
            _log.warning("%r: could not clean up (%s)", self.target.path, error)

    def _discard_announcement(self) -> None:
        assert self.announcement is not None  # noqa: S101 - entered for one only
        self.discard_quietly(self.announcement)

    def _leave_locks(self) -> None:
        """Let the locks tell the next writer that something is left to recover."""
        for lock in self.locks:
            lock.leave_behind()

    def _release_locks(self) -> None:
        for lock in self.locks:
            release_quietly(lock)
        for mark in self._marks:
            end(mark)

    def _locked_again(self) -> bool:
        """Tell whether every lock is ours; one that was forced away is taken once more, if free."""
        for lock in list(self.locks):
            # No generator: an interrupt that comes as one is closed goes nowhere.
            if not [one for one in self.locks if one.target is lock.target and one.owned()]:
                again = Lock(lock.target, self.policy.safety)
                self.locks.append(again)
                if not again.attempt(self.policy.session):
                    return False
        return True

    def _flush_renamed(self, renamed: int) -> None:
        flush_renamed(self.target, renamed)


class Explaining:
    """Explain a system error that leaves a ``with`` block in the middle of a change."""

    __slots__ = ("_change", "_harmless", "_step", "_tell")

    def __init__(
        self,
        change: Change,
        step: str,
        tell: Callable[[BaseException], None],
        harmless: tuple[int, ...],
    ) -> None:
        """Begin nothing yet; ``tell`` gets a copy of an error unless its errno is harmless."""
        self._change, self._step, self._tell, self._harmless = change, step, tell, harmless

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A signal handler's exception is none of ours.
        if isinstance(exc, OSError) and exc.errno is not None:
            self._change.step = self._step
            if exc.errno not in self._harmless:
                # Who keeps what is raised keeps the frames of its traceback, and all they hold.
                self._tell(self._change.explained(exc))
            raise self._change.explained(exc) from exc


def _close_abandoned(born: int, change: Change, _guard: object) -> None:
    """Close a change that went without: what it held would stay held as long as the process."""
    change.guard = None
    if born == generation():  # a forked child's is its parent's
        close(change)


def carry_out(change: Change, steps: Callable[[], None]) -> None:
    """Do the steps of a change, and end it: explained and undone if one fails, closed in any case.

    Args:
        change: The change, of which nothing is done yet.
        steps: Does its steps.
    """
    # An interrupt between the last step and `close` leads nowhere else. A finalizer would run for
    # every change; a weak reference calls back only while it exists.
    change.guard = ref(steps, partial(_close_abandoned, generation(), change))
    try:
        steps()
    except BaseException as error:  # noqa: BLE001 - raised again, explained
        raise change.fail(error)  # noqa: B904 - the cause is set
    finally:
        try:
            close(change)
        finally:
            if not change.closed:  # an interrupt came before the first call had begun
                close(change)


def close(change: Change, attempts: int = _ATTEMPTS) -> None:
    """Close a change, whatever interrupts that: each attempt goes on where the last one ended."""
    try:
        change.close()
    finally:
        if not change.closed and attempts > 1:
            close(change, attempts - 1)


def finish(endings: list[Callable[[], None]], *, again: bool = True) -> None:
    """Do every ending, the last of the list first, whatever interrupts one of them.

    An ending that an interrupt cut short is done once more, and the rest after it; then the
    interrupt goes on. Endings log what fails, and are harmless when done twice.
    """
    try:
        while endings:
            endings[-1]()
            del endings[-1]
    finally:
        if endings:
            if not again:
                del endings[-1]
            finish(endings, again=not again)
