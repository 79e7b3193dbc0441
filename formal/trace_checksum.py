"""What a trace means for SafeAtomicChecksum: data names, their sidecars, and who reads them.

Beyond the hook's own events and those of `trace_check`, a recorder may add

- `("create", {"target": name, "digest": hex, "recorded": [hex...]})`: a file that was there before;
- `("tamper", {"target": name, "digest": hex})`: the data were altered in place to these bytes;
- `("stranger", {"target": name, "kind": "swap" | "write" | "remove"})`: another program put a file
  of its own at the sidecar's name, by rename or in place, or removed what was there;
- `("seen", {"target": name, "recorded": [hex...], "foreign": bool, "kept": n})`: what stood at the
  sidecar's name, and how many files of strangers stood under temps' names;
- `facts["digest"]` on Harden: the digest of what an unchecked write wrote;
- `facts["target"]` on read events, where a trace has several targets. A target may carry its
  directory, as `dir` facts give it: "dev:ino/name";
- `("crash", {"data": hex or None, "recorded": [hex...] or None})`: what a crash image showed of
  the one target, or of several: `{"observed": [{"target": name, "data": ..., "recorded": ...}]}`.
  What is not mentioned was not looked at. `"saw"` in place of `"data"` is understood, too.

One digest algorithm a trace. Locks removed by force are outside of this model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trace_check import Event

_NOT_LOOKED_AT = -1
_NO_FILE = -2  # what `saw` says
_TORN = 100_000  # no content has this digest
_LETTERS = "abcdef"
_FOLDERS = 2


@dataclass
class _Process:
    """What is known of a process's current operation."""

    number: int
    kind: str = "none"
    names: list[str] = field(default_factory=list)
    locked: bool = False
    links: int = 0
    acquired: bool = False
    recorded: bool = False
    settled: bool = False
    sealed: bool = False
    hardened: dict[str, Any] | None = None
    reading: list[dict[str, Any]] = field(default_factory=list)
    released: dict[str, Any] | None = None


class _Projector:
    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._processes: dict[object, _Process] = {}
        self._digests: dict[str, int] = {}
        self._folders: list[str] = []
        self._names: dict[tuple[str, str], str] = {}
        self._projected: list[dict[str, Any]] = []
        self._writes: list[_Process | dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        for step, facts in self._events:
            if step == "crash":
                self._crash(facts)
                continue
            process = self._process(facts.get("process", ""))
            handler = getattr(self, f"_on_{step.lower()}", None)
            if handler is not None:
                handler(process, facts)
        events = [event for event in self._projected if not event.pop("dropped", False)]
        return _order(events)

    def _on_gate(self, process: _Process, facts: Mapping[str, Any]) -> None:
        name = self._name(facts["target"], facts["dir"])
        self._appear(process, name, exists=bool(facts["exists"]))
        if process.kind == "move" and len(process.names) == 1 and facts["op"] == "move":
            process.names.append(name)  # a move's Gate looks at the source, then at the destination
            return
        self._end(process)
        kind = {"move": "move", "sidecar": "accept"}.get(facts["op"])
        process.kind = kind or ("checked" if facts["checksum"] else "unchecked")
        process.names = [name]
        process.locked = bool(facts["lock"])
        process.links = 0
        process.acquired = process.recorded = process.settled = process.sealed = False
        process.hardened = None
        if facts["op"] == "write":
            self._writes.append(process)
        if not process.locked:
            self._acquire(process)

    def _on_acquire(self, process: _Process, facts: Mapping[str, Any]) -> None:
        if facts["phase"] not in {"linked", "borrowed"} or process.kind == "none":
            return
        process.links += 1
        if process.links == (2 if process.kind == "move" else 1):
            self._acquire(process)

    def _on_harden(self, process: _Process, facts: Mapping[str, Any]) -> None:
        if process.kind in {"checked", "unchecked"}:
            digest = facts.get("digest")
            process.hardened = self._emit(process, "harden", d=self._digest(digest))
            if process in self._writes:
                self._writes[self._writes.index(process)] = process.hardened

    def _on_announce(self, process: _Process, facts: Mapping[str, Any]) -> None:
        phase = str(facts["phase"])
        if phase == "record":
            if process.kind == "accept":
                # It flushes the directory before; there is no event for that.
                self._emit(process, "resolve")
            process.recorded = True
            digest = self._digest(facts["new"])
            if process.hardened is not None:
                process.hardened["d"] = digest
            previous = [self._digest(hexa) for hexa in facts["previous"]]
            self._emit(process, "record", d=digest, ds=previous)
        else:
            self._emit(process, phase)

    def _on_publish(self, process: _Process, _facts: Mapping[str, Any]) -> None:
        self._emit(process, "publish")

    def _on_settle(self, process: _Process, facts: Mapping[str, Any]) -> None:
        if process.kind == "move" and process.recorded:
            if process.sealed:
                self._emit(process, "unlink-source")
                self._emit(process, "settle-source")
            elif facts["durable"]:
                self._emit(process, "settle")
                process.settled = True
        elif not (process.kind == "move" and process.settled):
            self._emit(process, "settle" if facts["durable"] else "settle-fails")
            process.settled = bool(facts["durable"])  # a move's second flush adds nothing here

    def _on_seal(self, process: _Process, _facts: Mapping[str, Any]) -> None:
        if process.kind == "move" and not process.settled:
            self._emit(process, "settle")  # a move reports both its flushes at the end
        process.sealed = True
        self._emit(process, "seal")

    def _on_release(self, process: _Process, facts: Mapping[str, Any]) -> None:
        if not process.acquired:
            return
        if facts["phase"] == "lost":
            raise ValueError("a lock was removed by force: that is outside of this model")
        if facts["phase"] == "failed":
            self._on_kill(process, facts)
            return
        self._end(process)

    def _on_return(self, process: _Process, facts: Mapping[str, Any]) -> None:
        self._end(process)
        if process.released is not None and facts["ok"]:
            process.released["k"] = "done"  # then no step of it has failed
        process.released = None

    def _on_kill(self, process: _Process, _facts: Mapping[str, Any]) -> None:
        self._emit(process, "kill")
        process.kind, process.acquired = "none", False

    def _on_create(self, process: _Process, facts: Mapping[str, Any]) -> None:
        name = self._named(facts)
        known = [self._digest(hexa) for hexa in facts.get("recorded", [])]
        self._emit(process, "create", n=name, d=self._digest(facts.get("digest")), ds=known)

    def _on_tamper(self, process: _Process, facts: Mapping[str, Any]) -> None:
        self._emit(process, "tamper", n=self._named(facts), d=self._digest(facts["digest"]))

    def _on_read(self, process: _Process, facts: Mapping[str, Any]) -> None:
        if facts["phase"] == "open":
            for event in process.reading:
                event["dropped"] = True  # an unchecked read, or one that raised
            process.reading = [self._emit(process, "open", n=self._named(facts))]
        elif not process.reading:
            return
        elif facts["phase"] == "look":
            process.reading.append(self._emit(process, "look", ds=self._recorded(facts)))
        elif facts["phase"] == "verdict":
            opened = process.reading[0]
            process.reading = []
            if facts["verdict"] != "good" and facts["recorded"]:
                # (Of a good one the hook reports the recorded digest.)
                opened["d"] = self._digest(facts["digest"])
            self._emit(process, str(facts["verdict"]), ds=self._recorded(facts))

    def _on_stranger(self, process: _Process, facts: Mapping[str, Any]) -> None:
        self._emit(process, "stranger", n=self._named(facts), k=facts["kind"])

    def _on_seen(self, process: _Process, facts: Mapping[str, Any]) -> None:
        kind = "foreign" if facts["foreign"] else "-"
        known = self._recorded(facts)
        self._emit(process, "seen", n=self._named(facts), k=kind, ds=known, d=facts["kept"])

    def _recorded(self, facts: Mapping[str, Any]) -> list[int]:
        return [self._digest(hexa) for hexa in facts["recorded"]]

    def _crash(self, facts: Mapping[str, Any]) -> None:
        seen = facts.get("observed")
        if seen is None:
            seen = [facts]
        observed = [
            {
                "n": self._named(one),
                "d": self._seen(one),
                "ds": [self._digest(hexa) for hexa in one["recorded"] or []]
                if "recorded" in one
                else [_NOT_LOOKED_AT],
            }
            for one in seen
        ]
        machine = self._process("the machine")
        self._emit(machine, "crash", obs=observed)
        for process in self._processes.values():
            process.kind, process.acquired, process.reading = "none", False, []

    def _seen(self, facts: Mapping[str, Any]) -> int:
        """Give the digest of the data that a crash image showed."""
        if "data" in facts:
            return self._digest(facts["data"])
        saw = facts.get("saw")
        if saw is None:
            return _NOT_LOOKED_AT
        if saw == 0:
            first = next((event for event in self._projected if event["e"] == "create"), None)
            return 0 if first is None else self._content(first)
        if saw < 0:
            return 0 if saw == _NO_FILE else _TORN
        written = self._writes[saw - 1]
        return self._content(written) if isinstance(written, dict) else _TORN

    def _content(self, event: dict[str, Any]) -> int:
        """Give the digest that an event brought; one of its own if it was not told."""
        event["d"] = event["d"] or self._digest(f"of event {len(self._digests)}")
        return int(event["d"])

    def _appear(self, process: _Process, name: str, *, exists: bool) -> None:
        """Note a name at its first Gate; what is there then was there before the trace."""
        known = any(name in {event["n"], event["m"]} for event in self._projected)
        gated = any(name in other.names for other in self._processes.values())
        if exists and not known and not gated:
            self._emit(process, "create", n=name, ds=[_NOT_LOOKED_AT])

    def _acquire(self, process: _Process) -> None:
        process.acquired = True
        source = process.names[0] if process.kind == "move" else "-"
        self._emit(process, "acquire", k=process.kind, n=process.names[-1], m=source)

    def _end(self, process: _Process) -> None:
        if process.acquired:
            process.released = self._emit(process, "release")
        process.kind, process.acquired = "none", False

    def _process(self, key: object) -> _Process:
        if key not in self._processes:
            self._processes[key] = _Process(len(self._processes) + 1)
        return self._processes[key]

    def _named(self, facts: Mapping[str, Any]) -> str:
        target = facts.get("target")
        if target is None:
            if len(self._names) > 1:
                raise ValueError("which of the targets? The event names none")
            return next(iter(self._names.values()), "1a")
        folder, slash, name = str(target).rpartition("/")
        if slash:
            return self._name(name, folder)
        matching = [short for (_, known), short in self._names.items() if known == target]
        if len(matching) > 1:
            raise ValueError(f"{target!r} is in two directories: say in which")
        return (
            matching[0] if matching else self._name(name, self._folders[0] if self._folders else "")
        )

    def _name(self, target: object, folder: object) -> str:
        """Shorten a name to its directory's number and a letter."""
        place = str(folder)
        if self._folders == [""]:
            self._folders = [place]
            self._names = {(place, known): short for (_, known), short in self._names.items()}
        if place not in self._folders:
            self._folders.append(place)
        number = self._folders.index(place)
        key = (place, str(target))
        if key not in self._names:
            letter = sum(1 for known, _ in self._names if known == place)
            if number >= _FOLDERS or letter >= len(_LETTERS):
                raise ValueError("a trace has at most two directories with six targets each")
            self._names[key] = f"{number + 1}{_LETTERS[letter]}"
        return self._names[key]

    def _digest(self, hexa: object) -> int:
        """Number a digest; 0 for none."""
        if hexa is None:
            return 0
        return self._digests.setdefault(str(hexa), len(self._digests) + 1)

    def _emit(self, process: _Process, name: str, **fields: object) -> dict[str, Any]:
        event: dict[str, Any] = {
            "e": name,
            "p": process.number,
            "k": "-",
            "n": "-",
            "m": "-",
            "d": 0,
            "ds": [],
            "obs": [],
            **fields,
        }
        self._projected.append(event)
        return event


def project(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Project a trace for TraceChecksum.tla.

    Raises:
        ValueError: The trace is about more than the model knows.
    """
    return _Projector(events).run()


def constants(batch: Sequence[Sequence[dict[str, Any]]]) -> dict[str, object]:
    """Choose sizes of the model that suffice for every trace of the batch."""
    names = {event[key] for events in batch for event in events for key in ("n", "m")}
    names |= {seen["n"] for events in batch for event in events for seen in event["obs"]}
    return {
        "TProcs": {event["p"] for events in batch for event in events},
        "TNames": (names | {"1a"}) - {"-"},
        # At a time a name has one, and at most two more before its directory is flushed; a writer
        # holds three, a reader one; what a stranger leaves may stay.
        "TMaxSc": 1
        + max(
            3 * len({e["n"] for e in events} | {e["m"] for e in events})
            + 4 * len({e["p"] for e in events})
            + sum(e["e"] == "stranger" for e in events)
            for events in batch
        ),
        "TMaxIno": 1 + max(sum(e["e"] in {"harden", "create"} for e in events) for events in batch),
    }


def _order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say of each event which one surely lies before its effect: its process's last, or a crash."""
    last: dict[int, int] = {}
    crash = 0
    for index, event in enumerate(events, start=1):
        if event["e"] == "crash":
            event["prev"] = index - 1
            crash = index
        else:
            event["prev"] = max(last.get(event["p"], 0), crash)
        last[event["p"]] = index
    return events
