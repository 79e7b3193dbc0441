"""What a call has to close is closed, whatever interrupts it and when."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from safeatomic_core import _endings as endings


class Late(Exception):  # noqa: N818 - what a program calls its time-out
    """What a signal handler raises."""


def interrupted_at(event: int, call: Callable[[], object]) -> int:
    """Raise at one event of the module's own code; return how many there were up to then."""
    seen = 0

    def tracer(frame: FrameType, what: str, _argument: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != endings.__file__:
            return None
        frame.f_trace_opcodes = True
        if what == "opcode":
            seen += 1
            if seen == event:
                sys.settrace(None)
                raise Late
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        call()
    except Late:
        pass
    finally:
        sys.settrace(before)
    return seen


@pytest.mark.skipif(sys.gettrace() is not None, reason="something else traces already")
def test_what_was_entered_is_ended_wherever_an_interrupt_comes() -> None:
    opened: list[int] = []

    def once() -> None:
        def work(ends: endings.Endings) -> None:
            ends += (opened.clear, opened.clear)
            opened.append(1)

        endings.keeping(work)

    event = 1
    while interrupted_at(event, once) == event:
        gc.collect()
        assert opened == [], f"at event {event}"
        event += 1
    assert event > 20


def test_an_ending_that_fails_twice_keeps_no_other_from_being_done() -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("tried")
        raise Late

    with pytest.raises(Late):
        endings.finish([lambda: done.append("first"), fail])
    assert done == ["tried", "tried", "first"]


def test_the_result_is_passed_on_and_so_is_an_error() -> None:
    assert endings.keeping(lambda _ends: 3) == 3
    with pytest.raises(Late):
        endings.keeping(lambda _ends: (_ for _ in ()).throw(Late))
