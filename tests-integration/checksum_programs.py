"""Processes that change a file and its checksum, with a log, and are killed at any step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trace_check

import safeatomic_core as sa
from safeatomic_core import (
    _posix,
    _trace,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trace_check import Event


EVENTS_OF_A_PROGRAM = 60  # about as many as a program of four operations reports


NOTES = b"not a record, but somebody's notes\n" * 10


@dataclass
class Program:
    """What one process does: operations on names, by a seed, until it ends or is killed.

    Attributes:
        key: Names the process in the trace.
        operations: `(what, argument)`, done in order.
        die_at: Kill the process at this event.
        unlogged: Kill it before that event is logged: its effect is there, the trace lacks it.
        breakage: Called in the process first; breaks the code on purpose.
        overtaken_by: A program that runs, whole, when this one has opened a file for reading.
        intruder: Called at each event of an operation during which a stranger acts.
    """

    key: str
    operations: list[tuple[str, str]]
    die_at: int = 0
    unlogged: bool = False
    breakage: Callable[[], None] | None = None
    overtaken_by: Program | None = None
    intruder: Callable[[str, dict[str, object]], None] | None = field(default=None, init=False)
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
            if step == "read" and facts["phase"] == "open" and self.overtaken_by is not None:
                program, self.overtaken_by = self.overtaken_by, None
                os.waitpid(_spawn(program, folder, log), 0)
            if self.intruder is not None:
                self.intruder(step, facts)

        _trace.hook = hook
        for number, (what, argument) in enumerate(self.operations):
            ok = True
            try:
                self._do(folder, what, argument, f"{self.key}.{number}".encode(), log)
            except sa.LockError:
                ok = False
            except (FileNotFoundError, sa.ChecksumMismatchError):
                assert what in {"read", "move", "accept"}
                ok = False
            except OSError:
                assert what == "intruded"
                ok = False
            self._log(log, "return", {"ok": ok})
            if what == "intruded":
                self._look_around(folder, argument.split()[0], log)

    def _do(self, folder: Path, what: str, argument: str, content: bytes, log: int) -> None:
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
        elif what == "tamper":
            data = bytearray(target.read_bytes())
            data[0] ^= 1
            target.write_bytes(data)  # in place: the same inode
            digest = hashlib.sha256(data).hexdigest()
            self._log(log, "tamper", {"target": argument, "digest": digest})
        elif what == "intruded":
            self._extra = {"digest": hashlib.sha256(content).hexdigest()}
            name, when, act, kind, *fails = argument.split()
            self.intruder = self._stranger(folder, name, when, act, log)
            if fails:
                _posix.kernel.rename = _fail  # the data's: a sidecar is exchanged
            try:
                sa.write_atomic_bytes(
                    target.with_name(name), content, write_checksum=kind == "checked"
                )
            finally:
                self.intruder = None
        elif what == "accept":
            sa.write_checksum_file(target)
        else:
            place = target.parent.stat()
            self._extra = {"target": f"{place.st_dev}:{place.st_ino}/{target.name}"}
            sa.read_atomic_bytes(target, check_checksum=True)

    def _stranger(
        self, folder: Path, name: str, when: str, act: str, log: int
    ) -> Callable[[str, dict[str, object]], None]:
        """Make a stranger that changes the sidecar once, at the first event of a step or phase."""
        sidecar = folder / f"{name}.sha256"

        def intrude(step: str, facts: dict[str, object]) -> None:
            if when not in {step, facts.get("phase")}:
                return
            self.intruder = None
            if act == "swap":
                (folder / "theirs").write_bytes(NOTES)
                (folder / "theirs").rename(sidecar)
            elif act == "write":
                sidecar.write_bytes(NOTES)
            else:
                sidecar.unlink()
            self._log(log, "stranger", {"target": name, "kind": act})

        return intrude

    def _look_around(self, folder: Path, name: str, log: int) -> None:
        """Log what stands at the sidecar's name, and what of the stranger's under temps' names."""
        sidecar = folder / f"{name}.sha256"
        raw = sidecar.read_bytes() if sidecar.exists() else b""
        facts = {
            "target": name,
            "foreign": raw == NOTES,
            "recorded": re.findall(r"\b[0-9a-f]{64}\b", raw.decode()),
            "kept": sum(path.read_bytes() == NOTES for path in folder.glob(".safeatomic-sum-*")),
        }
        self._log(log, "seen", facts)

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


def _fail(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def one_after_another(folder: Path, log: Path, dice: random.Random) -> list[Event]:
    """Three processes in a row on two names in two directories; any of them may be killed."""
    (folder / "b").mkdir(parents=True)
    events: list[Event] = []
    for key in ("first", "second", "third"):
        operations = []
        for _ in range(dice.randint(1, 3)):
            what = dice.choice(
                ["checked", "checked", "repeat", "unchecked", "move", "move", "accept", "read"]
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
