"""Settings shared by the tests of the formats.

``pytest --hypothesis-profile=long`` tries 100,000 documents in each test of documents
(``-k parses_to_the_same`` picks those that render, parse and compare) and 10,000 edits of commented
ones (``test_edits.py``). On one core, 65 documents of YAML a second and 8 edits.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from each_format import FORMATS, Format

# No deadlines: machines are shared. The same examples at each run of CI, others elsewhere.
settings.register_profile("safeatomic", deadline=None, derandomize="CI" in os.environ)
settings.register_profile(
    "long", deadline=None, max_examples=100_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("safeatomic")


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> Format:
    """Return the dump and the load of one format after the other."""
    return FORMATS[request.param]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return the path of a document that does not exist yet."""
    return tmp_path / "document"
