"""Shared parts of the integration tests: ``--long``, the figures of the summary, TLC.

The figures are printed when a run ends, and written as JSON to the file that ``SAFEATOMIC_FIGURES``
names, for the summary of all sessions (`.ci/summary.py`).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tlc

_TALLY: pytest.StashKey[Counter[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("safeatomic")
    group.addoption(
        "--long", action="store_true", help="go further: more seeds, more states, more kills"
    )
    group.addoption("--seed", type=int, default=1, help="seed of everything that is sampled")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Counter()


@pytest.fixture
def common() -> Iterator[Path]:
    """Return a directory that every user may enter."""
    import users  # few tests need it

    with users.common_place() as made:
        yield made


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Counter[str]:
    """Figures by their name, printed when the run ends."""
    return pytestconfig.stash[_TALLY]


@pytest.fixture(scope="session")
def long_run(pytestconfig: pytest.Config) -> bool:
    """Whether ``--long`` was given."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of everything that is sampled."""
    return int(pytestconfig.getoption("--seed"))


@pytest.fixture(scope="session")
def tool() -> tlc.Tlc:
    """What checks the models; without it a test is skipped, on CI it fails."""
    import tlc

    try:
        return tlc.find_tlc()
    except tlc.ToolMissingError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"on CI the models must be checked: {missing}")
        pytest.skip(f"NOTHING WAS CHECKED AGAINST THE MODELS: {missing}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tally = terminalreporter.config.stash[_TALLY]
    if tally:
        terminalreporter.section("figures")
        for name, count in sorted(tally.items()):
            terminalreporter.line(f"{count:>9,}  {name}")
        path = os.environ.get("SAFEATOMIC_FIGURES")
        if path:
            Path(path).write_text(json.dumps(tally), encoding="utf-8")
