"""What holds on the machine's own kernel holds on others, and what is caught there is caught."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from . import debian_kernels
from .conftest import planned
from .laboratory import judged

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from crash.crashlab.driver import Lab
    from crash.crashlab.scenario import Spec

    from .laboratory import Recorded

pytestmark = [pytest.mark.root, pytest.mark.slow]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask for one kernel after the other, so that only one recording is needed at a time."""
    options = metafunc.config.option
    library, broken = planned(options.seed, long_run=options.long)
    if "suite" in metafunc.fixturenames:
        metafunc.parametrize("suite", debian_kernels.SUITES, scope="session")
    if "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", library, ids=str)
    if "control" in metafunc.fixturenames:
        metafunc.parametrize("control", broken, ids=str)


def test_every_crash_image_shows_old_or_new_and_can_be_written(
    recorded: Callable[[str], Recorded], judge: Lab, suite: str, spec: Spec, tally: Counter[str]
) -> None:
    made = recorded(suite)
    report = judge.run(judged(spec, made))
    assert not report.violations, str(report)
    assert report.images > 1
    assert report.flushes > 0
    tally[f"kernel {made.kernel.release}: crash images of the library judged"] += report.images
    tally[f"kernel {made.kernel.release}: moments of a crash judged"] += report.points


def test_a_broken_protocol_is_caught(
    recorded: Callable[[str], Recorded], judge: Lab, suite: str, control: Spec, tally: Counter[str]
) -> None:
    made = recorded(suite)
    report = judge.run(judged(control, made))
    assert report.violations, str(report)
    tally[f"kernel {made.kernel.release}: broken protocols caught"] += 1


def test_no_write_is_acknowledged_while_its_flush_is_under_way(
    recorded: Callable[[str], Recorded], suite: str, tally: Counter[str]
) -> None:
    """The tests of `crash/test_concurrent_flush.py`, as they ran in the guest."""
    made = recorded(suite)
    assert made.flush_report.exists(), made.console[-3000:]
    tests = list(ET.parse(made.flush_report).getroot().iter("testcase"))
    bad = [test for test in tests if test.find("failure") is not None or test.find("error")]
    assert not bad, made.console[-3000:]
    passed = [test for test in tests if test.find("skipped") is None]
    assert len(passed) >= 2, made.console[-3000:]
    tally[f"kernel {made.kernel.release}: flush tests passed in the guest"] += len(passed)
