"""Break the core at a random sample of points and report how many the tests notice.

python tests-integration/mutation/run.py --sample 100 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mutation import points, trial


def main() -> int:
    """Run the sample; 1 if the core as it is fails, or fewer than the wanted part are caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=100, help="how many, 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--module", default="", help="only sources whose path contains this")
    parser.add_argument("--least", type=float, default=0.0, help="the wanted part, in percent")
    parser.add_argument("--list", action="store_true", help="print the sample, run nothing")
    parser.add_argument("--quick", action="store_true", help="unit tests only")
    parser.add_argument("--report", type=Path, help="file for the verdicts, as JSON")
    options = parser.parse_args()
    everything = _points(options.module)
    chosen = everything
    if 0 < options.sample < len(everything):
        chosen = random.Random(options.seed).sample(everything, options.sample)
    print(f"{len(chosen)} of {len(everything)} mutants, seed {options.seed}", flush=True)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    verdicts = _try(chosen, options.workers, quick=options.quick)
    survivors = [verdict for verdict in verdicts if verdict.caught_by == trial.SURVIVED]
    for stage, count in Counter(verdict.caught_by for verdict in verdicts).most_common():
        print(f"{count:5}  {stage}")
    for verdict in sorted(survivors, key=str):
        print(f"survived: {verdict.point}")
    rate = 100 * (1 - len(survivors) / len(verdicts)) if verdicts else 0.0
    print(f"caught: {rate:.1f} % of {len(verdicts)}")
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


def _try(chosen: list[points.Point], workers: int, *, quick: bool) -> list[trial.Verdict]:
    whole = trial.attempt(None, quick=quick)
    if whole.caught_by != trial.SURVIVED:
        raise SystemExit(f"the core as it is fails in its {whole.caught_by}: nothing to be learnt")
    print(f"the core as it is passes in {whole.seconds:.0f} s", flush=True)
    verdicts = []
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(trial.attempt, point, quick=quick) for point in chosen]
        for done in as_completed(waiting):
            verdict = done.result()
            verdicts.append(verdict)
            print(
                f"{len(verdicts):4} {verdict.caught_by:16} {verdict.how:8} {verdict.seconds:5.0f} s"
                f"  {verdict.point}",
                flush=True,
            )
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
