"""Merge keys and time stamps through ruamel.yaml: edited, copied, emptied."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from layouts import nothing_there
from safeatomic_formats import _depth, _layout
from safeatomic_formats._plain import without_ruamel
from safeatomic_formats._readback import check

TEXTS = {
    "one": "# head\nbase: &b\n  x: 1  # one\n  y: 2\n\nuse:\n  <<: *b\n  z: 3   # 3\nl: [ 1,2 ]\n",
    "several": "a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: [*a, *b]\n  z: 4\n",
    "of each other": "a: &a\n  x: 1\nb: &b\n  <<: *a\n  y: 2\nc:\n  <<: *b\n  z: 3\n",
    "nothing else": "a: &a\n  x: 1\nb:\n  <<: *a\n",
    "in a list": "- &a\n  x: 1\n- <<: *a\n  y: 2\n- <<: *a\n",
    "set again": "a: &a\n  x: 1\nb:\n  <<: *a\n  x: 2\n",
    "set again to the same": "a: &a\n  x: 1\nb:\n  <<: *a\n  x: 1\n",
    "at the end": "a: &a\n  x: 1\nb:\n  x: 2\n  <<: *a\n",
    "with a collection": "a: &a\n  d: {k: v}   # c\nb:\n  <<: *a\n",
    "unnamed": "b:\n  <<: {x: 1}\n  y: 2\n",
    "times": "- 2001-12-14 21:59:43 +1\n- 2001-12-14T21:59:43Z\n- 2001-12-14t01:02:03-05:30\n",
}


def holders(document: Any) -> list[Any]:
    """Return the collections of a document."""
    if not isinstance(document, dict | list):
        return []
    inner = document.values() if isinstance(document, dict) else document
    return [document, *(holder for entry in inner for holder in holders(entry))]


def add(holder: Any) -> None:
    if isinstance(holder, dict):
        holder["new"] = 1
    else:
        holder.append(1)


def change(holder: Any) -> None:
    first = next(iter(holder)) if isinstance(holder, dict) else 0
    holder[first] = "changed"


def remove(holder: Any) -> None:
    del holder[next(iter(holder)) if isinstance(holder, dict) else 0]


EDITS: list[Callable[[Any], None]] = [add, change, remove, lambda holder: holder.clear()]


@pytest.mark.parametrize("duplicate", [lambda d: d, copy.deepcopy], ids=["itself", "a deep copy"])
@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_an_unchanged_document_comes_back(source: str, duplicate: Callable[[Any], Any]) -> None:
    assert _layout.render(duplicate(_layout.load(source)), nothing_there) == source
    twice = duplicate(duplicate(_layout.load(source)))
    assert _layout.render(twice, nothing_there) == source


@pytest.mark.parametrize("edit", EDITS, ids=["add", "change", "remove", "clear"])
@pytest.mark.parametrize("duplicate", [lambda d: d, copy.deepcopy], ids=["itself", "a deep copy"])
@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_an_edited_document_says_what_the_object_says(
    source: str, duplicate: Callable[[Any], Any], edit: Callable[[Any], None]
) -> None:
    for number in range(len(holders(_layout.load(source)))):
        document: Any = duplicate(_layout.load(source))
        try:
            edit(holders(document)[number])
        except (KeyError, RuntimeError, StopIteration):
            continue  # ruamel.yaml's own slip when what others inherit is removed
        text = _layout.render(document, nothing_there)
        read = YAML(typ="rt", pure=True).load(text)
        check(document, read, "YAML", scalar=_layout._same_scalar)


@pytest.mark.parametrize("duplicate", [lambda d: d, copy.deepcopy], ids=["itself", "a deep copy"])
def test_only_the_changed_line_changes(duplicate: Callable[[Any], Any]) -> None:
    source = TEXTS["one"]
    document: Any = duplicate(_layout.load(source))
    document["base"]["y"] = document["use"]["y"] = 5
    assert _layout.render(document, nothing_there) == source.replace("y: 2", "y: 5")
    document["use"]["z"] = 4
    assert "  <<: *b\n  z: 4" in _layout.render(document, nothing_there)


def test_what_is_inherited_no_more_takes_the_merge_key_along() -> None:
    document: Any = _layout.load(TEXTS["one"])
    document["use"].clear()
    document["use"]["own"] = 1
    assert "<<" not in _layout.render(document, nothing_there)


def test_what_a_change_of_the_base_would_change_is_set_again() -> None:
    document: Any = _layout.load(TEXTS["nothing else"])
    document["a"]["x"] = 2
    text = _layout.render(document, nothing_there)
    assert YAML(typ="safe", pure=True).load(text) == {"a": {"x": 2}, "b": {"x": 1}}
    assert "<<: *a" in text


def test_a_deep_copy_that_lost_a_fraction_keeps_its_neighbours() -> None:
    """`copy.deepcopy` of a time stamp of ruamel.yaml drops what is below the second."""
    document: Any = copy.deepcopy(_layout.load("u:   1\nt: 2001-12-14 21:59:43.5 +1\nv:   2\n"))
    text = _layout.render(document, nothing_there)
    assert text.startswith("u:   1\nt: 2001-12-14 21:59:43+1")
    assert text.endswith("v:   2\n")


@pytest.mark.parametrize("duplicate", [lambda d: d, copy.deepcopy], ids=["itself", "a deep copy"])
def test_what_was_inherited_from_a_removed_mapping_is_written_out(
    duplicate: Callable[[Any], Any],
) -> None:
    document: Any = duplicate(_layout.load(TEXTS["in a list"]))
    del document[0]
    text = _layout.render(document, nothing_there)
    assert "<<" not in text
    assert YAML(typ="safe", pure=True).load(text) == [{"x": 1, "y": 2}, {"x": 1}]


@pytest.mark.parametrize("step", [2, 4])
def test_an_anchor_does_not_hide_how_deep_its_collection_stands(step: int) -> None:
    deeper = " " * step
    source = f"a: &a\n{deeper}b: &b\n{deeper * 2}- 1\n{deeper * 2}- c: 2\n{deeper}d: &d {{}}\n"
    document: Any = _layout.load(source)
    document["a"]["e"] = {"f": [{"g": 1}]}
    added = f"{deeper}e:\n{deeper * 2}f:\n{deeper * 3}- g: 1\n"
    assert _layout.render(document, nothing_there) == source + added


@pytest.mark.parametrize("written", ["{<<: [*b, *b], z: 1}", "{<<: {x: 1}, z: 1}"])
def test_what_a_merge_key_names_may_stand_anywhere(written: str) -> None:
    document: Any = _layout.load(f"base: &b\n  x: 1\nuse: {written}\n")
    document["use"]["z"] = 2
    text = _layout.render(copy.deepcopy(document), nothing_there)
    assert YAML(typ="safe", pure=True).load(text)["use"] == {"x": 1, "z": 2}


@pytest.mark.parametrize("bad", ["\ud83d", "a\ud83d"])
@pytest.mark.parametrize("holder", [lambda t: [t], lambda t: {t: 1}, lambda t: {"a": (t,)}])
def test_half_of_a_character_is_neither_read_nor_written(
    bad: str, holder: Callable[[str], Any]
) -> None:
    with pytest.raises(YAMLError, match="half of a surrogate pair"):
        _layout.render(holder(bad), nothing_there)
    escaped = json.dumps(holder(bad))
    with pytest.raises(YAMLError, match="half of a surrogate pair"):
        _layout.load(escaped)


@pytest.mark.parametrize(
    ("written", "plain"),
    [("!!int '3'", 3), ("!!str 5", "5"), ("!!float '2.5'", 2.5), ("!!null ''", None)],
)
def test_a_value_with_a_tag_of_yaml_itself_is_plain_data(written: str, plain: object) -> None:
    document: Any = _layout.load(f"a: [{written}]\n")
    assert without_ruamel(document) == {"a": [plain]}


def test_a_document_too_deep_for_the_stack_is_refused_before_a_converter_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_depth, "levels", lambda: 20)
    instance = YAML(typ="rt", pure=True)
    with pytest.raises(RecursionError, match="more than 20 levels"):
        _layout.load("[" * 21 + "1" + "]" * 21, instance)
    assert _layout.load("[" * 20 + "]" * 20, instance)
    with pytest.raises(YAMLError):
        _layout.load("[", instance)
    with pytest.raises(RecursionError, match="more than 20 levels"):
        _layout.load("[" * 21 + "1" + "]" * 21)
