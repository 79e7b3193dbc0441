"""Room on the stack for what ends a change, or a look at a checksum."""

from __future__ import annotations

import sys

_DEEPEST = 30  # calls inside one another, from the beginning of a change to what ends it


def require_stack() -> None:
    """Fail while nothing is begun if the stack has no room for what would end it.

    Raises:
        RecursionError: It has not.
    """
    try:
        # The limit counts calls in C as well, but fewer than four for each frame: with fewer frames
        # than a quarter of it there is room.
        sys._getframe(sys.getrecursionlimit() // 4)  # noqa: SLF001 - says so without a walk here
    except ValueError:
        return  # there are not that many
    _descend(_DEEPEST)


def _descend(frames: int) -> None:
    if frames:
        _descend(frames - 1)
