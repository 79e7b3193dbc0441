"""Rows about the same job done by what people use instead, each pair in one run.

What a peer does not do (a lock, a digest) is put beside it by the tool that is commonly taken for
that. A peer's lock is made once and used again, which is its faster way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opponents import PEERS, bare_write
from rows import KIB, Folders, Plan, Row, relative
from rows_files import BATCH, CALLS, MODES
from straight import STRAIGHT

from safeatomic_core import write_atomic_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timing import Operation

_SMALL = os.urandom(4 * KIB)
# Mode, peer, and what is asked for on ext4 and on tmpfs.
_TARGETS: tuple[tuple[str, str, float | None, float | None], ...] = (
    ("none", "atomicwrites", 1.0, 1.0),
    ("default", "atomicwrites", 1.05, None),
    ("default", "filelock + atomicwrites", 0.65, None),
    ("checksum", "filelock + atomicwrites + sha256", 0.70, 0.70),
)


def rows() -> list[Row]:
    """Return the rows in the order of the table."""
    return [
        *(_pair(mode, peer, "ext4", limit) for mode, peer, limit, _ in _TARGETS),
        *(_pair(mode, peer, "tmpfs", limit) for mode, peer, _, limit in _TARGETS),
        _all("ext4"),
        _all("tmpfs"),
    ]


def _pair(mode: str, peer: str, filesystem: str, limit: float | None) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        candidates = {
            peer: _writer(PEERS[peer](), folder, "theirs"),
            mode: _writer(MODES[mode], folder, "ours"),
        }
        yield Plan(candidates, relative(mode, peer), BATCH[filesystem])

    what = f"{CALLS[mode]}, 4 KiB over an existing file, {filesystem}"
    name = f"write-{mode}-{filesystem}-{peer.replace(' + ', '-')}"
    return Row(name, what, peer, "x", limit, prepare)


def _all(filesystem: str) -> Row:
    """Return the row that holds everything beside everything else, for the table of the page."""

    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        candidates = {"bare": _writer(bare_write, folder, "bare")}
        for mode, write in MODES.items():
            floor = os.path.join(folder, f"floor-{mode}")
            write_atomic_bytes(floor, _SMALL, write_checksum=mode == "checksum")
            candidates[f"floor {mode}"] = _writer(STRAIGHT[mode], folder, f"floor-{mode}")
            candidates[mode] = _writer(write, folder, f"ours-{mode}")
        for number, (peer, make) in enumerate(PEERS.items()):
            candidates[peer] = _writer(make(), folder, f"peer-{number}")
        yield Plan(candidates, relative("default", "atomicwrites"), BATCH[filesystem])

    what = f"every way to write 4 KiB over an existing file, {filesystem}"
    return Row(f"peers-{filesystem}", what, "atomicwrites", "x", None, prepare)


def _writer(write: Callable[[str, bytes], None], folder: str, name: str) -> Operation:
    path = os.path.join(folder, name)
    return lambda: write(path, _SMALL)
