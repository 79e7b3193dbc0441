"""A broken protocol does not survive: each mutant's damage shows on at least one filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .crashlab import catalogue, mutants

if TYPE_CHECKING:
    from collections import Counter

    from .crashlab.driver import Lab
    from .crashlab.mutants import Mutant

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.mark.parametrize("mutant", mutants.ALL.values(), ids=lambda mutant: mutant.name)
def test_a_broken_protocol_is_caught(lab: Lab, mutant: Mutant, tally: Counter[str]) -> None:
    reports = [lab.run(spec) for spec in catalogue.of_mutant(mutant)]
    caught = [report for report in reports if report.violations]
    assert caught, "the mutant survived:\n" + "\n".join(map(str, reports))
    tally[f"mutants caught, of {len(mutants.ALL)}"] += 1
    for filesystem in {report.spec.filesystem for report in caught}:
        tally[f"mutants caught on {filesystem}"] += 1
