"""Show where the time of one call goes: ``python tests-integration/benchmarks/breakdown.py``.

Every system call of the library passes one seam, so timing its entries splits a call into the
flushes, the other system calls (names, locks, metadata) and what is left: the interpreter. Timing
costs something itself; that is measured with an empty entry and taken off.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import statistics
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import machine
from opponents import bare_write
from rows_files import CALLS, MODES
from safeatomic_core import read_atomic_bytes
from safeatomic_core._posix import intercept, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FLUSHES = ("fsync", "posix_fadvise")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the breakdown of each mode on each filesystem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=400, help="calls to take the median of")
    parser.add_argument("--ext4", metavar="DIR", help="a directory on ext4")
    parser.add_argument("--tmpfs", metavar="DIR", default="/dev/shm", help="a directory on tmpfs")  # noqa: S108
    parser.add_argument("--only", default="", help="modes whose name has this")
    parser.add_argument("--filesystem", choices=("ext4", "tmpfs"), action="append")
    options = parser.parse_args(arguments)
    data = os.urandom(4096)
    with contextlib.contextmanager(machine.workspace)(
        machine.find_ext4(options.ext4), options.tmpfs
    ) as folders:
        for filesystem in options.filesystem or ("ext4", "tmpfs"):
            path = os.path.join(folders.of(filesystem), "file")
            bare = _median(lambda path=path: bare_write(path, data), options.calls)
            print(f"{filesystem}: the bare protocol {bare * 1e6:.1f} us")
            for mode, write in MODES.items():
                if options.only in mode:
                    operation = lambda write=write, path=path: write(path, data)  # noqa: E731
                    print(breakdown(CALLS[mode], operation, options.calls))
            if options.only in "read":
                print(breakdown("read_atomic_bytes()", lambda: read_atomic_bytes(path), 400))
    return 0


def breakdown(title: str, operation: Callable[[], object], calls: int) -> str:
    """Return a table of where the time of an operation goes, microseconds in the median."""
    whole = _median(operation, calls)
    spent, counts, cost = _by_entry(operation, calls)
    rows = [f"  {title}: {whole * 1e6:.1f} us"]
    system = 0.0
    flushes = 0.0
    for name in sorted(spent, key=lambda name: -statistics.median(spent[name])):
        each = max(0.0, statistics.median(spent[name]) - counts[name] * cost)
        system += each
        flushes += each if name in _FLUSHES else 0.0
        rows.append(f"    {name:<16} {counts[name]:>3} x {each * 1e6:>10.1f} us")
    rows.append(
        f"    flushes {flushes * 1e6:.1f} us, other system calls {(system - flushes) * 1e6:.1f} us, "
        f"interpreter {max(0.0, whole - system) * 1e6:.1f} us"
    )
    return "\n".join(rows)


def _by_entry(
    operation: Callable[[], object], calls: int
) -> tuple[dict[str, list[float]], dict[str, int], float]:
    """Return seconds per call by entry, how often each entry is called, and the cost of timing."""
    now: dict[str, float] = {}
    counts: dict[str, int] = {}
    clock = time.perf_counter

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return call(*args, **kwargs)
            finally:
                now[name] = now.get(name, 0.0) + clock() - start
                counts[name] = counts.get(name, 0) + 1

        return timed

    spent: dict[str, list[float]] = defaultdict(list)
    with intercept(wrap):
        operation()
        gc.disable()
        try:
            for _ in range(calls):
                now.clear()
                counts.clear()
                operation()
                for name, seconds in now.items():
                    spent[name].append(seconds)
        finally:
            gc.enable()
    empty = wrap("", lambda *_args, **_kwargs: None)
    probe = []
    for _ in range(1000):
        now[""] = 0.0
        empty(1, dir_fd=2)
        probe.append(now[""])
    del counts[""]
    return spent, counts, statistics.median(probe)


def _median(operation: Callable[[], object], calls: int) -> float:
    operation()
    gc.disable()
    try:
        samples = []
        for _ in range(calls):
            start = time.perf_counter()
            operation()
            samples.append(time.perf_counter() - start)
    finally:
        gc.enable()
    return statistics.median(samples)


if __name__ == "__main__":
    kernel.stat(".")  # the seam is what is measured
    sys.exit(main())
