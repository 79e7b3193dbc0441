"""The models' lists, reports and runner: what must hold without running every model again.

`nox -s formal` explores the models. Here are the checks that its answer means something: the
recorded numbers belong to these very files, every broken variant is listed and refuted, and the
runner fails when a variant passes, an action is never taken, or a number changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tlc

FORMAL = Path(__file__).resolve().parents[1] / "formal"
MODELS = ("SafeAtomicSmoke", "SafeAtomicLock", "SafeAtomicChecksum", "SafeAtomicInPlace")
STEP_WORDS = [
    "Gate", "Acquire", "Stage", "Fill", "Harden",
    "Announce", "Publish", "Settle", "Seal", "Release",
]  # fmt: skip


def _load_runner() -> Any:
    """Load formal/run.py under a name that no other `run.py` has."""
    spec = importlib.util.spec_from_file_location("formal_run", FORMAL / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


runner = _load_runner()
RUNS = runner.load_runs(FORMAL)
MANIFEST = runner.read_manifest(FORMAL / "reports")


def outcome(**fields: Any) -> tlc.Outcome:
    """Make an outcome of a run that went well, but for the given fields."""
    sound = tlc.Outcome(
        exit_code=0,
        verdict="pass",
        violated=None,
        states=10,
        distinct=5,
        depth=3,
        left=0,
        trace_length=0,
        actions={"Gate": (1, 2), "Crash": (1, 1)},
    )
    return dataclasses.replace(sound, **fields)


def recorded_of(model: str) -> list[dict[str, Any]]:
    """Return what is recorded of a model's passing runs."""
    return [run for run in MANIFEST.values() if run["model"] == model and run["expect"] == "pass"]


REAL = runner.Run("real", "M", "M.cfg", "pass", None, "default", "")
VARIANT = runner.Run("variant", "M", "M.cfg", "violation", "NoTornRead", "default", "")
REFUTED = {"exit_code": 12, "verdict": "violation", "violated": "NoTornRead", "trace_length": 7}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_recorded_numbers_belong_to_these_files(run: Any) -> None:
    if run.size == "large" and run.name not in MANIFEST:
        pytest.skip("a large run that has not been recorded: formal/run.py --large --update")
    recorded = MANIFEST[run.name]
    files = [*tlc.local_modules(FORMAL, run.model), FORMAL / run.config]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert recorded["sha256"] == hashes
    assert (recorded["expect"], recorded["violates"]) == (run.expect, run.violates)
    assert recorded["verdict"] == run.expect
    assert 0 < recorded["distinct"] <= recorded["states"]


def test_manifest_records_no_other_runs() -> None:
    assert MANIFEST.keys() <= {run.name for run in RUNS}


@pytest.mark.parametrize("model", MODELS)
def test_each_model_has_a_real_run_a_large_one_and_four_broken_variants(model: str) -> None:
    runs = [run for run in RUNS if run.model == model]
    assert [run for run in runs if run.expect == "pass" and run.size == "default"]
    assert [run for run in runs if run.expect == "pass" and run.size == "large"]
    assert len([run for run in runs if ".broken-" in run.config]) >= 4


def test_every_configuration_is_run() -> None:
    listed = {run.config for run in RUNS}
    assert {path.name for path in FORMAL.glob("SafeAtomic*.cfg")} == listed


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_only_broken_variants_switch_an_idea_off(run: Any) -> None:
    text = (FORMAL / run.config).read_text(encoding="utf-8")
    broken = re.search(r'\bBroken\s*=\s*"([\w-]+)"', text)
    assert broken is not None
    assert (broken.group(1) != "none") == (".broken-" in run.config)
    if ".broken-" in run.config:
        assert run.expect == "violation"


# The models' own, what follows from the others, and what a model assumes.
NEVER_REFUTED = {"TypeOK", "EnoughInodes", "EnoughSidecars", "NoMissedCorruption"}
NEVER_REFUTED |= {"OneLockedWriter", "FreeLockIsAcquired"}


@pytest.mark.parametrize("model", MODELS)
def test_every_claim_is_refuted_by_some_variant(model: str) -> None:
    kinds = ("INVARIANT", "INVARIANTS", "PROPERTY", "PROPERTIES")
    runs = [run for run in RUNS if run.model == model]
    claims = {name for run in runs for name in runner.named(FORMAL / run.config, *kinds)}
    assert "TypeOK" in claims
    assert claims - {run.violates for run in runs} <= NEVER_REFUTED


@pytest.mark.parametrize("model", MODELS)
def test_actions_carry_the_step_words(model: str) -> None:
    actions = {name for recorded in recorded_of(model) for name in recorded["actions"]}
    used = {word for word in STEP_WORDS for name in actions if name.startswith(word)}
    expected = {
        "SafeAtomicSmoke": set(STEP_WORDS) - {"Announce", "Seal"},
        "SafeAtomicLock": {"Acquire", "Publish", "Seal", "Release"},
        "SafeAtomicChecksum": {
            "Acquire", "Harden", "Announce", "Publish", "Settle", "Seal", "Release",
        },
        "SafeAtomicInPlace": {
            "Acquire", "Harden", "Announce", "Publish", "Settle", "Seal", "Release",
        },
    }[model]  # fmt: skip
    assert used >= expected


@pytest.mark.parametrize("model", MODELS)
def test_every_action_is_taken_in_some_run(model: str) -> None:
    steps: dict[str, int] = {}
    for recorded in recorded_of(model):
        for name, count in recorded["actions"].items():
            steps[name] = steps.get(name, 0) + count
    assert steps
    assert [name for name, count in steps.items() if not count] == []


def test_reports_hold_nothing_of_the_machine_they_were_made_on() -> None:
    files = sorted((FORMAL / "reports").iterdir())
    assert {path.stem for path in files if path.suffix == ".txt"} == set(MANIFEST)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(^|[\s\"'(])/(\w+/)+", text), path.name
        assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|pid: \d|heap", text), path.name


@pytest.mark.parametrize(
    ("run", "changes", "said"),
    [
        (REAL, {}, None),
        (REAL, REFUTED, "NoTornRead is violated"),
        (REAL, {"left": 3}, "3 states were left unexplored"),
        (REAL, {"actions": {}}, "no coverage"),
        (REAL, {"actions": {"Gate": (0, 0)}}, "the action Gate was never enabled"),
        (REAL, {"verdict": "error", "exit_code": 150, "text": "Error: Parsing"}, "exit code 150"),
        (VARIANT, REFUTED, None),
        (VARIANT, {}, "passed, but must violate NoTornRead"),
        (VARIANT, {**REFUTED, "violated": "TypeOK"}, "violates TypeOK, expected NoTornRead"),
        (VARIANT, {**REFUTED, "trace_length": 31}, "the counterexample has 31 states"),
        (VARIANT, {"verdict": "error", "exit_code": 1, "text": "Error: Memory"}, "exit code 1"),
    ],
)
def test_runner_judges_an_outcome(run: Any, changes: dict[str, Any], said: str | None) -> None:
    problems = runner.judge(run, outcome(**changes))
    if said is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert said in problems[0]


def test_an_action_may_be_idle_only_if_another_run_takes_it() -> None:
    idle = dataclasses.replace(REAL, idle=("Seal",))
    result = runner.Result(idle, outcome(), 1.0, [])
    taking = runner.Result(REAL, outcome(actions={"Seal": (1, 1)}), 1.0, [])
    assert runner.not_covered(result, [result]) == ["no run takes the action Seal"]
    assert runner.not_covered(result, [result, taking]) == []


def test_what_is_recorded_is_what_the_runner_accepts() -> None:
    results = []
    for run in RUNS:
        if run.size == "large" and run.name not in MANIFEST:
            continue
        recorded = MANIFEST[run.name]
        showed = outcome(
            verdict=recorded["verdict"],
            violated=recorded["violated"],
            trace_length=recorded["counterexample"],
            actions={name: (steps, steps) for name, steps in recorded["actions"].items()},
        )
        results.append(runner.Result(run, showed, 1.0, runner.judge(run, showed)))
    default = [result for result in results if result.run.size == "default"]
    problems = {
        result.run.name: result.problems + runner.not_covered(result, default) for result in results
    }
    assert {name: found for name, found in problems.items() if found} == {}


def test_a_recorded_run_is_forgotten_when_its_files_change(tmp_path: Path) -> None:
    kept = {name: MANIFEST[name] for name in ("smoke", "lock")}
    former = {**MANIFEST["checksum"], "sha256": {"SafeAtomicChecksum.tla": "0" * 64}}
    manifest = {"runs": {**kept, "checksum": former, "unlisted": former}}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    for name in manifest["runs"]:
        (tmp_path / f"{name}.txt").write_text("", encoding="utf-8")
    runner.update_reports(tmp_path, [], RUNS)
    assert runner.read_manifest(tmp_path) == kept
    assert {path.stem for path in tmp_path.glob("*.txt")} == set(kept)


def test_any_changed_number_is_a_deviation() -> None:
    recorded = MANIFEST["smoke"]
    assert runner.differences(recorded, recorded) == []
    assert runner.differences(recorded, None) == ["not in the manifest: run with --update"]
    for key in ("states", "distinct", "depth"):
        changed = {**recorded, key: recorded[key] + 1}
        assert len(runner.differences(changed, recorded)) == 1
    actions = {**recorded["actions"], "Crash": 0}
    assert runner.differences({**recorded, "actions": actions}, recorded) == [
        "actions differs from the manifest: Crash"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[run]]\nname = "a"\n', "no about, config, expect, model"),
        ('[[run]]\nname = "a"\nspeed = 3\n', "unknown key speed"),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.runs.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        runner.load_runs(tmp_path)


def test_large_runs_are_made_only_on_demand() -> None:
    names = {size: {run.name for run in RUNS if run.size == size} for size in ("default", "large")}
    chosen = {run.name for run in runner.select(RUNS, only=None, large=False)}
    assert chosen == names["default"]
    chosen = {run.name for run in runner.select(RUNS, only=None, large=True)}
    assert chosen == names["default"] | names["large"]
    assert [run.name for run in runner.select(RUNS, only=["smoke-large"], large=False)] == [
        "smoke-large"
    ]
    with pytest.raises(ValueError, match="no run is named nothing"):
        runner.select(RUNS, only=["smoke", "nothing"], large=False)


def run_it(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # The interpreter is named in full, so an empty PATH hides Java and nothing else.
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, str(FORMAL / "run.py"), *arguments],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_without_java_the_runner_skips_loudly_and_fails_on_ci(tmp_path: Path) -> None:
    hidden = {"PATH": str(tmp_path), "JAVA_HOME": ""}
    skipped = run_it(CI="", **hidden)
    assert skipped.returncode == 77
    assert "THE MODELS WERE NOT CHECKED: Java 11 or newer is needed" in skipped.stdout
    failed = run_it(CI="true", **hidden)
    assert failed.returncode == 1
    assert "on CI that is a failure" in failed.stdout


def test_another_jar_than_the_pinned_one_is_refused(tmp_path: Path, tool: tlc.Tlc) -> None:
    jar = tmp_path / "tla2tools.jar"
    jar.write_bytes(tool.jar.read_bytes() + b"\0")
    refused = run_it("--only", "smoke-in-place", TLC_JAR=str(jar))
    assert refused.returncode == 1
    assert f"expected {tlc.JAR_SHA256}" in refused.stdout


def test_the_runner_repeats_a_recorded_counterexample(tool: tlc.Tlc) -> None:
    repeated = run_it("--only", "smoke-in-place", TLC_JAR=str(tool.jar))
    assert repeated.returncode == 0, repeated.stdout
    assert "TempNeverVisible refuted in 4 states" in repeated.stdout
    assert "0 models hold, 1 broken variants refuted, 0 deviations" in repeated.stdout


TOY = """---- MODULE Toy ----
EXTENDS Integers
CONSTANT Broken
VARIABLE x
Init == x = 0
Gate == x < 3 /\\ x' = x + 1
Never == x > 9 /\\ x' = 0
Reset(y) == y = 3 /\\ x' = IF Broken = "no-reset" THEN 7 ELSE 0
Next == Gate \\/ Never \\/ \\E y \\in {x} : Reset(y)
Spec == Init /\\ [][Next]_x /\\ WF_x(Next)
Small == x < 4
Returns == []<>(x = 0)
====
"""


def check_toy(tool: tlc.Tlc, directory: Path, broken: str, claims: str) -> tlc.Outcome:
    (directory / "Toy.tla").write_text(TOY, encoding="utf-8")
    config = directory / "Toy.cfg"
    config.write_text(f'SPECIFICATION Spec\nCONSTANT Broken = "{broken}"\n{claims}\n', "utf-8")
    files = tlc.local_modules(directory, "Toy")
    return tlc.run(tool, files, "Toy", config, coverage=broken == "none")


def test_tlc_is_run_and_read(tmp_path: Path, tool: tlc.Tlc) -> None:
    sound = check_toy(tool, tmp_path, "none", "INVARIANT Small\nPROPERTY Returns")
    assert (sound.verdict, sound.distinct, sound.depth, sound.left) == ("pass", 4, 4, 0)
    assert {name: taken > 0 for name, (_, taken) in sound.actions.items()} == {
        "Gate": True, "Never": False, "Reset": True,
    }  # fmt: skip
    unsafe = check_toy(tool, tmp_path, "no-reset", "INVARIANT Small")
    assert (unsafe.verdict, unsafe.violated, unsafe.trace_length) == ("violation", "Small", 5)
    stuck = check_toy(tool, tmp_path, "no-reset", "PROPERTY Returns")
    assert (stuck.verdict, stuck.violated) == ("violation", "temporal")
    misspelt = check_toy(tool, tmp_path, "none", "INVARIANT Smal")
    assert misspelt.verdict == "error"
