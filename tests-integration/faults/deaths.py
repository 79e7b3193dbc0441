"""What stands for the death of a process whose writer lives on in this one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest import mock

from safeatomic_core import _abandoned, _change, _forks, _held_locks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager


def without_last_wishes() -> AbstractContextManager[object]:
    """Let changes begin that are not closed when they are dropped: a dead process closes none."""
    return mock.patch.object(_change, "_close_abandoned", _nothing)


def bury(descriptors: Iterable[int]) -> None:
    """Close what a dead process had open, and forget what only its memory knew.

    Descriptors are all that the kernel ends. The marks of changes under way, the locks that were
    kept, and the writers that were not decided are gone with the process, and nothing is undone.
    """
    close(descriptors)
    _abandoned._guards.clear()
    _held_locks._under_way.clear()
    _held_locks._kept.clear()
    _held_locks._seen.set(())


def close(descriptors: Iterable[int]) -> None:
    """Close descriptors that are nobody's any more."""
    for fd in list(descriptors):
        _forks._held.pop(fd, None)
        os.close(fd)


def _nothing(*_: object) -> None:
    """Take no part in what a dropped change held: a mock would keep it."""
