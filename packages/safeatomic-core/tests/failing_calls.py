"""System calls that fail in a test."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def raising(code: int) -> Callable[..., Any]:
    """Return a replacement for one call that fails."""

    def fail(*_args: object, **_options: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


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
