"""Who has taken a lock: processes, contexts, tasks and threads, told apart."""

from __future__ import annotations

import contextvars
import signal
import sys
from typing import Any

import pytest

from lock_outcomes import in_thread
from safeatomic_core._holder import Holder


def test_a_thread_is_told_from_another_however_often_it_is_asked() -> None:
    holders = [Holder(), Holder()]

    def elsewhere() -> list[bool]:
        return [Holder().in_this_thread(), *(holder.in_this_thread() for holder in holders)]

    assert [holder.in_this_thread() for holder in holders] == [True, True]
    assert in_thread(elsewhere) == [True, False, False]


def test_a_holder_that_is_asked_again_and_again_does_not_grow() -> None:
    holder = Holder()
    assert all(holder.is_running() for _ in range(10))
    assert not contextvars.copy_context().run(holder.is_running)
    assert len(holder._tokens) == 1


def test_an_interrupt_that_left_a_used_token_takes_no_holder_away() -> None:
    holder = Holder()
    used = holder._tokens[:]
    assert holder.is_running()
    holder._tokens[:0] = used  # as before it is dropped
    assert holder.is_running()
    assert len(holder._tokens) == 1


@pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="PyPy looks at signals between a reset and a set, too"
)
def test_a_signal_handler_that_asks_the_same_takes_no_holder_away() -> None:
    holder = Holder()
    wrong = []

    def ask(*_: object) -> None:
        if not holder.is_running():
            wrong.append("in the handler")

    former = signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
    try:
        wrong += ["outside" for _ in range(200_000) if not holder.is_running()]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert not wrong


def test_a_token_that_was_used_while_it_was_looked_at_is_not_the_last_word() -> None:
    class Asked(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            token = super().__getitem__(at)
            if not asked:
                asked.append(True)
                assert holder.is_running()  # as a signal handler does, before the token is used
            return token

    asked: list[bool] = []
    holder = Holder()
    holder._tokens = Asked(holder._tokens)
    assert holder.is_running()
    assert not contextvars.copy_context().run(holder.is_running)


def test_a_runtime_error_of_a_signal_handler_arrives() -> None:
    class LateError(RuntimeError):
        pass

    class Interrupted(list[Any]):
        def extend(self, more: Any) -> None:
            super().extend(more)
            if not raised:
                raised.append(True)
                raise LateError

    raised: list[bool] = []
    holder = Holder()
    holder._tokens = Interrupted(holder._tokens)
    with pytest.raises(LateError):
        holder.is_running()
    holder._tokens = list(holder._tokens)
    assert holder.is_running()
