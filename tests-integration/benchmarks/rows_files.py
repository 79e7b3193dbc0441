"""Rows about one file: writing and reading it, small and large, on ext4 and on tmpfs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from opponents import atomicwrites_writer, bare_write, bare_write_all
from rows import KIB, MIB, Folders, Plan, Row, relative
from straight import STRAIGHT

from safeatomic_core import inspect_guarantees, read_atomic_bytes, write_atomic_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timing import Operation

_SMALL = os.urandom(4 * KIB)
# On ext4 what a write leaves to the next flush (an unlinked lock) must hit its own kind; in memory
# there is no such thing, and a short turn is seldom interrupted by the scheduler.
BATCH = {"ext4": 5, "tmpfs": 4}


def rows() -> list[Row]:
    """Return the rows in the order of the table."""
    table = []
    for filesystem in BATCH:
        table += [_overwrite(mode, filesystem) for mode in MODES]
        table += [_floor(mode, filesystem) for mode in MODES]
        table += [_floor_against_atomicwrites(mode, filesystem) for mode in ("none", "default")]
    table += [_large(), _large_checked()]
    for filesystem in BATCH:
        table += [_read(filesystem, 4 * KIB, 1.2), _read(filesystem, 64 * MIB, 1.03)]
    table += [_read_checked("ext4"), _read_checked("tmpfs"), _inspect()]
    return table


def rows_new_names() -> list[Row]:
    """Return the rows that leave many files to be deleted, to be run after the others.

    ext4 is slow to allocate an inode for minutes after a mass deletion in the same group: it passes
    over every recently deleted one (fs/ext4/ialloc.c, recently_deleted).
    """
    modes = ("none", "default", "checksum")
    return [_new_name(mode, filesystem) for filesystem in BATCH for mode in modes]


MODES: dict[str, Callable[[str, bytes], None]] = {
    "none": lambda path, data: write_atomic_bytes(path, data, concurrency="none"),
    "default": write_atomic_bytes,
    "checksum": lambda path, data: write_atomic_bytes(path, data, write_checksum=True),
}
CALLS = {
    "none": 'write_atomic_bytes(concurrency="none")',
    "default": "write_atomic_bytes()",
    "checksum": "write_atomic_bytes(write_checksum=True)",
}


def _overwrite(mode: str, filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        candidates = {
            "bare": _writer(bare_write, folder, "bare"),
            mode: _writer(MODES[mode], folder, "ours"),
        }
        yield Plan(candidates, relative(mode, "bare"), BATCH[filesystem])

    what = f"{CALLS[mode]}, 4 KiB over an existing file, {filesystem}"
    return Row(f"write-{mode}-{filesystem}", what, "the bare protocol", "x", None, prepare)


def _floor(mode: str, filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        floor = _writer(STRAIGHT[mode], folder, "floor")
        MODES[mode](os.path.join(folder, "floor"), _SMALL)  # with a sidecar where there is one
        candidates = {"bare": _writer(bare_write, folder, "bare"), "straight": floor}
        yield Plan(candidates, relative("straight", "bare"), BATCH[filesystem])

    what = f"the system calls of {CALLS[mode]} from one straight function, {filesystem}"
    return Row(f"floor-{mode}-{filesystem}", what, "the bare protocol", "x", None, prepare)


def _floor_against_atomicwrites(mode: str, filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        floor = _writer(STRAIGHT[mode], folder, "floor")
        MODES[mode](os.path.join(folder, "floor"), _SMALL)
        theirs = _writer(atomicwrites_writer(), folder, "theirs")
        candidates = {"atomicwrites": theirs, "straight": floor}
        yield Plan(candidates, relative("straight", "atomicwrites"), BATCH[filesystem])

    what = f"the system calls of {CALLS[mode]} from one straight function, {filesystem}"
    name = f"floor-{mode}-{filesystem}-atomicwrites"
    return Row(name, what, "atomicwrites 1.4.1 (no lock)", "x", None, prepare)


def _new_name(mode: str, filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        used: list[str] = []

        def fresh(write: Callable[[str, bytes], None], label: str) -> Operation:
            def operation() -> None:
                path = os.path.join(folder, f"{label}{len(used)}")
                used.append(path)
                write(path, _SMALL)

            return operation

        candidates = {"bare": fresh(bare_write, "bare"), mode: fresh(MODES[mode], "ours")}
        try:
            yield Plan(candidates, relative(mode, "bare"), BATCH[filesystem])
        finally:
            for path in used:
                Path(path).unlink(missing_ok=True)
                Path(path + ".sha256").unlink(missing_ok=True)

    what = f"{CALLS[mode]}, 4 KiB under a new name, {filesystem}"
    return Row(f"new-{mode}-{filesystem}", what, "the bare protocol", "x", None, prepare)


def _large() -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of("ext4")
        data = os.urandom(64 * MIB)
        candidates = {
            "bare": _writer(bare_write_all, folder, "bare", data),
            "default": _writer(write_atomic_bytes, folder, "ours", data),
        }
        yield Plan(candidates, relative("default", "bare"))

    what = "write_atomic_bytes(), 64 MiB, ext4"
    return Row("write-64m-ext4", what, "the bare protocol", "x", 1.02, prepare)


def _large_checked() -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of("ext4")
        data = os.urandom(64 * MIB)
        candidates = {
            "bare": _writer(bare_write_all, folder, "bare", data),
            "sha256": lambda: hashlib.sha256(data).hexdigest(),
            "checksum": _writer(MODES["checksum"], folder, "ours", data),
        }

        yield Plan(
            candidates, lambda times: times["checksum"] / (times["bare"] + 0.5 * times["sha256"])
        )

    what = "write_atomic_bytes(write_checksum=True), 64 MiB, ext4"
    against = "the bare protocol + half a sha256 pass"
    return Row("write-64m-checksum-ext4", what, against, "x", 1.0, prepare)


def _read(filesystem: str, size: int, limit: float) -> Row:
    label = "4 KiB" if size == 4 * KIB else "64 MiB"

    def prepare(folders: Folders) -> Iterator[Plan]:
        path = _filled(folders.of(filesystem), size)
        candidates: dict[str, Operation] = {
            "read_bytes": lambda: Path(path).read_bytes(),
            "read_atomic_bytes": lambda: read_atomic_bytes(path),
        }
        yield Plan(
            candidates,
            relative("read_atomic_bytes", "read_bytes"),
            10 if size == 4 * KIB else 1,
        )

    name = f"read-{label.replace(' ', '').lower()}-{filesystem}"
    what = f"read_atomic_bytes(), {label}, {filesystem}"
    return Row(name, what, "Path.read_bytes()", "x", limit, prepare)


def _read_checked(filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        path = _filled(folders.of(filesystem), 64 * MIB)
        candidates: dict[str, Operation] = {
            "read+sha256": lambda: hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            "checked": lambda: read_atomic_bytes(path, check_checksum=True),
        }
        yield Plan(candidates, relative("checked", "read+sha256"))

    what = f"read_atomic_bytes(check_checksum=True), 64 MiB, {filesystem}"
    name = f"read-checked-64mib-{filesystem}"
    return Row(name, what, "Path.read_bytes() + sha256", "x", 1.05, prepare)


def _inspect() -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        path = _filled(folders.any(), 4 * KIB)

        def inspect() -> object:
            return inspect_guarantees(path)

        yield Plan({"inspect": inspect}, lambda times: times["inspect"] * 1e6, 20)

    return Row("inspect", "inspect_guarantees(), warm", "", "us", 5.0, prepare)


def _writer(
    write: Callable[[str, bytes], None], folder: str, name: str, data: bytes = _SMALL
) -> Operation:
    path = os.path.join(folder, name)
    return lambda: write(path, data)


def _filled(folder: str, size: int) -> str:
    path = os.path.join(folder, f"filled-{size}")
    if not os.path.exists(path):
        write_atomic_bytes(path, os.urandom(size), write_checksum=True)
    return path
