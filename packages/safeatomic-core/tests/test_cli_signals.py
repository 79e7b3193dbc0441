"""Which signals end the command by unwinding it, and what becomes of the others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from safeatomic_core._cli.signals import ENDING, Ended, Ending


def theirs(_number: int, _frame: FrameType | None) -> None:
    """A handler of the program that runs the command inside."""


@pytest.fixture(params=ENDING, ids=lambda number: signal.Signals(number).name)
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    before = signal.getsignal(request.param)
    yield request.param
    signal.signal(request.param, before)


def test_the_signals_that_end_programs_are_those() -> None:
    assert ENDING == (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.default_int_handler])
def test_what_would_end_the_program_unwinds_it(number: int, before: signal._HANDLER) -> None:
    signal.signal(number, before)
    with Ending():
        with pytest.raises(Ended) as caught:
            signal.raise_signal(number)
        assert caught.value.number == number
        signal.raise_signal(number)  # a second one is not to interrupt the clean-up
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("before", [signal.SIG_IGN, theirs])
def test_what_is_ignored_or_handled_stays_so(number: int, before: signal._HANDLER) -> None:
    signal.signal(number, before)
    with Ending():
        assert signal.getsignal(number) == before
        signal.raise_signal(number)
    assert signal.getsignal(number) == before
