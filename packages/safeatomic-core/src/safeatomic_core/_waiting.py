"""Waiting for a lock, for a bounded time and in turn."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._lock import Lock

# Seconds between two looks at a holder: the first, and the longest.
_NAP, _LONGEST_NAP = 0.0005, 0.05
# Seconds until the next look when the lock went to another waiter: after the first loss, and by
# what factor less after each further one.
_AFTER_A_LOSS, _SHORTER = 0.004, 0.8


def wait(lock: Lock, session: str | None, retries: int, delay: float) -> bool:
    """Try to take the lock for ``retries`` times ``delay`` seconds, after an attempt that failed.

    The holder is checked more often than the lock is tried, which writes to the filesystem: at
    first twice in a millisecond, then less and less often, so that waiting for a long holder
    uses no time. A lock that has changed hands is one that several wait for. They leave the
    processor to its holder; those that have lost more often look more often, so that everybody
    gets a turn.
    """
    nap, losses = _NAP, 0
    for _ in range(retries):
        end = time.monotonic() + delay
        left = delay
        while True:
            pause = max(0.0, min(left, nap * (0.5 + os.urandom(1)[0] / 255)))
            time.sleep(pause)
            left = min(left - pause, end - time.monotonic())  # the clock may stand still in tests
            before = lock.found.inode
            if (left <= 0 or _is_free(lock)) and lock.attempt(session):
                return True
            if lock.found.inode == before:
                nap = min(nap * 2, _LONGEST_NAP)
            else:
                nap = max(_NAP, _AFTER_A_LOSS * _SHORTER**losses)
                losses += 1
            if left <= 0:
                break
    return False


def _is_free(lock: Lock) -> bool:
    """Tell whether an attempt has a chance; if somebody else has the lock now, look at that."""
    if not lock.holder_is_gone():
        return False
    found = lock.found
    found.look(lock.target.dir_fd, lock.name)
    return found.takeable or not found.exists
