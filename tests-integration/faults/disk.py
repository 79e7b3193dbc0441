"""A simulated disk that may lose or reorder everything that POSIX permits.

`Disk` replays the system calls that a `Recorder` recorded, up to any point, and lists every state
in which a crash at that point may leave the files. It is stricter than any kernel:

- an fsync of a file makes that file's data and metadata durable, an fsync of a directory that
  directory's entries, and nothing else ever does (fsync(2), POSIX.1-2017 fsync());
- until then every 512-byte sector of every write, every change of size, every chmod, chown and
  extended attribute reaches the disk or not, independently of all others; what was not written
  reads as NULs; a truncation may also leave NULs where the cut-off bytes were;
- every name of every directory shows, independently, any one of the files it has pointed to since
  that directory was last flushed, or none if there was none at some time.

It assumes three things. A sector is written as a whole (a lock's payload is one sector). A file has
the mode with which it was created as soon as its name exists. And an unflushed rename does not lose
the old name before the new one exists. For a rename to another directory, the caller chooses
whether an fsync of the old directory alone may do so: POSIX does not forbid it, and no known kernel
does it.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeatomic_core._temp_file import SUM_PREFIX, is_temp_name

from .effects import File, Op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .effects import Name, State

SECTOR = 512
_ALL_SUBSETS = 8  # changes to one file of which every subset is tried; beyond that a sample
_SAMPLE = 60


@dataclass
class _Inode:
    """A file: its content on disk, and the changes that may not have reached the disk."""

    durable: File
    pending: list[Op] = field(default_factory=list)


# A value that a name may show: the file or None, and the rename that took it away, if one did.
_Value = tuple[int | None, int | None]


@dataclass
class _Entry:
    """A name: its state on disk, and the files it has shown since its directory was flushed."""

    durable: int | None = None
    pending: list[_Value] = field(default_factory=list)


class Disk:
    """The replay of a record, up to some point.

    Attributes:
        sampled: Whether there were too many states to list, and some were left out.
    """

    def __init__(self, seed: int = 1, *, whole_renames: bool = False) -> None:
        """Begin with an empty disk.

        Args:
            seed: Seed of what is sampled.
            whole_renames: A rename between directories reaches the disk as one, even when only the
                old directory is flushed.
        """
        self.sampled = False
        self._whole_renames = whole_renames
        self._seed = seed
        self._inodes: dict[int, _Inode] = {}
        self._names: dict[Name, _Entry] = {}
        self._arrivals: dict[int, tuple[Name, int]] = {}  # rename: where it arrived, the file
        self._renames = 0
        self._contents: dict[int, list[File]] = {}

    def apply(self, op: Op) -> None:
        """Apply one more effect in memory; a flush brings its changes to the disk."""
        args = op.args
        if op.kind == "create":
            self._inodes[args[0]] = _Inode(File(mode=args[1]))
        elif op.kind == "link":
            self._entry(args[0]).pending.append((args[1], None))
        elif op.kind == "unlink":
            self._entry(args[0]).pending.append((None, None))
        elif op.kind == "rename":
            src, dst, number = args
            self._renames += 1
            self._arrivals[self._renames] = (dst, number)
            self._entry(dst).pending.append((number, None))
            self._entry(src).pending.append((None, self._renames))
        elif op.kind == "fsyncdir":
            for (directory, _), entry in self._names.items():
                if directory == args[0] and entry.pending:
                    if self._whole_renames:
                        self._bring_along([rename for _, rename in entry.pending if rename])
                    entry.durable = entry.pending[-1][0]
                    entry.pending.clear()
        elif op.kind == "fsync":
            inode = self._inodes[args[0]]
            inode.durable = _changed(inode.durable, [u for o in inode.pending for u in _units(o)])
            inode.pending.clear()
            self._contents.pop(args[0], None)
        elif op.kind not in ("begin", "return", "fail"):
            self._inodes[args[0]].pending.append(op)
            self._contents.pop(args[0], None)

    def states(self) -> Iterator[State]:
        """List the states that a crash may leave; temps exist wherever they may."""
        names = sorted(self._names)
        options = [self._options(name) for name in names]
        for choice in itertools.product(*options):
            chosen = dict(zip(names, choice, strict=True))
            if not self._possible(chosen):
                continue
            present = [(name, value[0]) for name, value in chosen.items() if value[0] is not None]
            numbers = sorted({number for name, number in present if not _is_temp(name)})
            for files in itertools.product(*(self._files(number) for number in numbers)):
                by_number = dict(zip(numbers, files, strict=True))
                yield {
                    name: by_number.get(number, _RECORD if _is_record(name) else _ORPHAN)
                    for name, number in present
                }

    def _bring_along(self, renames: list[int]) -> None:
        """If the old name of a rename is durably gone, make its new name durable."""
        for rename in renames:
            dst, number = self._arrivals[rename]
            entry = self._names[dst]
            arrived = [value for value, _ in entry.pending]
            if number in arrived:
                entry.durable = number
                del entry.pending[: arrived.index(number) + 1]

    def _entry(self, name: Name) -> _Entry:
        return self._names.setdefault(name, _Entry())

    def _options(self, name: Name) -> list[_Value]:
        entry = self._names[name]
        options: list[_Value] = list(dict.fromkeys([(entry.durable, None), *entry.pending]))
        if _is_temp(name):
            return [next((one for one in options if one[0] is not None), options[0])]
        return options

    def _possible(self, chosen: dict[Name, _Value]) -> bool:
        """A name that only a rename took away is not gone before the file has arrived."""
        for _, rename in chosen.values():
            if rename is None:
                continue
            dst, number = self._arrivals[rename]
            entry = self._names[dst]
            arrived = [value for value, _ in entry.pending]
            if number in arrived and chosen[dst][0] not in arrived[arrived.index(number) :]:
                return False
        return True

    def _files(self, number: int) -> list[File]:
        """List the contents that a file may have after a crash."""
        known = self._contents.get(number)
        if known is None:
            inode = self._inodes[number]
            units = [unit for op in inode.pending for unit in _units(op)]
            found = (_changed(inode.durable, subset) for subset in self._subsets(units))
            known = self._contents[number] = list(dict.fromkeys(found))
        return known

    def _subsets(self, units: list[Op]) -> Iterator[list[Op]]:
        variants = [
            (None, unit) if unit.kind != "truncate" else (None, unit, _zeroing(unit))
            for unit in units
        ]
        if len(units) <= _ALL_SUBSETS:
            for choice in itertools.product(*variants):
                yield [unit for unit in choice if unit is not None]
            return
        self.sampled = True
        yield []
        yield units
        for unit in units:
            yield [unit]
            yield [other for other in units if other is not unit]
        rng = random.Random(self._seed)
        for _ in range(_SAMPLE):
            yield [unit for unit in (rng.choice(one) for one in variants) if unit is not None]


_ORPHAN = File(b"whatever a temp holds")
_RECORD = File(b"0" * 64 + b"  whatever\n")  # a record, or a sidecar that was displaced


def _is_temp(name: Name) -> bool:
    return is_temp_name(name[1])


def _is_record(name: Name) -> bool:
    return name[1].startswith(SUM_PREFIX)


def _units(op: Op) -> list[Op]:
    """Split a change into the units that reach the disk as a whole: sectors, and the size."""
    if op.kind != "write":
        return [op]
    number, offset, data = op.args
    units = [Op("extend", op.caller, (number, offset + len(data)))]
    position = offset
    while position < offset + len(data):
        end = min((position // SECTOR + 1) * SECTOR, offset + len(data))
        piece = data[position - offset : end - offset]
        units.append(Op("sector", op.caller, (number, position, piece)))
        position = end
    return units


def _zeroing(op: Op) -> Op:
    return Op("zero", op.caller, op.args)


def _changed(file: File, units: list[Op]) -> File:
    """Return a file after some changes have reached the disk, in the order they were made."""
    content = bytearray(file.content)
    size = len(content)
    mode, owner, xattrs = file.mode, file.owner, dict(file.xattrs)
    for unit in units:
        args = unit.args
        if unit.kind == "extend":
            size = max(size, args[1])
        elif unit.kind == "sector":
            end = args[1] + len(args[2])
            content.extend(b"\0" * (end - len(content)))
            content[args[1] : end] = args[2]
        elif unit.kind == "truncate":
            size = args[1]
            del content[size:]
        elif unit.kind == "zero":
            content[args[1] :] = b"\0" * (len(content) - args[1])
        elif unit.kind == "chmod":
            mode = args[1]
        elif unit.kind == "chown":
            owner = args[1]
        elif unit.kind == "setxattr":
            xattrs[args[1]] = args[2]
        elif unit.kind == "removexattr":
            xattrs.pop(args[1], None)
        else:
            raise AssertionError(unit.kind)
    content.extend(b"\0" * (size - len(content)))
    return File(bytes(content[:size]), mode, owner, frozenset(xattrs.items()))
