"""Show where the time of one call goes: ``python tests-integration/benchmarks/breakdown.py``.

Every system call of the library passes one seam, so timing its entries splits a call into the
flushes, the other system calls (names, locks, metadata) and what is left: the interpreter. Timing
costs something itself; that is measured with an empty entry and taken off. How many Python
functions a call runs through is counted as well.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import machine
from opponents import bare_write
from rows_files import CALLS, MODES

import safeatomic_core
from safeatomic_core import read_atomic_bytes
from safeatomic_core._posix import intercept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

_FLUSHES = ("fsync", "posix_fadvise")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the breakdown of each mode on each filesystem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=400, help="calls to take the median of")
    machine.add_arguments(parser)
    parser.add_argument("--only", default="", help="modes whose name has this")
    parser.add_argument("--filesystem", choices=("ext4", "tmpfs"), action="append")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    options = parser.parse_args(arguments)
    with machine.workspace(options) as folders:
        result = {
            "machine": machine.describe(folders),
            "filesystems": {
                filesystem: _one_filesystem(
                    filesystem,
                    os.path.join(folders.of(filesystem), "file"),
                    options.only,
                    options.calls,
                )
                for filesystem in options.filesystem or ("ext4", "tmpfs")
            },
        }
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    return 0


def _one_filesystem(filesystem: str, path: str, only: str, calls: int) -> dict[str, object]:
    data = os.urandom(4096)

    def writing(write: Callable[[str, bytes], None]) -> Callable[[], None]:
        return lambda: write(path, data)

    _, bare = whole_and_parts(writing(bare_write), calls)
    print(f"{filesystem}: the bare protocol {bare * 1e6:.1f} us")
    measured = [
        breakdown(CALLS[mode], writing(write), calls)
        for mode, write in MODES.items()
        if only in mode
    ]
    if only in "read":
        measured.append(breakdown("read_atomic_bytes()", lambda: read_atomic_bytes(path), calls))
    return {"bare": bare * 1e6, "calls": measured}


def breakdown(title: str, operation: Callable[[], object], calls: int) -> dict[str, object]:
    """Print where the time of an operation goes, medians in microseconds, and return it."""
    parts, whole = whole_and_parts(operation, calls)
    flushes = sum(seconds for name, (_, seconds) in parts.items() if name in _FLUSHES)
    others = sum(seconds for _, seconds in parts.values()) - flushes
    result = {
        "call": title,
        "whole": whole * 1e6,
        "flushes": flushes * 1e6,
        "others": others * 1e6,
        "interpreter": max(0.0, whole - flushes - others) * 1e6,
        "functions": python_functions(operation),
        "entries": {name: [times, seconds * 1e6] for name, (times, seconds) in parts.items()},
    }
    print(f"  {title}: {whole * 1e6:.1f} us")
    for name, (times, seconds) in sorted(parts.items(), key=lambda item: -item[1][1]):
        print(f"    {name:<16} {times:>3} x {seconds * 1e6:>10.1f} us")
    print(
        f"    flushes {result['flushes']:.1f} us, other system calls {result['others']:.1f} us, "
        f"interpreter {result['interpreter']:.1f} us in {result['functions']} Python functions"
    )
    return result


def python_functions(operation: Callable[[], object]) -> int:
    """Return how many of the library's Python functions a call runs through."""
    library = os.path.dirname(safeatomic_core.__file__)
    called: list[str] = []

    def note(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(library):
            called.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return len(called)


def whole_and_parts(
    operation: Callable[[], object], calls: int
) -> tuple[dict[str, tuple[int, float]], float]:
    """Return, by seam entry, how often it is called and its seconds in all; and the whole call's.

    Undisturbed and timed calls take turns, so that both see the same machine.
    """
    watch = _Watch()
    wholes = []
    operation()
    gc.disable()
    try:
        for _ in range(calls):
            start = time.perf_counter()
            operation()
            wholes.append(time.perf_counter() - start)
            with intercept(watch.wrap):
                operation()
            watch.next_call()
    finally:
        gc.enable()
    return watch.parts(), statistics.median(wholes)


class _Watch:
    """Times the entries of the seam, call by call."""

    def __init__(self) -> None:
        self._now: dict[str, list[float]] = {}
        self._seen: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        clock = time.perf_counter

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            try:
                return call(*args, **kwargs)
            finally:
                self._now.setdefault(name, []).append(clock() - start)

        return timed

    def next_call(self) -> None:
        for name, times in self._now.items():
            self._seen[name].append((len(times), sum(times)))
        self._now = {}

    def parts(self) -> dict[str, tuple[int, float]]:
        cost = self._cost()
        return {
            name: (
                seen[0][0],
                max(0.0, statistics.median(total - count * cost for count, total in seen)),
            )
            for name, seen in self._seen.items()
        }

    def _cost(self) -> float:
        """Return what timing one call adds to its time, in seconds."""
        empty = self.wrap("", lambda *_args, **_kwargs: None)
        for _ in range(1000):
            empty(1, dir_fd=2)
        return statistics.median(self._now.pop(""))


if __name__ == "__main__":
    sys.exit(main())
