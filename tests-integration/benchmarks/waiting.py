"""How evenly waiting processes get a lock: this library, polling at `delay`, and a blocking flock.

    python tests-integration/benchmarks/waiting.py [SECONDS] [PROCESSES]

Each process takes the lock, keeps it for a millisecond, releases it, and starts again. Printed are
the turns of the poorest and of the richest process, all turns, and the refused acquisitions.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from safeatomic_core import release_lock, try_acquire_lock

HELD = 0.001  # seconds under the lock
RETRIES, DELAY = 50, 0.1


def library(path: str) -> bool:
    """Take the lock as the library waits for it."""
    if not try_acquire_lock(path, retries=RETRIES, delay=DELAY):
        return False
    time.sleep(HELD)
    release_lock(path)
    return True


def polling(path: str) -> bool:
    """Take the lock by one attempt after each ``delay``, as the library did before."""
    for _ in range(RETRIES):
        if try_acquire_lock(path):
            time.sleep(HELD)
            release_lock(path)
            return True
        time.sleep(DELAY)
    return False


def blocking(path: str) -> bool:
    """Wait in a blocking flock, without any bound."""
    fd = os.open(path + ".flock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        time.sleep(HELD)
    finally:
        os.close(fd)
    return True


def work(take: Callable[[str], bool], path: str, until: float, results: Any) -> None:
    """Take turns until the time is up."""
    turns = refused = 0
    while time.monotonic() < until:
        if take(path):
            turns += 1
        else:
            refused += 1
    results.put((turns, refused))


def measure(take: Callable[[str], bool], seconds: float, processes: int) -> str:
    """Let processes take turns, and describe the spread."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "data")
        until = time.monotonic() + 0.5 + seconds
        workers = [
            context.Process(target=work, args=(take, path, until, results))
            for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        spread = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
    turns = sorted(turn for turn, _ in spread)
    refused = sum(refusal for _, refusal in spread)
    return f"poorest {turns[0]}, richest {turns[-1]}, all {sum(turns)}, refused {refused}"


def main() -> None:
    """Measure each way of waiting once."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    for take in (blocking, polling, library):
        print(f"{take.__name__:10} {measure(take, seconds, processes)}", flush=True)


if __name__ == "__main__":
    main()
