"""Every crash of every public writing call, on a disk that loses whatever it may.

The system calls of real operations are recorded (`recorder.Recorder`) and replayed on a disk
that may keep or lose each change that was not flushed (`disk.Disk`); each state that a crash
at any point can leave is compared with what was promised (`oracle`). After a kill, an error or a
crash another write follows, and crashes at each of its points are looked at in turn. The mutants,
records with a flush left out or two steps exchanged, show that each flush and each order is
needed.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest

import safeatomic_core as sa

from .judging import take, temps
from .oracle import LOCK, SIDECAR, flaw
from .replaying import replay
from .stories import FOLLOWING, NEXT, OTHER, SINGLE, Start, writing

if TYPE_CHECKING:
    from .conftest import Stage
    from .effects import State
    from .oracle import Operation, World
    from .replaying import Verdict


def _count(tally: Counter[str], verdict: Verdict) -> None:
    tally["simulated crash points"] += verdict.points
    tally["simulated crash states"] += verdict.states


def _report(name: str, verdict: Verdict) -> str:
    return "\n".join(f"{name}: {wrong}; {where}" for wrong, where in verdict.flaws.items())


@pytest.mark.parametrize("name", SINGLE)
def test_every_crash_shows_old_or_new(name: str, stage: Stage, tally: Counter[str]) -> None:
    start, operation = SINGLE[name]
    recorder = stage.begin(start)
    assert recorder.run(operation)
    verdict = replay(start, recorder.ops)
    _count(tally, verdict)
    assert not verdict.flaws, _report(name, verdict)
    assert not verdict.sampled, "all states of an undisturbed call are few enough to be listed"
    assert verdict.states > 3


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_write_after_a_kill_survives_every_crash(
    name: str, stage: Stage, tally: Counter[str]
) -> None:
    start, first = SINGLE[name]
    for second in FOLLOWING[name]:
        for die_at in itertools.count(1):
            recorder = stage.begin(start)
            if recorder.run(first, die_at=die_at):
                break
            tally["simulated kills"] += 1
            assert recorder.run(second), "blocked by a dead writer"
            verdict = replay(start, recorder.ops, begin=1, whole_renames=True)
            _count(tally, verdict)
            what = f"{name} killed before call {die_at}, then {second.name}"
            assert not verdict.flaws, _report(what, verdict)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_write_after_an_error_survives_every_crash(
    name: str, stage: Stage, tally: Counter[str]
) -> None:
    start, first = SINGLE[name]
    for second in FOLLOWING[name]:
        for fail_at in itertools.count(1):
            recorder = stage.begin(start)
            recorder.run(first, fail_at=fail_at)
            if recorder.calls < fail_at:
                break
            tally["simulated errors"] += 1
            assert recorder.run(second), "blocked by a writer that failed"
            verdict = replay(start, recorder.ops, whole_renames=True)
            _count(tally, verdict)
            what = f"{name} with EIO at call {fail_at}, then {second.name}"
            assert not verdict.flaws, _report(what, verdict)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_write_after_a_crash_survives_the_next(
    name: str, stage: Stage, tally: Counter[str], long_run: bool, seed: int
) -> None:
    start, first = SINGLE[name]
    recorder = stage.begin(start)
    assert recorder.run(first)
    found = list(replay(start, recorder.ops).distinct.values())
    if not long_run and len(found) > 20:
        found = random.Random(f"{seed} {name}").sample(found, 20)
    for (state, worlds), second in itertools.product(found, FOLLOWING[name]):
        possible = {one for one in worlds if flaw(state, frozenset({one})) is None}
        again = _Found(state, possible)
        recorder = stage.begin(again)
        _readers_agree(stage.root, again)
        takes_over = (second.target[0], second.target[1] + LOCK) in state
        assert recorder.run(second), "blocked by a lock that the crash left"
        tally["simulated crashes with a write after them"] += 1
        if takes_over:
            left = [
                one
                for one in temps(take(stage.root))
                if (os.path.dirname(one) or ".") == second.target[0]
            ]
            assert not left, f"orphans were not swept: {left}"
        verdict = replay(again, recorder.ops)
        _count(tally, verdict)
        assert not verdict.flaws, _report(f"{name}, crash, {second.name}", verdict)


def test_a_killed_move_needs_the_rename_to_reach_the_disk_as_one(
    stage: Stage, tally: Counter[str]
) -> None:
    # The next writer of the source flushes the source's directory and cannot know of the other. On
    # a disk where that loses the file this would be a defect; it is the limit of what is promised.
    start, first = SINGLE["move-across-sealed"]
    second = FOLLOWING["move-across-sealed"][0]
    strict: set[str] = set()
    for die_at in itertools.count(1):
        recorder = stage.begin(start)
        if recorder.run(first, die_at=die_at):
            break
        assert recorder.run(second)
        strict.update(replay(start, recorder.ops, begin=1).flaws)
        verdict = replay(start, recorder.ops, begin=1, whole_renames=True)
        _count(tally, verdict)
        assert not verdict.flaws
    assert strict, "the strict disk no longer minds: the limit is gone, and so can this test"


def test_a_writer_killed_while_taking_over_leaves_the_warning_for_the_next(
    stage: Stage, tally: Counter[str], long_run: bool, seed: int
) -> None:
    start, first = SINGLE["unchecked-over-sealed"]
    pairs = list(itertools.product(range(1, _calls(stage, start, first)), range(1, 60)))
    if not long_run:
        pairs = random.Random(seed).sample(pairs, 200)
    for die_first, die_second in pairs:
        recorder = stage.begin(start)
        recorder.run(first, die_at=die_first)
        recorder.run(writing(OTHER, checked=False), die_at=die_second)
        assert recorder.run(writing(NEXT, checked=False)), "blocked by dead writers"
        tally["simulated kills"] += 2
        verdict = replay(start, recorder.ops, begin=2)
        _count(tally, verdict)
        what = f"killed before call {die_first}, its successor before call {die_second}"
        assert not verdict.flaws, _report(what, verdict)


def _calls(stage: Stage, start: Start, operation: Operation) -> int:
    recorder = stage.begin(start)
    recorder.run(operation)
    return recorder.calls


class _Found(Start):
    """A start that is what a crash has left."""

    def __init__(self, state: State, worlds: set[World]) -> None:
        super().__init__()
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_worlds", worlds)

    def state(self) -> State:
        return cast("State", self.__dict__["_state"])

    def worlds(self) -> set[World]:
        return cast("set[World]", self.__dict__["_worlds"])


def _readers_agree(root: str, found: _Found) -> None:
    """Let the library's own reader see what a crash left."""
    state = found.state()
    for (directory, name), file in state.items():
        if name.endswith((SIDECAR, LOCK)) or (directory, name + SIDECAR) not in state:
            continue
        corrupt = all(dict(one)[directory, name].corrupt for one in found.worlds())
        path = os.path.join(root, directory, name)
        assert sa.verify_checksum(path) is not corrupt
        if not corrupt:
            assert sa.read_atomic_bytes(path, check_checksum=True) == file.content
