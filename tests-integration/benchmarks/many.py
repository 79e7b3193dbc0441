"""Measure many small files: ``python tests-integration/benchmarks/many.py --json FILE``.

Ten thousand files of 1 KiB, made durable in an empty directory by 1, 8 and 32 threads; then the
checksums of ten thousand files, recorded one by one and as ``safeatomic checksum -r`` does. The
contenders take turns, each in a directory of its own; the median of the rounds is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import machine
from opponents import bare_write
from rows_files import MODES

from safeatomic_core import write_checksum_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DATA = os.urandom(1024)
_THREADS = (1, 8, 32)
_WRITERS: dict[str, Callable[[str, bytes], None]] = {
    "bare": bare_write,
    "none": MODES["none"],
    "default": MODES["default"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the numbers down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--files", type=int, default=10_000, help="how many files")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    machine.add_arguments(parser)
    options = parser.parse_args(arguments)
    with machine.workspace(options) as folders:
        folder = folders.of("ext4")
        result: dict[str, Any] = {
            "machine": machine.describe(folders),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "files": options.files,
            "rounds": options.rounds,
            "rows": [],
        }
        for threads in _THREADS:
            contenders = {
                name: _spread_over(write, threads, options.files)
                for name, write in _WRITERS.items()
            }
            seconds = _in_turns(contenders, folder, options.rounds)
            what = "1 thread" if threads == 1 else f"{threads} threads"
            result["rows"].append({"what": what, "seconds": seconds})
            print(result["rows"][-1], flush=True)
        recorders = {"one by one": _one_by_one, "checksum -r": _together}
        seconds = _in_turns(recorders, folder, options.rounds, files=options.files)
        result["rows"].append({"what": "checksums", "seconds": seconds})
        print(result["rows"][-1], flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    return 0


def _in_turns(
    contenders: Mapping[str, Callable[[str], None]], folder: str, rounds: int, files: int = 0
) -> dict[str, float]:
    """Return the median seconds of each contender, over a fresh directory in each round."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for number in range(rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            place = os.path.join(folder, "many")
            os.mkdir(place)
            for file in range(files):
                with open(os.path.join(place, str(file)), "wb") as made:
                    made.write(_DATA)
            os.sync()
            begun = time.perf_counter()
            contenders[name](place)
            taken[name].append(time.perf_counter() - begun)
            shutil.rmtree(place)
            os.sync()
    return {name: statistics.median(values) for name, values in taken.items()}


def _spread_over(
    write: Callable[[str, bytes], None], threads: int, files: int
) -> Callable[[str], None]:
    """Return what writes the files of a directory by so many threads."""

    def operation(place: str) -> None:
        failures: list[BaseException] = []

        def work(first: int) -> None:
            try:
                for number in range(first, files, threads):
                    write(os.path.join(place, str(number)), _DATA)
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]  # what was not written must not count as fast

    return operation


def _one_by_one(place: str) -> None:
    for name in os.listdir(place):
        write_checksum_file(os.path.join(place, name))


def _together(place: str) -> None:
    command = [sys.executable, "-m", "safeatomic_core", "checksum", "-r", "--quiet", place]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
