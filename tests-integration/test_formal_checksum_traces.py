"""The running code against the model of the checksum pair.

Real processes write, move, bless and read under the trace hook, alone or against each other, and are
killed at any step. TLC must find every trace among the behaviours of `SafeAtomicChecksum`, and none
of the traces of writers that are broken on purpose.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import safeatomic_core as sa
from safeatomic_core import _protocol, _sidecar, _trace

FORMAL = Path(__file__).resolve().parent.parent / "formal"
sys.path.insert(0, str(FORMAL))

import tlc  # noqa: E402
import trace_check  # noqa: E402

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from trace_check import Event, Verdict

SEQUENTIAL = 160
CONCURRENT = 40
MOVING = 40
EVENTS_OF_A_PROGRAM = 60  # about as many as a program of four operations reports


@pytest.fixture(scope="module")
def tool() -> tlc.Tlc:
    try:
        return tlc.find_tlc()
    except tlc.ToolMissingError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"on CI the traces must be checked: {missing}")
        pytest.skip(f"TRACES WERE NOT CHECKED: {missing}")


@dataclass
class Program:
    """What one process does: operations on names, by a seed, until it ends or is killed.

    Attributes:
        key: Names the process in the trace.
        operations: `(what, argument)`, done in order.
        die_at: Kill the process at this event.
        unlogged: Kill it before that event is logged: its effect is there, the trace lacks it.
        breakage: Called in the process first; breaks the code on purpose.
    """

    key: str
    operations: list[tuple[str, str]]
    die_at: int = 0
    unlogged: bool = False
    breakage: Callable[[], None] | None = None
    _count: int = field(default=0, init=False)
    _extra: dict[str, object] = field(default_factory=dict, init=False)

    def run(self, folder: Path, log: int) -> None:
        """Do everything; called in a process of its own."""
        if self.breakage is not None:
            self.breakage()

        def hook(step: str, facts: dict[str, object]) -> None:
            self._count += 1
            if self._count == self.die_at and self.unlogged:
                os.kill(os.getpid(), signal.SIGKILL)
            if step in {"Harden", "read"}:
                facts = {**facts, **self._extra}
            self._log(log, step, facts)
            if self._count == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        _trace.hook = hook
        for number, (what, argument) in enumerate(self.operations):
            ok = True
            try:
                self._do(folder, what, argument, f"{self.key}.{number}".encode())
            except (FileNotFoundError, sa.LockError, sa.ChecksumMismatchError):
                ok = False
            self._log(log, "return", {"ok": ok})

    def _do(self, folder: Path, what: str, argument: str, content: bytes) -> None:
        target = folder / argument
        if what in {"checked", "unchecked", "repeat"}:
            if what == "repeat":
                content = b"the same again"
            self._extra = {"digest": hashlib.sha256(content).hexdigest()}
            sa.write_atomic_bytes(
                target, content, write_checksum=what != "unchecked", retries=20_000, delay=0.0005
            )
        elif what == "move":
            source, _, destination = argument.partition(">")
            sa.move_atomic(folder / source, folder / destination, force=True)
        elif what == "bless":
            sa.write_checksum_file(target)
        else:
            place = target.parent.stat()
            self._extra = {"target": f"{place.st_dev}:{place.st_ino}/{target.name}"}
            sa.read_atomic_bytes(target, check_checksum=True)

    def _log(self, log: int, step: str, facts: dict[str, object]) -> None:
        os.write(log, (json.dumps([step, {**facts, "process": self.key}]) + "\n").encode())


def record(folder: Path, programs: list[Program], log: Path) -> list[Event]:
    """Run programs at the same time, each in a process of its own; return what was logged."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        children = {_spawn(program, folder, fd): program for program in programs}
        for pid, program in children.items():
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status):
                os.write(fd, (json.dumps(["kill", {"process": program.key}]) + "\n").encode())
            else:
                assert os.waitstatus_to_exitcode(status) == 0, f"{program.key} failed"
    finally:
        os.close(fd)
    return trace_check.load(log)


def _spawn(program: Program, folder: Path, log: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        program.run(folder, log)
        code = 0
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def assert_all_accepted(verdicts: list[Verdict]) -> None:
    rejected = [f"trace {i}: {v}" for i, v in enumerate(verdicts) if not v.accepted]
    assert not rejected, f"{len(rejected)} of {len(verdicts)}:\n" + "\n".join(rejected[:5])


def one_after_another(folder: Path, log: Path, dice: random.Random) -> list[Event]:
    """Three processes in a row on two names in two directories; any of them may be killed."""
    (folder / "b").mkdir(parents=True)
    events: list[Event] = []
    for key in ("first", "second", "third"):
        operations = []
        for _ in range(dice.randint(1, 3)):
            what = dice.choice(
                ["checked", "checked", "repeat", "unchecked", "move", "move", "bless", "read"]
            )
            names = dice.sample(["t", "b/s"], 2)
            operations.append((what, ">".join(names) if what == "move" else names[0]))
        die_at = dice.randint(1, EVENTS_OF_A_PROGRAM) if dice.random() < 0.8 else 0
        program = Program(key, operations, die_at, unlogged=dice.random() < 0.5)
        events = record(folder, [program], log)
    return events


def against_each_other(folder: Path, log: Path, dice: random.Random) -> list[Event]:
    """Two writers and two readers of one name at the same time; a writer may be killed."""
    folder.mkdir()
    programs = [
        Program(
            key,
            [(dice.choice(["checked", "checked", "repeat", "unchecked"]), "t") for _ in range(3)],
            dice.randint(1, EVENTS_OF_A_PROGRAM) if dice.random() < 0.5 else 0,
            unlogged=dice.random() < 0.5,
        )
        for key in ("w1", "w2")
    ]
    programs += [Program(key, [("read", "t")] * 4) for key in ("r1", "r2")]
    record(folder, [Program("w0", [("checked", "t")])], log)
    return record(folder, programs, log)


def moving_in(folder: Path, log: Path, dice: random.Random) -> list[Event]:
    """Two processes write files of their own and move them over one name that two others read."""
    (folder / "b").mkdir(parents=True)
    record(folder, [Program("w0", [("checked", "t")])], log)
    programs = [
        Program(
            key,
            [(dice.choice(["checked", "checked", "unchecked"]), source), ("move", f"{source}>t")]
            * 2,
            dice.randint(1, EVENTS_OF_A_PROGRAM) if dice.random() < 0.4 else 0,
            unlogged=dice.random() < 0.5,
        )
        for key, source in (("m1", "s"), ("m2", "b/s"))
    ]
    programs += [Program(key, [("read", "t")] * 4) for key in ("r1", "r2")]
    return record(folder, programs, log)


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
            dice = random.Random(f"{scenario.__name__} {seed} {number}")  # noqa: S311
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
