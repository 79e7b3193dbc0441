"""What a trace means for SafeAtomicSmoke: the writes of one target, without lock file and sidecar.

Announce and Seal are left out: all they do to the target is to flush its directory once more, which
the model allows the kernel to do at any time. Moves are left out as well. Versions are numbered in
the order of the Gate events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trace_check import Event


@dataclass
class _Process:
    """What is known of a process's current write."""

    number: int
    writing: bool = False
    locked: bool = False
    acquired: bool = False
    filled: bool = False
    hardened: bool = False
    published: bool = False
    settled: bool = False
    released: bool = False

    @property
    def writer(self) -> str:
        """The writer of the model: each process is one under the lock and another without."""
        return _writers(self.number)[0 if self.locked else 1]


class _Projector:
    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._at = 0
        self._processes: dict[object, _Process] = {}
        self._inodes: dict[object, int] = {}
        self._versions = 0
        self._target: object = None
        self.projected: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        for index, (step, facts) in enumerate(self._events):
            self._at = index
            if step == "crash":
                self._add({"e": "crash", "p": 0, "w": "", "saw": facts["saw"], "may": set()})
                break
            key = facts.get("process", "")
            if key not in self._processes:
                self._processes[key] = _Process(len(self._processes) + 1)
            handler = getattr(self, f"_on_{step.lower()}", None)
            if handler is not None:
                handler(self._processes[key], facts)
        return self.projected

    def _on_gate(self, process: _Process, facts: Mapping[str, object]) -> None:
        may = self._ended_silently(process)
        process.writing = facts["op"] == "write"
        if not process.writing:
            return
        place = (facts["dir"], facts["target"])
        if self._target not in {None, place}:
            raise ValueError("a trace for SafeAtomicSmoke must be about one target")
        self._target = place
        before = process.writer
        process.locked = bool(facts["lock"])
        if may and process.writer != before:
            # The end of a write under the other number: it gets a line of its own.
            self._add({"e": "Release", "p": process.number, "w": before, "may": may - {"Release"}})
            may = set()
        process.acquired = process.filled = process.hardened = process.published = False
        process.settled = process.released = False
        self._versions += 1
        self._emit(process, "Gate", may, v=self._versions, exists=bool(facts["exists"]))

    def _on_acquire(self, process: _Process, facts: Mapping[str, object]) -> None:
        if process.writing and process.locked and facts["phase"] in {"linked", "borrowed"}:
            process.acquired = True
            self._emit(process, "Acquire", set())

    def _on_stage(self, process: _Process, facts: Mapping[str, object]) -> None:
        if process.writing:
            may = {"Stage"} if process.locked else {"Stage", "Acquire"}
            process.acquired = True
            self._emit(process, "Stage", may, ino=self._inode(facts["inode"]))

    def _on_fill(self, process: _Process, _: Mapping[str, object]) -> None:
        # The bytes may come in several pieces, but none after Harden.
        if process.writing and (process.hardened or not process.filled):
            process.filled = True
            self._emit(process, "Fill", set())

    def _on_harden(self, process: _Process, facts: Mapping[str, object]) -> None:
        if process.writing:
            process.hardened = True
            self._emit(process, "Harden", set(), ino=self._inode(facts["inode"]))

    def _on_publish(self, process: _Process, facts: Mapping[str, object]) -> None:
        if process.writing:
            process.published = True
            checked = bool(facts["lock_checked"])
            self._emit(process, "Publish", set(), ino=self._inode(facts["inode"]), checked=checked)

    def _on_settle(self, process: _Process, facts: Mapping[str, object]) -> None:
        if process.writing:
            process.settled = True
            self._emit(process, "Settle" if facts["durable"] else "SettleFails", set())

    def _on_release(self, process: _Process, _: Mapping[str, object]) -> None:
        if process.writing and process.locked:
            self._release(process, raised=self._raises())

    def _on_return(self, process: _Process, facts: Mapping[str, object]) -> None:
        if not process.writing:
            return
        process.writing = False
        if not process.published and facts["ok"] and not facts.get("aborted"):
            # No step of the model: a call that returned without publishing has lied.
            self._emit(process, "returned without Publish", set())
        elif process.released:
            return
        elif process.locked and not process.acquired:
            self._emit(process, "AcquireFails", set())
        else:
            self._release(process, raised=not facts["ok"])

    def _on_kill(self, process: _Process, _: Mapping[str, object]) -> None:
        if process.writing:
            self._emit(process, "kill", {"Unseen"})
        process.writing = False

    def _release(self, process: _Process, *, raised: bool) -> None:
        may = set()
        if not process.published:
            may = {"Discard", "Acquire"} - self._lock_is_traced(process)
            if raised:
                # An error or an interrupt right after the rename, before the report of it.
                may |= {"Publish", "SettleFails"}
        elif raised and not process.settled:
            may = {"SettleFails"}
        process.released = True
        self._emit(process, "Release", may)

    def _ended_silently(self, process: _Process) -> set[str]:
        """Say how a write ended that reported no end, now that its process begins another."""
        if not process.writing or process.released:
            return set()
        if process.published:
            return {"Release"}
        return {"Acquire", "Discard", "Release"} - self._lock_is_traced(process)

    def _lock_is_traced(self, process: _Process) -> set[str]:
        return {"Acquire"} if process.locked else set()

    def _raises(self) -> bool:
        """Tell whether the call that reported this event raised, as far as the trace knows."""
        key = self._events[self._at][1].get("process", "")
        for step, facts in self._events[self._at + 1 :]:
            if facts.get("process", "") == key and step in {"return", "Gate"}:
                return step == "return" and not facts["ok"]
        return False

    def _inode(self, number: object) -> int:
        return self._inodes.setdefault(number, len(self._inodes) + 1)

    def _emit(self, process: _Process, name: str, may: set[str], **fields: object) -> None:
        self._add({"e": name, "p": process.number, "w": process.writer, "may": may, **fields})

    def _add(self, event: dict[str, Any]) -> None:
        self.projected.append(event)


def project(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Project a trace for TraceSmoke.tla.

    Raises:
        ValueError: The trace is about more than one target.
    """
    return _Projector(events).run()


def constants(batch: Sequence[Sequence[dict[str, Any]]]) -> dict[str, object]:
    """Choose sizes of the model that suffice for every trace of the batch."""
    processes = max(event["p"] for events in batch for event in events)
    versions = max(sum(event["e"] == "Gate" for event in events) for events in batch)
    kills = max(sum(event["e"] == "kill" for event in events) for events in batch)
    numbers = range(1, processes + 1)
    return {
        "TraceWriters": {name for p in numbers for name in _writers(p)},
        "TraceUnlocked": {_writers(p)[1] for p in numbers},
        "TraceWritersOf": [set(_writers(p)) for p in numbers],
        "TraceVersions": versions + 1,
        "TraceInodes": 3 + 2 * processes + kills,
        "Bases0": [_base(events) for events in batch],
    }


def _base(events: Sequence[dict[str, Any]]) -> bool:
    """Tell whether there was a file before the first write."""
    return next((bool(event["exists"]) for event in events if event["e"] == "Gate"), False)


def _writers(number: int) -> tuple[str, str]:
    """Name the two writers of the model that a process stands for, by its number in the trace."""
    return f"p{number} locked", f"p{number} unlocked"
