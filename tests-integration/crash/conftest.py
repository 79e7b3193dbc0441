"""The laboratory that the crash tests share, and the check for what it needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .crashlab import catalogue, filesystems
from .crashlab.driver import Lab
from .crashlab.mutants import Mutant
from .crashlab.scenario import LIBRARY, Report, Spec

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

_ANNOUNCED: pytest.StashKey[list[Spec]] = pytest.StashKey()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Announce every scenario that the tests will request, so that workers need not wait."""
    announced: list[Spec] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        for value in {} if callspec is None else callspec.params.values():
            if isinstance(value, Spec):
                announced.append(value)
            elif isinstance(value, Mutant):
                announced += catalogue.of_mutant(value)
    config.stash[_ANNOUNCED] = announced


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tally: Counter[str]) -> Iterator[Lab]:
    """Workers that run scenarios; none of their resources may be left at the end."""
    require_devices()
    announced = request.config.stash[_ANNOUNCED]
    laboratory = Lab()
    laboratory.announce(announced)
    try:
        yield laboratory
    finally:
        left = laboratory.close()
    assert not left, f"left behind: {left}"
    for report in laboratory.reports():
        _count(tally, report)


def require_devices() -> None:
    """Skip if crash images cannot be made, and say why; on CI as root this is a failure."""
    lacks = filesystems.missing()
    if not lacks:
        return
    reason = f"NO CRASH IMAGES WERE MADE: this machine lacks {', '.join(lacks)}"
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


def _count(tally: Counter[str], report: Report) -> None:
    if report.spec.subject != LIBRARY or report.spec.filesystem not in filesystems.ALL:
        tally["crash images of what must fail judged"] += report.images
        return
    filesystem = report.spec.filesystem
    tally["crash scenarios of the library"] += 1
    tally[f"crash images of the library judged on {filesystem}"] += report.images
    tally["moments of a crash judged"] += report.points
    tally[f"images with a lock that had lost its payload on {filesystem}"] += report.lost_payloads
    for state, count in report.locks.items():
        tally[f"locks found in images: {state}"] += count
    tally["dead locks taken over by the next write"] += report.takeovers
    tally["orphaned temps swept by that write"] += report.swept
    tally["orphaned temps without a lock, swept by clean"] += report.left
