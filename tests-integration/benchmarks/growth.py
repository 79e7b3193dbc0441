"""Measure growth: ``python tests-integration/benchmarks/growth.py --write docs/performance``.

Sizes from 1 KiB to 1 GiB, and 1 to 64 threads on a file each, on ext4. The numbers go into
``growth.json``, the plots (see `plot`) beside it; ``--plots`` draws them anew from the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import machine
from opponents import bare_write_all
from plot import Line, Plot
from rows import KIB, MIB, Folders
from rows_files import MODES
from rows_programs import in_threads
from timing import interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from timing import Operation

_SIZES = tuple(KIB << power for power in range(0, 21, 2))  # 1 KiB to 1 GiB
_THREADS = (1, 2, 4, 8, 16, 32, 64)
_WRITES = 8
# Of a lightness that a white and a black page can show.
_COLOURS = {"bare": "#8a8a8a", "none": "#2a9d4a", "default": "#3b82f6", "checksum": "#e05252"}
_LABELS = {
    "bare": "bare protocol",
    "none": 'concurrency="none"',
    "default": "default (lock)",
    "checksum": "write_checksum=True",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and draw, or draw what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", metavar="DIR", required=True, help="where the results go")
    parser.add_argument("--plots", action="store_true", help="draw the measured numbers only")
    parser.add_argument("--seconds", type=float, default=15.0, help="time for each point")
    parser.add_argument("--largest", type=int, default=_SIZES[-1], help="largest size in bytes")
    machine.add_arguments(parser)
    options = parser.parse_args(arguments)
    numbers = os.path.join(options.write, "growth.json")
    if not options.plots:
        with machine.workspace(options) as folders:
            result = {
                "machine": machine.describe(folders),
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "sizes": _by_size(folders, options.seconds, options.largest),
                "threads": _by_threads(folders, options.seconds),
            }
        with open(numbers, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    with open(numbers, encoding="utf-8") as file:
        draw(json.load(file), options.write)
    return 0


def draw(result: dict[str, Any], folder: str) -> None:
    """Draw the plots of a result."""
    _save(
        folder,
        "size.svg",
        Plot(
            "Time of one write by size (ext4)",
            "size",
            "milliseconds",
            _lines(
                result["sizes"],
                "size",
                lambda point, mode: 1000 * point["seconds"][mode]["median"],
            ),
            x_labels={KIB: "1 KiB", MIB: "1 MiB", 32 * KIB: "32 KiB", 32 * MIB: "32 MiB",
                      1024 * MIB: "1 GiB"},
        ),
    )  # fmt: skip
    _save(
        folder,
        "threads.svg",
        Plot(
            "Writes per second by threads, 4 KiB each (ext4)",
            "threads",
            "writes per second",
            _lines(
                result["threads"],
                "threads",
                lambda point, mode: 1 / point["seconds_per_write"][mode]["median"],
            ),
            x_labels={threads: str(threads) for threads in _THREADS},
        ),
    )


def _by_size(folders: Folders, budget: float, largest: int) -> list[dict[str, Any]]:
    points = []
    for size in (size for size in _SIZES if size <= largest):
        result = interleave(
            _writers(folders.of("ext4"), os.urandom(size)),
            lambda times: times["default"] / times["bare"],
            budget=budget,
            batch=5 if size < MIB else 1,
            least=7 if size < 256 * MIB else 5,
        )
        points.append(
            {
                "size": size,
                "rounds": result.rounds,
                "seconds": {name: times._asdict() for name, times in result.seconds.items()},
            }
        )
        print(size, {name: times.median for name, times in result.seconds.items()}, flush=True)
    return points


def _by_threads(folders: Folders, budget: float) -> list[dict[str, Any]]:
    points = []
    folder = folders.of("ext4")
    writes: dict[str, Callable[[str, bytes], None]] = {"bare": bare_write_all, **MODES}
    for threads in _THREADS:
        candidates = {
            name: in_threads(write, folder, name, threads, _WRITES)
            for name, write in writes.items()
        }
        result = interleave(
            candidates, lambda times: times["default"] / times["bare"], budget=budget, least=7
        )
        total = threads * _WRITES
        seconds = {
            name: {key: value / total for key, value in times._asdict().items()}
            for name, times in result.seconds.items()
        }
        points.append({"threads": threads, "rounds": result.rounds, "seconds_per_write": seconds})
        print(threads, {name: times["median"] for name, times in seconds.items()}, flush=True)
    return points


def _writers(folder: str, data: bytes) -> dict[str, Operation]:
    def writing(write: Callable[[str, bytes], None], name: str) -> Operation:
        path = os.path.join(folder, name)
        return lambda: write(path, data)

    return {
        "bare": writing(bare_write_all, "bare"),
        **{mode: writing(write, mode) for mode, write in MODES.items()},
    }


def _lines(
    points: list[dict[str, Any]], key: str, value: Callable[[dict[str, Any], str], float]
) -> list[Line]:
    return [
        Line(_LABELS[mode], colour, [(point[key], value(point, mode)) for point in points])
        for mode, colour in _COLOURS.items()
    ]


def _save(folder: str, name: str, plot: Plot) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(plot.svg())


if __name__ == "__main__":
    sys.exit(main())
