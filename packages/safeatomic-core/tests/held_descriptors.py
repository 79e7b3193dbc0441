"""Descriptors that no forked child may keep, children, and descriptor numbers in reuse."""

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


def take_number(number: int, path: str | Path, flags: int = os.O_RDONLY) -> None:
    """Open a file under the number of our descriptor, like a program that has closed it."""
    fd = os.open(path, flags)
    os.dup2(fd, number)
    os.close(fd)
