"""Break the core at a random sample of points and report how many the tests notice.

python tests-integration/mutation/run.py --sample 100 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mutation import explained, points, pool, trial


def main() -> int:
    """Run the sample; 1 if the core as it is fails, or fewer than the wanted part are caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="how many, 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--module", default="", help="only sources whose path contains this")
    parser.add_argument("--least", type=float, default=0.0, help="wanted part, in percent")
    parser.add_argument(
        "--at", action="append", help="only points whose description contains this, or another --at"
    )
    parser.add_argument("--list", action="store_true", help="print the sample, run nothing")
    parser.add_argument(
        "--quick", action="store_true", help="unit tests only: of each line and of each module"
    )
    parser.add_argument("--report", type=Path, help="file for the verdicts, as JSON")
    options = parser.parse_args()
    if stale := explained.stale(_points("")):
        raise SystemExit(f"explained, and no longer there: {stale}")
    everything = _points(options.module)
    if options.at:
        everything = [p for p in everything if any(text in str(p) for text in options.at)]
    chosen = everything
    if 0 < options.sample < len(everything):
        chosen = random.Random(options.seed).sample(everything, options.sample)
    print(f"{len(chosen)} of {len(everything)} mutants, seed {options.seed}", flush=True)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    verdicts = _try(chosen, options.workers, quick=options.quick)
    rate = _report(verdicts)
    if options.report is not None:
        figures = {f"mutants of a random sample: {v.point}": v.caught_by for v in verdicts}
        options.report.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 1 if rate < options.least else 0


def _points(wanted: str) -> list[points.Point]:
    sources = {
        path.relative_to(trial.PACKAGE).as_posix(): path.read_text("utf-8")
        for path in trial.PACKAGE.rglob("*.py")
    }
    found = [point for point in points.of_package(trial.PACKAGE) if wanted in point.module]
    return list(points.check(found, sources))


def _report(verdicts: list[trial.Verdict]) -> float:
    """Print what was found, and return the part that was caught or is explained, in percent."""
    for stage, count in Counter(verdict.caught_by for verdict in verdicts).most_common():
        print(f"{count:5}  {stage}")
    left = [verdict.point for verdict in verdicts if verdict.caught_by == trial.SURVIVED]
    survivors = sorted((point for point in left if point is not None), key=str)
    unexplained = [point for point in survivors if not explained.reason(point)]
    for point in survivors:
        why = explained.reason(point)
        print(f"survived: {point}{f' ({why})' if why else ''}")
    if not verdicts:
        return 0.0
    rate = 100 * (1 - len(survivors) / len(verdicts))
    of_importance = 100 * (1 - len(unexplained) / len(verdicts))
    print(f"caught: {rate:.1f} % of {len(verdicts)}; caught or explained: {of_importance:.1f} %")
    return of_importance


def _try(chosen: list[points.Point], workers: int, *, quick: bool) -> list[trial.Verdict]:
    lines = pool.make_map()
    print("the core as it is passes its unit tests", flush=True)
    verdicts: list[trial.Verdict] = []

    def add(verdict: trial.Verdict) -> None:
        verdicts.append(verdict)
        print(
            f"{len(verdicts):4} {verdict.caught_by:16} {verdict.how:8} {verdict.seconds:5.0f} s"
            f"  {verdict.point}",
            flush=True,
        )

    for point in filter(explained.reason, chosen):
        add(trial.Verdict(point, trial.SURVIVED, "", 0.0))  # nobody need try
    chosen = [point for point in chosen if not explained.reason(point)]
    left: list[points.Point] = []
    passed: list[points.Point] = []
    with pool.Pool(workers) as servers, ThreadPoolExecutor(workers) as threads:
        everything = lines.quickest()
        if servers.ask(None, everything, lines.limits_s(everything)) != pool.PASSED:
            raise SystemExit("the core as it is fails in a server of tests")
        looks = {threads.submit(_look, servers, lines, point): point for point in chosen}
        for done in as_completed(looks):
            how, seconds = done.result()
            if pool.caught(how):
                add(trial.Verdict(looks[done], "tests of its line", how, seconds))
            elif how == pool.PASSED and quick:
                passed.append(looks[done])
            else:
                left.append(looks[done])
    print(f"{len(left)} go on to all tests, {len(passed)} to those of their module", flush=True)
    if left or passed:
        trial.require_sound(quick=quick)
    with ThreadPoolExecutor(workers) as threads:
        waiting_long = [threads.submit(trial.attempt, point, quick=quick) for point in left]
        waiting_long += [
            threads.submit(trial.attempt, point, quick=True, own=True) for point in passed
        ]
        for finished in as_completed(waiting_long):
            add(finished.result())
    return verdicts


def _look(servers: pool.Pool, lines: pool.Map, point: points.Point) -> tuple[str, float]:
    """Return what the tests of a point's line say of it, and how long they took, in seconds."""
    started = time.monotonic()
    tests = lines.tests_of(point)
    how = servers.ask(point, tests, lines.limits_s(tests)) if tests else pool.UNFIT
    return how, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
