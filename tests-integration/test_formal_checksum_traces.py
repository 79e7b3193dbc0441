"""The running code against the model of the checksum pair.

Real processes write, move, accept and read under the trace hook, alone or against each other, and
are killed at any step. TLC must find every trace among the behaviours of `SafeAtomicChecksum`, and
none of the traces of writers that are broken on purpose.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tlc
import trace_check

import safeatomic_core as sa
from checksum_defects import BROKEN
from checksum_programs import (
    NOTES,
    Program,
    against_each_other,
    moving_in,
    one_after_another,
    record,
)
from safeatomic_core import _posix, _trace

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from trace_check import Event, Verdict

SEQUENTIAL = 160
CONCURRENT = 40
MOVING = 40


def assert_all_accepted(verdicts: list[Verdict]) -> None:
    rejected = [f"trace {i}: {v}" for i, v in enumerate(verdicts) if not v.accepted]
    assert not rejected, f"{len(rejected)} of {len(verdicts)}:\n" + "\n".join(rejected[:5])


@pytest.mark.slow
def test_every_trace_of_the_code_is_a_behaviour_of_the_model(
    tmp_path: Path, tool: tlc.Tlc, seed: int, tally: Counter[str]
) -> None:
    traces = []
    for scenario, count in (
        (one_after_another, SEQUENTIAL),
        (against_each_other, CONCURRENT),
        (moving_in, MOVING),
    ):
        for number in range(count):
            dice = random.Random(f"{scenario.__name__} {seed} {number}")
            name = f"{scenario.__name__}.{number}"
            traces.append(scenario(tmp_path / name, tmp_path / f"{name}.log", dice))
    verdicts = trace_check.check("checksum", traces, tool=tool)
    assert_all_accepted(verdicts)
    tally["traces of the checksum pair accepted by the model"] += len(traces)
    tally["events in them"] += sum(map(len, traces))
    # What the scenarios are meant to bring about did come about.
    seen = [event["e"] for verdict in verdicts for event in verdict.events]
    wanted = {"resolve", "record", "retire", "barrier", "publish", "settle", "seal", "release"}
    wanted |= {"unlink-source", "kill", "open", "good", "missing"}
    assert not wanted - set(seen)


def test_the_same_content_again_killed_anywhere(tmp_path: Path, tool: tlc.Tlc) -> None:
    traces = []
    for die_at in range(1, 14):
        folder, log = tmp_path / str(die_at), tmp_path / f"{die_at}.log"
        folder.mkdir()
        record(folder, [Program("first", [("repeat", "t")])], log)
        record(folder, [Program("again", [("repeat", "t")], die_at)], log)
        traces.append(record(folder, [Program("next", [("checked", "t")])], log))
    assert_all_accepted(trace_check.check("checksum", traces, tool=tool))


def test_traces_of_broken_code_are_rejected(tmp_path: Path, tool: tlc.Tlc) -> None:
    traces = []
    for breakage, operations in BROKEN:
        for broken in (False, True):
            name = f"{breakage.__name__}.{broken}"
            (tmp_path / name).mkdir()
            program = Program("w", operations, breakage=breakage if broken else None)
            if ("read", "t") in operations:
                program.overtaken_by = Program("w2", [("checked", "t")])
            traces.append(record(tmp_path / name, [program], tmp_path / f"{name}.log"))
    verdicts = trace_check.check("checksum", traces, tool=tool)
    assert_all_accepted(verdicts[::2])  # the same program, not broken
    passed = [
        breakage.__name__
        for (breakage, _), verdict in zip(BROKEN, verdicts[1::2], strict=True)
        if verdict.accepted
    ]
    assert not passed


def test_what_strangers_do_to_a_sidecar_is_a_behaviour_of_the_model(
    tmp_path: Path, tool: tlc.Tlc, tally: Counter[str]
) -> None:
    traces: list[list[Event]] = []
    for first in ("checked", "unchecked"):
        for when in ("Acquire", "Stage", "Harden", "barrier", "Publish", "Settle", "Seal"):
            for act in ("swap", "write", "remove"):
                if (
                    first == "unchecked"
                    and act != "swap"
                    and when in {"Acquire", "Stage", "Harden"}
                ):
                    continue  # there is nothing yet
                for kind in ("checked", "unchecked"):
                    if kind == "unchecked" and (act != "swap" or when in {"barrier", "Seal"}):
                        continue
                    for ending in ("", " fails"):
                        name = f"{len(traces)}"
                        (tmp_path / name).mkdir()
                        program = Program(
                            "w", [(first, "t"), ("intruded", f"t {when} {act} {kind}{ending}")]
                        )
                        traces.append(record(tmp_path / name, [program], tmp_path / f"{name}.log"))
    verdicts = trace_check.check("checksum", traces, tool=tool)
    assert_all_accepted(verdicts)
    tally["traces of strangers at a sidecar accepted by the model"] += len(traces)
    seen = {event["e"] for verdict in verdicts for event in verdict.events}
    assert seen >= {"stranger", "seen", "put-back", "restore"}


def test_a_sidecar_that_went_back_is_flushed_before_the_lock_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule R7 of formal/notes-checksum.md, which leaves no event of its own in a trace."""
    target, sidecar = tmp_path / "t", tmp_path / "t.sha256"
    sa.write_atomic_bytes(target, b"old", write_checksum=True)
    done: list[str] = []

    def swap_after_harden(step: str, _facts: dict[str, object]) -> None:
        if step == "Harden":
            (tmp_path / "theirs").write_bytes(NOTES)
            (tmp_path / "theirs").rename(sidecar)

    def note(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def noted(*args: object, **kwargs: object) -> object:
            if name == "fsync" and isinstance(args[0], int):
                is_directory = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                done.append("flush" if is_directory else "fsync")
            elif name == "unlink" and args[0] == "t.lock":
                done.append("release")
            elif name == "rename_exchange":
                done.append("exchange")
            return call(*args, **kwargs)

        return noted

    monkeypatch.setattr(_trace, "hook", swap_after_harden)
    with _posix.intercept(note), pytest.raises(FileExistsError):
        sa.write_atomic_bytes(target, b"new", write_checksum=True)
    assert done[done.index("exchange") :] == ["exchange", "exchange", "flush", "release"]
    assert sidecar.read_bytes() == NOTES


def test_a_trace_that_lacks_a_step_is_rejected(tmp_path: Path, tool: tlc.Tlc, seed: int) -> None:
    needed = {"Harden", "Announce", "Publish", "Settle", "Seal"}
    traces: list[list[Event]] = []
    for number in range(10):
        dice = random.Random(f"lacks {seed} {number}")
        name = f"t{number}"
        (tmp_path / name).mkdir()
        kinds = [dice.choice(["checked", "unchecked", "accept"]) for _ in range(3)]
        operations = [("checked", "t"), *((kind, "t") for kind in kinds)]
        events = record(tmp_path / name, [Program("w", operations)], tmp_path / f"{name}.log")
        candidates = [index for index, (step, _) in enumerate(events) if step in needed]
        # (A move's Harden is no step of this model, and there is none here.)
        traces += [[*events[:index], *events[index + 1 :]] for index in dice.sample(candidates, 6)]
    verdicts = trace_check.check("checksum", traces, tool=tool)
    accepted = [i for i, verdict in enumerate(verdicts) if verdict.accepted]
    assert not accepted


OLD, NEW = (hashlib.sha256(text).hexdigest() for text in (b"w.0", b"w.1"))
# (kind of the second write, cut after this step and phase, data, recorded, possible?)
CRASHES = [
    ("checked", ("Harden", None), OLD, [OLD], True),
    ("checked", ("Harden", None), OLD, [NEW, OLD], True),  # the record's rename, unlogged
    ("checked", ("Harden", None), NEW, [NEW, OLD], False),
    ("checked", ("Announce", "record"), OLD, [OLD], True),
    ("checked", ("Announce", "record"), OLD, [NEW, OLD], True),
    ("checked", ("Announce", "record"), OLD, None, False),
    ("checked", ("Announce", "barrier"), OLD, [NEW, OLD], True),
    ("checked", ("Announce", "barrier"), OLD, [OLD], False),
    ("checked", ("Announce", "barrier"), NEW, [NEW, OLD], True),  # the data's rename, unlogged
    ("checked", ("Publish", None), OLD, [NEW, OLD], True),
    ("checked", ("Publish", None), NEW, [NEW, OLD], True),
    ("checked", ("Publish", None), NEW, [OLD], False),
    ("checked", ("Publish", None), NEW, [NEW], False),
    ("checked", ("Settle", None), OLD, [NEW, OLD], False),
    ("checked", ("Settle", None), NEW, [NEW, OLD], True),
    ("checked", ("Settle", None), NEW, [NEW], True),  # the truncation, unlogged
    ("checked", ("Seal", None), NEW, [NEW, OLD], True),  # the truncation is not flushed
    ("checked", ("Seal", None), NEW, [NEW], True),
    ("checked", ("Seal", None), OLD, [NEW], False),
    ("checked", ("return", None), None, [NEW], False),
    ("unchecked", ("Announce", "retire"), OLD, [OLD], True),
    ("unchecked", ("Announce", "retire"), OLD, None, True),
    ("unchecked", ("Announce", "barrier"), OLD, [OLD], False),
    ("unchecked", ("Publish", None), NEW, None, True),
    ("unchecked", ("Publish", None), NEW, [OLD], False),
    ("unchecked", ("Settle", None), OLD, None, False),
]


def test_crash_states_are_accepted_or_rejected_as_the_protocol_has_it(
    tmp_path: Path, tool: tlc.Tlc
) -> None:
    recorded: dict[str, list[Event]] = {}
    for kind in ("checked", "unchecked"):
        (tmp_path / kind).mkdir()
        program = Program("w", [("checked", "t"), (kind, "t")])
        recorded[kind] = record(tmp_path / kind, [program], tmp_path / f"{kind}.log")
    traces = []
    for kind, (step, phase), data, digests, _ in CRASHES:
        events = recorded[kind]
        last = max(
            index
            for index, (name, facts) in enumerate(events)
            if name == step and (phase is None or facts["phase"] == phase)
        )
        traces.append([*events[: last + 1], ("crash", {"data": data, "recorded": digests})])
    verdicts = trace_check.check("checksum", traces, tool=tool)
    wrong = [
        case for case, verdict in zip(CRASHES, verdicts, strict=True) if verdict.accepted != case[4]
    ]
    assert not wrong


@pytest.mark.parametrize("kind", ["checked", "unchecked"])
def test_a_crash_that_says_which_write_it_shows_is_judged(
    tmp_path: Path, tool: tlc.Tlc, kind: str
) -> None:
    program = Program("w", [(kind, "t"), (kind, "t")])
    events = record(tmp_path, [program], tmp_path / "log")
    traces = [[*events, ("crash", {"saw": saw})] for saw in (2, 1, 0, -1, -2)]
    verdicts = trace_check.check("checksum", traces, tool=tool)
    assert [verdict.accepted for verdict in verdicts] == [True, False, False, False, False]
