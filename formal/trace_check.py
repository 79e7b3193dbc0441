"""Check recorded traces of the running code against the models.

A trace is a list of events (step, facts), as the hook of `safeatomic_core._trace` reports them,
with what only the recorder knows added:

- `facts["process"]` names the process and thread that reported the event, where there are several;
- `("return", {"ok": bool})`: the call returned, or raised (with `"aborted": true`: as asked);
- `("kill", {})`: the process is dead (its last effect may be unreported);
- `("crash", {"saw": n})`, last: a crash of the machine at this point left the content of write n
  (the writes of a trace count from 1), 0 what was there before the first, -1 a torn file, -2 no
  file although there was one.

In a file each line is one event in JSON, `["Fill", {"bytes": 3}]`.

Each model has a projection, `trace_<model>.py`, whose `project(events)` picks out of a trace the
events that the model knows, and a module `Trace<Model>.tla`, which says what each of them means.
`check` hands any number of traces to TLC in one run. A trace is accepted if the model has a
behaviour that produces it; for a rejected one the verdict says at which event none could go on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tlc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HERE = Path(__file__).resolve().parent
MODELS = ("smoke", "lock", "checksum")

Event: TypeAlias = tuple[str, "Mapping[str, object]"]


@dataclass(frozen=True)
class Verdict:
    """What TLC says of one trace.

    Attributes:
        accepted: Whether the trace is a behaviour of the model.
        matched: Number of projected events that could be followed.
        events: The projected events.
    """

    accepted: bool
    matched: int
    events: list[dict[str, Any]]

    def __str__(self) -> str:
        if self.accepted:
            return f"accepted, {len(self.events)} events"
        before = " ".join(str(event.get("e", "?")) for event in self.events[: self.matched])
        stuck = {k: v for k, v in self.events[self.matched].items() if k not in {"prev", "next"}}
        return (
            f"rejected at event {self.matched + 1} of {len(self.events)}, {stuck}, after {before}"
        )


def check(
    model: str, traces: Iterable[Sequence[Event]], *, tool: tlc.Tlc | None = None
) -> list[Verdict]:
    """Ask TLC, in one run, which traces the model accepts.

    Args:
        model: One of `MODELS`.
        traces: The traces.
        tool: What `tlc.find_tlc` found; None to look for it.

    Returns:
        One verdict a trace, in the order given.

    Raises:
        ToolMissingError: There is no Java or no jar.
        RuntimeError: TLC failed, or found a state of the model that breaks an invariant.
    """
    projection = importlib.import_module(f"trace_{model}")
    projected = [number_processes(projection.project(list(events))) for events in traces]
    asked = [index for index, events in enumerate(projected) if events]
    reached: dict[int, int] = {}
    if asked:
        batch = [projected[index] for index in asked]
        constants = projection.constants(batch) if hasattr(projection, "constants") else {}
        outcome = _run(tool or tlc.find_tlc(), model, trace_data(batch, constants))
        for number, position in re.findall(r'^<<"REACHED", (\d+), (\d+)>>', outcome.text, re.M):
            index = asked[int(number) - 1]
            reached[index] = max(reached.get(index, 0), int(position) - 1)
    return [
        Verdict(not events or reached.get(index, 0) == len(events), reached.get(index, 0), events)
        for index, events in enumerate(projected)
    ]


def load(path: Path) -> list[Event]:
    """Read a trace from a file of JSON lines. A last line that a kill cut off is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [(step, facts) for step, facts in map(json.loads, whole.splitlines())]


def number_processes(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each projected event where its process was before and goes on (see TraceReplay.tla).

    Events without a `p` are those of process 1. Indexes count from 1; `prev` is 0 for the first
    event of a process, `next` is one past the end for the last. An event of process 0 concerns them
    all: it follows every line before it.
    """
    numbered = [{"p": 1, **event} for event in events]
    if any(event["p"] == 0 for event in numbered):
        last = max(event["p"] for event in numbered) + 1
        numbered = [
            {**event, "p": last, "prev": index} if event["p"] == 0 else event
            for index, event in enumerate(numbered)
        ]
    before: dict[int, int] = {}
    for index, event in enumerate(numbered, start=1):
        event.setdefault("prev", before.get(event["p"], 0))
        before[event["p"]] = index
    after: dict[int, int] = {}
    for index in range(len(numbered), 0, -1):
        event = numbered[index - 1]
        event["next"] = after.get(event["p"], len(numbered) + 1)
        after[event["p"]] = index
    return numbered


def trace_data(batch: list[list[dict[str, Any]]], constants: Mapping[str, object]) -> str:
    """Write the generated module TraceData."""
    firsts = []
    for events in batch:
        first: dict[int, int] = {}
        for index, event in enumerate(events, start=1):
            first.setdefault(event["p"], index)
        processes = range(1, max(first) + 1)
        firsts.append([first.get(process, len(events) + 1) for process in processes])
    lines = ["---- MODULE TraceData ----", "EXTENDS Integers, Sequences"]
    lines += [f"{name} == {tla(value)}" for name, value in constants.items()]
    lines.append("Traces == <<\n" + ",\n".join(tla(events) for events in batch) + "\n>>")
    lines.append("First == <<\n" + ",\n".join(tla(first) for first in firsts) + "\n>>")
    return "\n".join([*lines, "====", ""])


def tla(value: object) -> str:
    """Write a value in TLA+: booleans, integers, strings, sets, sequences and records."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(tla, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "<<" + ", ".join(map(tla, value)) + ">>"
    if isinstance(value, dict):
        return "[" + ", ".join(f"{key} |-> {tla(item)}" for key, item in value.items()) + "]"
    raise TypeError(f"no TLA+ value: {value!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """Check the traces in files; print a line for each."""
    parser = argparse.ArgumentParser(
        prog="formal/trace_check.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    verdicts = check(options.model, [load(path) for path in options.files])
    for path, verdict in zip(options.files, verdicts, strict=True):
        print(f"{path.name}: {verdict}")
    return 0 if all(verdict.accepted for verdict in verdicts) else 1


def _run(tool: tlc.Tlc, model: str, data: str) -> tlc.Outcome:
    module = f"Trace{model.capitalize()}"
    files = tlc.local_modules(HERE, module)
    config = HERE / f"{module}.cfg"
    outcome = tlc.run(tool, files, module, config, generated={"TraceData.tla": data}, brief=True)
    if outcome.verdict != "pass":
        raise RuntimeError(f"TLC, exit code {outcome.exit_code}:\n{outcome.text[-3000:]}")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
