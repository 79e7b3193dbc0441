"""A change of one text, carried over to another version of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats._merge import merge

CASES = {
    "apart": ("a\nb\nc\n", "a\nB\nc\n", "a\nb\nC\n", "a\nB\nC\n"),
    "beside each other": ("a\nb\n", "A\nb\n", "a\nB\n", "A\nB\n"),
    "on the same line the change wins": ("a\nb\n", "x\nb\n", "y\nb\n", "y\nb\n"),
    "comment that the base lost": ("a\nb\n", "a\n# c\nb\n", "a\nb\nd\n", "a\n# c\nb\nd\n"),
    "line removed elsewhere": ("a\nb\nc\n", "a\n\nb\nc\n", "a\nb\n", "a\n\nb\n"),
    "both add at the end, the change first": ("a\n", "a\n# end\n", "a\nb\n", "a\nb\n# end\n"),
    "both add at the start": ("a\n", "# top\na\n", "z\na\n", "z\n# top\na\n"),
    "no newline at the end": ("a\nb", "a\nb", "a\nc", "a\nc\n"),
    "a longer part kept otherwise": (
        "a\nb\nc\nd\n",
        "a\nB\nC\nd\n",
        "a\nb\nx\nd\n",
        "a\nB\nx\nd\n",
    ),
    "everything removed": ("a\nb\n", "a\n# c\nb\n", "", ""),
}


@pytest.mark.parametrize(("base", "kept", "changed", "merged"), CASES.values(), ids=CASES)
def test_a_change_is_carried_over(base: str, kept: str, changed: str, merged: str) -> None:
    assert merge(base, kept, changed) == merged


texts = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n", "# e\n", "\n"])).map("".join)


@given(texts, texts)
def test_no_change_gives_what_was_kept(base: str, kept: str) -> None:
    assert merge(base, kept, base) == kept


@given(texts, texts)
def test_where_nothing_was_kept_the_change_is_all(base: str, changed: str) -> None:
    assert merge(base, base, changed) == changed


@given(texts, texts, texts)
def test_no_line_comes_from_nowhere(base: str, kept: str, changed: str) -> None:
    merged = merge(base, kept, changed)
    sources = set((base + kept + changed).splitlines())
    assert set(merged.splitlines()) <= sources


PARTS = {
    "a part as a whole": ("a\nb\nc\nd\n", "A\nB\nC\nD\n", "a\nb\nx\nd\n", [0, 2], "A\nB\nx\nd\n"),
    "two parts": ("a\nb\nc\n", "A\nB\nC\n", "x\nb\ny\n", [0, 1, 2], "x\nB\ny\n"),
    "a change over parts": ("a\nb\nc\nd\n", "A\nB\nC\nD\n", "a\nd\n", [0, 2], "a\nd\n"),
    "what is added goes with what is above": (
        "a\nb\nc\n",
        "A\nB\nC\n",
        "a\nb\nx\nc\n",
        [0, 1, 2],
        "A\nb\nx\nC\n",
    ),
    "what is added above all": ("a\nb\n", "A\nB\n", "x\na\nb\n", [1], "x\nA\nB\n"),
    "lines above the first part": ("a\nb\n", "A\nB\n", "x\nb\n", [1], "x\nB\n"),
}


@pytest.mark.parametrize(("base", "kept", "changed", "parts", "merged"), PARTS.values(), ids=PARTS)
def test_a_part_that_changes_is_taken_as_a_whole(
    base: str, kept: str, changed: str, parts: list[int], merged: str
) -> None:
    assert merge(base, kept, changed, parts) == merged


@given(texts, texts, st.sets(st.integers(0, 9)))
def test_parts_change_nothing_where_nothing_was_kept(
    base: str, changed: str, parts: set[int]
) -> None:
    within = [line for line in sorted(parts) if line <= base.count("\n")]
    assert merge(base, base, changed, within) == changed
