"""A place to work in for thousands of short runs, and the log they write."""

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


class Records(logging.Handler):
    """Keeps what the library logs; a fresh list for each run."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.seen: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)


@pytest.fixture
def log() -> Iterator[Records]:
    """What the library logs, without pytest keeping every line of thousands of runs."""
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
    """An empty directory for thousands of short-lived files: in memory where that can be had."""
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    directory = tempfile.mkdtemp(prefix="faults-", dir=memory)
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
