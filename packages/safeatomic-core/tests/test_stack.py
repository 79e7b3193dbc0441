"""Room on the stack for what ends a change."""

from __future__ import annotations

import bisect
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from safeatomic_core import get_checksum_info, read_atomic, verify_checksum, write_atomic
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


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="elsewhere the stack is not counted in frames"
)
@pytest.mark.parametrize(
    "call",
    [
        lambda path: read_atomic(path, check_checksum=True, safety="best_effort"),
        verify_checksum,
        get_checksum_info,
    ],
    ids=["read", "verify", "info"],
)
def test_a_look_at_a_checksum_that_the_stack_ends_leaves_nothing_open(
    call: Callable[[Path], object], tmp_path: Path
) -> None:
    target = tmp_path / "file"
    write_atomic(target, "content", write_checksum=True, safety="best_effort")
    call(target)
    deepest = bisect.bisect_left(range(200_000), 1, key=lambda frames: not goes(frames)) - 1
    before = in_use()
    ended = []
    for frames in range(deepest - 60, deepest - 2):
        try:
            below(frames, partial(call, target))
        except RecursionError:
            ended.append(frames)
        assert in_use() == before, deepest - frames
    assert 0 < len(ended) < 58


def in_use() -> list[int]:
    """Return the numbers that descriptors have, as far as a test may use them."""

    def used(number: int) -> bool:
        try:
            os.fstat(number)
        except OSError:
            return False
        return True

    return list(filter(used, range(256)))
