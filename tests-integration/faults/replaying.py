"""Compare every state that a crash may leave, at every point of a record, with the oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .disk import Disk
from .effects import State
from .oracle import Story, World, flaw

if TYPE_CHECKING:
    from .effects import Op
    from .stories import Start

Key = frozenset[tuple[object, object]]


@dataclass
class Verdict:
    """The result of a replay.

    Attributes:
        points: Crash points.
        states: Number of states checked, over all points.
        distinct: Each distinct state with its allowed worlds.
        flaws: Each flaw once, with its place.
        sampled: Whether some states were left out.
    """

    points: int = 0
    states: int = 0
    distinct: dict[Key, tuple[State, frozenset[World]]] = field(default_factory=dict)
    flaws: dict[str, str] = field(default_factory=dict)
    sampled: bool = False


def replay(
    start: Start, ops: list[Op], *, begin: int = 0, whole_renames: bool = False, seed: int = 1
) -> Verdict:
    """Replay a record.

    Args:
        start: The state before the record.
        ops: The record.
        begin: Number of the first operation in which crashes are checked, counted from 0.
        whole_renames: See `Disk`.
        seed: Seed of what is sampled.
    """
    verdict = Verdict()
    story = Story(start.worlds())
    disk = Disk(seed, whole_renames=whole_renames)
    judged: set[tuple[Key, frozenset[World]]] = set()
    begun = -1
    left_out = start.not_ours
    for number, op in enumerate(ops):
        disk.apply(op)
        if op.kind == "begin":
            begun += 1
            story.begin(op.args[0])
        elif op.kind == "return":
            story.returned()
            left_out = frozenset()
        elif op.kind == "fail":
            story.failed()
        if begun < begin or op.kind == "create":
            continue
        worlds = story.worlds
        if left_out:
            worlds = frozenset(
                frozenset(pair for pair in one if pair[0] not in left_out) for one in worlds
            )
        verdict.points += 1
        for state in disk.states():
            verdict.states += 1
            seen = {name: file for name, file in state.items() if name not in left_out}
            key: Key = frozenset(seen.items())
            if (key, worlds) in judged:
                continue
            judged.add((key, worlds))
            verdict.distinct[key] = (seen, worlds)
            wrong = flaw(seen, worlds)
            if wrong is not None:
                where = f"crash after #{number} {op.kind} {op.args[:2]!r} [{op.caller}]"
                verdict.flaws.setdefault(wrong, where)
    verdict.sampled = disk.sampled
    return verdict
