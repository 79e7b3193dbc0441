"""Fixtures shared by the core's tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from safeatomic_core import _trace
from safeatomic_core._posix import intercept

# No deadlines: machines are shared. The same examples at each run of CI, others elsewhere.
settings.register_profile("safeatomic", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("safeatomic")


class Faults:
    """Make chosen system calls fail.

    ``faults.fail("fsync", errno.EIO)`` fails every call; ``at=2`` only the second; a predicate
    ``when`` sees the arguments. A failing ``close`` closes for real first.
    """

    def __init__(self) -> None:
        self.rules: list[tuple[str, int, int | None, Callable[..., bool] | None]] = []
        self.counts: dict[str, int] = {}
        self.calls: list[str] = []
        self.raised = 0

    def fail(
        self,
        name: str,
        code: int,
        *,
        at: int | None = None,
        when: Callable[..., bool] | None = None,
    ) -> None:
        self.rules.append((name, code, at, when))

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            for rule, code, at, when in self.rules:
                if rule != name or (when is not None and not when(*args, **kwargs)):
                    continue
                key = f"{rule}/{at}/{id(when)}"
                self.counts[key] = self.counts.get(key, 0) + 1
                if at is None or self.counts[key] == at:
                    self.raised += 1
                    if name == "close":
                        call(*args, **kwargs)
                    raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        return wrapped


@pytest.fixture
def faults() -> Iterator[Faults]:
    made = Faults()
    with intercept(made.wrap):
        yield made


@pytest.fixture
def steps() -> Iterator[list[tuple[str, dict[str, object]]]]:
    """Record the trace of every step."""
    events: list[tuple[str, dict[str, object]]] = []
    _trace.hook = lambda step, facts: events.append((step, facts))
    try:
        yield events
    finally:
        _trace.hook = None


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with old content and mode 0640."""
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


@pytest.fixture
def listing(tmp_path: Path) -> Callable[[], list[str]]:
    """Return the names in the test's directory when called."""
    return lambda: sorted(os.listdir(tmp_path))
