"""The library with one step of its protocol broken; the oracle must notice each of them.

A crash test that finds nothing is evidence only if it would find a defect. Each mutant changes the
running library (an entry of the seam, or the order of its steps), never a copy of it, and names the
workloads that show the damage. It breaks a rule of `docs/protocol.md` or
`formal/notes-checksum.md`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeatomic_core import _settle
from safeatomic_core._posix import kernel

from . import breakages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Mutant:
    """One way to break the protocol.

    Attributes:
        name: What it is called in reports.
        about: What is broken.
        shows: What the damage is, in one line.
        where: Where it shows: filesystem, workload, noise and, if any, mount options.
        apply: Breaks the library for the length of a ``with`` block.
    """

    name: str
    about: str
    shows: str
    where: tuple[tuple[str, ...], ...]
    apply: Callable[[], AbstractContextManager[object]]


@contextlib.contextmanager
def applied(name: str | None) -> Iterator[None]:
    """Break the library inside a ``with`` block; None leaves it whole.

    A broken library also gives no hint for early writeback (`docs/adr/0020-early-writeback.md`),
    because early writes hide a missing flush. Nor does it flush a renamed file beside its directory
    (`docs/adr/0022-overtaken-flush.md`), because that hides a missing flush of the directory.
    """
    if name is None:
        yield
        return
    before = dict(vars(kernel))
    kernel.posix_fadvise = lambda *_: None
    try:
        with breakages.replace(_settle, "OVERTAKEN", lambda _real: frozenset()), ALL[name].apply():
            yield
    finally:
        vars(kernel).clear()
        vars(kernel).update(before)


ALL = {
    mutant.name: mutant
    for mutant in (
        Mutant(
            "no-temp-fsync",
            "the temp is not flushed before its rename",
            "a file of zeros or of no length under the name",
            (
                ("ext4", "create", "none"),
                ("ext4", "overwrite", "none", "noauto_da_alloc"),
                ("xfs", "overwrite", "none"),
                ("btrfs", "overwrite", "none"),
            ),
            breakages.no_temp_fsync,
        ),
        Mutant(
            "no-directory-fsync",
            "the directory is not flushed after the rename",
            "an acknowledged version is gone",
            (
                ("ext4", "overwrite", "none"),
                ("xfs", "overwrite", "none"),
                ("btrfs", "overwrite", "none"),
            ),
            breakages.no_directory_fsync,
        ),
        Mutant(
            "rename-before-fsync",
            "the temp is flushed after its rename",
            "a file of zeros or of no length under the name",
            (
                ("ext4", "create", "file"),
                ("xfs", "overwrite", "file"),
                ("btrfs", "create", "commit"),
            ),
            breakages.rename_before_fsync,
        ),
        Mutant(
            "unlink-first",
            "the target is unlinked before the rename",
            "neither the old nor the new file",
            (
                ("ext4", "overwrite", "file"),
                ("xfs", "overwrite", "file"),
                ("btrfs", "overwrite", "commit"),
            ),
            breakages.unlink_first,
        ),
        Mutant(
            "in-place",
            "the target is truncated and written",
            "half a file",
            (
                ("ext4", "overwrite", "file"),
                ("xfs", "overwrite", "file"),
                ("btrfs", "overwrite", "commit"),
            ),
            breakages.in_place,
        ),
        Mutant(
            "sidecar-after-data",
            "the sidecar is replaced after the data",
            "new data beside the digest of the old",
            (
                ("ext4", "checked", "none"),
                ("xfs", "checked", "none"),
                ("btrfs", "checked", "none"),
            ),
            breakages.sidecar_after_data,
        ),
        Mutant(
            "no-barrier",
            "the directory is not flushed between the sidecar and the data",
            "new data beside a sidecar that describes the old",
            (("btrfs", "retire", "file"),),
            breakages.no_barrier,
        ),
        Mutant(
            "metadata-after-fsync",
            "mode, owner and attributes are put on after the flush",
            "new content with the temp's private mode",
            (("btrfs", "overwrite", "mixed"),),
            breakages.metadata_after_fsync,
        ),
        Mutant(
            "no-source-sync",
            "a move does not flush the source's directory",
            "the moved file is still at its old place as well",
            (("btrfs", "move-across", "none"),),
            breakages.no_source_sync,
        ),
        Mutant(
            "seal-before-settle",
            "the previous digest is cut off before the rename is durable",
            "old data beside the digest of the new",
            (("ext4", "checked", "none"),),
            breakages.seal_before_settle,
        ),
        Mutant(
            "record-unflushed",
            "the record is not flushed before it is exchanged with the sidecar",
            "a sidecar of zeros or of no length",
            (
                # auto_da_alloc, which flushes what is renamed over a file, covers no exchange
                ("ext4", "checked", "none"),
                ("xfs", "checked", "none"),
                ("btrfs", "checked", "none"),
            ),
            breakages.record_unflushed,
        ),
        Mutant(
            "displaced-unlinked-early",
            "the displaced sidecar is unlinked before Publish",
            "a failed write leaves a file without the sidecar it had",
            (
                ("ext4", "rolled-back", "none"),
                ("xfs", "rolled-back", "none"),
                ("btrfs", "rolled-back", "none"),
            ),
            breakages.displaced_unlinked_early,
        ),
        Mutant(
            "no-resolve",
            "an announcement does not make durable what it builds on (R1)",
            "old data beside a record of the newer two",
            (
                ("btrfs", "killed-unlocked", "none"),
                ("btrfs", "killed-unrecorded", "none"),
            ),
            breakages.no_resolve,
        ),
        Mutant(
            "no-takeover-sync",
            "a takeover does not make durable what the dead writer left (R2)",
            "new data beside a retired sidecar that is back",
            (("btrfs", "killed-retire", "file"),),
            breakages.no_takeover_sync,
        ),
        Mutant(
            "source-unflushed",
            "a move does not flush the content it moves",
            "a file of zeros or of no length at the destination",
            (
                ("ext4", "move-dirty", "none"),
                ("xfs", "move-dirty", "none"),
                ("btrfs", "move-dirty", "none"),
            ),
            breakages.source_unflushed,
        ),
        Mutant(
            "no-crash-mark",
            "locks do not bear the crash mark",
            "a lock that lost its payload blocks the next writer",
            (
                ("ext4", "overwrite", "none"),
                ("xfs", "overwrite", "none"),
                ("btrfs", "overwrite", "none"),
            ),
            breakages.no_crash_mark,
        ),
    )
}
