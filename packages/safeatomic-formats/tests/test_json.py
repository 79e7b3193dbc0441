"""JSON: what is written, what is refused, what is accepted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats import _json, atomic_json_dump, atomic_json_load


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.json"


def test_the_text_is_what_json_writes_and_a_newline(target: Path) -> None:
    document = {"b": [1, 2], "a": "é"}
    atomic_json_dump(target, document)
    expected = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert target.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"indent": None}, '{"b": "é", "a": 1}\n'),
        ({"indent": None, "sort_keys": True}, '{"a": 1, "b": "é"}\n'),
        ({"indent": None, "ensure_ascii": True}, '{"b": "\\u00e9", "a": 1}\n'),
        ({"indent": "\t"}, '{\n\t"b": "é",\n\t"a": 1\n}\n'),
        ({"indent": 0}, '{\n"b": "é",\n"a": 1\n}\n'),
    ],
)
def test_the_layout_is_chosen_by_the_caller(
    target: Path, options: dict[str, object], expected: str
) -> None:
    atomic_json_dump(target, {"b": "é", "a": 1}, **options)  # type: ignore[arg-type]
    assert target.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_not_finite_is_refused(target: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        atomic_json_dump(target, {"deep": [value]})
    assert not target.exists()


def test_a_float_that_is_not_finite_is_read(target: Path) -> None:
    target.write_text("[NaN, Infinity, -Infinity]")
    nan, *infinities = atomic_json_load(target)
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]


def test_of_a_key_twice_the_last_value_counts(target: Path) -> None:
    target.write_text('{"a": 1, "b": 2, "a": 3}')
    assert atomic_json_load(target) == {"a": 3, "b": 2}


def test_an_object_that_contains_itself_is_refused(target: Path) -> None:
    document: list[object] = []
    document.append(document)
    with pytest.raises(ValueError, match="Circular"):
        atomic_json_dump(target, document)
    assert not target.exists()


def test_half_a_surrogate_pair_is_refused_unless_escaped(target: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        atomic_json_dump(target, "\ud83d")
    assert not target.exists()
    atomic_json_dump(target, "\ud83d", ensure_ascii=True)
    assert atomic_json_load(target) == "\ud83d"


@pytest.mark.parametrize("text", ["", " ", "[1,]", "{'a': 1}", "1 2", "nul", "[1", "\x00"])
def test_what_is_not_json_is_refused(target: Path, text: str) -> None:
    target.write_text(text)
    with pytest.raises(json.JSONDecodeError):
        atomic_json_load(target)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(json_values, st.sampled_from([None, 0, 2]), st.booleans(), st.booleans())
def test_what_is_rendered_parses_to_the_same(
    document: object, indent: int | None, sort_keys: bool, ensure_ascii: bool
) -> None:
    def capture(_path: object, _language: object, render: object, **_options: object) -> None:
        texts.append(render())  # type: ignore[operator]

    texts: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "dump", capture)
        atomic_json_dump(
            "unused", document, indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii
        )
    (text,) = texts
    assert json.loads(text.encode("utf-8")) == document
    assert text.isascii() or not ensure_ascii
