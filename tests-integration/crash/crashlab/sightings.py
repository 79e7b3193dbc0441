"""Turn crash images into traces for the models.

A scenario's marks contain the library's steps and acknowledgements; a sighting is the content of an
image after some number of marks. Together they are a trace that ends in a crash, in the form for
`formal/trace_check.py`. TLC then decides whether the model of the protocol, on the model's disk,
could have left such an image. If it accepts all traces of the code and rejects those of the
mutants, this validates the model's disk against real filesystems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import workloads
from .operations import Move, Write

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from typing import Any, TypeAlias

    from .scenario import Report, Sighting

    Event: TypeAlias = tuple[str, Mapping[str, object]]


def traces(
    model: str, report: Report, limit: int, random_source: random.Random
) -> list[list[Event]]:
    """Return the traces of a report's sightings, a random choice of at most that many.

    Args:
        model: ``smoke`` or ``checksum``.
        report: The report of a scenario.
        limit: How many traces to return.
        random_source: Chooses.
    """
    places = _places(report)
    found = {}
    for sighting in report.sightings:
        events = [event for mark in report.marks[: sighting.marks] for event in _events(mark)]
        if not events:
            continue  # before the first step a model has no state
        crash = _smoke(report, sighting) if model == "smoke" else _checksum(places, sighting)
        whole = [*(_creation(report, places) if model == "checksum" else []), *events, crash]
        found[repr(whole)] = whole
    chosen = sorted(found)
    if len(chosen) > limit:
        chosen = random_source.sample(chosen, limit)
    return [found[key] for key in chosen]


def _events(mark: Mapping[str, Any]) -> list[Event]:
    """Translate a mark; the models ignore marks for the beginning of an operation."""
    if "step" in mark:
        return [(mark["step"], mark["facts"])]
    if "ack" in mark:
        return [("return", {"ok": True, "process": mark["process"]})]
    if "gone" in mark:
        return [("kill", {"process": mark["process"]})]
    return []


def _smoke(report: Report, sighting: Sighting) -> Event:
    """Return the number of the write whose content the file had; -1 if torn, -2 if none."""
    order: list[int] = []
    for mark in report.marks[: sighting.marks]:
        if mark.get("step") == "Gate" and mark["op"] not in order:
            order.append(mark["op"])
    ((version, _, _),) = sighting.seen.values()
    if version is None:
        saw = -2
    else:
        saw = version if version == -1 else order.index(version) + 1 if version in order else 0
    return ("crash", {"saw": saw})


def _checksum(places: Mapping[str, str], sighting: Sighting) -> Event:
    """Return the data and the recorded digests at each name."""
    observed = [
        {"target": places[name], "data": digest, "recorded": recorded}
        for name, (_, digest, recorded) in sighting.seen.items()
    ]
    return ("crash", {"observed": observed})


def _creation(report: Report, places: Mapping[str, str]) -> list[Event]:
    """Return the events for the initial state."""
    events: list[Event] = []
    for name, value in workloads.ALL[report.spec.workload].initial.items():
        if value is not None:
            digest = workloads.initial_digest(value)
            recorded = [digest] if value.sidecar else []
            facts = {"target": places[name], "digest": digest, "recorded": recorded}
            events.append(("create", facts))
    return events


def _places(report: Report) -> dict[str, str]:
    """Return the trace's key for each name of the workload: device, inode and name."""
    workload = workloads.ALL[report.spec.workload]
    operations = {operation.number: operation for operation in workload.operations}
    waiting: dict[int, list[str]] = {}  # names whose Gate has not been reported yet
    directories: dict[str, str] = {}
    for mark in report.marks:
        if mark.get("step") != "Gate":
            continue
        operation = operations[mark["op"]]
        if isinstance(operation, Write):
            names = [operation.name]
        elif isinstance(operation, Move):
            names = [operation.source, operation.destination]
        else:
            continue
        name = waiting.setdefault(operation.number, names).pop(0)
        directories[name.rpartition("/")[0]] = mark["facts"]["dir"]
    return {
        name: f"{directories.get(directory, directory)}/{base}"
        for name in workload.initial
        for directory, _, base in [name.rpartition("/")]
    }
