"""A working directory for thousands of short runs, and the log that they write."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .recorder import Recorder
    from .stories import Start


class Records(logging.Handler):
    """Keeps what the library logs; a fresh list for each run."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.seen: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)


@pytest.fixture(autouse=True, scope="module")
def usual_umask() -> Iterator[None]:
    """The umask with which a new file gets the mode that the oracles expect of it."""
    former = os.umask(0o022)
    yield
    os.umask(former)


@pytest.fixture
def log() -> Iterator[Records]:
    """The library's log; pytest does not keep every line of thousands of runs."""
    logger = logging.getLogger("safeatomic")
    before = logger.propagate, logger.level
    handler = Records()
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.propagate, logger.level = before


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty directory for thousands of short-lived files, in memory if possible."""
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    directory = tempfile.mkdtemp(prefix="faults-", dir=memory)
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


class Stage:
    """Fresh directories for one recording after the other."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0
        self.root = ""

    def begin(self, start: Start) -> Recorder:
        """Set up a start in a fresh directory, which replaces the previous one."""
        self.clear()
        self._count += 1
        self.root = str(self._scratch / str(self._count))
        return start.begin(self.root)

    def clear(self) -> None:
        """Remove the present directory."""
        if self.root:
            shutil.rmtree(self.root)
            self.root = ""


@pytest.fixture
def stage(scratch: Path) -> Iterator[Stage]:
    """Fresh directories to record in."""
    stage = Stage(scratch)
    yield stage
    stage.clear()


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The same for a whole file of tests."""
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.clear()
