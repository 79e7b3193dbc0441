"""The models' disk against real filesystems: what crash images showed goes through TLC.

Each trace is what the library had done when the power failed, and what a real ext4, xfs or btrfs
showed afterwards. The models must explain every such trace of the code, and must be unable to
explain what a broken protocol left: a model that forgets what a kernel does would reject the
first, one that allows anything would accept the second.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import tlc
import trace_check

from .crashlab import catalogue, filesystems, mutants, sightings
from .crashlab.scenario import Spec

if TYPE_CHECKING:
    from collections import Counter

    from .crashlab.driver import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

# SafeAtomicSmoke knows one file and no sidecar (a checked write is a write to it); for
# SafeAtomicChecksum every writer holds the lock.
WORKLOADS = {
    "smoke": ("overwrite", "killed", "checked", "two-writers"),
    "checksum": (
        *("checked", "checked-new", "retire", "stream", "two-writers", "two-names"),
        *("killed-checked", "killed-retire", "move-pair", "killed-move"),
    ),
}
REFUTED = {
    "smoke": ("no-temp-fsync", "no-directory-fsync", "rename-before-fsync", "unlink-first"),
    "checksum": ("no-barrier", "record-unflushed", "no-takeover-sync", "seal-before-settle"),
}
# Their steps alone are not a behaviour of the model; those of the others are, without the crashes
REFUTED_BY_STEPS = ("seal-before-settle",)
TRACES_OF_A_SCENARIO = 12
TRACES_OF_A_MUTANT = 60


@pytest.mark.parametrize("model", WORKLOADS)
def test_what_images_of_the_code_show_is_a_behaviour_of_the_model(
    model: str, lab: Lab, tool: tlc.Tlc, seed: int, tally: Counter[str]
) -> None:
    specs = [
        Spec(filesystem, workload, noise=noise, seed=seed, limit=catalogue.LIMITS[filesystem])
        for workload in WORKLOADS[model]
        for filesystem in filesystems.ALL
        for noise in ("none", "file")
    ]
    lab.announce(specs)
    dice = random.Random(f"{model} {seed}")
    traces, origins = [], []
    for spec in specs:
        found = sightings.traces(model, lab.run(spec), TRACES_OF_A_SCENARIO, dice)
        traces += found
        origins += [spec] * len(found)
    verdicts = trace_check.check(model, traces, tool=tool)
    rejected = [
        f"{spec}: {verdict}"
        for spec, verdict in zip(origins, verdicts, strict=True)
        if not verdict.accepted
    ]
    assert not rejected, f"{len(rejected)} of {len(traces)}:\n" + "\n".join(rejected[:5])
    assert len(traces) > len(specs)
    tally[f"crash images explained by the {model} model"] += len(traces)


@pytest.mark.parametrize("model", REFUTED)
def test_what_images_of_a_broken_protocol_show_is_not(
    model: str, lab: Lab, tool: tlc.Tlc, seed: int, tally: Counter[str]
) -> None:
    dice = random.Random(f"{model} {seed}")
    traces, origins = [], []
    for name in REFUTED[model]:
        for spec in catalogue.of_mutant(mutants.ALL[name]):
            if model == "smoke" and spec.workload != "overwrite":
                continue  # more than one file
            report = lab.run(spec)
            if report.violations:
                found = sightings.traces(model, report, TRACES_OF_A_MUTANT, dice)
                traces += found
                origins += [name] * len(found)
    verdicts = trace_check.check(model, traces, tool=tool)
    refuted = {
        name
        for name, verdict in zip(origins, verdicts, strict=True)
        if not verdict.accepted
        and (name in REFUTED_BY_STEPS or verdict.matched == len(verdict.events) - 1)
    }
    assert refuted == set(REFUTED[model])
    tally[f"mutants whose crash images the {model} model cannot explain"] += len(refuted)
