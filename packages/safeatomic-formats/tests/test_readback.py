"""Whether two documents say the same, as far as a format can say it."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import math
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats._readback import check, place, unreadable


class Text(str):
    __slots__ = ()


class Shout(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "LOUD"


class Level(enum.IntEnum):
    LOW = 1


class Colour(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    RED = "red"


SAME: dict[str, tuple[Any, Any]] = {
    "not a number": ([math.nan], [math.nan]),
    "not a number as a key": ({math.nan: 1, "a": 2}, {"a": 2, math.nan: 1}),
    "tuple": (((1, 2), ()), [[1, 2], []]),
    "subclass of text": ([Text("a"), Shout("b"), Colour.RED], ["a", "b", "red"]),
    "enumeration of integers": ({Level.LOW: Level.LOW}, {1: 1}),
    "ordered dict": (collections.OrderedDict(a=1), {"a": 1}),
    "default dict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "another order of keys": ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
    "set": ({1, "a"}, {"a", 1}),
    "offset of a time": (
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    ),
}
DIFFERENT: dict[str, tuple[Any, Any, str]] = {
    "truth and one": ([True], [1], r"obj\[0\]"),
    "one and one point nought": ({"a": [1]}, {"a": [1.0]}, r"obj\['a'\]\[0\]"),
    "date and midnight": ([dt.date(2026, 1, 1)], [dt.datetime(2026, 1, 1)], r"obj\[0\]"),  # noqa: DTZ001
    "text and number": ({"a": {"b": "1"}}, {"a": {"b": 1}}, r"obj\['a'\]\['b'\]"),
    "key of another type": ({True: 1}, {1: 1}, r"obj\[True\]"),
    "lost key": ({"a": 1, "b": 2}, {"a": 1}, r"obj would .* 2 keys become 1"),
    "other key": ({"a": {"b": 1}}, {"a": {"c": 1}}, r"obj\['a'\]\['b'\] .* the key is lost"),
    "lost entry": ([1, 2], [1], r"2 entries become 1"),
    "list and text": ([["a"]], ["a"], r"obj\[0\]"),
    "text and list": (["a"], [["a"]], r"obj\[0\]"),
    "mapping and list": ([{}], [[]], r"obj\[0\]"),
    "list and mapping": ([[]], [{}], r"obj\[0\]"),
    "lost element": ([{1, 2}], [{1, 3}], r"obj\[0\] .* element 2 is lost"),
    "set and list": ([{1}], [[1]], r"obj\[0\]"),
    "offset of a time": (
        [dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)],
        [dt.datetime(2026, 1, 1, 13, tzinfo=dt.timezone(dt.timedelta(hours=1)))],
        r"obj\[0\]",
    ),
    "null": ([None], [""], r"obj\[0\] .* None becomes ''"),
}


@pytest.mark.parametrize(("written", "read"), SAME.values(), ids=SAME)
def test_what_says_the_same_passes(written: object, read: object) -> None:
    check(written, read, "YAML")


@pytest.mark.parametrize(("written", "read", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_is_refused_with_its_place(
    written: object, read: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(written, read, "YAML")


def test_a_format_may_translate_keys() -> None:
    check({1: "a"}, {"1": "a"}, "JSON", key=str)
    with pytest.raises(ValueError, match="the key is lost"):
        check({1: "a"}, {"2": "a"}, "JSON", key=str)


def test_what_was_two_objects_may_not_become_one() -> None:
    shared = [1]
    check([shared, shared], [[1], [1]], "JSON")
    check([shared, shared], [shared, shared], "YAML", aliases=True)
    with pytest.raises(ValueError, match=r"obj\[1\] .* one object with another entry"):
        check([[1], [1]], [shared, shared], "YAML", aliases=True)


def test_a_document_that_contains_itself_is_walked_once() -> None:
    written: list[Any] = [1]
    written.append(written)
    read: list[Any] = [1]
    read.append(read)
    check(written, read, "YAML", aliases=True)
    read[0] = 2
    with pytest.raises(ValueError, match=r"obj\[0\]"):
        check(written, read, "YAML", aliases=True)


def test_depth_costs_no_stack() -> None:
    def nested(innermost: object) -> object:
        for _ in range(100_000):
            innermost = [innermost]
        return innermost

    written = nested(1)
    check(written, nested(1), "YAML")
    with pytest.raises(ValueError, match="would not read back"):
        check(written, nested(2), "YAML")


def test_of_a_large_value_the_message_shows_the_beginning() -> None:
    with pytest.raises(ValueError, match="would not") as caught:
        check(["x" * 10_000], ["y"], "YAML")
    assert len(str(caught.value)) < 200


def test_the_part_that_cannot_be_parsed_is_named() -> None:
    document = {"a": [1, {"bad": 2}], "c": 3}
    error = unreadable(
        document, "YAML", ValueError("no\nmore"), lambda part: "bad" not in repr(part)
    )
    assert str(error) == "obj['a'][1]['bad'] would not read back from YAML: no"


def test_a_failure_of_no_single_part_is_the_whole_documents() -> None:
    error = unreadable([[1], [2]], "YAML", ValueError("no"), lambda _part: True)
    assert str(error).startswith("obj would not")


def test_a_place_is_written_as_an_expression() -> None:
    assert place(None) == "obj"
    assert place(((None, "a"), 0)) == "obj['a'][0]"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_everything_equals_itself(document: object) -> None:
    check(document, document, "YAML", aliases=True)
