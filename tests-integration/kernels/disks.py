"""The disks of a guest, and QEMU's log of what reached them as crashlab's records.

Each filesystem has a disk of its own with two partitions: one for the filesystem, one for *marks*,
which the workload writes past the page cache, so that one log holds both in one order.

QEMU's ``blklogwrites`` driver (format of Linux's dm-log-writes) puts an entry into its log when a
request has been completed (``blk_log_writes_co_log`` in its source), before the guest learns of
that. So the order is that of completion, and a write that was under way beside a flush and was
completed before it counts as flushed. The guest's block layer merges neighbouring requests; marks
are taken apart again by their block, and crashlab cuts everything else into blocks anyway.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crash.crashlab.device import Record
from crash.crashlab.images import BLOCK, START, STOP, Blocks, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MARKS_BYTES = 1 << 20
_START_BYTES = 1 << 20  # where the first partition begins
_SECTOR = 512
_MAGIC, _VERSION = 0x6A736677736872, 1
_HEAD, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD = 1, 2, 4


class Disk(NamedTuple):
    """A disk in a guest, with its log on the host.

    Attributes:
        folder: Where its files are.
        name: Name of the files.
        size: Size of the filesystem's partition, in bytes.
    """

    folder: Path
    name: str
    size: int

    @property
    def log(self) -> Path:
        """QEMU's log."""
        return self.folder / f"{self.name}.log"

    def create(self) -> None:
        """Make the files."""
        table = bytes(446) + _partition(_START_BYTES, self.size)
        table += _partition(_START_BYTES + self.size, MARKS_BYTES) + bytes(32) + b"\x55\xaa"
        with (self.folder / f"{self.name}.disk").open("wb") as file:
            file.write(table)
            file.truncate(_START_BYTES + self.size + MARKS_BYTES)
        self.log.touch()

    def arguments(self) -> list[str]:
        """Return QEMU's arguments for it."""
        node = f"node-{self.name}"
        path = f"{self.folder}/{self.name}"
        # The guest's flushes are logged; flushing the files of the host as well is not needed.
        options = {
            "driver": "blklogwrites",
            "node-name": node,
            "log-sector-size": _SECTOR,
            "file.driver": "file",
            "file.filename": f"{path}.disk",
            "file.cache.no-flush": "on",
            "log.driver": "file",
            "log.filename": f"{path}.log",
            "log.cache.no-flush": "on",
        }
        block = ",".join(f"{key}={value}" for key, value in options.items())
        return ["-blockdev", block, "-device", f"virtio-blk-pci,drive={node},write-cache=on"]

    def recordings(self) -> Iterator[tuple[int, list[Record]]]:
        """Yield the number of each workload that was recorded, and its records."""
        return recordings(records(self.log, _START_BYTES, self.size))


def records(log: Path, start: int, size: int) -> Iterator[Record]:
    """Yield what a log says of the two partitions of a disk.

    Args:
        log: The log.
        start: Where the filesystem's partition begins, in bytes.
        size: Its size in bytes; that of the marks lies behind it.
    """
    for offset, data, flags in _entries(log):
        if flags & _FLUSH:
            yield Record("flush")
        if data and offset >= start + size:
            for at in range(0, len(data), BLOCK):
                text = data[at : at + BLOCK].rstrip(b"\0")
                if text:
                    yield Record("mark", 0, len(text), text)
        elif data and offset >= start:
            yield Record("write", offset - start, len(data), data)
        if flags & _FUA:
            yield Record("flush")


def recordings(found: Iterable[Record]) -> Iterator[tuple[int, list[Record]]]:
    """Cut the records of one disk into workloads: the filesystem as it was made, and what came."""
    made: list[Record] = []
    current: list[Record] | None = None
    number = -1
    for record in found:
        mark = json.loads(record.data) if record.kind == "mark" else {}
        if START in mark:
            number = mark[START]
            made = _collapsed(made)
            text = json.dumps({START: True}).encode()
            current = [*made, Record("mark", 0, len(text), text)]
        elif current is not None:
            current.append(record)
            if STOP in mark:
                yield number, current
                made, current = [*made, *current], None
        if current is None and record.kind != "mark":
            made.append(record)


def _collapsed(found: Sequence[Record]) -> list[Record]:
    """Return writes with the same effect, each block once."""
    blocks = Blocks()
    for record in found:
        if record.kind == "write":
            for unit in split(record):
                blocks.apply(unit)
    collapsed = [
        Record("write", number * BLOCK, len(contents) * BLOCK, b"".join(contents))
        for number, contents in blocks.runs()
    ]
    return [*collapsed, Record("flush")]


def _entries(log: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yield offset in bytes, data and flags of each entry."""
    with log.open("rb") as file:
        magic, version, _, sector_size = _HEAD.unpack(file.read(_HEAD.size))
        if (magic, version, sector_size) != (_MAGIC, _VERSION, _SECTOR):
            raise ValueError(f"{log} is not a log of {_SECTOR}-byte sectors")
        file.seek(_SECTOR)
        # The superblock counts the entries only up to the last flush; the file ends behind them.
        while len(head := file.read(_SECTOR)) == _SECTOR:
            sector, sectors, flags, _ = _ENTRY.unpack_from(head)
            if not (sector or sectors or flags):
                return
            # A discarded block may keep its content: nothing is known of it, nothing is changed.
            data = b"" if flags & _DISCARD else file.read(sectors * _SECTOR)
            yield sector * _SECTOR, data, flags


def _partition(start: int, length: int) -> bytes:
    """Return an entry of a partition table; positions in bytes."""
    no_cylinders = bytes(3)
    sectors = (start // _SECTOR, length // _SECTOR)
    return struct.pack("<B3sB3sII", 0, no_cylinders, 0x83, no_cylinders, *sectors)
