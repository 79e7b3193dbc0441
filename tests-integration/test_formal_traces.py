"""The running code against the models: TLC follows recorded traces, and refuses broken code's.

Every trace here is of real calls on a real directory, witnessed at the seam; see
`formal/trace_record.py`. A group of traces is one run of TLC.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tlc
import trace_check
from trace_check import Event, Verdict
from trace_record import Recorder, in_child, reap

from safeatomic_core import AtomicWriter, write_atomic_bytes
from safeatomic_core._posix import intercept
from safeatomic_core._protocol import Write
from write_defects import CODE_DEFECTS, SEAM_DEFECTS

KINDS = ["lock", "none"]
STEPS_OF_A_WRITE = {"lock": 9, "none": 6}  # events of the hook, Acquire's two phases included


@pytest.fixture
def place(tmp_path: Path) -> Callable[[], Path]:
    """Make fresh directories."""
    made = iter(range(10**6))

    def fresh() -> Path:
        directory = tmp_path / str(next(made))
        directory.mkdir()
        return directory

    return fresh


def write(path: Path, content: bytes, kind: str, **options: Any) -> None:
    write_atomic_bytes(path, content, concurrency="lock" if kind == "lock" else "none", **options)


def record(directory: Path, *kinds: str, exists: bool = True) -> list[Event]:
    """Record writes that nothing disturbs."""
    target = directory / "f"
    if exists:
        target.write_bytes(b"old")
    log = directory / "log"
    with Recorder(log, name="main") as recorder:
        for number, kind in enumerate(kinds):
            recorder.call(write, target, b"new %d" % number, kind)
    return trace_check.load(log)


def accepted(verdicts: list[Verdict]) -> int:
    refused = [str(verdict) for verdict in verdicts if not verdict.accepted]
    assert not refused, "\n".join(refused[:5])
    return len(verdicts)


def test_undisturbed_writes_are_behaviours_of_the_model(
    tool: tlc.Tlc, place: Callable[[], Path]
) -> None:
    traces = [
        record(place(), *kinds, exists=exists)
        for exists in (True, False)
        for kinds in (["lock"], ["none"], ["lock", "lock"], ["none", "lock", "none"])
    ]
    verdicts = trace_check.check("smoke", traces, tool=tool)
    assert accepted(verdicts) == len(traces)
    # None of this may hold because a trace is empty or stops half-way.
    assert [event["e"] for event in verdicts[0].events] == [
        "Gate", "Acquire", "Stage", "Fill", "Harden", "Publish", "Settle", "Release",
    ]  # fmt: skip


def test_a_stream_that_is_committed_or_aborted_is_a_behaviour(
    tool: tlc.Tlc, place: Callable[[], Path]
) -> None:
    def stream(path: Path, kind: str, *, commit: bool) -> None:
        writer = AtomicWriter(path, concurrency="lock" if kind == "lock" else "none")
        writer.write(b"one")
        writer.write(b"two")
        if commit:
            writer.commit()
        else:
            writer.abort()

    traces = []
    for kind in KINDS:
        directory = place()
        with Recorder(directory / "log", name="main") as recorder:
            for commit in (True, False, True):
                stream(directory / "f", kind, commit=commit)
                recorder.write("return", {"ok": True, "aborted": not commit})
        traces.append(trace_check.load(directory / "log"))
    verdicts = trace_check.check("smoke", traces, tool=tool)
    assert accepted(verdicts) == 2
    assert [event["e"] for event in verdicts[0].events].count("Publish") == 2


def killed(directory: Path, kind: str, exists: bool, at: int, unreported: bool) -> list[Event]:
    """Record a writer killed at one of its events, and the next writer's recovery."""
    target, log = directory / "f", directory / "log"
    if exists:
        target.write_bytes(b"old")
    with Recorder(log, name="second") as recorder:

        def first() -> None:
            with Recorder(log, name="first", kill_at=at, unreported=unreported):
                write(target, b"first", kind)

        assert reap(in_child(first), recorder, "first")
        recorder.call(write, target, b"second", "lock")
    return trace_check.load(log)


def test_a_writer_killed_at_any_event_and_its_successor_are_behaviours(
    tool: tlc.Tlc, place: Callable[[], Path]
) -> None:
    traces = [
        killed(place(), kind, exists, at, unreported)
        for kind in KINDS
        for exists in (True, False)
        for at in range(STEPS_OF_A_WRITE[kind])
        for unreported in (True, False)
    ]
    assert accepted(trace_check.check("smoke", traces, tool=tool)) == 60


def failing(number: int, code: int) -> tuple[Callable[..., Any], list[str]]:
    """Make a wrapper for `intercept` that fails one system call, the one with that number."""
    calls: list[str] = []

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) - 1 == number:
                if name == "close":
                    call(*args, **kwargs)
                raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        return wrapped

    return wrap, calls


def with_fault(directory: Path, kind: str, exists: bool, number: int) -> tuple[list[Event], bool]:
    """Record a write with one failing system call, then a good one; was there such a call?"""
    target, log = directory / "f", directory / "log"
    if exists:
        target.write_bytes(b"old")
    wrap, calls = failing(number, errno.EIO)
    with Recorder(log, name="main") as recorder:
        with intercept(wrap):
            recorder.call(write, target, b"first", kind)
        recorder.call(write, target, b"second", kind)
    return trace_check.load(log), len(calls) > number


def test_a_write_with_any_system_call_failing_is_a_behaviour(
    tool: tlc.Tlc, place: Callable[[], Path]
) -> None:
    traces = []
    for kind in KINDS:
        for exists in (True, False):
            number, injected = 0, True
            while injected:
                trace, injected = with_fault(place(), kind, exists, number)
                traces.append(trace)
                number += 1
    assert len(traces) > 60
    accepted(trace_check.check("smoke", traces, tool=tool))


def storm(directory: Path, seed: int) -> tuple[list[Event], int]:
    """Record three processes that write at once, some of them killed; return the deaths as well."""
    choose = random.Random(seed)
    target, log = directory / "f", directory / "log"
    target.write_bytes(b"old")
    gate_read, gate_write = os.pipe()
    children = []
    with Recorder(log, name="last") as recorder:
        for number in range(3):
            kinds = [choose.choice(["lock", "lock", "none"]) for _ in range(3)]
            kill_at = choose.choice([None, choose.randrange(24)])

            def writer(
                number: int = number, kinds: list[str] = kinds, kill_at: int | None = kill_at
            ) -> None:
                os.close(gate_write)
                os.read(gate_read, 1)  # returns when the parent closes the other end
                name = f"writer {number}"
                with Recorder(log, name=name, kill_at=kill_at, unreported=bool(number % 2)) as own:
                    for kind in kinds:
                        retries = {"retries": 200, "delay": 0.0} if kind == "lock" else {}
                        own.call(write, target, name.encode(), kind, **retries)

            children.append(in_child(writer))
        os.close(gate_write)
        os.close(gate_read)
        deaths = [reap(child, recorder, f"writer {n}") for n, child in enumerate(children)]
        recorder.call(write, target, b"last", "lock")
    return trace_check.load(log), sum(deaths)


def test_storms_of_writers_and_kills_are_behaviours(
    tool: tlc.Tlc, place: Callable[[], Path], seed: int, long_run: bool
) -> None:
    storms = [storm(place(), seed * 1000 + n) for n in range(400 if long_run else 60)]
    assert sum(deaths for _, deaths in storms) > 20
    accepted(trace_check.check("smoke", [trace for trace, _ in storms], tool=tool))


def test_what_a_crash_may_show_after_each_event_is_what_the_model_says(
    tool: tlc.Tlc, place: Callable[[], Path]
) -> None:
    """At each event of three writes, ask for each content whether a crash may show it."""
    traces, expected = [], []
    for kind in KINDS:
        trace = record(place(), kind, kind, kind)
        for end in range(len(trace) + 1):
            before = trace[:end]
            steps = [step for step, _ in before]
            published = steps.count("Publish")
            # One more effect may have happened: the rename that comes next, or the flush.
            visible = published + (steps[-1:] == ["Harden"])
            settled = steps.count("Settle")
            for saw in (-2, -1, 0, 1, 2, 3):
                traces.append([*before, ("crash", {"saw": saw})])
                expected.append(settled <= saw <= visible)
    verdicts = trace_check.check("smoke", traces, tool=tool)
    assert len(traces) > 250
    wrong = [
        f"{verdict}: expected {'accepted' if right else 'rejected'}"
        for verdict, right in zip(verdicts, expected, strict=True)
        if verdict.accepted != right
    ]
    assert not wrong, "\n".join(wrong[:5])


def twice(target: Path, kind: str, recorder: Recorder) -> None:
    for content in (b"first", b"second"):
        recorder.call(write, target, content, kind)


def broken_at_the_seam(directory: Path, defect: str, kind: str) -> list[Event]:
    with Recorder(directory / "log", name="main") as recorder, intercept(SEAM_DEFECTS[defect]):
        twice(directory / "f", kind, recorder)
    return trace_check.load(directory / "log")


def broken_in_the_code(
    directory: Path, defect: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> list[Event]:
    step, defective = CODE_DEFECTS[defect]
    with monkeypatch.context() as patch, Recorder(directory / "log", name="main") as recorder:
        patch.setattr(Write, step, defective)
        twice(directory / "f", kind, recorder)
    return trace_check.load(directory / "log")


def harden_again(write: Write) -> None:
    """Do what must never be done: believe a second fsync after one that failed."""
    try:
        sound_harden(write)
    except OSError:
        sound_harden(write)


sound_harden = Write.harden


def retried(directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Record a write whose first fsync, the temp's, fails, and is repeated."""
    left = [errno.EIO]

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def fsync(fd: int) -> None:
            if left:
                raise OSError(left.pop(), "the disk is dying")
            call(fd)

        return fsync if name == "fsync" else call

    with monkeypatch.context() as patch, intercept(wrap):
        patch.setattr(Write, "harden", harden_again)
        with Recorder(directory / "log", name="main") as recorder:
            twice(directory / "f", kind, recorder)
    return trace_check.load(directory / "log")


def test_traces_of_broken_code_are_rejected(
    tool: tlc.Tlc, place: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = {
        **{
            f"{defect}, {kind}": broken_at_the_seam(place(), defect, kind)
            for defect in SEAM_DEFECTS
            for kind in KINDS
        },
        **{
            f"{defect}, {kind}": broken_in_the_code(place(), defect, kind, monkeypatch)
            for defect in CODE_DEFECTS
            for kind in (["lock"] if defect == "lock not taken" else KINDS)
        },
        **{f"fsync retried, {kind}": retried(place(), kind, monkeypatch) for kind in KINDS},
    }
    verdicts = trace_check.check("smoke", traces.values(), tool=tool)
    missed = [name for name, verdict in zip(traces, verdicts, strict=True) if verdict.accepted]
    assert not missed
    assert len(traces) == 19


def test_one_bad_trace_among_hundreds_is_found(tool: tlc.Tlc, place: Callable[[], Path]) -> None:
    good = record(place(), "lock", "none", "lock")
    bad = broken_at_the_seam(place(), "no fsync of the temp", "lock")
    traces = [good] * 100 + [bad] + [good] * 200
    verdicts = trace_check.check("smoke", traces, tool=tool)
    assert [n for n, verdict in enumerate(verdicts) if not verdict.accepted] == [100]
    assert str(verdicts[100]).startswith("rejected at event 5 of")
