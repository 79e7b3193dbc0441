"""Forks beside threads that write: a child keeps no dead parent's lock alive.

A flock belongs to what parent and child share. So a process in which several threads take and give
up locks forks now and then, and is killed; its children live on. Whatever locks it held must be
dead for the next writer all the same: as soon as the children have run at all, since they close
their copies before anything else.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

import safeatomic_core as sa

from .processes import Children, Pipe

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

_THREADS = 4
_FORKS = 3
_ROUNDS = 30
_PAUSE = 0.05  # seconds
_ATTEMPTS = 100  # until the children have run; they live much longer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_children_of_a_killed_process_keep_none_of_its_locks(
    scratch: Path, tmp_path: Path, tally: Counter[str], seed: int, long_run: bool
) -> None:
    kept: list[str] = []
    found = 0
    for number in range(_ROUNDS * 10 if long_run else _ROUNDS):
        folder = (scratch, tmp_path)[number % 2]
        pipe = Pipe()
        with Children() as children:
            victim = children.fork(functools.partial(_live_and_die, folder, pipe, seed + number))
            assert children.wait(victim) == -signal.SIGKILL
            for thread in range(_THREADS):
                path = folder / str(thread)
                found += sa.inspect_lock(path).exists
                try:
                    sa.write_atomic_bytes(path, b"next", retries=_ATTEMPTS, delay=_PAUSE)
                except sa.LockError as error:
                    kept.append(f"round {number}, thread {thread}: {error}")
        pipe.close()  # the end of the children
        tally["forks beside threads that lock"] += _FORKS
    tally["locks of a killed process whose children live"] += found
    assert not kept, "\n".join(kept)
    assert found, "nobody was killed while holding a lock: the test shows nothing"


def _live_and_die(folder: Path, pipe: Pipe, seed: int) -> None:
    """Write in threads, fork, and be killed; the children stay until the pipe is closed."""
    pipe.only_read()
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, Python 3.12
    dice = random.Random(seed)
    for thread in range(_THREADS):
        threading.Thread(target=_write_for_ever, args=(folder / str(thread),), daemon=True).start()
    time.sleep(dice.uniform(0.02, 0.06))
    for _ in range(_FORKS):
        if os.fork() == 0:
            pipe.hear()
            os._exit(0)
        time.sleep(dice.uniform(0, 0.01))
    os.kill(os.getpid(), signal.SIGKILL)


def _write_for_ever(path: Path) -> None:
    while True:
        sa.write_atomic_bytes(path, b"x" * 2000, write_checksum=True)
