"""One scenario from end to end: record a workload, enumerate the crash images, judge each.

Call `run` in a process that does nothing else: it enters a mount namespace of its own and forks a
server for the device and, if asked to, several judges.
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from . import filesystems, images, isolation, loop, mutants, payload, peers, recording, workloads
from .device import RecordingDevice, load, save
from .judge import Findings, Judge
from .worlds import Tracker, Value, complaint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .device import Record
    from .filesystems import Filesystem
    from .images import Plan, Point
    from .workloads import Workload
    from .worlds import World

LIBRARY = "safeatomic"
_PORTION = 24  # images judged at once in a hunt


@dataclass(frozen=True)
class Spec:
    """The scenario to run.

    Attributes:
        filesystem: Name of a filesystem.
        workload: Name of a workload.
        subject: The writer: ``safeatomic``, ``mutant:<name>`` or ``peer:<name>``.
        noise: Kind of noise.
        options: Mount options.
        seed: The seed of random choices.
        cap: How many subsets of unflushed writes to try at one moment.
        limit: How many images to judge, a random choice; 0 for all of them.
        hunt: Judge only until a violation is found.
        keep: File to which the log goes if it has violations.
        replay: File with a kept log to judge once more instead of recording.
    """

    filesystem: str
    workload: str
    subject: str = LIBRARY
    noise: str = "none"
    options: str = ""
    seed: int = 1
    cap: int = 12
    limit: int = 0
    hunt: bool = False
    keep: str | None = None
    replay: str | None = None

    def __str__(self) -> str:
        parts = [self.filesystem, self.workload, self.noise]
        parts += [self.options] if self.options else []
        parts += [self.subject] if self.subject != LIBRARY else []
        parts += [f"seed{self.seed}"] if self.seed != 1 else []
        return "-".join(parts)


class Sighting(NamedTuple):
    """The content of an image at one moment.

    Attributes:
        marks: How many marks there were before it.
        seen: By name: the version, -1 for a torn file, None for none; the SHA-256 of the data, None
            for none; the digests that the sidecar records, None for no sidecar.
    """

    marks: int
    seen: dict[str, tuple[int | None, str | None, list[str] | None]]


@dataclass
class Report:
    """The result of a scenario; everything in it can be written as JSON.

    Attributes:
        spec: The scenario.
        writes: Blocks written to the device while the workload ran.
        flushes: Flushes that reached the device meanwhile.
        states: Number of different crash images.
        images: How many of them were judged.
        points: Moments of a crash judged.
        violations: How many points were not legitimate, by kind.
        example: The first violation.
        locks: How many lock files the images held, by state.
        lost_payloads: How many images held a lock without payload.
        temps: How many images held temps.
        takeovers: How many locks of dead writers were taken over by the next write.
        swept: How many temps those writes removed.
        left: How many temps stayed for `safeatomic clean`.
        record_s: Seconds spent on recording.
        judge_s: Seconds spent on judging.
        marks: What the application knew, in order.
        sightings: What images showed after how many of the marks, for the models.
        error: What went wrong in the harness itself, empty if nothing.
    """

    spec: Spec
    writes: int = 0
    flushes: int = 0
    states: int = 0
    images: int = 0
    points: int = 0
    violations: dict[str, int] = field(default_factory=dict)
    example: str = ""
    locks: dict[str, int] = field(default_factory=dict)
    lost_payloads: int = 0
    temps: int = 0
    takeovers: int = 0
    swept: int = 0
    left: int = 0
    record_s: float = 0.0
    judge_s: float = 0.0
    marks: list[dict[str, Any]] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    error: str = ""

    def to_json(self) -> str:
        """Return the report as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Report:
        """Return the report that a line holds."""
        fields = json.loads(line)
        fields["spec"] = Spec(**fields["spec"])
        fields["sightings"] = [Sighting(*sighting) for sighting in fields["sightings"]]
        return cls(**fields)

    def __str__(self) -> str:
        verdict = f"{self.violations}, first {self.example}" if self.violations else "ok"
        return (
            f"{self.spec}: {self.images} of {self.states} images, {self.points} points, "
            f"{self.writes} writes, {self.flushes} flushes, locks {self.locks}, "
            f"takeovers {self.takeovers}, swept {self.swept}, left {self.left}, "
            f"recorded in {self.record_s:.2f} s, judged in {self.judge_s:.2f} s: "
            f"{self.error or verdict}"
        )


def run(spec: Spec, scratch: str, tag: str, *, judges: int = 1) -> Report:
    """Run a scenario.

    Args:
        spec: The scenario.
        scratch: An existing empty directory, over which this process mounts a tmpfs of its own.
        tag: The tag of our loop devices.
        judges: How many processes judge.
    """
    isolation.enter_private_namespace(scratch)
    os.umask(payload.UMASK)
    report = Report(spec)
    filesystem = filesystems.KNOWN[spec.filesystem]
    workload = workloads.ALL[spec.workload]
    started = time.monotonic()
    if spec.replay is not None:
        records = load(spec.replay)
    else:
        records = _record(spec, filesystem, workload, scratch, tag)
    report.record_s = time.monotonic() - started
    started = time.monotonic()
    random_source = random.Random(f"{spec}")
    plan = images.plan(records, spec.cap, random_source)
    report.states = len(plan.images)
    plan = images.sample(plan, spec.limit, random_source)
    _count(report, records)
    if not any(record.kind == "flush" for record in records):
        report.error = "no flush reached the device: its images would look ordered"
        return report
    judged: dict[int, Findings] = {}
    for portion in _portions(len(plan.images), random_source if spec.hunt else None):
        judged |= _judge(spec, filesystem, workload, plan, portion, scratch, tag, judges)
        if portion and _conclude(Report(spec), workload, plan, judged).violations:
            break
    _conclude(report, workload, plan, judged)
    if spec.keep is not None and report.violations:
        save(records, spec.keep)
    report.judge_s = time.monotonic() - started
    return report


def _record(
    spec: Spec, filesystem: Filesystem, workload: Workload, scratch: str, tag: str
) -> list[Record]:
    """Do the workload on a fresh filesystem and return the device's log."""
    kind, _, name = spec.subject.partition(":")
    perform = peers.ALL[name] if kind == "peer" else recording.with_library
    with (
        RecordingDevice(scratch, filesystem.size) as device,
        loop.attached(device.path, tag) as block_device,
    ):
        filesystems.make(filesystem, block_device)
        place = f"{scratch}/fs"
        with isolation.mounted(block_device, place, filesystem.type, spec.options) as root:
            for directory in workloads.DIRECTORIES:
                os.mkdir(f"{root}/{directory}")
            recording.prepare(root, workload.initial, workloads.INITIAL_SIZE)
            noise = filesystems.Noise(
                spec.noise, spec.filesystem, root, random.Random(f"{spec} noise")
            )
            session = recording.Session(root, device, noise, perform)
            isolation.syncfs(root)
            device.mark({images.START: True})
            with mutants.applied(name if kind == "mutant" else None):
                workload.script(session)
            device.mark({images.STOP: True})
            # The power fails here: the writes of the unmount do not count.
            return device.records()


def _count(report: Report, records: Sequence[Record]) -> None:
    begin, end = (
        next(i for i, record in enumerate(records) if record.kind == "mark" and word in record.data)
        for word in (images.START.encode(), images.STOP.encode())
    )
    kinds = [record.kind for record in records[begin:end]]
    report.writes = kinds.count("write") + kinds.count("zero")
    report.flushes = kinds.count("flush")


def _portions(count: int, random_source: random.Random | None) -> list[list[int]]:
    """Return the numbers of all images in one portion, or shuffled in small ones for a hunt."""
    numbers = list(range(count))
    if random_source is None:
        return [numbers]
    random_source.shuffle(numbers)
    return [sorted(numbers[start : start + _PORTION]) for start in range(0, count, _PORTION)]


def _judge(
    spec: Spec,
    filesystem: Filesystem,
    workload: Workload,
    plan: Plan,
    portion: Sequence[int],
    scratch: str,
    tag: str,
    judges: int,
) -> dict[int, Findings]:
    """Judge a portion of the images, in one process or several."""

    def work(share: int) -> dict[int, Findings]:
        directory = f"{scratch}/judge{share}"
        os.makedirs(directory, exist_ok=True)
        judge = Judge(
            filesystem,
            spec.options,
            plan.units,
            sorted(workload.initial),
            checked=workload.checked,
            scratch=directory,
            tag=tag,
            library=not spec.subject.startswith("peer:"),
        )
        return {index: judge.examine(plan.images[index]) for index in portion[share::judges]}

    if judges == 1:
        return work(0)
    merged: dict[int, Findings] = {}
    for findings in isolation.in_children(work, judges, scratch):
        merged |= findings
    return merged


def _conclude(
    report: Report, workload: Workload, plan: Plan, findings: Mapping[int, Findings]
) -> Report:
    """Compare the findings with the allowed states at each point; return the report."""
    points = [point for point in plan.points if point.image in findings]
    report.images = len(findings)
    report.points = len(points)
    for found in findings.values():
        for state in found.locks:
            report.locks[state] = report.locks.get(state, 0) + 1
        report.lost_payloads += "lost payload" in found.locks
        report.temps += found.temps > 0
        report.takeovers += found.takeovers
        report.swept += found.swept
        report.left += found.left
    report.marks = plan.marks
    report.sightings = _sightings(points, findings)
    sidecars = not report.spec.subject.startswith("peer:")
    tracker = Tracker(workload.initial, workload.operations)
    known = 0
    allowed = tracker.allowed()
    verdicts: dict[tuple[int, frozenset[World]], list[tuple[str, str]]] = {}
    for point in points:
        if known < point.marks:
            while known < point.marks:
                _follow(tracker, plan.marks[known])
                known += 1
            allowed = tracker.allowed()
        key = (point.image, allowed)
        if key not in verdicts:
            verdicts[key] = _complaints(findings[point.image], allowed, sidecars=sidecars)
        for kind, sentence in verdicts[key]:
            report.violations[kind] = report.violations.get(kind, 0) + 1
            if not report.example:
                last = plan.marks[point.marks - 1] if point.marks else {}
                report.example = f"{kind}: {sentence}; image {point.image}, after {last}"
    return report


def _sightings(points: Sequence[Point], findings: Mapping[int, Findings]) -> list[Sighting]:
    """Return the different sightings after each number of marks."""
    sightings = {}
    for point in points:
        found = findings[point.image]
        seen = {
            name: (
                _version(found, name),
                digest,
                recorded,
            )
            for name, (digest, recorded) in found.digests.items()
        }
        if seen:
            sightings[point.marks, repr(seen)] = Sighting(point.marks, seen)
    return list(sightings.values())


def _version(found: Findings, name: str) -> int | None:
    """Return the version at a name, -1 for a torn file, None for none."""
    if name not in found.seen:
        return -1
    value = found.seen[name]
    return None if value is None else value.version


def _follow(tracker: Tracker, mark: dict[str, object]) -> None:
    for word, follow in (
        ("begin", tracker.begin),
        ("ack", tracker.acknowledge),
        ("gone", tracker.give_up),
    ):
        number = mark.get(word)
        if isinstance(number, int):
            follow(number)


def _complaints(
    found: Findings, allowed: frozenset[World], *, sidecars: bool
) -> list[tuple[str, str]]:
    """Say what is wrong with an image at one moment."""
    if found.defects:
        return found.defects
    wrong = complaint(found.seen, allowed, sidecars=sidecars)
    return [] if wrong is None else [wrong]


__all__ = ["LIBRARY", "Report", "Spec", "Value", "run"]
