"""TOML: tables only, no null, UTF-8."""

from __future__ import annotations

import datetime as dt
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats import _toml, atomic_toml_dump, atomic_toml_load


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.toml"


@pytest.mark.parametrize("document", [[1], "text", 5, None, [("a", 1)]])
def test_only_a_mapping_is_a_document(target: Path, document: object) -> None:
    with pytest.raises(TypeError, match="obj must be a mapping"):
        atomic_toml_dump(target, document)  # type: ignore[arg-type]
    assert not target.exists()


@pytest.mark.parametrize("document", [{"a": None}, {"a": {"b": [1, None]}}, {"a": {1, 2}}])
def test_what_toml_has_no_form_for_is_refused(target: Path, document: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        atomic_toml_dump(target, document)
    assert not target.exists()


def test_a_mapping_that_contains_itself_is_refused(target: Path) -> None:
    document: dict[str, object] = {}
    document["self"] = document
    with pytest.raises(RecursionError):
        atomic_toml_dump(target, document)
    assert not target.exists()


def test_dates_times_and_floats_that_are_not_finite_come_back(target: Path) -> None:
    document = {
        "date": dt.date(2026, 1, 2),
        "time": dt.time(3, 4, 5, 600),
        "local": dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - TOML has local times
        "zoned": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "inf": math.inf,
        "tables": [{"a": 1}, {"a": 2}],
    }
    atomic_toml_dump(target, document)
    assert atomic_toml_load(target) == document


def test_an_empty_file_is_an_empty_table(target: Path) -> None:
    target.touch()
    assert atomic_toml_load(target) == {}


def test_a_key_twice_is_refused(target: Path) -> None:
    target.write_text("a = 1\na = 2\n")
    with pytest.raises(tomllib.TOMLDecodeError):
        atomic_toml_load(target)


scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.dates()
    | st.times()
    | st.datetimes()
)
tables = st.recursive(
    st.dictionaries(st.text(), scalars),
    lambda children: st.dictionaries(st.text(), scalars | children | st.lists(scalars | children)),
    max_leaves=15,
)


@given(tables)
def test_what_is_rendered_parses_to_the_same(document: dict[str, object]) -> None:
    text = _toml._render(document)
    assert _toml._parse(text.encode("utf-8").decode("utf-8")) == document
