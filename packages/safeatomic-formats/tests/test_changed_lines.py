"""A change of a YAML document rewrites the lines that it is about, and no others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from ruamel.yaml.scalarstring import FoldedScalarString

from layouts import changed_text

BRACKETS = "a: [1,   2,\n  3]\nb: [4,   5,\n  6]\n# about c\nc: [7,   8,\n  9]\n"
QUOTED = "a: 'x\n\n  y'\nb: \"p\n  q\"\nc: 'r\n\n  s'\n"
PLAIN = "a: one\n  two\nb: three\n  four\nc: five\n  six\n"
LISTED = "l:\n  - [1,   2,\n    3]\n  - {x: 1,\n    y: 2}\n  - 'r\n\n    s'\n  - x: o\n      t\n"
WHOLE = "  a: 1 # x\n  # c\n  b:\n    - 1\n  d:   4\n"
CHANGES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "brackets between brackets": (
        BRACKETS,
        lambda d: d["b"].append(0),
        "a: [1,   2,\n  3]\nb: [4,   5,\n  6,\n  0]\n# about c\nc: [7,   8,\n  9]\n",
    ),
    "brackets removed": (
        BRACKETS,
        lambda d: d.pop("b"),
        "a: [1,   2,\n  3]\n# about c\nc: [7,   8,\n  9]\n",
    ),
    "text between quoted texts": (
        QUOTED,
        lambda d: d.update(b="z"),
        "a: 'x\n\n  y'\nb: \"z\"\nc: 'r\n\n  s'\n",
    ),
    "text between plain texts": (
        PLAIN,
        lambda d: d.update(b="z"),
        "a: one\n  two\nb: z\nc: five\n  six\n",
    ),
    "plain text removed": (PLAIN, lambda d: d.pop("a"), "b: three\n  four\nc: five\n  six\n"),
    "first item": (
        LISTED,
        lambda d: d["l"].__setitem__(0, 5),
        LISTED.replace("[1,   2,\n    3]", "5"),
    ),
    "mapping in brackets in a list": (
        LISTED,
        lambda d: d["l"][1].update(y=3),
        LISTED.replace("y: 2", "y: 3"),
    ),
    "quoted item": (
        LISTED,
        lambda d: d["l"].__setitem__(2, "t"),
        LISTED.replace("'r\n\n    s'", "'t'"),
    ),
    "mapping that is indented as a whole": (
        WHOLE,
        lambda d: (d.update(a=2), d["b"].append(2)),
        "  a: 2 # x\n  # c\n  b:\n    - 1\n    - 2\n  d:   4\n",
    ),
    "brackets below a comment behind the marker": (
        "--- # c\na: [1,   2,\n  3] # d\n",
        lambda d: d["a"].append(4),
        "--- # c\na: [1,   2,\n  3,\n  4] # d\n",
    ),
    "item over several lines below a comment behind the marker": (
        "--- # c\n-   one\n  two\n-   3\n",
        lambda d: d.pop(0),
        "--- # c\n-   3\n",
    ),
    "mapping in place of a null that is spelt": (
        "--- # c\nk0 :   null  # d\nk1 :   1\n",
        lambda d: d.update(k0={"q": 1}),
        "--- # c\nk0:          # d\n  q: 1\nk1 :   1\n",
    ),
    "list in place of a block scalar with a comment at its mark": (
        "a:   |  # c\n  one\nb:   [1,\n  2]\n",
        lambda d: d.update(a=[1]),
        "a: # c\n- 1\nb:   [1,\n  2]\n",
    ),
    "number in place of a block scalar with a comment at its mark": (
        "a:   >  # c\n  one\n# d\nb:   2\n",
        lambda d: d.update(a=1),
        "a: 1 # c\n# d\nb:   2\n",
    ),
    "mapping in an item behind brackets with a comment": (
        "k: &a\n   # c\n  -  {a: 1} # d\n  - 0:   {a: 1,\n       c: [x]}\n",
        lambda d: d["k"][1].update({0: {"q": 1}}),
        "k: &a\n   # c\n  -  {a: 1} # d\n  - 0:\n      q: 1\n",
    ),
    "block scalar that begins with spaces in a wide indent": (
        "a:\n    b: |4\n          x\n        y\nc:   1\n",
        lambda d: d["a"].update(d=copy.deepcopy(d["a"]["b"])),
        "a:\n    b: |4\n          x\n        y\n    d: |4\n          x\n        y\nc:   1\n",
    ),
    "text in brackets that begins with a colon": (
        "a: [1]\nb:   {c: 1}\n",
        lambda d: (d["a"].append(":  x"), d["b"].update({":*y": ":z"})),
        "a: [1, ':  x']\nb:   {c: 1, ':*y': ':z'}\n",
    ),
    "mapping of one entry in brackets that another entry shares": (
        "a: [1]\nb: {x: 1}\nc:   1\n",
        lambda d: d["a"].append(d["b"]),
        "a: [1, &id001 {x: 1}]\nb: *id001\nc:   1\n",
    ),
    "mapping of one entry in brackets that has a tag": (
        "a: [!t {x:  1}, {y:  1}]\nb:   1\n",
        lambda d: d["a"].append(2),
        "a: [!t {x:  1}, {y:  1}, 2]\nb:   1\n",
    ),
    "folded text that moves into brackets": (
        "a: [1]\nb:   >\n  one\n  two\nc:   1\n",
        lambda d: d["a"].append(d.pop("b")),
        'a: [1, "one two\\n"]\nc:   1\n',
    ),
    "folded text that becomes a key": (
        "a: >-\n  one\n  two\nb:   1\n",
        lambda d: d.insert(1, d["a"], 2),
        'a: >-\n  one\n  two\n"one two": 2\nb:   1\n',
    ),
    "folded text that ends in blank lines": (
        "a:   1\nb:   2\n",
        lambda d: d.update(a=FoldedScalarString("x\n\n")),
        'a: "x\\n\\n"\nb:   2\n',
    ),
    "entry added to a mapping that is indented as a whole": (
        f"--- !t\n{WHOLE}",
        lambda d: d.update(e={"f": 1}),
        f"--- !t\n{WHOLE}  e:\n    f: 1\n",
    ),
}


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize(("text", "change", "changed"), CHANGES.values(), ids=CHANGES)
def test_other_lines_stay(
    text: str, change: Callable[[Any], object], changed: str, copied: bool
) -> None:
    assert changed_text(text, change, copied=copied) == changed
