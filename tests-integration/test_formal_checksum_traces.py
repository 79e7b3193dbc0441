"""The running code against the model of the checksum pair.

Real processes write, move, accept and read under the trace hook, alone or against each other, and
are killed at any step. TLC must find every trace among the behaviours of `SafeAtomicChecksum`, and
none of the traces of writers that are broken on purpose.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import re
import signal
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tlc
import trace_check

import safeatomic_core as sa
from safeatomic_core import (
    _announcement,
    _digests,
    _move,
    _posix,
    _protocol,
    _replacement,
    _sidecar_file,
    _trace,
    _verification,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from trace_check import Event, Verdict

SEQUENTIAL = 160
CONCURRENT = 40
MOVING = 40
EVENTS_OF_A_PROGRAM = 60  # about as many as a program of four operations reports
NOTES = b"not a record, but somebody's notes\n" * 10


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


def no_barrier() -> None:
    report, announce = _announcement.Announcement._report, _announcement.Announcement.announce

    def silent(self: _announcement.Announcement, phase: str) -> None:
        if phase != "barrier":
            report(self, phase)

    _replace(_announcement.Announcement, "_report", silent)
    _replace(
        _announcement.Announcement, "announce", lambda self, _sync: announce(self, lambda: None)
    )


def seal_before_settle() -> None:
    settle, seal = _protocol.Write.settle, _protocol.Write.seal

    def swapped(self: _protocol.Write) -> None:
        seal(self)
        settle(self)

    _replace(_protocol.Write, "settle", swapped)
    _replace(_protocol.Write, "seal", lambda _self: None)


def digest_after_data() -> None:
    announce = _announcement.Announcement.announce
    late: list[Callable[[], None]] = []
    _replace(
        _announcement.Announcement,
        "announce",
        lambda self, sync: late.append(lambda: announce(self, sync)),
    )
    _replace(_protocol.Write, "seal", lambda _self: late.pop()())


def no_seal() -> None:
    _replace(_protocol.Write, "seal", lambda _self: None)


def release_before_seal() -> None:
    settle = _protocol.Write.settle

    def early(self: _protocol.Write) -> None:
        settle(self)
        self.locks[0].release()

    _replace(_protocol.Write, "settle", early)


def no_retire() -> None:
    _replace(_announcement.Announcement, "find_ours", lambda _self: False)


def no_compare() -> None:
    _replace(_sidecar_file.Sidecar, "is_at", lambda _self, _name, _dir_fd: True)


def seal_blind() -> None:
    _replace(_replacement.Replacement, "is_untouched", lambda _self: True)


def undo_by_name() -> None:
    def unlink(self: _replacement.Replacement) -> None:
        _posix.kernel.unlink(self._name, dir_fd=self._dir_fd)

    _replace(_replacement.Replacement, "restore", unlink)


def undo_overwrites() -> None:
    def over(src: str, dst: str, dir_fd: int) -> None:
        os.rename(src, dst, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    _replacement.__dict__["_rename_to_free"] = over


def previous_by_hash() -> None:
    def fresh(
        self: _announcement.Announcement, _present: object, algo: str, _sync: object
    ) -> tuple[_digests.Digest, ...]:
        return () if self._target.status is None else self._digest_of_present(None, algo)

    _replace(_announcement.Announcement, "_resolve", fresh)


def no_resolve() -> None:
    resolve, report = _announcement.Announcement._resolve, _announcement.Announcement._report

    def silent(self: _announcement.Announcement, phase: str) -> None:
        if phase != "resolve":
            report(self, phase)

    _replace(_announcement.Announcement, "_report", silent)
    _replace(
        _announcement.Announcement,
        "_resolve",
        lambda self, present, algo, _sync: resolve(self, present, algo, lambda: None),
    )


def move_by_hash() -> None:
    recorded = _move._Move._recorded

    def fresh(self: _move._Move) -> tuple[_digests.Digest, ...]:
        recorded(self)
        return (("sha256", _digests.hash_fd(self._source.fd, "sha256")),)

    _replace(_move._Move, "_recorded", fresh)


def one_look() -> None:
    def here(_dir_fd: int, _name: str, _inode: object) -> bool:
        return True

    _verification.__dict__["still_named"] = here
    _sidecar_file.__dict__["still_named"] = here


def _replace(owner: object, name: str, function: Callable[..., object]) -> None:
    setattr(owner, name, function)


TWICE = [("checked", "t"), ("checked", "t")]
BROKEN: list[tuple[Callable[[], None], list[tuple[str, str]]]] = [
    (no_barrier, TWICE),
    (seal_before_settle, TWICE),
    (digest_after_data, TWICE),
    (no_seal, TWICE),
    (release_before_seal, TWICE),
    (no_retire, [("checked", "t"), ("unchecked", "t")]),
    (previous_by_hash, [("checked", "t"), ("tamper", "t"), ("checked", "t")]),
    (no_resolve, [("unchecked", "t"), ("checked", "t")]),
    (move_by_hash, [("checked", "s"), ("tamper", "s"), ("move", "s>t")]),
    (one_look, [("checked", "t"), ("read", "t")]),
    (no_compare, [("checked", "t"), ("intruded", "t Harden swap checked")]),
    (seal_blind, [("checked", "t"), ("intruded", "t Settle write checked")]),
    (undo_by_name, [("checked", "t"), ("intruded", "t barrier swap checked fails")]),
    (undo_overwrites, [("checked", "t"), ("intruded", "t barrier swap unchecked fails")]),
]


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
