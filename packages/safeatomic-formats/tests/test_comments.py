"""Blank lines and comments stay above what they stood above, whatever is changed around them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

from layouts import changed_text, nothing_there
from safeatomic_formats import _layout
from safeatomic_formats._comments import above_what_follows
from safeatomic_formats._lines import differences

SECTIONS = "variables:\n  var1: V\n\n# about other\nother:\n  x: 1\n"
LISTS = "a:\n  - x\n\n# about b\nb:\n- 1 # one\n\n# about c\nc: 1\n# end\n"
CHANGES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "last entry of a section removed": (
        "a:\n  x: 1\n  b: 2\n  # d: 2\ne: 1\n",
        lambda d: d["a"].pop("b"),
        "a:\n  x: 1\n  # d: 2\ne: 1\n",
    ),
    "entry removed below a list in brackets": (
        "a: [1]\n# about b\nb: 1\n\n# about c\nc: 1\n",
        lambda d: d.pop("b"),
        "a: [1]\n# about b\n\n# about c\nc: 1\n",
    ),
    "section removed below examples of an empty one": (
        "a: {}\n  # x: 1\n  # y: 2\n\nb:\n  z: 1\nc: 1\n",
        lambda d: d.pop("b"),
        "a: {}\n  # x: 1\n  # y: 2\n\nc: 1\n",
    ),
    "first key of an item removed": (
        "l:\n  - 1\n  - a: 1  # one\n\n    # about b\n    b: 2  # two\n    c: 3\n",
        lambda d: d["l"][1].pop("a"),
        "l:\n  - 1\n\n  # about b\n  - b: 2  # two\n    c: 3\n",
    ),
    "first item of an item removed": (
        "l:\n- - 1\n  # about 2\n  - 2\n",
        lambda d: d["l"][0].pop(0),
        "l:\n# about 2\n- - 2\n",
    ),
    "list emptied": (
        "a:\n  - 1\n  - 2\n  # below\nc: 2\n",
        lambda d: d["a"].clear(),
        "a: []\n  # below\nc: 2\n",
    ),
    "item behind one that was always empty": (
        "m:\n  - 3\n  - []\n\n  # about the second\n  - []\np: 1\n",
        lambda d: d["m"].append("N"),
        "m:\n  - 3\n  - []\n\n  # about the second\n  - []\n  - N\np: 1\n",
    ),
    "first item emptied": (
        "s:\n  # first\n  - a: 1\n  - x: 1\n    y: 2\n",
        lambda d: d["s"][0].clear(),
        "s:\n  # first\n  - {}\n  - x: 1\n    y: 2\n",
    ),
    "entry of an item behind an empty one": (
        "a: # h\n- {}\n- x: 1\n  y: 2\nb: 1\n",
        lambda d: d["a"][1].update(y=3),
        "a: # h\n- {}\n- x: 1\n  y: 3\nb: 1\n",
    ),
    "key added to a section": (
        SECTIONS,
        lambda d: d["variables"].update(var3="W"),
        "variables:\n  var1: V\n  var3: W\n\n# about other\nother:\n  x: 1\n",
    ),
    "section added to a section": (
        SECTIONS,
        lambda d: d["variables"].update(var3={"y": [1]}),
        "variables:\n  var1: V\n  var3:\n    y:\n    - 1\n\n# about other\nother:\n  x: 1\n",
    ),
    "items added": (
        LISTS,
        lambda d: (d["a"].extend(["y", "z"]), d["b"].append(2)),
        "a:\n  - x\n  - y\n  - z\n\n# about b\nb:\n- 1 # one\n- 2\n\n# about c\nc: 1\n# end\n",
    ),
    "item with another item before its end": (
        "l:\n  - a: 1\n    b: 2\n\n  # second\n  - a: 3\n",
        lambda d: d["l"][0].update(c=3),
        "l:\n  - a: 1\n    b: 2\n    c: 3\n\n  # second\n  - a: 3\n",
    ),
    "comment that stands further to the right": (
        "a:\n  x: 1\n  # y: 2\n# about b\nb: 1\n",
        lambda d: d["a"].update(z=3),
        "a:\n  x: 1\n  # y: 2\n  z: 3\n# about b\nb: 1\n",
    ),
    "list at the end": (
        "a:\n  - x\n\n# end\n",
        lambda d: d["a"].append("y"),
        "a:\n  - x\n  - y\n\n# end\n",
    ),
    "key added to the document": (
        "a: 1\n\n# end\n",
        lambda d: d.update(b=2),
        "a: 1\n\n# end\nb: 2\n",
    ),
    "lone value that becomes a list": (
        LISTS,
        lambda d: d.update({"c": ["p", "q"], "b": 5}),
        "a:\n  - x\n\n# about b\nb: 5\n\n# about c\nc:\n  - p\n  - q\n# end\n",
    ),
    "lone value that becomes a mapping": (
        SECTIONS,
        lambda d: d["variables"].update(var1={"q": 1}),
        "variables:\n  var1:\n    q: 1\n\n# about other\nother:\n  x: 1\n",
    ),
    "list in place of a list": (
        LISTS,
        lambda d: d.update(a=["x", "y"]),
        "a:\n  - x\n  - y\n\n# about b\nb:\n- 1 # one\n\n# about c\nc: 1\n# end\n",
    ),
    "the same list once more": (
        LISTS,
        lambda d: d.update({"a": list(d["a"]), "b": [*d["b"], 2]}),
        "a:\n  - x\n\n# about b\nb:\n  - 1\n  - 2\n\n# about c\nc: 1\n# end\n",
    ),
    "lone value in place of a list": (
        LISTS,
        lambda d: d.update(a=1),
        "a: 1\n\n# about b\nb:\n- 1 # one\n\n# about c\nc: 1\n# end\n",
    ),
    "item in place of an item": (
        "- a: 1\n\n# second\n- a: 2\n",
        lambda d: d.__setitem__(0, {"b": 1}),
        "- b: 1\n\n# second\n- a: 2\n",
    ),
    "section removed": (
        "a:\n  x: 1\nb:\n  y: 1\n\n# about c\nc: 1\n",
        lambda d: d.pop("b"),
        "a:\n  x: 1\n\n# about c\nc: 1\n",
    ),
    "last item removed": (
        "a:\n  - x\n  - y # why\n\n# about b\nb: 1\n",
        lambda d: d["a"].__delitem__(1),
        "a:\n  - x\n\n# about b\nb: 1\n",
    ),
    "last section removed": (
        "a: 1\nb:\n  - x\n# end\n",
        lambda d: d.pop("b"),
        "a: 1\n# end\n",
    ),
    "section moved": (
        "a: 1\n# about b\nb: 2\n# about c\nc: 3\n",
        lambda d: d.move_to_end("b"),
        "a: 1\n# about b\nc: 3\nb: 2\n# about c\n",  # ruamel.yaml moves what is below
    ),
    "comment removed": (
        LISTS,
        lambda d: d["a"].ca.items.clear(),
        "a:\n  - x\nb:\n- 1 # one\n\n# about c\nc: 1\n# end\n",
    ),
    "comment removed with a value": (
        "a: 1 # one\n# about b\nb: 2\n",
        lambda d: (d.update(b=3), d.ca.items.clear()),
        "a: 1\nb: 3\n",
    ),
    "text that looks like comments": (
        "a:\n  t: |+\n    x\n\n  # about u\n  u: |\n    # y\n\nb: 1\n",
        lambda d: d["a"].update({"v": 1, "t": "z"}),
        "a:\n  t: |-\n    z\n\n  # about u\n  u: |\n    # y\n  v: 1\n\nb: 1\n",
    ),
    "mapping in place of a value above a comment": (
        "a:\n  x: 1\n  # below\nb: 2\n",
        lambda d: d["a"].update(x={"y": 2}),
        "a:\n  x:\n    y: 2\n  # below\nb: 2\n",
    ),
    "list in place of a value above a comment": (
        "a:\n  x: 1 # one\n  # below\n  y: 3\n",
        lambda d: d["a"].update(x=["y", {"z": 1}]),
        "a:\n  x:   # one\n  - y\n  - z: 1\n  # below\n  y: 3\n",
    ),
    "list in place of an item above a comment": (
        "- k\n\n# below\n- z\n",
        lambda d: d.__setitem__(0, ["p", "q"]),
        "- - p\n  - q\n\n# below\n- z\n",
    ),
    "list in place of a mapping with a comment in it": (
        "a:\n  x: # e\n    # f\n    q: 1\n  # d\n",
        lambda d: d["a"].update(x=["y"]),
        "a:\n  x: # e\n    # f\n  - y\n  # d\n",
    ),
    "number in place of a block scalar": (
        "a:\n  x: |\n    t\n  # below\n  y: |\n    t\n\n\n  # end\n",
        lambda d: d["a"].update({"x": 5, "y": 6}),
        "a:\n  x: 5\n  # below\n  y: 6\n\n\n  # end\n",
    ),
    "list in place of a block scalar": (
        "a:\n  - >\n    t\n  # below\n  - |\n    t\n\n  # end\n",
        lambda d: (d["a"].__setitem__(0, [5]), d["a"].__setitem__(1, [6])),
        "a:\n  -   - 5\n  # below\n  -   - 6\n\n  # end\n",
    ),
    "block scalar in place of a number": (
        "a: 1\n\n# about b\nb: 2\n",
        lambda d: d.update(a=LiteralScalarString("x\ny\n")),
        "a: |\n  x\n  y\n\n# about b\nb: 2\n",
    ),
    "block scalar above a comment further to the right": (
        "a:\n  b: 1 # one\n      # deep\n  c:\n  - 2\n      # deep\n",
        lambda d: (
            d["a"].update(b=LiteralScalarString("x\n")),
            d["a"]["c"].__setitem__(0, LiteralScalarString("y\n")),
        ),
        "a:\n  b: |\n    x\n  # one\n  # deep\n  c:\n  - |\n    y\n  # deep\n",
    ),
    "block scalar that ends in blank lines": (
        "a: 1\n\n# about b\nb: |\n  x\n\n# end\n",
        lambda d: d.update({"a": LiteralScalarString("y\n\n"), "b": LiteralScalarString("z\n\n")}),
        "a: |+\n  y\n\n# about b\nb: |+\n  z\n\n# end\n",
    ),
    "empty block scalars": (
        "a: 1 # one\nb: 2\n# end\n",
        lambda d: d.update({"a": LiteralScalarString(""), "b": FoldedScalarString("")}),
        "a: '' # one\nb: ''\n# end\n",
    ),
    "comment further to the left than what is added": (
        "a:\n  b:\n    x: 1\n  # below\n# end\n",
        lambda d: d["a"]["b"].update(y=2),
        "a:\n  b:\n    x: 1\n    y: 2\n  # below\n# end\n",
    ),
    "mapping with comments in place of an item with comments": (
        "l:\n  - 1 # c\n  # d\nm: 1\no: 2\np: 3\nn: # f\n    # z\n    y: 1\n",
        lambda d: d["l"].__setitem__(0, d["n"]),
        "l:\n  - &id001 # f\n    # z\n    y: 1\n  # d\nm: 1\no: 2\np: 3\nn: *id001\n",
    ),
    "indented comment behind a block scalar that becomes a mapping": (
        "a: 1\nb: >\n    text\n  # c\n\n  # d\n",
        lambda d: d.update(b={"x": 1}),
        "a: 1\nb:\n  x: 1\n  # c\n\n  # d\n",
    ),
    "indented comment behind a block scalar that becomes a number": (
        "a: |\n    text\n  # c\nb: 1\n",
        lambda d: d.update(a=1),
        "a: 1\n  # c\nb: 1\n",
    ),
    "comment behind the dash of an item below a block scalar": (
        "- |\n  text\n- # c\n  a: 1\n- 2\n",
        lambda d: d[1].update(a=3),
        "- |\n  text\n# c\n- a: 3\n- 2\n",
    ),
    "comment behind the dash of an item that is emptied": (
        "l:\n  - x\n  - # c\n    a: 1\n  - 2\n",
        lambda d: d["l"][1].clear(),
        "l:\n  - x\n  # c\n  - {}\n  - 2\n",
    ),
    "comment at the mark of a block scalar in a list": (
        "- | # c\n  text\n- 1 # one\n# d\n- 2 # two\n",
        lambda d: (d.__setitem__(0, LiteralScalarString("new\n")), d.__setitem__(2, 3)),
        "- | # c\n  new\n- 1 # one\n# d\n- 3 # two\n",
    ),
    "block scalar with comments below it that moves to the left": (
        "a:\n  b:\n    r: |\n      x\n\n    # c\n    # d\n    s: 1\nt: 2\n",
        lambda d: d.insert(0, "b", d.pop("a")["b"]),
        "b:\n  r: |\n    x\n\n  # c\n  # d\n  s: 1\nt: 2\n",
    ),
    "number in place of an alias": (
        "a: &x 1 # one\nb: *x   # two\nc: 3\n",
        lambda d: d.update(b=2),
        "a: &x 1 # one\nb: 2    # two\nc: 3\n",
    ),
    "number in place of an anchor": (
        "a: &x 1 # one\nb: *x   # two\nc: 3\n",
        lambda d: d.update(a=2),
        "a: 2    # one\nb: &x 1 # two\nc: 3\n",
    ),
    "number in place of an alias, with a comment below its anchor": (
        "a: &x 1\n# c\nb:\n  d: *x\ne: 3\n",
        lambda d: d["b"].update(d=2),
        "a: &x 1\n# c\nb:\n  d: 2\ne: 3\n",
    ),
    "list with a comment at the mark of a block scalar that is emptied": (
        "k:\n- |- # c\n    text\n- {  }\n# d\n\nj: 1\n",
        lambda d: d["k"].clear(),
        "k: []\n# d\n\nj: 1\n",
    ),
}


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize(("text", "change", "changed"), CHANGES.values(), ids=CHANGES)
def test_comments_stay(
    text: str, change: Callable[[Any], object], changed: str, copied: bool
) -> None:
    assert changed_text(text, change, copied=copied) == changed


lines = st.lists(st.sampled_from(["a:\n", "  - b\n", "# c\n", "  # d\n", "\n", "e: 1\n"]))


@given(lines, lines, st.booleans())
@settings(deadline=None)
def test_no_line_is_lost_or_made_up(base: list[str], changed: list[str], all_kept: bool) -> None:
    settled, regions = above_what_follows(
        base, changed, differences(base, changed, by_key=True), all_kept=all_kept
    )
    before, after, result = (
        Counter(line.strip() for line in text) for text in (base, changed, settled)
    )
    assert not after - result
    assert not result - (before + after)
    assert [line for line in settled if line.strip()[:1] not in ("", "#")] == [
        line for line in changed if line.strip()[:1] not in ("", "#")
    ]
    patched: list[str] = []
    done = 0
    for start, end, first, last in regions:
        patched += base[done:start] + settled[first:last]
        done = end
    assert patched + base[done:] == settled


def test_a_part_with_a_comment_behind_a_block_scalar_can_be_written_by_itself() -> None:
    document: Any = _layout.load("a:\n  - r: >-\n      x\n\n    # c\n    s: 1\n  # d\n  - 1\n")
    text = _layout.render(document["a"][0], nothing_there)
    assert text == "r: >-\n  x\n\n# c\ns: 1\n  # d\n"


def test_a_dump_leaves_the_comments_of_the_object_as_they_are() -> None:
    document: Any = _layout.load(
        "a: {\n  x: {}, # c\n }\nb: &s # d\n  - &t 1 # e\nc: *t # f\n"
        "s: !!set\n  # g\n  ? x # h\no: !!omap\n  # i\n  - x: 1 # j\n"
    )
    commented = [document, *(document[key] for key in "abso")]
    before = [repr(collection.ca) for collection in commented]
    for _ in range(2):
        _layout.render(document, nothing_there)
    assert [repr(collection.ca) for collection in commented] == before
    document["a"].clear()
    text = _layout.render(document, nothing_there)
    assert text.count("# c") == 1
    assert _layout.render(document, nothing_there) == text


@pytest.mark.parametrize("value", [{"x": 1}, [1], {}])
def test_lines_of_a_block_scalar_that_look_like_comments_go_with_it(value: Any) -> None:
    text = "run: |\n\n  # install\n  pip install x\n\n  # end\n# about b\nb: 2\n"
    changed = changed_text(text, lambda d: d.update(run=value), copied=False)
    assert re.findall("#.*", changed) == ["# about b"]
