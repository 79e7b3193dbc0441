"""What a trace means for SafeAtomicLock: all that happens to one lock.

The lock is found by its name in the facts of Acquire and Release. Of a write under the lock the
steps in between are kept too, since they must fall inside it; so are those of a write with
``concurrency="none"`` by a process that took the lock before, since it is fenced. Any other write
without a lock, and anything that happens to another lock, is left out.

A test that plays the outside world adds events of its own, with `process` naming the actor:

- `("begin", {})`, `("end", {})`: the process exists now; it has exited and is reaped;
- `("force", {})`: force_release_lock() removed the name;
- `("stale-released", {})`: release_stale_lock() removed it;
- `("foreign", {"inode": n, "kind": "foreign" | "corrupt"})`: something else took the name;
- `("foreign-dies", {})`: its owner is provably dead; `("foreign-leaves", {})`: it is gone;
- `("seen", {"inode": n})`: the name points to this inode, 0 for none.

Inode numbers are st_ino; a number that comes back names the same inode of the model again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trace_check import Event

_PHASES = {
    ("Acquire", "prepared"): "Prepared",
    ("Acquire", "linked"): "Linked",
    ("Acquire", "contended"): "Contended",
    ("Acquire", "stale-flocked"): "StaleFlocked",
    ("Acquire", "stale-unlinked"): "StaleUnlinked",
    ("Release", "unlinked"): "Unlinked",
    ("Release", "lost"): "Lost",
}
_OUTSIDE = {
    "force": "Forced",
    "stale-released": "StaleReleased",
    "foreign": "Appeared",
    "foreign-dies": "Died",
    "foreign-leaves": "Left",
    "seen": "Seen",
}
_BY_FORCE = {"Forced", "StaleReleased"}
_LIFE = {"begin": "Began", "end": "Ended", "kill": "Killed"}
_WORK = {"Stage", "Fill", "Harden", "Announce"}


@dataclass
class _Process:
    """What is known of a process's current call."""

    number: int
    locked: bool = False  # a write under the lock, or with a lock to check, is under way
    writing: bool = False
    held: bool = False  # it took the lock for itself
    borrowing: bool = False  # the write is under that lock
    own: int = 0  # the inode that it linked to the name and has not released
    again: _Process | None = None  # its attempt to retake a lock that was forced away
    ended: bool = False
    # Where contention left it, narrowed down by what it did next: it gave up, or tried again.
    turned: set[str] = field(default_factory=set)


class _Projector:
    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._lock: object = None
        self._processes: dict[object, _Process] = {}
        self._inodes: dict[object, int] = {0: 0}
        self.projected: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        for step, facts in self._events:
            if step == "crash":
                break
            key = facts.get("process", "")
            if key not in self._processes:
                self._processes[key] = _Process(len(self._processes) + 1)
            self._add(self._processes[key], step, facts)
        for process in list(self._processes.values()):
            if not process.ended:  # the log ends before it does
                self._emit(process, "Killed")
        made = Counter(e["ino"] for e in self.projected if e["e"] in {"Prepared", "Appeared"})
        for event in self.projected:
            if "ino" in event:
                event["once"] = made[event["ino"]] == 1
        return self.projected

    def _add(self, process: _Process, step: str, facts: Mapping[str, object]) -> None:
        if step in {"Acquire", "Release"}:
            self._add_lock_step(process, step, facts)
        elif step in _OUTSIDE:
            kind = {"kind": facts["kind"]} if "kind" in facts else {}
            self._emit(process, _OUTSIDE[step], ino=self._inode(facts.get("inode", 0)), **kind)
        elif step in _LIFE:
            for one in [process] if process.again is None else [process.again, process]:
                one.ended = step != "begin"
                self._emit(one, _LIFE[step])
        elif step == "Gate":
            process.writing = True
            process.borrowing = process.held
            process.locked = bool(facts["lock"]) or process.held
        elif step == "return" and not process.locked:
            process.writing = False
        elif process.locked:
            self._add_write_step(process, step, facts)

    def _add_lock_step(self, process: _Process, step: str, facts: Mapping[str, object]) -> None:
        if self._lock not in {None, facts["lock"]}:
            raise ValueError("a trace for SafeAtomicLock must be about one lock")
        self._lock = facts["lock"]
        if facts["phase"] == "borrowed":
            return  # the write uses the lock that its process took before
        inode = self._inode(facts["inode"])
        attempt = self._attempt(process, str(facts["phase"]), inode)
        if facts["phase"] == "linked":
            attempt.own = inode
        elif step == "Release":
            attempt.own = 0
        if step == "Release" or facts["phase"] == "linked":
            process.held = step == "Acquire" and not process.writing
        name = _PHASES.get((step, str(facts["phase"])), f"{step} {facts['phase']}")
        self._emit(attempt, name, ino=inode)

    def _attempt(self, process: _Process, phase: str, inode: int) -> _Process:
        """Find whose step it is; to retake a lost lock is an attempt with a descriptor of its own.

        A process of the model is one attempt. The first keeps its own descriptor until Release.
        """
        if phase == "prepared" and process.own:
            again = process.again = _Process(len(self._processes) + 1)
            self._processes[again.number, "again"] = again
        if process.again is None or (phase in {"unlinked", "lost"} and inode == process.own):
            return process
        return process.again

    def _add_write_step(self, process: _Process, step: str, facts: Mapping[str, object]) -> None:
        if step in _WORK:
            self._emit(process, "Working")
        elif step == "Publish":
            self._emit(process, "Published", checked=bool(facts["lock_checked"]))
        elif step == "Settle":
            self._emit(process, "Settled")
        elif step == "Seal":
            self._emit(process, "Sealed", borrowing=process.borrowing)
        elif step == "return":
            self._emit(process, "Returned", borrowing=process.borrowing)
            if process.again is not None:
                process.again.ended = True
                self._emit(process.again, "Ended")
                process.again = None
            process.locked = process.writing = process.borrowing = False
            if not process.held:
                process.own = 0  # left behind, if it was not released

    def _inode(self, number: object) -> int:
        return self._inodes.setdefault(number, len(self._inodes))

    def _emit(self, process: _Process, name: str, **fields: object) -> None:
        process.turned.discard("link" if name in {"Prepared", "Returned", "Ended"} else "idle")
        process.turned = {"idle", "link"}
        if name == "Contended":
            fields["to"] = process.turned
        self.projected.append({"e": name, "p": process.number, **fields})


def project(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Project a trace for TraceLock.tla.

    Raises:
        ValueError: The trace is about more than one lock.
    """
    return _Projector(events).run()


def constants(batch: Sequence[Sequence[dict[str, Any]]]) -> dict[str, object]:
    """Choose sizes of the model that suffice for every trace of the batch."""
    processes = max(event["p"] for events in batch for event in events)
    inodes = max(event.get("ino", 0) for events in batch for event in events)
    return {
        "TraceProcesses": set(range(1, processes + 1)),
        "TraceInodes": max(inodes, 1),
        "Forced": [any(event["e"] in _BY_FORCE for event in events) for events in batch],
    }
