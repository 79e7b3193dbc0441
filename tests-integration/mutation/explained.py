"""Mutants that no test can notice, or need not, each with the reason.

A mutant is named by its module, the line it is in, and what is replaced with what. A reason says
why the promise is kept all the same: what changes is only time, a message, or a case that another
line takes care of.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .trial import PACKAGE

if TYPE_CHECKING:
    from .points import Point

_ELSEWHERE = "the value where the system has no such flag; Linux has it"
_OFTEN = "one attempt more, of many"

_REASONS: dict[tuple[str, str, str], str] = {
    ("_reader.py", "_TRIES = 1000", "1000 -> 1001"): _OFTEN,
    ("_posix.py", 'O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)', "0 -> 1"): _ELSEWHERE,
    ("_posix.py", 'O_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)', "0 -> 1"): _ELSEWHERE,
}


def reason(point: Point) -> str:
    """Return why a point may survive; empty if nobody has said so."""
    line = _lines(point.module)[point.line - 1].strip()
    return _REASONS.get((point.module, line, point.change), "")


def stale() -> list[tuple[str, str, str]]:
    """Return the reasons whose line is no longer in the core."""
    return [
        (module, line, change)
        for module, line, change in _REASONS
        if line not in map(str.strip, _lines(module))
    ]


@functools.cache
def _lines(module: str) -> list[str]:
    path = PACKAGE / module
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
