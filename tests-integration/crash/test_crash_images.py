"""Every crash image of every workload is legitimate: old or new, whole, and writable again.

`crashlab` makes and judges the images; here it is only asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .crashlab import catalogue
from .crashlab.scenario import Spec

if TYPE_CHECKING:
    from .crashlab.driver import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

_LONG_SEEDS = 3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "spec" in metafunc.fixturenames:
        seed = int(metafunc.config.getoption("--seed"))
        specs = catalogue.default(seed)
        if metafunc.config.getoption("--long"):
            specs = [spec for more in range(_LONG_SEEDS) for spec in catalogue.long(seed + more)]
        metafunc.parametrize("spec", specs, ids=str)


def test_every_crash_image_shows_old_or_new_and_can_be_written(lab: Lab, spec: Spec) -> None:
    report = lab.run(spec)
    assert not report.violations, str(report)
    assert report.images > 1
    assert report.flushes > 0


def test_a_lock_that_lost_its_payload_was_met_on_each_filesystem_and_recovered(lab: Lab) -> None:
    """The crash mark (`docs/adr/0016-crash-mark.md`) is what these images need."""
    for filesystem in ("ext4", "xfs", "btrfs"):
        report = lab.run(Spec(filesystem, "overwrite", limit=catalogue.LIMITS[filesystem]))
        assert report.lost_payloads > 0
        assert report.takeovers >= report.lost_payloads
        assert not report.violations, str(report)


def test_an_ext4_without_a_journal_loses_old_and_new_and_is_not_guaranteed(lab: Lab) -> None:
    """The finding behind `docs/adr/0021-no-journal.md`; fsck has been run on each image."""
    kinds: set[str] = set()
    for noise in ("none", "file"):
        kinds |= lab.run(Spec("ext4-nojournal", "overwrite", noise=noise)).violations.keys()
    assert "lost" in kinds  # neither the old nor the new file
    assert "torn" in kinds  # another file's content in its place
