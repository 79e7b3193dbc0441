"""The outcome of a write beside a lock, and calls in a thread; for the tests of held locks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safeatomic_core import LockError, is_locked, write_atomic_bytes

_T = TypeVar("_T")
OWN = "written under the context's own lock"
ITS_OWN = "written under a lock of its own"
OTHER = "held by another"
LOST = "lost"
FENCED = "written without a lock"


def outcome(path: Path, concurrency: Any = "lock", **options: Any) -> str:
    """Write the file, and return the outcome."""
    try:
        write_atomic_bytes(path, b"new", concurrency=concurrency, **options)
    except LockError as error:
        if "another task or thread of this process" in error.reason:
            return OTHER
        assert "taken away" in error.reason, error.reason
        return LOST
    if concurrency == "none":
        return FENCED
    return OWN if is_locked(path) else ITS_OWN


def in_thread(call: Callable[[], _T]) -> _T:
    """Return what a call returns in a new thread."""
    results: list[_T] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]
