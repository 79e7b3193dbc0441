"""One recording for each kernel, made when the first test asks for it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

import debian
from crash.conftest import require_devices
from crash.crashlab.driver import Lab

from . import more_filesystems, plan
from .laboratory import Laboratory

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from crash.crashlab.scenario import Report, Spec

    from .laboratory import Recorded


def planned(seed: int, *, long_run: bool) -> tuple[list[Spec], list[Spec]]:
    """Return what the library does, and what broken protocols do, on each kernel."""
    return (plan.long if long_run else plan.default)(seed), plan.controls(seed)


@pytest.fixture(scope="session")
def recorded(
    seed: int, long_run: bool, tally: Counter[str], request: pytest.FixtureRequest
) -> Callable[[str], Recorded]:
    """Give the recording of a suite's kernel, or skip and say why there is none."""
    require_devices()
    more_filesystems.register()
    specs = [spec for some in planned(seed, long_run=long_run) for spec in some]

    @functools.cache
    def record(suite: str) -> Recorded | str:
        laboratory = Laboratory(suite)
        request.addfinalizer(lambda: laboratory.__exit__(None, None, None))
        try:
            made = laboratory.record(specs)
        except debian.NotPossibleError as reason:
            return str(reason)
        tally[f"kernel {made.kernel.release}: seconds in the guest"] += round(made.seconds)
        return made

    def found(suite: str) -> Recorded:
        made = record(suite)
        if isinstance(made, str):
            pytest.skip(f"NO OTHER KERNEL WAS BOOTED: {made}")
        return made

    return found


@pytest.fixture(scope="session")
def judged_in_guest(seed: int, long_run: bool) -> Callable[[str], list[Report]]:
    """Give the verdicts of a suite's kernel on f2fs, nilfs2 and jfs; a long run only."""
    if not long_run:
        pytest.skip("f2fs, nilfs2 and jfs belong to the long run (-- --long)")
    lacks = more_filesystems.missing()
    if lacks:
        pytest.skip(f"this machine lacks {', '.join(lacks)}")
    more_filesystems.register()
    specs = plan.more(seed)

    @functools.cache
    def found(suite: str) -> list[Report]:
        with Laboratory(suite) as laboratory:
            try:
                made = laboratory.record(specs, flush_tests=False)
            except debian.NotPossibleError as reason:
                pytest.skip(f"NO OTHER KERNEL WAS BOOTED: {reason}")
            return laboratory.judge(made, specs)

    return found


@pytest.fixture(scope="session")
def judge() -> Iterator[Lab]:
    """A single worker: another core is for other tests."""
    laboratory = Lab(workers=1)
    yield laboratory
    left = laboratory.close()
    assert not left, f"left behind: {left}"
