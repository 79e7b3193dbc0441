"""Descriptors that no forked child may keep, and children; for the tests of forks."""

from __future__ import annotations

import os
from pathlib import Path

from safeatomic_core._forks import Held

CREATE = os.O_RDWR | os.O_CREAT


def held_at(path: Path) -> Held:
    held = Held()
    held.shows(os.fstat(held.open(os.open, path, CREATE)))
    return held


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
