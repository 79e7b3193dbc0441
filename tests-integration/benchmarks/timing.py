"""Timing by interleaved rounds: each figure is a ratio within one run.

A machine is never the same twice: its disk, its neighbours and its clock frequency drift. So the
things to compare take turns (A B C, B C A, C A B, …), each turn repeats one operation a few times,
and the ratio is taken *within* each round; the median over all rounds is reported, with the
interval that holds it with 95 % confidence. The garbage collector is off while the clock runs.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Operation = Callable[[], object]
    Times = Mapping[str, float]  # seconds for one operation, by candidate, in one round


class Spread(NamedTuple):
    """A median and the interval around it."""

    median: float
    low: float
    high: float


class Result(NamedTuple):
    """What came of one set of rounds.

    Attributes:
        rounds: How many rounds were run.
        seconds: Seconds for one operation, by candidate.
        figure: The figure of each round (a ratio, mostly), summed up.
    """

    rounds: int
    seconds: dict[str, Spread]
    figure: Spread


def interleave(
    candidates: Mapping[str, Operation],
    figure: Callable[[Times], float],
    *,
    budget: float,
    batch: int = 1,
    least: int = 9,
    most: int = 20000,
) -> Result:
    """Run the candidates in turns and sum up.

    Args:
        candidates: One operation each, by name.
        figure: Gives a round's figure from the seconds for one operation.
        budget: Seconds to spend, warm-up not counted.
        batch: Operations in one turn; more than one keeps what an operation leaves behind for the
            next flush (an unlinked lock, say) with the candidate that caused it.
        least: Rounds to run however long they take.
        most: Rounds to stop at.
    """
    for operation in candidates.values():
        operation()
        operation()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    started = time.perf_counter()
    rounds = 0
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while rounds < most and (rounds < least or time.perf_counter() - started < budget):
            for position in range(len(names)):
                name = names[(rounds + position) % len(names)]
                samples[name].append(_turn(candidates[name], batch))
            rounds += 1
            if rounds % 64 == 0:
                gc.collect()
    finally:
        if enabled:
            gc.enable()
    figures = [
        figure({name: values[index] for name, values in samples.items()}) for index in range(rounds)
    ]
    return Result(
        rounds, {name: spread(values) for name, values in samples.items()}, spread(figures)
    )


def spread(values: Sequence[float]) -> Spread:
    """Return the median and its 95 % interval (order statistics, no assumption on the shape)."""
    ordered = sorted(values)
    half = 0.98 * math.sqrt(len(ordered))
    low = max(0, math.floor(len(ordered) / 2 - half))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))
    return Spread(statistics.median(ordered), ordered[low], ordered[high])


def _turn(operation: Operation, batch: int) -> float:
    """Return the seconds for one of ``batch`` operations."""
    start = time.perf_counter_ns()
    for _ in repeat(None, batch):
        operation()
    return (time.perf_counter_ns() - start) / batch / 1e9
