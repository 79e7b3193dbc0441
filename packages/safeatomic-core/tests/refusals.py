"""Refusals of the system, and the messages of the errors; for the tests of advice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import write_atomic_bytes
from safeatomic_core._posix import kernel

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="no /proc/self/fd to see where a directory is"
)


def write(path: Path | str, **options: Any) -> None:
    write_atomic_bytes(path, b"new", concurrency="none", safety="best_effort", **options)


def advice_of(call: Callable[[], object]) -> str:
    """Return the message of a call's error, with its path."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the caller looks at the text
        call()
    return str(caught.value)


def allow(monkeypatch: pytest.MonkeyPatch, modes: dict[str, int]) -> None:
    """Let `faccessat` grant the user only the given permissions for each name."""
    monkeypatch.setattr(
        kernel, "access", lambda name, mode, _dir_fd: mode & modes.get(name, 0) == mode
    )


def denial(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)
