"""YAML as its users see it: plain data, readable text, no surprises from hostile input."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from safeatomic_formats import (
    atomic_json_dump,
    atomic_toml_dump,
    atomic_yaml_dump,
    atomic_yaml_load,
    atomic_yaml_load_ruamel,
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.yaml"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "b:\n- 1\n- x: ü\na: 2\n"),
        ({"sort_keys": True}, "a: 2\nb:\n- 1\n- x: ü\n"),
        ({"default_flow_style": True}, "{b: [1, {x: ü}], a: 2}\n"),
        ({"default_flow_style": None}, "b:\n- 1\n- {x: ü}\na: 2\n"),
    ],
)
def test_the_layout_is_chosen_by_the_caller(
    target: Path, options: dict[str, bool], expected: str
) -> None:
    atomic_yaml_dump(target, {"b": [1, {"x": "ü"}], "a": 2}, **options)  # type: ignore[arg-type]
    assert target.read_text(encoding="utf-8") == expected


def test_a_long_line_is_not_folded(target: Path) -> None:
    document = {"text": "word " * 60 + "end", "list": list(range(100))}
    atomic_yaml_dump(target, document, default_flow_style=True)
    assert target.read_text().count("\n") == 1


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/object:builtins.object {}",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!custom {a: 1}",
    ],
)
@pytest.mark.parametrize("suffix", ["", "\t"], ids=["libyaml", "pure"])
def test_a_tag_that_is_not_plain_data_is_refused(target: Path, tag: str, suffix: str) -> None:
    target.write_text(f"value: {tag} #{suffix}")
    with pytest.raises(yaml.constructor.ConstructorError) as caught:
        atomic_yaml_load(target)
    assert any(str(target) in note for note in caught.value.__notes__)


class Custom:
    pass


@pytest.mark.parametrize("value", [Custom(), Custom, len, 1j, frozenset("a"), range(2)])
def test_what_is_not_plain_data_is_not_written(target: Path, value: object) -> None:
    with pytest.raises(yaml.representer.RepresenterError):
        atomic_yaml_dump(target, [value])
    assert not target.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!int ''",
        "!!int x",
        "!!float abc",
        "!!timestamp never",
        "2026-13-01",
        "2026-01-01 25:00:00",
        "!!binary é",
        "!!bool maybe",
        "1" * 5000,
        "!!set [1]",
        "!!omap {a: 1}",
        "? [a]\n: b",
    ],
)
def test_a_value_that_does_not_fit_its_type_is_a_yaml_error(target: Path, text: str) -> None:
    target.write_text(text)
    with pytest.raises(yaml.YAMLError):
        atomic_yaml_load(target)


def test_two_documents_in_one_file_are_refused(target: Path) -> None:
    target.write_text("a: 1\n---\nb: 2\n")
    with pytest.raises(yaml.composer.ComposerError):
        atomic_yaml_load(target)


def test_an_empty_file_is_none(target: Path) -> None:
    target.touch()
    assert atomic_yaml_load(target) is None


def test_of_a_key_twice_the_last_value_counts(target: Path) -> None:
    target.write_text("a: 1\nb: 2\na: 3\n")
    assert atomic_yaml_load(target) == {"a": 3, "b": 2}


def test_an_object_that_contains_itself_comes_back(target: Path) -> None:
    document: dict[str, object] = {}
    document["self"] = document
    atomic_yaml_dump(target, document)
    loaded = atomic_yaml_load(target)
    assert loaded["self"] is loaded


def test_a_shared_object_stays_shared(target: Path) -> None:
    shared = {"a": 1}
    atomic_yaml_dump(target, [shared, shared])
    first, second = atomic_yaml_load(target)
    assert first is second


def test_a_time_in_flow_style_comes_back_as_a_time(target: Path) -> None:
    document = [dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)]
    atomic_yaml_dump(target, document, default_flow_style=True)
    assert atomic_yaml_load(target) == document


@pytest.mark.parametrize(
    "value", [dt.datetime(1800, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=3723))), "\udc80"]
)
def test_what_would_not_come_back_is_refused(target: Path, value: object) -> None:
    with pytest.raises(yaml.representer.RepresenterError):
        atomic_yaml_dump(target, {"value": value})
    assert not target.exists()


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize("note", ["", "\U0001f600"], ids=["libyaml", "pure"])
@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Size.BIG, 3),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (collections.UserDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Point(1, 2), [1, 2]),
        (type("Text", (str,), {})("2001-01-01"), "2001-01-01"),
        (type("Text", (str,), {})("\U0001f600..."), "\U0001f600..."),
        (type("Raw", (bytes,), {})(b"a"), b"a"),
        (type("Ratio", (float,), {})(0.5), 0.5),
        (type("Day", (dt.date,), {})(2026, 1, 2), dt.date(2026, 1, 2)),
    ],
    ids=repr,
)
def test_a_subclass_is_written_as_its_base(
    target: Path, value: object, plain: object, note: str
) -> None:
    atomic_yaml_dump(target, {"note": note, "value": value, "list": [value, value]})
    loaded = atomic_yaml_load(target)
    assert loaded == {"note": note, "value": plain, "list": [plain, plain]}
    assert type(loaded["value"]) is type(plain)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"a": [{(1, 2): "x"}]}, r"obj\['a'\]\[0\]\[\(1, 2\)\]"),
        ([{"ok": 1}, {(1,): 2}], r"obj\[1\]\[\(1,\)\]"),
    ],
)
def test_what_would_not_read_back_is_refused_with_its_place(
    target: Path, document: object, place: str
) -> None:
    target.write_text("old\n")
    with pytest.raises(ValueError, match=place) as caught:
        atomic_yaml_dump(target, document, write_checksum=True)
    assert any("unchanged" in note for note in caught.value.__notes__)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.read_text() == "old\n"


@pytest.mark.parametrize(
    "text", ["wait...", "...", "-...", "a\n...", "...\n", "\n...\n", "a ...\n"]
)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: {"mood": "\U0001f600", "note": text},
        lambda text: {"\U0001f600": [text]},
        lambda text: {"k" * 120: text},
        lambda text: [text, "\U0001f600", text],
        lambda text: text,
        lambda text: f"\U0001f600{text}",
    ],
)
def test_dots_at_the_end_belong_to_the_text(target: Path, wrap: Any, text: str) -> None:
    atomic_yaml_dump(target, wrap(text))
    assert target.read_bytes().endswith(b"\n")
    assert atomic_yaml_load(target) == wrap(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 1000 + "]" * 1000, "- " * 999 + "x", "{a: " * 999 + "x" + "}" * 999],
    ids=["[", "-", "{"],
)
@pytest.mark.parametrize("build", ["libyaml", "pure"])
def test_a_deep_document_is_read_in_a_thread_with_a_small_stack(
    target: Path, text: str, build: str
) -> None:
    target.write_text(text)
    code = (
        "import sys, threading\n"
        "if sys.argv[2] == 'pure': sys.modules['yaml._yaml'] = None\n"
        "import yaml\n"
        "from safeatomic_formats import atomic_yaml_load\n"
        "atomic_yaml_load(sys.argv[1])\n"  # imports and caches belong to the main thread
        "def read():\n"
        "    value, levels = atomic_yaml_load(sys.argv[1]), 1\n"
        "    while isinstance(value, (list, dict)) and value:\n"
        "        value = value[0] if isinstance(value, list) else value['a']\n"
        "        levels += 1\n"
        "    print(levels)\n"
        "threading.stack_size(128 * 1024)\n"  # what a thread has under musl
        "thread = threading.Thread(target=read)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target), build], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1000\n"


def test_what_ruamel_yaml_loaded_is_written_as_plain_data(target: Path) -> None:
    pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")
    target.write_text(
        "a: 'x'\nb: &list [1, {c: 2.50}]\nc: *list\nd: &yes true\ne: 0x1F\nf: !!set {q}\n"
        "g: 2001-12-14t21:59:43-05:00\nh: |\n  text\ni: !!int '3'\nj: {<<: {k: 1}, m: 2}\n"
    )
    document = atomic_yaml_load_ruamel(target)
    atomic_yaml_dump(target, document)
    loaded = atomic_yaml_load(target)
    assert loaded == {
        "a": "x",
        "b": [1, {"c": 2.5}],
        "c": [1, {"c": 2.5}],
        "d": True,
        "e": 31,
        "f": {"q"},
        "g": dt.datetime(2001, 12, 14, 21, 59, 43, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
        "h": "text\n",
        "i": 3,
        "j": {"k": 1, "m": 2},
    }
    assert loaded["b"] is loaded["c"]
    assert loaded["d"] is True


@pytest.mark.parametrize("dump", [atomic_json_dump, atomic_yaml_dump, atomic_toml_dump])
def test_a_tag_of_the_callers_own_has_no_form_elsewhere(target: Path, dump: Any) -> None:
    pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")
    text = "a: {b: [!secret password]}\n"
    target.write_text(text)
    with pytest.raises(TypeError, match=r"obj\['a'\]\['b'\]\[0\] has the tag !secret"):
        dump(target, atomic_yaml_load_ruamel(target))
    assert target.read_text() == text
