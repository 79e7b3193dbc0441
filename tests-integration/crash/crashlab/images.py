"""Derive the states in which a power cut may leave a device from its log.

A disk with a volatile cache keeps everything that was written before the last confirmed flush, and
any part of what was written since. So the crash states are every prefix of the log and, at certain
moments, subsets of the unflushed writes. These moments are every flush (just before it, most writes
are unflushed) and every mark of the application (from then on more is promised). If the writes are
few, all subsets are taken; otherwise none, all, each alone, each left out, and random ones from a
seed. A write of several blocks may be torn between them. States with the same content are one
image.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Sequence

    from .device import Record

BLOCK = 4096  # bytes: what is taken to be written as one
_ZEROS = bytes(BLOCK)
# Kinds of marks after which the oracle knows something new.
START, STOP = "start", "stop"
_TELLING = frozenset({"begin", "ack", "gone", STOP})


class Unit(NamedTuple):
    """A write within one block.

    Attributes:
        block: Number of the block.
        at: Offset in the block, in bytes.
        data: What is written.
    """

    block: int
    at: int
    data: bytes


class Image(NamedTuple):
    """One state of the device: a durable prefix of the units, and some of those after it.

    Attributes:
        base: How many units from the first on.
        extra: Indices of further units.
    """

    base: int
    extra: tuple[int, ...]


class Point(NamedTuple):
    """One moment at which the power may fail.

    Attributes:
        marks: How many marks the log holds until then.
        image: Index of the image that the disk shows.
    """

    marks: int
    image: int


class Plan(NamedTuple):
    """Everything that is to be judged of one log.

    Attributes:
        units: What was written, in order.
        marks: What the application knew, in order.
        images: The different states.
        points: Moments and their states.
    """

    units: list[Unit]
    marks: list[dict[str, object]]
    images: list[Image]
    points: list[Point]


def plan(records: Sequence[Record], cap: int, random_source: random.Random) -> Plan:
    """Enumerate the crash states of a log between its start and stop marks.

    Args:
        records: The log.
        cap: How many subsets of unflushed writes to try at one moment.
        random_source: Where random subsets come from.
    """
    return _Planner(cap, random_source).plan(records)


def sample(plan: Plan, limit: int, random_source: random.Random) -> Plan:
    """Reduce a plan to that many images, chosen at random; 0 keeps all of them."""
    if not limit or len(plan.images) <= limit:
        return plan
    kept = sorted(random_source.sample(range(len(plan.images)), limit))
    renumbered = {old: new for new, old in enumerate(kept)}
    points = [
        Point(point.marks, renumbered[point.image])
        for point in plan.points
        if point.image in renumbered
    ]
    return Plan(plan.units, plan.marks, [plan.images[index] for index in kept], points)


class Blocks:
    """The content of a device, block by block; a block of zeros is not stored."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}

    def apply(self, unit: Unit) -> None:
        """Carry out a write."""
        content = self.after(unit)
        if content == _ZEROS:
            self._blocks.pop(unit.block, None)
        else:
            self._blocks[unit.block] = content

    def after(self, unit: Unit) -> bytes:
        """Return what a block would hold after a write."""
        if len(unit.data) == BLOCK:
            return unit.data
        old = self._blocks.get(unit.block, _ZEROS)
        return old[: unit.at] + unit.data + old[unit.at + len(unit.data) :]

    def get(self, block: int) -> bytes:
        """Return the content of a block."""
        return self._blocks.get(block, _ZEROS)

    def copy(self) -> Blocks:
        """Return an independent copy."""
        twin = Blocks()
        twin._blocks = dict(self._blocks)
        return twin

    def runs(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the stored blocks in order, neighbours together: first number and contents."""
        numbers = sorted(self._blocks)
        start = 0
        while start < len(numbers):
            end = start + 1
            while end < len(numbers) and numbers[end] == numbers[end - 1] + 1 and end - start < 256:
                end += 1
            yield numbers[start], [self._blocks[number] for number in numbers[start:end]]
            start = end


def split(record: Record) -> list[Unit]:
    """Cut a write, or a zeroed range, at the block boundaries."""
    units = []
    at = record.offset
    end = record.offset + record.length
    while at < end:
        block, inside = divmod(at, BLOCK)
        length = min(BLOCK - inside, end - at)
        start = at - record.offset
        data = record.data[start : start + length] if record.kind == "write" else bytes(length)
        units.append(Unit(block, inside, data))
        at += length
    return units


def subsets(count: int, cap: int, random_source: random.Random) -> Iterator[tuple[int, ...]]:
    """Yield subsets of that many things, all if there are at most ``cap``, else a choice."""
    if 2**count <= cap:
        for size in range(count + 1):
            yield from itertools.combinations(range(count), size)
        return
    everything = tuple(range(count))
    seen: set[tuple[int, ...]] = set()
    systematic: Iterable[tuple[int, ...]] = itertools.chain(
        [(), everything],
        *(([(one,), everything[:one] + everything[one + 1 :]]) for one in everything),
    )
    systematic = list(systematic)
    if len(systematic) > cap:
        # Choose from all of them: the last writes of an epoch matter as much as the first.
        systematic = systematic[:2] + random_source.sample(systematic[2:], max(0, cap - 2))
    randomly = (
        tuple(one for one in everything if random_source.random() < 0.5) for _ in range(cap)
    )
    for subset in itertools.chain(systematic, randomly):
        if len(seen) < cap and subset not in seen:
            seen.add(subset)
            yield subset


class _Planner:
    """Walks along the log once, hashing each state from the one before."""

    def __init__(self, cap: int, random_source: random.Random) -> None:
        self._cap = cap
        self._random = random_source
        self._units: list[Unit] = []
        self._base = Blocks()
        self._base_hash = 0
        self._base_count = 0
        self._known: dict[int, int] = {}
        self._hashes: dict[tuple[int, bytes], int] = {}
        self._images: list[Image] = []
        self._points: list[Point] = []
        self._subsets_of: tuple[int, int] = (-1, -1)
        self._subset_images: list[int] = []
        self._marks: list[dict[str, object]] = []

    def plan(self, records: Sequence[Record]) -> Plan:
        begun = False
        for record in records:
            if record.kind == "mark":
                mark: dict[str, object] = json.loads(record.data)
                if not begun:
                    begun = START in mark
                    if begun:
                        self._flushed()
                        self._prefix()
                    continue
                self._marks.append(mark)
                if not _TELLING.isdisjoint(mark):
                    self._subsets()
                self._prefix()
                if STOP in mark:
                    break
            elif record.kind == "flush":
                if begun:
                    self._subsets()
                self._flushed()
                if begun:
                    self._prefix()
            else:
                for unit in split(record):
                    self._units.append(unit)
                    if begun:
                        self._prefix()
        return Plan(self._units, self._marks, self._images, self._points)

    def _flushed(self) -> None:
        """Everything written so far is durable."""
        for unit in self._units[self._base_count :]:
            self._base_hash ^= self._hash(unit.block, self._base.get(unit.block))
            self._base.apply(unit)
            self._base_hash ^= self._hash(unit.block, self._base.get(unit.block))
        self._base_count = len(self._units)

    def _prefix(self) -> None:
        """The state in which everything written has arrived."""
        self._add(self._image(tuple(range(self._base_count, len(self._units)))))

    def _subsets(self) -> None:
        """The states in which some of what is unflushed has arrived."""
        state = (self._base_count, len(self._units))
        if state != self._subsets_of:
            self._subsets_of = state
            pending = range(*state)
            self._subset_images = [
                self._image(tuple(pending[index] for index in subset))
                for subset in subsets(len(pending), self._cap, self._random)
            ]
        for image in self._subset_images:
            self._add(image)

    def _add(self, image: int) -> None:
        point = Point(len(self._marks), image)
        if not self._points or self._points[-1] != point:
            self._points.append(point)

    def _image(self, extra: tuple[int, ...]) -> int:
        """Return the index of an image, a new one if no other has the same content."""
        changed: dict[int, bytes] = {}
        for index in extra:
            unit = self._units[index]
            if len(unit.data) == BLOCK:
                changed[unit.block] = unit.data
            else:
                old = changed.get(unit.block)
                if old is None:
                    old = self._base.get(unit.block)
                changed[unit.block] = old[: unit.at] + unit.data + old[unit.at + len(unit.data) :]
        total = self._base_hash
        for block, content in changed.items():
            total ^= self._hash(block, self._base.get(block)) ^ self._hash(block, content)
        found = self._known.get(total)
        if found is None:
            found = self._known[total] = len(self._images)
            self._images.append(Image(self._base_count, extra))
        return found

    def _hash(self, block: int, content: bytes) -> int:
        """Return the share of a block in the hash of a whole device; XOR combines them."""
        key = (block, content)
        known = self._hashes.get(key)
        if known is None:
            text = block.to_bytes(8, "little") + content
            known = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
            self._hashes[key] = known
        return known
