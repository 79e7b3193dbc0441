"""Check all TLA+ models with TLC and compare with the committed results: `python formal/run.py`.

Every `*.runs.toml` beside this file lists runs of TLC. A run that should pass must explore its
model completely, without an error, and take every action of the model; a broken variant must be
refuted by the invariant or property that the list names, with a short counterexample. The numbers
(states, distinct states, depth, steps per action, verdict, hashes of the model's files) are then
compared with `reports/MANIFEST.json`; `--update` writes them there, with TLC's output beside it.

Exit codes: 0 all as expected; 1 something was not; 77 there is no Java or no jar here (with CI=true
in the environment that is a 1).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tlc
from model_runs import Run, load_runs, select

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).resolve().parent
REPORTS = HERE / "reports"
MANIFEST = "MANIFEST.json"
EXIT_SKIPPED = 77

# Counterexamples are read by people. A longer one is a sign of a configuration that is too large.
LONGEST_COUNTEREXAMPLE = 30


@dataclass
class Result:
    """A run, what TLC showed, how long it took (seconds), and what is wrong with it."""

    run: Run
    outcome: tlc.Outcome
    seconds: float
    problems: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the models; return the exit code."""
    options = _parse(argv)
    try:
        runs = load_runs(HERE)
        selected = select(runs, only=options.only, large=options.large)
        tool = tlc.find_tlc()
    except tlc.ToolMissingError as missing:
        return _say_missing(missing)
    except ValueError as wrong:
        print(f"formal: {wrong}")
        return 1
    print(f"{len(selected)} runs of TLC, {options.jobs} at a time, one worker each", flush=True)
    recorded = read_manifest(REPORTS)

    def done(result: Result) -> None:
        if options.update:
            update_reports(REPORTS, [result], runs)
        else:
            now = entry(HERE, result)
            result.problems += differences(now, recorded.get(result.run.name))
        mark = f"NOT AS EXPECTED: {'; '.join(result.problems)}" if result.problems else "ok"
        print(f"  {result.run.name:32} {result.seconds:6.1f} s  {mark}", flush=True)

    results = execute(tool, selected, jobs=options.jobs, done=done)
    if not options.only:
        for result in results:
            result.problems += not_covered(result, results)
    stray = sorted(read_manifest(REPORTS).keys() - {run.name for run in runs})
    _print_table(results)
    return _summarise(results, stray)


def execute(
    tool: tlc.Tlc, runs: list[Run], *, jobs: int, done: Callable[[Result], None]
) -> list[Result]:
    """Make the runs, `jobs` at a time, long ones first; call `done` with each; keep the order."""
    order = sorted(runs, key=lambda run: (run.size != "large", run.expect != "pass"))
    results = {}
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        for future in as_completed([pool.submit(_execute_one, tool, run) for run in order]):
            result = future.result()
            results[result.run.name] = result
            done(result)
    finally:
        pool.shutdown(cancel_futures=True)
    return [results[run.name] for run in runs]


def judge(run: Run, outcome: tlc.Outcome) -> list[str]:
    """Say what is wrong with the outcome of a run, apart from the recorded numbers."""
    if outcome.verdict == "error":
        lines = [line for line in outcome.text.splitlines() if line.strip()]
        detail = next((line for line in lines if line.startswith("Error:")), " ".join(lines[-3:]))
        return [f"TLC failed with exit code {outcome.exit_code}: {detail}"]
    if run.expect == "pass":
        return _judge_pass(run, outcome)
    return _judge_violation(run, outcome)


def not_covered(result: Result, results: list[Result]) -> list[str]:
    """Name the actions that a run declares idle and that no other run of its model takes."""
    taken: set[str] = set()
    for other in results:
        if other.run.model == result.run.model and other.run.expect == "pass":
            taken |= {name for name, (_, steps) in other.outcome.actions.items() if steps}
    return [f"no run takes the action {name}" for name in result.run.idle if name not in taken]


def entry(directory: Path, result: Result) -> dict[str, Any]:
    """Make the manifest entry of a run: only what is the same on every machine."""
    run, outcome = result.run, result.outcome
    return {
        "model": run.model,
        "config": run.config,
        "size": run.size,
        "about": run.about,
        "expect": run.expect,
        "violates": run.violates,
        "verdict": outcome.verdict,
        "violated": outcome.violated,
        "states": outcome.states,
        "distinct": outcome.distinct,
        "depth": outcome.depth,
        "counterexample": outcome.trace_length,
        "actions": {name: outcome.actions[name][1] for name in sorted(outcome.actions)},
        "sha256": hashes_of(directory, run),
    }


def hashes_of(directory: Path, run: Run) -> dict[str, str]:
    """Return the SHA-256 of each file that the numbers of a run depend on."""
    files = [*tlc.local_modules(directory, run.model), directory / run.config]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def differences(now: dict[str, Any], recorded: dict[str, Any] | None) -> list[str]:
    """Say how a manifest entry differs from the recorded one."""
    if recorded is None:
        return ["not in the manifest: run with --update"]
    found = []
    for key in sorted(now.keys() | recorded.keys()):
        if now.get(key) == recorded.get(key) or key == "about":
            continue
        if isinstance(now.get(key), dict) and isinstance(recorded.get(key), dict):
            changed = sorted(
                name
                for name in now[key].keys() | recorded[key].keys()
                if now[key].get(name) != recorded[key].get(name)
            )
            found.append(f"{key} differs from the manifest: {', '.join(changed)}")
        else:
            found.append(f"{key} is {now.get(key)}, the manifest says {recorded.get(key)}")
    return found


def read_manifest(reports: Path) -> dict[str, dict[str, Any]]:
    """Read the recorded entries; none if there is no manifest."""
    path = reports / MANIFEST
    if not path.is_file():
        return {}
    runs: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return runs


def update_reports(reports: Path, results: list[Result], runs: list[Run]) -> None:
    """Record what is as expected; forget runs that are not listed, or whose files have changed."""
    reports.mkdir(exist_ok=True)
    hashes = {run.name: hashes_of(HERE, run) for run in runs}
    entries = {
        name: old
        for name, old in read_manifest(reports).items()
        if hashes.get(name) == old["sha256"]
    }
    for result in results:
        if result.problems:
            continue
        entries[result.run.name] = entry(HERE, result)
        (reports / f"{result.run.name}.txt").write_text(result.outcome.text, encoding="utf-8")
    for path in reports.glob("*.txt"):
        if path.stem not in entries:
            path.unlink()
    manifest = {
        "tool": {"name": "TLC", "version": "2.15", "sha256": tlc.JAR_SHA256},
        "runs": {name: entries[name] for name in sorted(entries)},
    }
    (reports / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="formal/run.py", description="Check the TLA+ models.")
    parser.add_argument("--update", action="store_true", help="record the results in reports/")
    parser.add_argument("--large", action="store_true", help="make the large runs too")
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="a run or a model; may be a pattern"
    )
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N")
    return parser.parse_args(argv)


def _say_missing(missing: tlc.ToolMissingError) -> int:
    required = os.environ.get("CI") == "true"
    print("=" * 78)
    print(f"formal: THE MODELS WERE NOT CHECKED: {missing}.")
    print("formal: on CI that is a failure." if required else "formal: skipped.")
    print("=" * 78)
    return 1 if required else EXIT_SKIPPED


def _execute_one(tool: tlc.Tlc, run: Run) -> Result:
    started = time.monotonic()
    outcome = tlc.run(
        tool,
        tlc.local_modules(HERE, run.model),
        run.model,
        HERE / run.config,
        deadlock=run.deadlock,
        coverage=run.expect == "pass",
        brief=run.expect != "pass",
    )
    return Result(run, outcome, time.monotonic() - started, judge(run, outcome))


def _judge_pass(run: Run, outcome: tlc.Outcome) -> list[str]:
    if outcome.verdict != "pass":
        return [f"{_violated(run, outcome)} is violated after {outcome.trace_length} states"]
    problems = []
    if outcome.left:
        problems.append(f"{outcome.left} states were left unexplored")
    if not outcome.actions:
        problems.append("TLC reported no coverage")
    for name, (_, steps) in sorted(outcome.actions.items()):
        if not steps and name not in run.idle:
            problems.append(f"the action {name} was never enabled")
        if steps and name in run.idle:
            problems.append(f"the action {name} is listed as idle, but was taken")
    return problems


def _judge_violation(run: Run, outcome: tlc.Outcome) -> list[str]:
    if outcome.verdict != "violation":
        return [f"passed, but must violate {run.violates}"]
    problems = []
    if _violated(run, outcome) != run.violates:
        problems.append(f"violates {_violated(run, outcome)}, expected {run.violates}")
    if outcome.trace_length > LONGEST_COUNTEREXAMPLE:
        problems.append(f"the counterexample has {outcome.trace_length} states")
    return problems


def _violated(run: Run, outcome: tlc.Outcome) -> str:
    """Name what was violated. TLC names no temporal property: then it must be the only one."""
    if outcome.violated != "temporal":
        return outcome.violated or "nothing"
    properties = named(HERE / run.config, "PROPERTY", "PROPERTIES")
    return properties[0] if len(properties) == 1 else f"one of {', '.join(properties)}"


def named(config: Path, *sections: str) -> list[str]:
    """Return what a configuration names in its sections of these kinds."""
    keywords = {
        "SPECIFICATION", "INIT", "NEXT", "CONSTANT", "CONSTANTS", "INVARIANT", "INVARIANTS",
        "PROPERTY", "PROPERTIES", "CONSTRAINT", "CONSTRAINTS", "ACTION_CONSTRAINT", "SYMMETRY",
        "ACTION_CONSTRAINTS", "VIEW",
    }  # fmt: skip
    found, inside = [], False
    for line in config.read_text(encoding="utf-8").splitlines():
        for word in line.split("\\*")[0].split():
            if word in keywords:
                inside = word in sections
            elif inside:
                found.append(word)
    return found


def _print_table(results: list[Result]) -> None:
    print(f"\n{'run':32} {'states':>10} {'distinct':>9} {'depth':>5} {'s':>6}  result")
    for result in results:
        run, outcome = result.run, result.outcome
        if outcome.verdict == "pass":
            shown = "no error"
        elif outcome.verdict == "violation":
            shown = f"{_violated(run, outcome)} refuted in {outcome.trace_length} states"
        else:
            shown = "TLC failed"
        print(
            f"{run.name:32} {outcome.states:10} {outcome.distinct:9} {outcome.depth:5} "
            f"{result.seconds:6.1f}  {shown}"
        )


def _summarise(results: list[Result], stray: list[str]) -> int:
    failed = [result for result in results if result.problems]
    print()
    for result in failed:
        for problem in result.problems:
            print(f"NOT AS EXPECTED {result.run.name}: {problem}")
    for name in stray:
        print(f"NOT AS EXPECTED the manifest records {name}, which no list names")
    held = sum(1 for r in results if r.run.expect == "pass" and not r.problems)
    refuted = sum(1 for r in results if r.run.expect == "violation" and not r.problems)
    print(
        f"formal: {held} models hold, {refuted} broken variants refuted, {len(failed)} deviations"
    )
    return 1 if failed or stray else 0


if __name__ == "__main__":
    # A terminated run removes its temporary directories too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
