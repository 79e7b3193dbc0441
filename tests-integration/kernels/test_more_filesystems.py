"""f2fs, nilfs2 and jfs, recorded and judged in the guest: what the library calls them is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crash.crashlab.scenario import LIBRARY

from . import debian_kernels
from .plan import PEER

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from crash.crashlab.scenario import Report

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.parametrize("suite", debian_kernels.SUITES),
]


def _of(reports: list[Report], filesystem: str, subject: str) -> list[Report]:
    found = [
        report
        for report in reports
        if report.spec.filesystem == filesystem and report.spec.subject.startswith(subject)
    ]
    assert found
    return found


def test_f2fs_keeps_what_was_acknowledged(
    judged_in_guest: Callable[[str], list[Report]], suite: str, tally: Counter[str]
) -> None:
    reports = judged_in_guest(suite)
    for report in _of(reports, "f2fs", LIBRARY):
        assert not report.error, str(report)
        assert not report.violations, str(report)
        assert report.flushes > 0
        tally[f"kernel of {suite}: crash images of the library judged on f2fs"] += report.images
    caught = {r.spec.subject for r in _of(reports, "f2fs", "mutant") if r.violations}
    assert len(caught) == 2, caught


def test_nilfs2_tears_nothing_where_it_can_be_mounted(
    judged_in_guest: Callable[[str], list[Report]], suite: str, tally: Counter[str]
) -> None:
    for report in _of(judged_in_guest(suite), "nilfs2", LIBRARY):
        assert not report.error, str(report)
        # A full log or an older superblock may keep a writer out, or a temp: no file is hurt.
        harmless = {"unmountable", "not recovered", "temp left"}
        assert not report.violations.keys() - harmless, str(report)
        tally[f"kernel of {suite}: crash images of the library judged on nilfs2"] += report.images


def test_jfs_sends_no_flush_at_all(
    judged_in_guest: Callable[[str], list[Report]], suite: str
) -> None:
    """Why CrashDurability is ``Unsupported`` there."""
    reports = _of(judged_in_guest(suite), "jfs", PEER)
    for report in reports:
        assert report.flushes == 0, str(report)
    assert any(report.violations for report in reports), "\n".join(map(str, reports))
