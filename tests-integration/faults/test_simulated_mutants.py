"""Each flush, and each order, is needed: without it the simulated disk shows a violation.

A mutant is a record of the real system calls with a flush left out or a step moved, or a library
with one rule switched off. Each must be refuted by some story; one that survives is a defect, of
the protocol (a flush that costs time and protects nothing) or of the simulation (which then proves
less than it says).
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from safeatomic_core import _lock, _posix, _settle
from safeatomic_core._announcement import Announcement
from safeatomic_core._lock_file import Found

from .effects import Op
from .oracle import Operation, write
from .replaying import replay
from .stories import FOLLOWING, NEW, NEXT, OTHER, SINGLE, Start, T, version, writing

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from .conftest import Stage


@dataclass(frozen=True)
class Step:
    """A recorded call, by its kind and by who makes it, innermost first."""

    kind: str
    caller: str
    nth: int = 0  # among those that fit in one record

    def find(self, ops: list[Op]) -> int | None:
        """Return where it is, None if the record has none."""
        found = [
            number
            for number, op in enumerate(ops)
            if op.kind == self.kind and op.caller.startswith(self.caller)
        ]
        return found[self.nth] if len(found) > self.nth else None


DATA_FLUSH = Step("fsync", "Write.harden")
SIDECAR_FLUSH = Step("fsync", "Announcement._harden < Announcement.harden < Write.harden")
MOVED_SIDECAR_FLUSH = Step("fsync", "Announcement._harden < Announcement.harden < _Move.announce")
ACCEPTED_SIDECAR_FLUSH = Step("fsync", "Announcement._harden < Announcement.harden < _record")
SYNC = "settle_directory < Change.sync_directory"
RESOLVE = Step(
    "fsyncdir",
    "settle_directory < Change.sync_directory < Announcement._resolve < Announcement.draft < Write",
)
MOVE_RESOLVE = Step(
    "fsyncdir",
    "settle_directory < Change.sync_directory < Announcement._resolve < Announcement.draft < _Move",
)
BARRIER = Step(
    "fsyncdir", "settle_directory < Change.sync_directory < Announcement.announce < Write"
)
RETIRE_BARRIER = Step(
    "fsyncdir", "settle_directory < Change.sync_directory < Retirement.retire < Write"
)
MOVE_BARRIER = Step(
    "fsyncdir", "settle_directory < Change.sync_directory < Announcement.announce < _Move"
)
MOVE_RETIRE_BARRIER = Step("fsyncdir", f"{SYNC} < Retirement.retire < _Move")
SETTLE = Step("fsyncdir", "settle_directory < Write.settle")
TAKEOVER_FLUSH = Step("fsyncdir", "settle_directory < recover < Lock._clear")
SOURCE_FLUSH = Step("fsync", "_Move.harden")
MOVE_SETTLE = Step("fsyncdir", "settle_directory < _Move.settle")
SOURCE_SETTLE = Step("fsyncdir", "settle_directory < _Move.leave_source")
ACCEPTED_FLUSH = Step("fsync", "_record < record_present")
ACCEPTED_SETTLE = Step("fsyncdir", "settle_directory < _record < record_present")
RECORDING_SETTLE = Step(
    "fsyncdir", "settle_directory < record_present.<locals>.sync_directory < Ann"
)

FLUSHES = {
    "data temp": DATA_FLUSH,
    "sidecar temp": SIDECAR_FLUSH,
    "sidecar temp of a move": MOVED_SIDECAR_FLUSH,
    "sidecar temp of a recording": ACCEPTED_SIDECAR_FLUSH,
    "resolve": RESOLVE,
    "resolve of a move": MOVE_RESOLVE,
    "barrier after the record": BARRIER,
    "barrier after the retired sidecar": RETIRE_BARRIER,
    "barrier of a move": MOVE_BARRIER,
    "barrier of a move after the retired sidecar": MOVE_RETIRE_BARRIER,
    "settle": SETTLE,
    "takeover": TAKEOVER_FLUSH,
    "content of a move": SOURCE_FLUSH,
    "destination of a move": MOVE_SETTLE,
    "source of a move": SOURCE_SETTLE,
    "content that is recorded": ACCEPTED_FLUSH,
    "directory of what is recorded": ACCEPTED_SETTLE,
    "directory of the recording": RECORDING_SETTLE,
}

PUBLISH = Step("rename", "Write.publish")
# An exchange gives two names another file; the sidecar's is the first.
RECORD = Step("link", "Replacement.install < Announcement.announce < Write.announce")
MOVED_ASIDE = "rename_new < rename_to_free < Replacement._move_aside"
TAKEN_AWAY = f"{MOVED_ASIDE} < Replacement.take_away < Retirement.take_away"
RETIRE = Step("rename", f"{TAKEN_AWAY} < Retirement.retire")
SEAL = Step("truncate", "Announcement.seal < Write.seal")
MODE = Step("chmod", "preserve")
ATTRIBUTE = Step("setxattr", "_set < _Copying.set")
MOVE_PUBLISH = Step("rename", "_Move.publish")
MOVE_RECORD = Step("link", "Replacement.install < Announcement.announce < _Move.announce")
MOVE_SEAL = Step("truncate", "Announcement.seal < _Move.seal")
SOURCE_SIDECAR = Step("rename", f"{TAKEN_AWAY} < _Move._take_sidecar_away")

# (what is moved, to just behind what)
EXCHANGES = {
    "data flushed after publish": (DATA_FLUSH, PUBLISH),
    "mode set after the flush": (MODE, DATA_FLUSH),
    "attribute set after the flush": (ATTRIBUTE, DATA_FLUSH),
    "digest after the data": (RECORD, PUBLISH),
    "digest flushed after its rename": (SIDECAR_FLUSH, RECORD),
    "sidecar retired after the data": (RETIRE, PUBLISH),
    "directory flushed before publish": (PUBLISH, SETTLE),
    "moved before the record": (MOVE_RECORD, MOVE_PUBLISH),
    "moved before its content is flushed": (SOURCE_FLUSH, MOVE_SETTLE),
    "source flushed before the destination": (MOVE_SETTLE, SOURCE_SETTLE),
}
# (what is moved, to just before what)
EARLIER = {
    "sealed before settle": (SEAL, SETTLE),
    "move sealed before settle": (MOVE_SEAL, MOVE_SETTLE),
    "source's sidecar removed first": (SOURCE_SIDECAR, MOVE_SETTLE),
}


def _records(stage: Stage) -> dict[str, tuple[Start, list[Op]]]:
    """Record every story once: undisturbed ones, and writers that follow a killed one."""
    found: dict[str, tuple[Start, list[Op]]] = {}
    for name, (start, operation) in SINGLE.items():
        recorder = stage.begin(start)
        assert recorder.run(operation)
        found[name] = start, recorder.ops
    for name in ("checked-over-sealed", "unchecked-over-sealed", "move-sealed-over-sealed"):
        start, first = SINGLE[name]
        for second in FOLLOWING[name]:
            for die_at in itertools.count(1):
                recorder = stage.begin(start)
                if recorder.run(first, die_at=die_at):
                    break
                assert recorder.run(second)
                found[f"{name}, killed at {die_at}, {second.name} {second.target[1]}"] = (
                    start,
                    recorder.ops,
                )
    return found


@pytest.fixture(scope="module")
def records(module_stage: Stage) -> dict[str, tuple[Start, list[Op]]]:
    # The simulated disk keeps what fsync(2) says, and so has no use for the flush that btrfs needs.
    with mock.patch.object(_settle, "OVERTAKEN", frozenset()):
        return _records(module_stage)


def _refuted(
    records: dict[str, tuple[Start, list[Op]]], mutate: Callable[[list[Op]], list[Op] | None]
) -> tuple[int, str | None]:
    """Return to how many records a mutation applied before one refuted it, and how."""
    applied = 0
    for name, (start, ops) in records.items():
        mutated = mutate(ops)
        if mutated is None:
            continue
        applied += 1
        flaws = replay(start, mutated).flaws
        if flaws:
            return applied, f"{name}: {next(iter(flaws))}"
    return applied, None


@pytest.mark.parametrize("name", FLUSHES)
def test_no_flush_can_be_left_out(
    name: str, records: dict[str, tuple[Start, list[Op]]], tally: Counter[str]
) -> None:
    step = FLUSHES[name]

    def without(ops: list[Op]) -> list[Op] | None:
        where = step.find(ops)
        return None if where is None else [*ops[:where], *ops[where + 1 :]]

    applied, how = _refuted(records, without)
    assert applied, "nothing makes this flush"
    assert how is not None, f"the flush of the {name} protects nothing in {applied} stories"
    tally["simulated mutants refuted"] += 1


@pytest.mark.parametrize("name", [*EXCHANGES, *EARLIER])
def test_no_two_steps_can_be_exchanged(
    name: str, records: dict[str, tuple[Start, list[Op]]], tally: Counter[str]
) -> None:
    def exchanged(ops: list[Op]) -> list[Op] | None:
        moved, beside = EXCHANGES.get(name) or EARLIER[name]
        source, target = moved.find(ops), beside.find(ops)
        if source is None or target is None:
            return None
        rest = [*ops[:source], *ops[source + 1 :]]
        where = rest.index(ops[target]) + (1 if name in EXCHANGES else 0)
        return [*rest[:where], ops[source], *rest[where:]]

    applied, how = _refuted(records, exchanged)
    assert applied, "no story has these steps"
    assert how is not None, f"{name} does no harm in {applied} stories"
    tally["simulated mutants refuted"] += 1


def test_every_flush_that_is_made_has_its_mutant(
    records: dict[str, tuple[Start, list[Op]]],
) -> None:
    made = {
        (op.kind, op.caller)
        for _, ops in records.values()
        for op in ops
        if op.kind in ("fsync", "fsyncdir") and op.caller != "setup"
    }
    known = [(step.kind, step.caller) for step in FLUSHES.values()]
    # What this one protects is not a pair: the former digest from the new content's readers.
    known.append(("fsync", "Announcement.seal"))
    strangers = [
        made_one
        for made_one in sorted(made)
        if not any(made_one[0] == kind and made_one[1].startswith(one) for kind, one in known)
    ]
    assert not strangers, "flushes that nothing shows to be needed"


def _in_place(content: bytes) -> Operation:
    """Overwrite the target as a careless program does."""

    def call(root: str) -> None:
        kernel = _posix.kernel
        directory = kernel.open(root, os.O_RDONLY | os.O_DIRECTORY)
        fd = kernel.open("target", os.O_RDWR, dir_fd=directory)
        kernel.ftruncate(fd, 0)
        kernel.write(fd, content)
        kernel.fsync(fd)
        kernel.close(fd)
        kernel.close(directory)

    return Operation("in place", call, T, *write(T, content, checked=False))


def _unlink_first(content: bytes) -> Operation:
    """Remove the target before the new content takes its name."""

    def call(root: str) -> None:
        kernel = _posix.kernel
        directory = kernel.open(root, os.O_RDONLY | os.O_DIRECTORY)
        fd = kernel.open("target.new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
        kernel.write(fd, content)
        kernel.fsync(fd)
        kernel.close(fd)
        kernel.unlink("target", dir_fd=directory)
        kernel.rename("target.new", "target", src_dir_fd=directory, dst_dir_fd=directory)
        kernel.fsync(directory)
        kernel.close(directory)

    return Operation("unlink first", call, T, *write(T, content, checked=False))


@pytest.mark.parametrize("naive", [_in_place(NEW), _unlink_first(NEW)], ids=lambda one: one.name)
def test_naive_writers_are_caught(naive: Operation, stage: Stage, tally: Counter[str]) -> None:
    start = Start({T: version(OTHER)})
    recorder = stage.begin(start)
    assert recorder.run(naive)
    flaws = replay(start, recorder.ops).flaws
    assert any("neither old nor new" in flaw for flaw in flaws)
    tally["simulated mutants refuted"] += 1


def _flaws_of_all(stage: Stage, names: list[str]) -> set[str]:
    """Run stories, those after kills and errors included; return what is wrong."""
    found: set[str] = set()
    for name in names:
        start, first = SINGLE[name]
        runs: list[dict[str, int]] = [{}]
        recorder = stage.begin(start)
        recorder.run(first)
        for number in range(1, recorder.calls + 1):
            runs += [{"die_at": number}, {"fail_at": number}]
        for run in runs:
            for second in FOLLOWING.get(name, ()):
                recorder = stage.begin(start)
                recorder.run(first, **run)
                try:
                    recorder.run(second)
                except Exception as error:
                    found.add(type(error).__name__)
                    continue
                found.update(replay(start, recorder.ops, whole_renames=True).flaws)
    return found


def test_a_record_without_the_previous_digest_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    monkeypatch.setattr(Announcement, "_resolve", lambda *_: ())
    assert any("false alarm" in one for one in _flaws_of_all(stage, ["checked-over-sealed"]))
    tally["simulated mutants refuted"] += 1


def test_a_lock_without_a_crash_mark_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    monkeypatch.setattr(_lock, "CRASH_MARK", 0)
    assert any("would block" in one for one in _flaws_of_all(stage, ["checked-over-plain"]))
    tally["simulated mutants refuted"] += 1


def test_a_move_that_drops_its_lock_unsettled_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    monkeypatch.setattr(_lock.Lock, "leave_behind", lambda _: None)
    assert any("false alarm" in one for one in _flaws_of_all(stage, ["move-sealed"]))
    tally["simulated mutants refuted"] += 1


def test_flushing_after_the_dead_lock_is_gone_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    real = _lock.Lock._clear

    def late(self: _lock.Lock, stale: Found) -> bool:
        with mock.patch.object(_lock, "recover", return_value=None):
            cleared = real(self, stale)
        _settle.recover(self.target, self._safety)
        return cleared

    monkeypatch.setattr(_lock.Lock, "_clear", late)
    start, first = SINGLE["unchecked-over-sealed"]
    found: set[str] = set()
    recorder = stage.begin(start)
    recorder.run(first)
    for die_first in range(20, recorder.calls):
        for die_second in range(10, 30):
            recorder = stage.begin(start)
            recorder.run(first, die_at=die_first)
            recorder.run(writing(OTHER, checked=False), die_at=die_second)
            recorder.run(writing(NEXT, checked=False))
            found.update(replay(start, recorder.ops, begin=2).flaws)
            if found:
                break
    assert any("false alarm" in one for one in found)
    tally["simulated mutants refuted"] += 1
