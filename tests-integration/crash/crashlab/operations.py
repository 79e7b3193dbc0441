"""The operations of the workloads: their effects, and the states that a crash may show."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from unittest import mock

import safeatomic_core
from safeatomic_core._cli import commands
from safeatomic_core._posix import kernel

from . import payload
from .worlds import Value

if TYPE_CHECKING:
    from collections.abc import Mapping
_CHUNK = 9000  # bytes; neither a block nor a multiple of one
# Two writers that contend for a lock come again soon; a dead holder is taken over at once.
_RETRIES, _DELAY_S = 5000, 0.002


@dataclass(frozen=True)
class Write:
    """One call that writes a file.

    Attributes:
        number: The operation, and the version that it writes.
        name: Path below the filesystem's root.
        size: Length of the content in bytes.
        checked: Whether to keep a checksum sidecar.
        stream: Whether to use `AtomicWriter`, in several chunks.
        locked: Whether to take the lock.
    """

    number: int
    name: str
    size: int = 5000
    checked: bool = False
    stream: bool = False
    locked: bool = True

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what is written."""
        return hashlib.sha256(payload.content(self.number, self.size)).hexdigest()

    def stages(self, world: Mapping[str, Value | None]) -> list[dict[str, Value | None]]:
        """Old, old with the sidecar already made or retired, new."""
        old = world[self.name]
        meta = payload.NEW_FILE if old is None else old.meta
        before = [] if old is None else [{**world, self.name: old._replace(sidecar=self.checked)}]
        return [*before, {**world, self.name: Value(self.number, meta, self.checked)}]

    def perform(self, root: str) -> None:
        """Do it with the library."""
        data = payload.content(self.number, self.size)
        path = f"{root}/{self.name}"
        concurrency: Literal["lock", "none"] = "lock" if self.locked else "none"
        if not self.stream:
            safeatomic_core.write_atomic_bytes(
                path,
                data,
                concurrency=concurrency,
                write_checksum=self.checked,
                retries=_RETRIES,
                delay=_DELAY_S,
            )
            return
        with safeatomic_core.AtomicWriter(
            path,
            concurrency=concurrency,
            write_checksum=self.checked,
            retries=_RETRIES,
            delay=_DELAY_S,
        ) as file:
            for start in range(0, len(data), _CHUNK):
                file.write(data[start : start + _CHUNK])
                file.flush()


@dataclass(frozen=True)
class DeepWrite(Write):
    """A write that makes the directories above its file first, as ``write --parents`` does."""

    def perform(self, root: str) -> None:
        """Do it with the library."""
        commands.make_parents(f"{root}/{self.name}", [])
        super().perform(root)


@dataclass(frozen=True)
class FailedWrite(Write):
    """A write whose rename fails after its sidecar was announced or retired; nothing changes."""

    def stages(self, world: Mapping[str, Value | None]) -> list[dict[str, Value | None]]:
        """Old, old with the sidecar announced or retired, old as it was."""
        old = world[self.name]
        between = [] if old is None else [{**world, self.name: old._replace(sidecar=self.checked)}]
        return [*between, dict(world)]

    def perform(self, root: str) -> None:
        """Do it with the library, and with a device that is broken for a moment."""
        real, last = kernel.rename, self.name.rpartition("/")[2]

        def rename(src: str, dst: str, **directories: int) -> None:
            if dst == last:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(src, dst, **directories)

        with mock.patch.object(kernel, "rename", rename):
            try:
                super().perform(root)
            except OSError:
                return
        raise AssertionError(f"{self} has not failed")


@dataclass(frozen=True)
class Move:
    """One call that moves a file.

    Attributes:
        number: The operation.
        source: Path below the filesystem's root.
        destination: Path below the filesystem's root.
        force: Whether to replace an existing destination.
    """

    number: int
    source: str
    destination: str
    force: bool = False
    digest = None

    def stages(self, world: Mapping[str, Value | None]) -> list[dict[str, Value | None]]:
        """The destination's sidecar changes, the file moves, the source's sidecar goes.

        Across directories btrfs may show the file in both (`formal/notes-checksum.md`); by then
        its sidecar at the source may be gone, because the destination is durable.
        """
        moved, replaced = world[self.source], world[self.destination]
        if moved is None:
            return [dict(world)]  # an earlier attempt has done it
        announced = dict(world)
        if replaced is not None:
            announced[self.destination] = replaced._replace(sidecar=moved.sidecar)
        stages = [announced]
        if self.source.rpartition("/")[0] != self.destination.rpartition("/")[0]:
            stages.append({**world, self.destination: moved})
            bare = moved._replace(sidecar=False)
            stages.append({**world, self.destination: moved, self.source: bare})
        stages.append({**world, self.destination: moved, self.source: None})
        return stages

    def perform(self, root: str) -> None:
        """Do it with the library."""
        safeatomic_core.move_atomic(
            f"{root}/{self.source}", f"{root}/{self.destination}", force=self.force
        )


@dataclass(frozen=True)
class Arrive:
    """A move of a file that another program has just written and not flushed.

    Only the destination is judged: the source's state before the move depends on its writer.

    Attributes:
        number: The operation, and the version that arrives.
        source: Path below the filesystem's root.
        destination: Path below the filesystem's root.
        size: Length of the content in bytes.
    """

    number: int
    source: str
    destination: str
    size: int = 5000
    digest = None

    def stages(self, world: Mapping[str, Value | None]) -> list[dict[str, Value | None]]:
        """There is nothing between absent and complete."""
        return [{**world, self.destination: Value(self.number, payload.NEW_FILE, sidecar=False)}]

    def perform(self, root: str) -> None:
        """Write the source without the library, then move it."""
        with open(f"{root}/{self.source}", "wb") as file:
            file.write(payload.content(self.number, self.size))
        safeatomic_core.move_atomic(
            f"{root}/{self.source}", f"{root}/{self.destination}", force=True
        )


AnyOperation = Write | Move | Arrive
