"""The eight public lock functions and what they report.

They are thin: `_lock` takes and takes over, `_lock_file` examines. Every one works on the file the
lock is *for*; the lock itself is ``<path>.lock`` beside it.
"""

from __future__ import annotations

import os
import time

from . import _trace
from ._advice import refused
from ._change import finish
from ._descriptor import closing
from ._errors import LockError, age_text, system_error
from ._gate import gate
from ._held_locks import give_up, holds, keep, kept_by_path, let_go, take, to_release
from ._lock import Lock
from ._lock_file import Found, flock_stale, unlike_a_lock
from ._lock_payload import CAP, parse_timestamp
from ._options import check_delay, check_retries, check_safety, check_session, defaults, short
from ._posix import kernel
from ._settle import recover
from ._stack import require_stack
from ._target import LOCK_SUFFIX, Naming, Target, check_path, still_named
from ._types import WRITER_EXCLUSION, Alive, Record, Safety, StrPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")


class LockInfo(Record):
    """What is known of a lock at one instant.

    Attributes:
        path: The file the lock is for.
        lock_path: The lock's own path; where ``path`` is a symbolic link, an absolute one.
        exists: Whether the lock is held, that is, whether its file is there.
        pid: Process that took it, None when the payload does not say.
        hostname: Host that took it, None when the payload does not say.
        session_hash: SHA-256 of the holder's session text in hexadecimal, or None.
        timestamp: When it was taken, ISO 8601 in UTC, or None.
        alive: ``"yes"``, ``"no"`` or ``"unknown"``; ``"no"`` when there is no lock.
        corrupt: Whether something is there that is not a lock of a known version.
        raw: The file's text, at most 4096 bytes of it; None when it is absent or unreadable.
    """

    path: str
    lock_path: str
    exists: bool = False
    pid: int | None = None
    hostname: str | None = None
    session_hash: str | None = None
    timestamp: str | None = None
    alive: Alive = "no"
    corrupt: bool = False
    raw: str | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the lock was taken; None when it does not say."""
        stamp = parse_timestamp(self.timestamp)
        return None if stamp is None else max(0.0, time.time() - stamp)

    def __str__(self) -> str:
        if not self.exists:
            return f"{self.path}: not locked"
        if self.corrupt:
            return f"{self.path}: locked by a file that is not a lock of this library"
        age = self.age_s
        since = "" if age is None else f", {age_text(age)} ago"
        if self.pid is None:
            return f"{self.path}: locked (alive: {self.alive})"
        host = repr(str(self.hostname))[1:-1]  # may be any text: show no line end, no escape
        return f"{self.path}: locked by process {self.pid} on {host}{since} (alive: {self.alive})"


def try_acquire_lock(
    path: StrPath,
    *,
    session: str | None = None,
    retries: int | None = None,
    delay: float | None = None,
    safety: Safety = "strict",
) -> bool:
    """Take the lock of a file and keep it until `release_lock`, or until the process ends.

    A dead holder's lock is taken over. The lock belongs to this process, not to its children. Calls
    in the same context use it: a write, a stream, a move or the recording of a checksum works under
    it, checks it before it publishes, and leaves it held. Other threads and tasks of the process,
    even if they were started under the lock, are excluded like everyone else.

    Args:
        path: The file to lock; it need not exist, its directory must.
        session: Text identifying the run that takes the lock; only its SHA-256 is stored.
        retries: How many times to retry when the lock is held; by default 0.
        delay: Seconds for each retry; by default 0.1. ``retries`` times ``delay`` is the longest
            wait in seconds; a lock that becomes free earlier is taken within about 50 ms.
        safety: ``"strict"`` refuses where a lock does not exclude writers, ``"warn"`` warns,
            ``"best_effort"`` says nothing.

    Returns:
        True if this call took the lock, False if somebody else (or this context already) holds it.
        Release the lock only if this returned True.

    Raises:
        LockError: Locks cannot work here; the message says why. The target is unchanged.
        UnsupportedEnvironmentError: Under ``"strict"``. The target is unchanged.
        TypeError: An argument of the wrong type. The target is unchanged.
        ValueError: An argument out of range. The target is unchanged.
        OSError: The directory cannot be opened, or the lock file cannot be created.
            The target is unchanged.
    """
    if session is not None:
        check_session(session)
    retries = defaults().retries if retries is None else check_retries(retries)
    delay = defaults().delay if delay is None else check_delay(delay)
    check_safety(safety)
    require_stack()
    target = Target(check_path(path))
    locks: list[Lock] = []
    taken = done = False
    ends = [target.close, lambda: give_up(locks)]
    try:
        target.open()
        target.require_regular()
        dev = target.directory().st_dev
        gate(dev, safety, target.path, (WRITER_EXCLUSION,), target.dir_fd, target)
        if not holds(target):
            locks.append(Lock(target, safety))
            taken = take(locks[0], session, retries, delay)
            if taken:
                keep(target, locks[0])
        finish(ends[:1] if taken else ends[:])
        done = True
    except system_error() as error:
        raise refused(error, "take the lock", _trace.ACQUIRE, target) from error
    finally:
        if not done:  # a call that raises must not leave a lock taken
            try:
                finish(ends)
            finally:
                finish(ends)  # an interrupt may have come before the first had begun
    return taken


def release_lock(path: StrPath) -> bool:
    """Release a lock that this process took with `try_acquire_lock`.

    Any thread of the process can call it, so release only a lock that you took. If the lock of the
    running context was taken away, this call forgets it and removes nobody else's.

    Returns:
        True if the lock was released; False if this process holds no lock there, or lost it to
        `force_release_lock`. In a forked child always False, because the lock is the parent's.

    Raises:
        OSError: The directory cannot be opened, and no lock was taken under this path; or the lock
            file cannot be removed, but is dead, and the next writer takes it over. The target is
            unchanged.
    """
    target = Target(check_path(path))

    def release() -> bool:
        try:
            target.open()
        except system_error():
            # The lock can be released though its directory was removed or renamed meanwhile.
            kept = kept_by_path(target.path)
            if kept is None:
                raise
            with Naming(kept.lock.target):
                return let_go(kept)
        with Naming(target):
            kept = to_release(target)
            return kept is not None and let_go(kept, target.dir_fd)

    return closing(target, release)


def force_release_lock(path: StrPath) -> bool:
    """Remove a lock even if its holder is alive: that writer fails before it publishes.

    Only a file that looks like a lock is removed: it has at most 4096 bytes, is empty, all NULs or
    one line, and is not a JSON document without a ``pid`` (as ``Pipfile.lock`` is). First the
    directory is flushed, and orphaned temps in it are removed.

    Returns:
        True if a lock was removed, False if there was none.

    Raises:
        LockError: The file at the lock's name does not look like a lock. It is left alone.
        OSError: The lock file cannot be read or removed. The target is unchanged.
    """

    def release(target: Target, found: Found) -> bool:
        if not found.exists:
            return False
        unlike = unlike_a_lock(found)
        if unlike is not None:
            raise LockError(
                target.path,
                f"{_lock_path(target)!r} is {unlike}, which does not look like a lock of any "
                "program; it was left alone. If it is in the way, move it away",
            )
        if found.raw is not None:  # else it could not be opened
            _join_takeover(found)
        return _remove(target, found)

    return _examine(path, release)


def is_locked(path: StrPath) -> bool:
    """Return whether a file is locked: whether its lock file exists, its holder alive or dead.

    Raises:
        OSError: The directory cannot be opened, or the lock file cannot be examined for a reason
            other than its permissions (EMFILE, EIO).
    """
    return inspect_lock(path).exists


def inspect_lock(path: StrPath) -> LockInfo:
    """Report what is known of a file's lock.

    Nothing is changed. If the lock's name is taken by something else, that is reported, not raised.

    Raises:
        OSError: The directory cannot be opened, or the lock file cannot be examined for a reason
            other than its permissions (EMFILE, EIO).
    """
    return _examine(path, _info)


def get_lock_age(path: StrPath) -> float | None:
    """Return the seconds since a file's lock was taken; None if there is none or it does not say.

    Raises:
        OSError: The directory cannot be opened, or the lock file cannot be examined for a reason
            other than its permissions (EMFILE, EIO).
    """
    return inspect_lock(path).age_s


def is_stale_lock(path: StrPath, *, max_age_s: float | None = None) -> bool:
    """Return whether a file's lock was left behind by a dead holder.

    Args:
        path: The file the lock is for.
        max_age_s: If it cannot be determined whether the holder is alive (a foreign lock of another
            host), a lock older than this many seconds counts as stale, too. The lock of a holder
            that is known to be alive is never stale, and neither is a corrupt lock file.

    Raises:
        ValueError: ``max_age_s`` is negative or not finite.
        OSError: The directory cannot be opened, or the lock file cannot be examined for a reason
            other than its permissions (EMFILE, EIO).
    """
    max_age_s = _check_age(max_age_s)
    info = inspect_lock(path)
    return _is_stale(info.exists, info.alive, info.age_s, max_age_s)


def release_stale_lock(path: StrPath, *, max_age_s: float | None = None) -> bool:
    """Remove a file's lock if `is_stale_lock` is true of it, and only then.

    Before the lock is removed, the directory is flushed, and orphaned temps in it are removed.

    Args:
        path: The file that is locked.
        max_age_s: See `is_stale_lock`.

    Returns:
        True if a stale lock was removed; False also if another process keeps a flock on it.

    Raises:
        ValueError: ``max_age_s`` is negative or not finite.
        OSError: The directory cannot be opened, or the lock file cannot be removed. The target is
            unchanged.
    """
    max_age_s = _check_age(max_age_s)

    def release(target: Target, found: Found) -> bool:
        if not _is_stale(found.exists, found.alive, found.age_s(), max_age_s):
            return False
        # While we have its flock no other process can replace the lock. If one did so before,
        # `_remove` sees another inode at the name, and leaves it alone.
        return _join_takeover(found) and _remove(target, found)

    return _examine(path, release)


def inspect_beside(path: str) -> LockInfo:
    """Report on the lock file of just this name, also where the path leads elsewhere as a link."""
    return _examine(path, _info, follow=False)


def release_stale_beside(path: str) -> bool:
    """Remove the lock file of just this name, if its holder is dead, as `release_stale_lock`."""

    def release(target: Target, found: Found) -> bool:
        dead = found.exists and found.alive == "no"
        return dead and flock_stale(found.fd) and _remove(target, found)

    return _examine(path, release, follow=False)


def is_pinned(path: str, *, follow: bool = True, gently: bool = False) -> bool:
    """Tell whether somebody's shared flock keeps a dead holder's lock; see `Found.is_pinned`."""
    return _examine(path, lambda _target, found: found.is_pinned(gently=gently), follow=follow)


def _examine(path: StrPath, work: Callable[[Target, Found], _T], *, follow: bool = True) -> _T:
    """Look at what stands at the name of a file's lock, and do some work with it."""
    target, found = Target(check_path(path)), Found()

    def looked() -> _T:
        target.open(follow=follow)
        with Naming(target):
            found.look_to_tell(target.dir_fd, target.name + LOCK_SUFFIX)
            return work(target, found)

    return closing(found, lambda: closing(target, looked))


def _lock_path(target: Target) -> str:
    """Return the absolute path of a target's lock, without symbolic links."""
    if target.linked:
        directory = os.path.dirname(kernel.realpath(target.path))
    else:
        directory = kernel.realpath(os.path.dirname(target.path) or ".")
    return os.path.join(directory, target.name + LOCK_SUFFIX)


def _info(target: Target, found: Found) -> LockInfo:
    def text(name: str) -> str | None:
        return value if isinstance(value := found.fields.get(name), str) else None

    pid = found.fields.get("pid")
    return LockInfo(
        path=target.path,
        lock_path=_lock_path(target) if target.linked else target.path + LOCK_SUFFIX,
        exists=found.exists,
        pid=pid if isinstance(pid, int) else None,
        hostname=text("hostname"),
        session_hash=text("session_hash"),
        timestamp=text("timestamp"),
        alive=found.alive,
        corrupt=found.corrupt,
        raw=None if found.raw is None else found.raw[:CAP].decode("utf-8", "backslashreplace"),
    )


def _is_stale(exists: bool, alive: str, age: float | None, max_age_s: float | None) -> bool:
    """Tell whether a lock is stale; one that is corrupt has no known holder and no age."""
    if not exists or alive != "unknown":
        return exists and alive == "no"
    return max_age_s is not None and age is not None and age > max_age_s


def _check_age(max_age_s: float | None) -> float | None:
    if max_age_s is None:
        return None
    if isinstance(max_age_s, bool) or not isinstance(max_age_s, int | float):
        kind = type(max_age_s).__name__
        raise TypeError(f"max_age_s must be a number of seconds or None, not {kind}")
    if not 0 <= max_age_s < float("inf"):
        raise ValueError(f"max_age_s must be 0 or more seconds and finite, not {short(max_age_s)}")
    return max_age_s


def _remove(target: Target, found: Found) -> bool:
    """Unlink a lock; False if somebody else was quicker."""
    name = target.name + LOCK_SUFFIX
    # The lock is the only sign of what its holder may have left behind: a change that is not
    # durable (rule R2 in formal/notes-checksum.md), or temps. So clean up first.
    recover(target, "best_effort", found.token if found.takeable else "")
    if not still_named(target.dir_fd, name, found.inode):
        return False
    try:
        kernel.unlink(name, dir_fd=target.dir_fd)
    except FileNotFoundError:
        return False
    except system_error() as error:
        raise refused(error, "remove the lock", _trace.RELEASE, target) from error
    return True


def _join_takeover(found: Found) -> bool:
    """Take the flock that orders removers of a dead lock; False if that proves nothing."""
    try:
        return flock_stale(found.fd)
    except system_error():
        return False
