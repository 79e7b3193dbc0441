"""Simulate the death of a process whose writer is in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest import mock

from safeatomic_core import _abandoned, _change, _forks, _held_locks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager


def without_last_wishes() -> AbstractContextManager[object]:
    """Keep dropped changes from being closed, because a dead process closes none."""
    return mock.patch.object(_change, "_close_abandoned", _nothing)


def bury(descriptors: Iterable[int]) -> None:
    """Close the descriptors of a dead process, and discard the state in its memory.

    The kernel closes only descriptors. The marks of changes under way, the kept locks and the
    undecided writers are gone with the process, and nothing is undone.
    """
    close(descriptors)
    _abandoned._guards.clear()
    _held_locks._under_way.clear()
    _held_locks._kept.clear()
    _held_locks._seen.set(())


def close(descriptors: Iterable[int]) -> None:
    """Close descriptors that no longer have an owner."""
    for fd in list(descriptors):
        _forks._held.pop(fd, None)
        os.close(fd)


def _nothing(*_: object) -> None:
    """Do nothing, and keep no reference to a dropped change, as a mock would."""
