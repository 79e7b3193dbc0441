"""Room on the stack for what ends a change."""

from __future__ import annotations

import bisect
import sys
from collections.abc import Callable

import pytest

from safeatomic_core._stack import require_stack


def below(frames: int, call: Callable[[], object]) -> object:
    """Call something below so many frames."""
    return below(frames - 1, call) if frames else call()


def goes(frames: int) -> bool:
    try:
        below(frames, bool)
    except RecursionError:
        return False
    return True


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="elsewhere the stack is not counted in frames"
)
def test_what_begins_has_room_for_thirty_calls_inside_one_another() -> None:
    deepest = bisect.bisect_left(range(200_000), 1, key=lambda frames: not goes(frames)) - 1
    below(deepest - 40, require_stack)
    with pytest.raises(RecursionError):
        below(deepest - 20, require_stack)
