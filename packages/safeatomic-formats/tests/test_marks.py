"""Comments behind anchors, tags and aliases stay there, whatever is changed around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from layouts import changed_text

ALIASES = """\
x: &x  # base
  k: 1  # one
a:
  l: *x   # of l
  m: *x   # of m

# about b
b:
  - *x  # first
  - *x  # second
  - 3   # third
"""


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (lambda d: d["a"].update(l=2), "  l: *x   # of l\n", "  l: 2    # of l\n"),
        (lambda d: d["a"].update(m=[2]), "  m: *x   # of m\n", "  m:      # of m\n    - 2\n"),
        (lambda d: d["a"].update(l={}), "  l: *x   # of l\n", "  l: {}   # of l\n"),
        (lambda d: d["a"].pop("m"), "  m: *x   # of m\n", ""),
        (lambda d: d["a"].update(n=2), "# of m\n", "# of m\n  n: 2\n"),
        (lambda d: d["b"].__setitem__(0, 1), "  - *x  # first\n", "  - 1   # first\n"),
        (lambda d: d["b"].__setitem__(1, []), "  - *x  # second\n", "  - []  # second\n"),
        (lambda d: d["b"].pop(), "  - 3   # third\n", ""),
        (lambda d: d["b"].__setitem__(2, 4), "  - 3   # third\n", "  - 4   # third\n"),
        (lambda d: d["x"].update(k=2), "  k: 1  # one\n", "  k: 2  # one\n"),
        (lambda d: d.pop("b"), ALIASES[ALIASES.index("b:\n") :], ""),
    ],
)
def test_a_comment_behind_an_alias_stays_on_its_line(
    change: Callable[[Any], object], old: str, new: str, copied: bool
) -> None:
    assert changed_text(ALIASES, change, copied=copied) == ALIASES.replace(old, new)


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize("value", ["k: 1 # k", "- 1 # one", "- ? k\n    : 1"])
@pytest.mark.parametrize("mark", ["&x", "!t", "&x !t"])
def test_a_comment_behind_a_mark_is_written_once(mark: str, value: str, copied: bool) -> None:
    text = f"a: {mark} # c\n\n  # d\n  {value}\nb: 1\n"

    def empty(document: Any) -> None:
        document["a"].clear()

    def replace(document: Any) -> None:
        document["a"] = {"n": 1}

    brackets = "{}" if value[0] == "k" else "[]"
    emptied = f"a: {mark} {brackets} # c\n\n  # d\nb: 1\n"
    assert changed_text(text, empty, copied=copied) == emptied
    replaced = f"a: {' ' * len(mark)} # c\n\n  # d\n  n: 1\nb: 1\n"
    assert changed_text(text, replace, copied=copied) == replaced


@pytest.mark.parametrize("mark", ["&x", "!t"])
def test_a_comment_behind_a_mark_of_an_item_stays_there(mark: str) -> None:
    text = f"- 1\n- {mark} # c\n  k: 1 # k\n- 2\n"
    changed = changed_text(text, lambda d: d.__setitem__(1, 5), copied=False)
    assert changed == f"- 1\n- {'5':{len(mark)}} # c\n- 2\n"
    changed = changed_text(text, lambda d: d[1].clear(), copied=False)
    assert changed == f"- 1\n- {mark} {{}} # c\n- 2\n"


def test_a_line_separator_in_a_text_ends_no_line_of_comments_and_indents() -> None:
    text = "a: x\u2028y\nb: &z # c\n    k: 1\nd: *z # d\ne: 1\n"
    changed = changed_text(text, lambda d: d.update({"e": {"n": 1}, "d": 2}), copied=False)
    assert changed == text.replace("d: *z # d\ne: 1\n", "d: 2  # d\ne:\n    n: 1\n")


def test_a_comment_behind_an_alias_of_an_empty_value_stays_there() -> None:
    text = "a: &x\nb: *x # b\nc: *x # c\n"
    changed = changed_text(text, lambda d: d.update(c=7), copied=False)
    assert changed == text.replace("*x # c", "7  # c")
