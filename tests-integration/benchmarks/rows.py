"""The rows of the table: what is measured, against what, and which ratio is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timing import Operation, Times

KIB = 1024
MIB = 1024 * KIB


class Folders(NamedTuple):
    """Where the files go: one directory on each filesystem, None where there is none."""

    ext4: str | None
    tmpfs: str | None

    def of(self, filesystem: str) -> str:
        """Return the directory on a filesystem.

        Raises:
            Skipped: There is none on this machine.
        """
        from opponents import Skipped

        folder = self.ext4 if filesystem == "ext4" else self.tmpfs
        if folder is None:
            raise Skipped(f"no {filesystem} here (see --ext4 and --tmpfs)")
        return folder

    def any(self) -> str:
        """Return one of the two, tmpfs by preference."""
        return self.of("ext4" if self.tmpfs is None else "tmpfs")


class Plan(NamedTuple):
    """A row made ready to run.

    Attributes:
        candidates: One operation each.
        figure: A round's figure from the seconds for one operation of each candidate.
        batch: Operations in one turn.
        notes: Further facts for the JSON and the table, filled while the row runs.
    """

    candidates: dict[str, Operation]
    figure: Callable[[Times], float]
    batch: int = 1
    notes: dict[str, object] | None = None


class Row(NamedTuple):
    """One row.

    Attributes:
        name: A short name for ``--only``.
        what: What is measured.
        against: What the figure is relative to.
        unit: What the figure counts: ``"x"`` for a ratio, ``"us"``, ``"ms"``.
        limit: The target, None for a row that is only reported.
        at_least: Whether the figure must reach the limit (a speed-up) instead of staying below it.
        prepare: Makes the row ready, given the folders; a generator that yields one `Plan` and then
            cleans up.
    """

    name: str
    what: str
    against: str
    unit: str
    limit: float | None
    prepare: Callable[[Folders], Iterator[Plan]]
    at_least: bool = False


def relative(one: str, other: str) -> Callable[[Times], float]:
    """Return the figure "how many times as long as the other"."""
    return lambda times: times[one] / times[other]
