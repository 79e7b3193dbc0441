"""Measure every row of the performance table: ``python tests-integration/benchmarks/bench.py``.

Each row is a ratio within one run (see `timing`); its target stands beside it. ``--quick`` takes a
tenth of the time, ``--only NAME`` the rows whose name contains that text.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import machine
import rows_files
import rows_mounts
import rows_peers
import rows_programs
from opponents import Skipped
from timing import Result, interleave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rows import Folders, Row


class Outcome(NamedTuple):
    """A row and what came of it."""

    row: Row
    result: Result | None
    verdict: str  # PASS, MISS, INFO or SKIP
    notes: dict[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that were asked for; 1 if any of them misses its target."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time for each row")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each row")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows whose name has this")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    machine.add_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    options = parser.parse_args(arguments)
    chosen = [row for row in all_rows() if _wanted(row, options.only)]
    if options.list:
        for row in chosen:
            print(f"{row.name:<32} {row.what}")
        return 0
    budget = options.seconds / 10 if options.quick else options.seconds
    with machine.workspace(options) as folders:
        described = machine.describe(folders)
        print(json.dumps(described))
        outcomes = []
        for row in chosen:
            outcome = run_row(row, folders, budget)
            print(line(outcome), flush=True)
            outcomes.append(outcome)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(as_json(outcomes, described, budget), file, indent=1)
                file.write("\n")
    missed = [outcome.row.name for outcome in outcomes if outcome.verdict == "MISS"]
    print(f"{len(missed)} missed" + (f": {', '.join(missed)}" if missed else ""))
    return 1 if missed and options.strict else 0


def all_rows() -> list[Row]:
    """Return every row; those that leave much to be deleted come last."""
    return [
        *rows_peers.rows(),
        *rows_files.rows(),
        *rows_programs.rows(),
        *rows_mounts.rows(),
        *rows_files.rows_new_names(),
        *rows_programs.rows_crowded(),
    ]


def run_row(row: Row, folders: Folders, budget: float) -> Outcome:
    """Make a row ready, measure it, clean up."""
    try:
        with contextlib.contextmanager(row.prepare)(folders) as plan:
            result = interleave(plan.candidates, plan.figure, budget=budget, batch=plan.batch)
            notes = dict(plan.notes or {})
    except Skipped as reason:
        return Outcome(row, None, "SKIP", {"reason": str(reason)})
    if row.limit is None:
        return Outcome(row, result, "INFO", notes)
    figure = result.figure.median
    passed = figure >= row.limit if row.at_least else figure <= row.limit
    return Outcome(row, result, "PASS" if passed else "MISS", notes)


def line(outcome: Outcome) -> str:
    """Write an outcome as one line."""
    row, result = outcome.row, outcome.result
    if result is None:
        return f"SKIP {row.name}: {outcome.notes['reason']}"
    sign = ">=" if row.at_least else "<="
    target = "" if row.limit is None else f"{sign} {row.limit:g}"
    figure = result.figure
    times = ", ".join(f"{name} {_human(times.median)}" for name, times in result.seconds.items())
    notes = "".join(f"; {name} {value}" for name, value in outcome.notes.items())
    return (
        f"{outcome.verdict} {row.name:<30} {figure.median:7.3f} {row.unit:<2} "
        f"[{figure.low:.3f}..{figure.high:.3f}] {target:<8} {result.rounds:>5} rounds: "
        f"{times}{notes}"
    )


def as_json(
    outcomes: list[Outcome], described: dict[str, object], budget: float
) -> dict[str, object]:
    """Return the whole run as plain data."""
    return {
        "machine": described,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds_per_row": budget,
        "rows": [
            {
                "name": row.name,
                "what": row.what,
                "against": row.against,
                "unit": row.unit,
                "target": row.limit,
                "at_least": row.at_least,
                "verdict": verdict,
                "notes": notes,
                "rounds": None if result is None else result.rounds,
                "figure": None if result is None else result.figure._asdict(),
                "seconds": None
                if result is None
                else {name: times._asdict() for name, times in result.seconds.items()},
            }
            for row, result, verdict, notes in outcomes
        ],
    }


def _wanted(row: Row, only: list[str] | None) -> bool:
    return not only or any(text in row.name for text in only)


def _human(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


if __name__ == "__main__":
    sys.exit(main())
