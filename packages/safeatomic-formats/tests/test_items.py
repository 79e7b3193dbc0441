"""The comments of a list's items go with them, however they come to change their places."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from layouts import nothing_there
from safeatomic_formats import _layout

TEXT = "l:\n  - 1 # one\n  - 2 # two\n  - a: 3 # three\n  - 4 # four\nz: 1\n"
CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "last one removed by pop()": (
        lambda items: items.pop(),
        "  - 1 # one\n  - 2 # two\n  - a: 3 # three\n",
    ),
    "last one but one removed": (
        lambda items: items.__delitem__(-2),
        "  - 1 # one\n  - 2 # two\n  - 4 # four\n",
    ),
    "one inserted before the last": (
        lambda items: items.insert(-1, 5),
        "  - 1 # one\n  - 2 # two\n  - a: 3 # three\n  - 5\n  - 4 # four\n",
    ),
    "first one removed": (
        lambda items: items.pop(0),
        "  - 2 # two\n  - a: 3 # three\n  - 4 # four\n",
    ),
    "one inserted": (
        lambda items: items.insert(1, 5),
        "  - 1 # one\n  - 5\n  - 2 # two\n  - a: 3 # three\n  - 4 # four\n",
    ),
    "reversed": (
        lambda items: items.reverse(),
        "  - 4 # four\n  - a: 3 # three\n  - 2 # two\n  - 1 # one\n",
    ),
    "exchanged": (
        lambda items: [items.__setitem__(n, item) for n, item in enumerate([items[1], items[0]])],
        "  - 2 # two\n  - 1 # one\n  - a: 3 # three\n  - 4 # four\n",
    ),
    "replaced": (
        lambda items: (items.__setitem__(0, 5), items.__setitem__(3, 6)),
        "  - 5 # one\n  - 2 # two\n  - a: 3 # three\n  - 6 # four\n",
    ),
    "replaced with one that is there": (
        lambda items: items.__setitem__(0, 2),
        "  - 2 # one\n  - 2 # two\n  - a: 3 # three\n  - 4 # four\n",
    ),
    "removed and replaced": (
        lambda items: (items.pop(), items.__setitem__(0, 5)),
        "  - 5 # one\n  - 2 # two\n  - a: 3 # three\n",
    ),
    "reversed and commented": (
        lambda items: (items.reverse(), items.yaml_add_eol_comment("new", 0, 6)),
        "  - 4 # new\n  - a: 3 # three\n  - 2 # two\n  - 1\n",
    ),
    "commented": (
        lambda items: (items.pop(), items.append(5), items.yaml_add_eol_comment("five", 3, 6)),
        "  - 1 # one\n  - 2 # two\n  - a: 3 # three\n  - 5 # five\n",
    ),
}


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize(("change", "changed"), CHANGES.values(), ids=CHANGES)
def test_comments_go_with_their_items(
    change: Callable[[Any], object], changed: str, copied: bool
) -> None:
    document: Any = _layout.load(TEXT)
    if copied:
        document = copy.deepcopy(document)
    change(document["l"])
    for _ in range(2):
        assert _layout.render(document, nothing_there) == f"l:\n{changed}z: 1\n"


def test_a_comment_stays_where_it_was_written_behind_a_block_scalar() -> None:
    document: Any = _layout.load("- x # c\n\n# below\n- |\n  y\n")
    document[0], document[1] = document[1], document[0]
    text = _layout.render(document, nothing_there)
    assert _layout.render(document, nothing_there) == text
