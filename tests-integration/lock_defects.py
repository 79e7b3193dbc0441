"""Users of the lock with one idea removed, for the traces that the model must reject."""

from __future__ import annotations

from safeatomic_core import _change, _lock, _lock_file, _posix, _protocol


def swap(owner: object, name: str, stand_in: object) -> None:
    setattr(owner, name, stand_in)


def takeover_without_flock() -> None:
    swap(_lock, "flock_stale", lambda _fd: True)
    swap(_lock_file, "probe_free", lambda _fd: True)


def takeover_without_name_check() -> None:
    swap(_lock, "still_named", lambda *_: True)


def unlocked_lock() -> None:
    """Acquire links the lock before it is flocked."""
    swap(_posix.kernel, "flock", lambda *_: None)


def release_without_identity_check() -> None:
    swap(_lock.Lock, "owned", lambda *_: True)


def publish_without_check() -> None:
    swap(_protocol.Write, "require_locks", lambda _self: None)


def none_without_check() -> None:
    """A write with concurrency="none" ignores the lock that is held."""
    swap(_change, "fence_of", lambda _target: None)


def release_before_settle() -> None:
    settle = _protocol.Write.settle

    def release_first(write: _protocol.Write) -> None:
        write.locks[0].release()
        settle(write)

    swap(_protocol.Write, "settle", release_first)


def foreign_taken_for_dead() -> None:
    conclude = _lock_file.Found._conclude

    def conclude_dead(found: _lock_file.Found, mode: int) -> None:
        conclude(found, mode)
        found.takeable = True

    swap(_lock_file.Found, "_conclude", conclude_dead)
