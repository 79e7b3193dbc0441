"""JSON: what is written, what is refused, what is accepted."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats import (
    _json,
    atomic_json_dump,
    atomic_json_load,
    atomic_yaml_load_ruamel,
)


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
    def capture(_path: object, _language: object, obj: Any, render: Any, **_: object) -> None:
        texts.append(render(obj))

    texts: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "dump", capture)
        atomic_json_dump(
            "unused", document, indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii
        )
    (text,) = texts
    assert json.loads(text.encode("utf-8")) == document
    assert text.isascii() or not ensure_ascii


class Colour(enum.StrEnum):
    RED = "red"


def test_what_json_can_say_of_a_value_passes(target: Path) -> None:
    document = {
        1: defaultdict(int, a=1),
        1.5: Colour.RED,
        None: OrderedDict(a=1),
        Colour.RED: -0.0,
    }
    atomic_json_dump(target, document)
    assert atomic_json_load(target) == {
        "1": {"a": 1},
        "1.5": "red",
        "null": {"a": 1},
        "red": 0.0,
    }


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({1: "by id", "1": "by name"}, "two keys of obj become '1'"),
        ({"a": [{"x": 1}, {None: 1, "null": 2}]}, r"two keys of obj\['a'\]\[1\] become 'null'"),
        ([{True: 1, "true": 2}], r"two keys of obj\[0\] become 'true'"),
        ({1.5: 1, "1.5": 2, "b": 3}, "two keys of obj become '1.5'"),
    ],
)
def test_keys_that_become_equal_are_refused(target: Path, document: Any, place: str) -> None:
    target.write_text("{}")
    with pytest.raises(ValueError, match=place) as caught:
        atomic_json_dump(target, document)
    assert any("unchanged" in note for note in caught.value.__notes__)
    assert target.read_text() == "{}"


def test_two_halves_that_would_become_one_character_are_refused(target: Path) -> None:
    with pytest.raises(ValueError, match=r"obj\['a'\] would not read back from JSON"):
        atomic_json_dump(target, {"a": "\ud83d\ude00"}, ensure_ascii=True)
    assert not target.exists()


def test_an_indent_that_is_no_white_space_is_refused(target: Path) -> None:
    with pytest.raises(ValueError, match="indent must be white space"):
        atomic_json_dump(target, {"a": [1]}, indent="->")
    with pytest.raises(TypeError, match="indent must be an int"):
        atomic_json_dump(target, {"a": [1]}, indent=1.5)  # type: ignore[arg-type]
    assert not target.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_floats_that_are_not_finite_are_written_if_asked(target: Path, value: float) -> None:
    with pytest.raises(ValueError, match="allow_nan=True"):
        atomic_json_dump(target, [value])
    assert not target.exists()
    atomic_json_dump(target, [value], allow_nan=True)
    assert repr(atomic_json_load(target)) == repr([value])


def test_allow_nan_is_a_truth_value(target: Path) -> None:
    with pytest.raises(TypeError, match="allow_nan must be a bool"):
        atomic_json_dump(target, [], allow_nan=None)  # type: ignore[arg-type]


def test_default_writes_what_json_does_not_know(target: Path) -> None:
    atomic_json_dump(target, {"when": dt.date(2026, 1, 2), "who": {"b", "a"}}, default=_plain)
    assert atomic_json_load(target) == {"when": "2026-01-02", "who": ["a", "b"]}


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)


class Encoder(json.JSONEncoder):
    def default(self, o: object) -> object:
        return {"type": type(o).__name__}


class Careless(json.JSONEncoder):
    def encode(self, o: object) -> str:
        return "{oops"

    def iterencode(self, o: object, _one_shot: bool = False) -> Any:
        return iter([self.encode(o)])


def test_an_encoder_of_the_callers_own_writes(target: Path) -> None:
    atomic_json_dump(target, [{1, 2}], cls=Encoder, sort_keys=True, indent=None)
    assert target.read_text() == '[{"type": "set"}]\n'


@pytest.mark.parametrize(
    ("document", "options", "message"),
    [
        ({"a": {1, 2}}, {"default": lambda _value: {1: "x", "1": "y"}}, r"obj\['a'\] become '1'"),
        ([{1: "x", "1": "y"}], {"cls": Encoder}, r"two keys of obj\[0\]"),
        ([], {"cls": Careless}, "not JSON"),
    ],
)
def test_what_the_callers_code_renders_is_checked_too(
    target: Path, document: object, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        atomic_json_dump(target, document, **options)
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"default": 5}, "default must be callable"),
        ({"cls": json.JSONDecoder}, "cls must be a subclass of json.JSONEncoder"),
        ({"cls": Encoder()}, "cls must be a subclass of json.JSONEncoder"),
    ],
)
def test_an_option_of_a_wrong_type_is_named(
    target: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        atomic_json_dump(target, {}, **options)
    assert not target.exists()


def test_what_ruamel_yaml_loaded_is_written_as_plain_data(target: Path) -> None:
    pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")
    target.write_text("a: 'x'\nb: &yes true\nc: *yes\nd: 0x1F\ne: [1.50, {f: !!int '3'}]\n")
    atomic_json_dump(target, atomic_yaml_load_ruamel(target), indent=None)
    assert target.read_text() == (
        '{"a": "x", "b": true, "c": true, "d": 31, "e": [1.5, {"f": 3}]}\n'
    )


def test_a_text_that_says_something_else_is_not_published(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "dumps", lambda _document, **_options: '{"a": 2}')
    with pytest.raises(ValueError, match=r"obj\['a'\] would not read back from JSON: 1 becomes 2"):
        atomic_json_dump(target, {"a": 1})
    assert not target.exists()


@pytest.mark.parametrize("answer", [b"1", None])
def test_an_encoder_that_returns_no_text_is_blamed(target: Path, answer: object) -> None:
    class Odd(json.JSONEncoder):
        def encode(self, _o: object) -> Any:
            return answer

    with pytest.raises(TypeError, match="cls must encode to a str") as caught:
        atomic_json_dump(target, 1, cls=Odd)
    assert any("unchanged" in note for note in caught.value.__notes__)
    assert not target.exists()


@pytest.mark.parametrize("encoding", ["shift_jis", "undefined"])
def test_an_encoding_that_is_refused_is_so_with_the_file_named(target: Path, encoding: str) -> None:
    with pytest.raises(ValueError, match="encod") as caught:
        atomic_json_dump(target, ["\\ ~ ¥ ‾"], encoding=encoding, ensure_ascii=False)
    assert any(str(target) in note and "unchanged" in note for note in caught.value.__notes__)
