"""What stands in brackets keeps its lines, spaces and comments if something in it changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from layouts import changed_text
from safeatomic_formats._brackets import in_place

LIST = """\
l: [
  a,  # first
  'b',   # second

  # above c
  c,
]   # end
m: { x: 1, # of x
     y: {z: ~, "q": [1,
       2]} }
"""
JSON = """\
{
  "a": 1,
  "b": [
    "x",
    {"y":[true,null]}
  ],
  "c": {}
}
"""
COMMENTS = """\
m: { # a
  w: {v: 1}, # b
  # above x
  x: 1, # c
  # above y
  y: {z: 2} # d
  # e
} # f
"""


def _replace_neighbours(document: Any) -> None:
    del document["m"]["w"]
    document["m"]["x"] = {"n": 1}


CHANGES: dict[str, tuple[str, Callable[[Any], object], str, str]] = {
    "value": (LIST, lambda d: d["m"].update(x=2), "x: 1", "x: 2"),
    "item": (LIST, lambda d: d["l"].__setitem__(1, "new"), "'b'", "'new'"),
    "inner item": (LIST, lambda d: d["m"]["y"]["q"].__setitem__(0, [3]), "[1,", "[[3],"),
    "item added": (LIST, lambda d: d["l"].append("d"), "  c,\n", "  c,\n  d,\n"),
    "item before the first": (LIST, lambda d: d["l"].insert(0, 0), "  a,", "  0,\n  a,"),
    "item between": (LIST, lambda d: d["l"].insert(2, 0), "  c,", "  0,\n  c,"),
    "entry added": (LIST, lambda d: d["m"]["y"].update(n=1), "2]}", "2], n: 1}"),
    "first item removed": (LIST, lambda d: d["l"].pop(0), "  a,  # first\n", ""),
    "item removed": (LIST, lambda d: d["l"].pop(1), "  'b',   # second\n", ""),
    "last item removed": (LIST, lambda d: d["l"].pop(), "  c,\n", ""),
    "entry removed": (LIST, lambda d: d["m"]["y"].pop("z"), "z: ~, ", ""),
    "last entry removed": (LIST, lambda d: d["m"]["y"].pop("q"), ', "q": [1,\n       2]', ""),
    "emptied": (LIST, lambda d: d["m"]["y"]["q"].clear(), "[1,\n       2]", "[]"),
    "value of JSON": (JSON, lambda d: d.update(a="t, [u"), "1", "'t, [u'"),
    "item added to JSON": (JSON, lambda d: d["b"].append(2), "}\n  ]", "},\n    2\n  ]"),
    "inner item of JSON": (JSON, lambda d: d["b"][1]["y"].pop(), ",null", ""),
    "entry added to JSON": (JSON, lambda d: d.update(n=1), "{}\n", "{},\n  n: 1\n"),
    "entry removed from JSON": (JSON, lambda d: d.pop("a"), '  "a": 1,\n', ""),
    "commented entry added": (
        COMMENTS,
        lambda d: d["m"].update(n=1),
        "2} # d\n  # e\n",
        "2}, # d\n  # e\n  n: 1\n",
    ),
    "commented entry removed": (COMMENTS, lambda d: d["m"].pop("x"), "  x: 1, # c\n", ""),
    "first commented entry removed": (
        COMMENTS,
        lambda d: d["m"].pop("w"),
        "  w: {v: 1}, # b\n",
        "",
    ),
    "last commented entry removed": (COMMENTS, lambda d: d["m"].pop("y"), "  y: {z: 2} # d\n", ""),
    "neighbours": (
        COMMENTS,
        _replace_neighbours,
        "  w: {v: 1}, # b\n  # above x\n  x: 1,",
        "  # above x\n  x: {n: 1},",
    ),
    "comment behind": (
        LIST,
        lambda d: d.yaml_add_eol_comment("new", "l", 0),
        "]   # end",
        "] # new",
    ),
    "comment added": (
        COMMENTS,
        lambda d: d["m"]["y"].yaml_add_eol_comment("new", "z", 0),
        "2} # d\n  # e\n} # f",
        "2 # new\n}} # f",
    ),
    "last entry removed from JSON": (JSON, lambda d: d.pop("c"), ',\n  "c": {}', ""),
}


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize(("text", "change", "old", "new"), CHANGES.values(), ids=CHANGES)
def test_the_rest_of_the_brackets_stays(
    text: str, change: Callable[[Any], object], old: str, new: str, copied: bool
) -> None:
    assert text.count(old) == 1
    assert changed_text(text, change, copied=copied) == text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "change", "changed"),
    [
        ("a: [1,\n  2]\n", lambda d: d.update(a=3), "a: 3\n"),
        ("a: [1,\n  2] # c\n", lambda d: d.update(a={"x": 1}), "a:   # c\n  x: 1\n"),
        ("a: [ # c\n  1,\n  2]\n", lambda d: d["a"].clear(), "a: []\n"),
        ("a: [\n  ]\nb:   1\n", lambda d: d["a"].append(1), "a:\n- 1\nb:   1\n"),
    ],
)
def test_what_is_no_longer_in_brackets_is_written_again(
    text: str, change: Callable[[Any], object], changed: str
) -> None:
    lines = [line.rstrip() for line in changed_text(text, change, copied=False).splitlines()]
    assert "\n".join(lines) + "\n" == changed


@pytest.mark.parametrize("block", ["m:\n  x: 1 # one\n  y: 2 # two\n", "- 1 # one\n- 2 # two\n"])
def test_what_comes_into_brackets_keeps_its_comments(block: str) -> None:
    def put_into_brackets(document: Any) -> None:
        document.fa.set_flow_style()

    changed = changed_text(block, put_into_brackets, copied=False)
    assert re.findall("#.*", changed) == ["# one", "# two"]


words = st.lists(st.sampled_from(["[", "]", "{", "}", ",", "a", "b: ", "'c'", "\n", " # d\n"]))


@given(words, words, words)
def test_no_lines_are_too_odd(base: list[str], kept: list[str], changed: list[str]) -> None:
    for before, ours, after in ((base, kept, changed), (base, base, changed)):
        text = in_place("".join(before), "".join(ours), "".join(after))
        assert text is None or isinstance(text, str)


@given(words, words)
def test_where_nothing_else_differs_the_change_is_taken(
    base: list[str], changed: list[str]
) -> None:
    before, after = "".join(base), "".join(changed)
    text = in_place(before, before, after)
    if text is not None and "#" not in before:
        said, meant = (re.sub(r"[\s,]", "", lines) for lines in (text, after))
        assert said == meant
