"""The locks of the running context: which one is its own, and which one fences a write.

A lock that `try_acquire_lock` took is *own* only in the very `Context` object that took it, and in
the same asyncio task. A copy of the context, with which tasks, callbacks and some threads start,
proves nothing: the token of a context variable does, which `ContextVar.reset` takes there only.
Inherited variables say which lock a write with ``concurrency="none"`` relies on, whoever holds its
name by now (`docs/adr/0033-own-lock.md`).

Everything here is done by single operations on dictionaries and lists, without a lock of Python's
own: a forked child finds nothing that it could wait for. `keep` reads and then writes, and may do
so because only the holder of the lock file gets there.
"""

from __future__ import annotations

import os
import stat
from _contextvars import ContextVar

from . import _log, _trace
from ._command_lock import command_lock
from ._errors import LockError, system_error
from ._forks import generation
from ._holder import Holder
from ._lock import Lock, release_quietly
from ._target import identity
from ._waiting import wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from ._lock import Fence
    from ._target import Target

    Place: TypeAlias = tuple[int, int, str]


# Locks taken here or inherited, the last one last.
_seen: ContextVar[tuple[Kept, ...]] = ContextVar("safeatomic_held", default=())
_kept: dict[Place, Kept] = {}  # those of the process that try_acquire_lock() took
_under_way: dict[Mark, None] = {}  # changes of the process that hold a lock, or wait for one

LOST = (
    "the lock was taken away (by force, or its file was removed) while this context relied on it; "
    "the target is unchanged. Find out by whom; release_lock() or try_acquire_lock() ends this"
)


class Kept:
    """A lock that outlives its call.

    Attributes:
        lock: The lock.
        holder: Who has taken it.
        place: Its directory and the name that it is for.
        path: The file's absolute path when it was taken.
        done: Whether it was released, or forgotten after it was lost.
        lost: Whether it was found to have been taken away.
    """

    def __init__(self, lock: Lock, target: Target) -> None:
        self.lock = lock
        self.place = place_of(target)
        self.path = _absolute(target.path)
        self.done = False
        self.lost = False
        self.holder = Holder()

    def owned(self, dir_fd: int) -> bool:
        """Tell whether it is still held. One that was lost once stays lost."""
        if not self.lost and not self.lock.owned(dir_fd):
            self.lost = True
        return not self.lost

    def live(self) -> bool:
        """Tell whether it is this process's, and not released."""
        return not self.done and self.holder.born == generation()


class Mark(Holder):
    """A change that is under way under a lock, or waits for one, and who is doing it.

    Attributes:
        target: What is being changed.
        inode: Device and inode number of its lock, once it has one.
    """

    target: Target
    inode = (0, 0)


class Borrowed:
    """A kept lock in the use of a change: checked, and left held.

    Attributes:
        target: What is being changed.
        token: The lock's token.
        lost: What to say when it is no longer held.
    """

    lost = LOST

    def __init__(self, kept: Kept, target: Target, *, relied_on: bool) -> None:
        """Borrow a lock.

        Args:
            kept: The lock.
            target: What is being changed.
            relied_on: Whether the context took or inherited it: then it is lost when it is
                released meanwhile; else that only means that the lock is gone.
        """
        self._kept = kept
        self.target = target
        self._relied_on = relied_on
        self.token = kept.lock.token

    def owned(self) -> bool:
        """Tell whether it is still held, as far as the change depends on that."""
        if self._kept.done:
            return not self._relied_on
        return self._kept.owned(self.target.dir_fd)

    def release(self) -> None:
        """Leave it held."""

    def leave_behind(self) -> None:
        """Mark it, so that its release leaves the name to the next writer."""
        self._kept.lock.leave_behind()


def own_lock(target: Target) -> Fence | None:
    """Return the lock of a target that the running context or its command holds, None if none.

    Raises:
        LockError: It was taken away. The target is unchanged.
    """
    kept = _own(target)
    lock = command_lock(target) if kept is None else Borrowed(kept, target, relied_on=True)
    if lock is None:
        return None
    if not lock.owned():
        raise LockError(target.path, lock.lost)
    if _trace.hook is not None and kept is not None:
        facts = {"phase": "borrowed", "inode": kept.lock.inode[1], "lock": kept.lock.name}
        _trace.hook(_trace.ACQUIRE, facts)
    return lock


def fence_of(target: Target) -> Fence | None:
    """Return the lock that fences a write which takes none.

    It is the one that the context took or inherited, whoever holds the name now; failing that, the
    one that any thread of the process took; failing that, the one of the command. "None" excludes
    nobody: a fence only has to be still held.
    """
    kept = _newest_seen(target)
    if kept is not None:
        return Borrowed(kept, target, relied_on=True)
    kept = _kept.get(place_of(target)) if _kept else None
    if kept is not None and kept.live():
        return Borrowed(kept, target, relied_on=False)
    return command_lock(target)


def refuse_nested(target: Target) -> None:
    """Refuse a change inside another one of the same file by the same holder.

    Raises:
        LockError: The running context is changing the file already. It is unchanged by this call.
    """
    if _under_way and changing_here(target):
        raise LockError(
            target.path,
            "this context is already changing the file, in an AtomicWriter or another call "
            "that has not finished (or that this signal handler interrupted); finish that "
            "one first, or write through it. The target is unchanged by this call",
        )


def changing_here(target: Target) -> bool:
    """Tell whether the running context has a change of a target under way."""
    place = place_of(target)
    marks = list(_under_way)
    return any(place_of(mark.target) == place and mark.is_running() for mark in marks)


def begin(target: Target, marks: list[Mark]) -> None:
    """Note that the running context is changing a name, in the change's own list first."""
    mark = Mark()
    mark.target = target
    marks.append(mark)
    _under_way[mark] = None


def end(mark: Mark) -> None:
    """Take a change out again; harmless when done twice."""
    _under_way.pop(mark, None)


def take(lock: Lock, session: str | None, retries: int, delay: float) -> bool:
    """Take a lock, with retries if asked for; False if it is held. No thread waits for itself."""
    if lock.attempt(session):
        return True
    if retries == 0 or _held_in_this_thread(lock):
        return False
    return wait(lock, session, retries, delay)


def contention(target: Target, lock: Lock) -> LockError:
    """Return the error that says who holds a lock and what to do."""
    found = lock.found
    pid, hostname = found.fields.get("pid"), found.fields.get("hostname")
    sticky = bool(target.directory().st_mode & stat.S_ISVTX)
    reason = found.describe(sticky=sticky)
    if _holders(lock):
        waits = ""
        if _held_in_this_thread(lock):
            waits = ", and this call did not wait, since it would keep the holder from going on"
        reason = (
            "held by another task or thread of this process (a copy of the context that took the "
            f"lock is another holder){waits}; wait until it releases the lock, or let it do the "
            "writing"
        )
    return LockError(
        target.path,
        reason,
        pid=pid if isinstance(pid, int) else None,
        hostname=hostname if isinstance(hostname, str) else None,
        age_s=found.age_s(),
    )


def keep(target: Target, lock: Lock) -> None:
    """Enter a lock that outlives its call."""
    lock.adopt_directory(target)
    before = _own(target)
    kept = Kept(lock, target)
    outdated = _kept.get(kept.place)
    _kept[kept.place] = kept  # first: what an interrupt leaves here, `give_up` finds
    _seen.set((*(other for other in _seen.get() if other.live()), kept))
    if outdated is not None:  # it was lost, which the contexts that relied on it remember
        release_quietly(outdated.lock)
    if before is not None:
        before.done = True  # it was lost, and the context that took it has a new one
        release_quietly(before.lock)


def holds(target: Target) -> bool:
    """Tell whether the running context or its command has the lock, or is changing the file."""
    kept = _own(target)
    if kept is not None:
        return kept.owned(target.dir_fd)
    command = command_lock(target)
    return changing_here(target) or (command is not None and command.owned())


def to_release(target: Target) -> Kept | None:
    """Return the lock that a release of a target is about; None if this process has none there.

    It is the one that the running context took or inherited, whether or not it was lost; else the
    one that any thread of this process has taken.
    """
    kept = _newest_seen(target) or _kept.get(place_of(target)) or kept_by_path(target.path)
    return kept if kept is not None and kept.live() else None


def kept_by_path(path: str) -> Kept | None:
    """Return the lock that was taken under a path whose directory was moved or removed since."""
    absolute = _absolute(path)
    for kept in list(_kept.values()):
        if kept.live() and kept.path == absolute:
            return kept
    return None


def let_go(kept: Kept, dir_fd: int = -1) -> bool:
    """Release a kept lock; False if it had been taken away.

    Raises:
        OSError: Its name could not be removed.
    """
    if not kept.holder.is_running():
        _log.info(
            "%r: its lock is released by a context other than the one that took it", kept.path
        )
    try:
        held = kept.owned(dir_fd)
        kept.lock.release(dir_fd)
    finally:
        try:
            kept.lock.release(dir_fd)  # an interrupt may have come before the first was over
        finally:
            kept.done = True  # before a call that an interrupt could come before
            _drop(kept)
    return held


def give_up(locks: list[Lock]) -> None:
    """Release locks that are not kept after all."""
    for lock in locks:
        for kept in list(_kept.values()):
            if kept.lock is lock:
                _drop(kept)
        release_quietly(lock)


def place_of(target: Target) -> Place:
    """Return what a lock is of: the directory, by its inode, and the name in it."""
    return (*identity(target.directory()), target.name)


def _drop(kept: Kept) -> None:
    kept.done = True
    if _kept.get(kept.place) is kept:
        _kept.pop(kept.place, None)


def _newest_seen(target: Target) -> Kept | None:
    """Return the lock of a target that the context took or inherited last."""
    seen = _seen.get()
    if not seen:
        return None
    place = place_of(target)
    for kept in reversed(seen):
        if kept.place == place and kept.live():
            return kept
    return None


def _own(target: Target) -> Kept | None:
    """Return the lock of a target that the running context itself has taken."""
    kept = _newest_seen(target)
    return kept if kept is not None and kept.holder.is_running() else None


def _holders(lock: Lock) -> list[Holder]:
    """Return those of this process who hold what stood in a lock's way."""
    inode = lock.found.inode  # not the name, which may have two spellings
    holders: list[Holder] = [mark for mark in list(_under_way) if mark.inode == inode]
    kept = [one for one in list(_kept.values()) if one.live() and one.lock.inode == inode]
    holders += [one.holder for one in kept]
    return [holder for holder in holders if holder.born == generation()]


def _held_in_this_thread(lock: Lock) -> bool:
    """Tell whether waiting would keep the holder from releasing the lock."""
    return any(holder.in_this_thread() for holder in _holders(lock))


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except system_error():  # the working directory was removed
        return path
