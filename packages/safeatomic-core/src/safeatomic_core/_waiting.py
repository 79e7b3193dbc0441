"""Waiting for a lock, within a bound and in turn."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._lock import Lock

# Seconds between two looks at a holder: the first, and the longest.
_NAP, _LONGEST_NAP = 0.0005, 0.05


def wait(lock: Lock, session: str | None, retries: int, delay: float) -> bool:
    """Try to take the lock for ``retries`` times ``delay`` seconds, after a first attempt.

    The holder is looked at more often than it is tried: at first twice in a millisecond, then
    less and less, and quickly again as soon as the lock has changed hands. So those who wait
    for brief holders get their turns, and those who wait for a long one use no time.
    """
    if lock.attempt(session):
        return True
    nap = _NAP
    for _ in range(retries):
        end = time.monotonic() + delay
        left = delay
        while True:
            time.sleep(max(0.0, min(left, nap * (0.5 + os.urandom(1)[0] / 255))))
            left = end - time.monotonic()
            if left <= 0 or lock.holder_is_gone():
                before = lock.found.inode
                if lock.attempt(session):
                    return True
                nap = nap * 2 if lock.found.inode == before else _NAP
            else:
                nap = nap * 2
            nap = min(nap, _LONGEST_NAP)
            if left <= 0:
                break
    return False
