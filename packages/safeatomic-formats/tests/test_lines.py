"""Where two versions of a text differ."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeatomic_formats import _lines
from safeatomic_formats._lines import differences

CASES: dict[str, tuple[list[str], list[str], list[tuple[int, int, int, int]]]] = {
    "nothing": (["a"], ["a"], []),
    "spaces and a comment": (["a: 1 # c", "b", "c"], ["a:  1", "b", "c"], [(0, 1, 0, 1)]),
    "lines in pairs": (["a", "b"], ["c", "d"], [(0, 1, 0, 1), (1, 2, 1, 2)]),
    "one more": (["a", "b"], ["a", "c", "b"], [(1, 1, 1, 2)]),
    "one less": (["a", "c", "b"], ["a", "b"], [(1, 2, 1, 1)]),
    "one more among spaces": (
        ["a", " b", "c"],
        ["a ", "b", "x", "c "],
        [(0, 1, 0, 1), (1, 2, 1, 2), (2, 2, 2, 3), (2, 3, 3, 4)],
    ),
    "keys of the same name": (
        ["a: 1", "b:", "- 1", "c: 1"],
        ["b: 5", "c:"],
        [(0, 1, 0, 0), (1, 2, 0, 1), (2, 3, 1, 1), (3, 4, 1, 2)],
    ),
    "a comment and a line are not paired": (["a", "# c"], ["b", "d"], [(0, 2, 0, 2)]),
    "comments by themselves are told apart": (["# a", "b"], ["# c", "b"], [(0, 1, 0, 1)]),
}


@pytest.mark.parametrize(("base", "other", "expected"), CASES.values(), ids=CASES)
def test_what_differs(
    base: list[str], other: list[str], expected: list[tuple[int, int, int, int]]
) -> None:
    assert differences(base, other, by_key=True) == expected


def test_a_value_that_goes_on_over_lines_is_not_parted() -> None:
    assert differences(["a: 'x y'"], ["a: 'x", "  y'"]) == [(0, 1, 0, 2)]


def patched(base: list[str], other: list[str], *, by_key: bool = False) -> list[str]:
    result: list[str] = []
    done = 0
    for start, end, first, last in differences(base, other, by_key=by_key):
        assert start >= done
        result += base[done:start] + other[first:last]
        done = end
    return result + base[done:]


lines = st.lists(st.sampled_from(["a", "a ", "b", "c", "d #", "", " "]), max_size=40)


@given(lines, lines, st.integers(1, 12), st.integers(1, 3))
@settings(deadline=None)
def test_the_differences_make_one_text_of_the_other(
    base: list[str], other: list[str], window: int, agreed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lines, "_WINDOW", window)
        patch.setattr(_lines, "_AGREED", agreed)
        assert patched(base, other) == other
        assert patched(base, other, by_key=True) == other


@pytest.mark.parametrize("words", [2, 100, 10**6])
@pytest.mark.parametrize("change", ["spaces", "reversed", "every tenth gone", "halves swapped"])
def test_time_grows_with_the_length_alone(words: int, change: str) -> None:
    random = Random(words)
    base = [f"k: {random.randrange(words)}\n" for _ in range(20_000)]
    other = {
        "spaces": [f" {line}" for line in base],
        "reversed": base[::-1],
        "every tenth gone": [line for number, line in enumerate(base) if number % 10],
        "halves swapped": base[10_000:] + base[:10_000],
    }[change]
    begun = time.process_time()
    assert patched(base, other) == other
    assert time.process_time() - begun < 30  # it takes less than one; minutes as a square


def test_a_long_section_that_is_gone_hides_no_other_change() -> None:
    base = [f"{number}\n" for number in range(4_000)]
    other = ["x\n", *base[1:500], *base[3_000:3_999], "y\n"]
    assert differences(base, other) == [
        (0, 1, 0, 1),
        (500, 3_000, 500, 500),
        (3_999, 4_000, 1_499, 1_500),
    ]


def test_entries_are_paired_with_all_lines_of_their_values() -> None:
    base = ["a: [1, 2]", "# b", "b: 'x y'", "- - [3, 4]", "- c: d e"]
    other = ["a: [1,", "  2]", "# b", "", "b: 'x", "  y'", "- - [3,", "  4]", "- c: d", "  e"]
    assert differences(base, other, by_entry=True) == [
        (0, 1, 0, 2),
        (2, 2, 3, 4),
        (2, 3, 4, 6),
        (3, 4, 6, 8),
        (4, 5, 8, 10),
    ]


def test_every_second_value_may_change_beside_a_line_that_is_added() -> None:
    base = [f"k{number}: v\n" for number in range(5_000)]
    other = [line if number % 2 else f"k{number}: x\n" for number, line in enumerate(base)]
    other.insert(2_500, "new: 1\n")
    expected = [
        (number, number + 1, number + (number >= 2_500), number + (number >= 2_500) + 1)
        for number in range(0, 5_000, 2)
    ]
    expected.insert(1_250, (2_500, 2_500, 2_500, 2_501))
    assert differences(base, other, by_key=True) == expected


def test_all_values_may_change_beside_a_line_that_is_added() -> None:
    base = [f"k{number}: v\n" for number in range(5_000)]
    other = [f"k{number}: x\n" for number in range(5_000)]
    other.insert(2_500, "new: 1\n")
    regions = differences(base, other, by_key=True)
    assert (2_500, 2_500, 2_500, 2_501) in regions
    assert len(regions) == 5_001


REPEATED = {
    "values that repeat": ["- name: x\n", "  port: 1\n"],
    "items that repeat": ["- x\n", "- y\n"],
}


@pytest.mark.parametrize("lines", REPEATED.values(), ids=REPEATED)
def test_many_changes_among_lines_that_repeat_take_no_more_time(lines: list[str]) -> None:
    base = lines * 10_000
    other = [line if number % 4 else f"{line[:-2]}{number}\n" for number, line in enumerate(base)]
    begun = time.process_time()
    assert len(differences(base, other, by_key=True)) == 5_000
    assert time.process_time() - begun < 10  # it takes less than one


def test_time_grows_with_the_length_where_little_agrees() -> None:
    base = [f"k{number}: v\n" for number in range(90_000)]
    other = [line if number % 450 < 3 else f"x{number}\n" for number, line in enumerate(base)]
    begun = time.process_time()
    assert patched(base, other) == other
    assert time.process_time() - begun < 10  # it takes less than one
