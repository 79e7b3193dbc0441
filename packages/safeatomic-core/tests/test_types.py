from __future__ import annotations

import copy
import inspect
import pickle
import unittest.mock
from collections.abc import Mapping

import pytest

from safeatomic_core import Environment, GuaranteeReport, LockInfo
from safeatomic_core._types import Record


class Point(Record):
    x: int
    y: int
    names: dict[str, int]


@pytest.fixture
def point() -> Point:
    return Point(1, y=2, names={"a": 1})


def test_a_record_takes_its_fields_in_order_and_by_name(point: Point) -> None:
    assert (point.x, point.y, dict(point.names)) == (1, 2, {"a": 1})


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, 2, {}, 4), {}, "3 fields, not 4"),
        ((1, 2), {}, "missing names"),
        ((1, 2, {}), {"x": 1}, "unexpected field 'x'"),
        ((1, 2, {}), {"z": 1}, "unexpected field 'z'"),
    ],
)
def test_a_record_refuses_other_fields(
    args: tuple[int, ...], kwargs: dict[str, int], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*args, **kwargs)  # type: ignore[arg-type]


def test_a_record_cannot_be_changed(point: Point) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del point.x
    with pytest.raises(TypeError):
        point.names["b"] = 2
    assert point.x == 1


def test_a_record_leaves_a_comparison_with_something_else_to_it(point: Point) -> None:
    assert (point == 5) is False
    assert point == unittest.mock.ANY


def test_records_compare_and_hash_by_value(point: Point) -> None:
    same = Point(1, 2, {"a": 1})
    assert point == same
    assert hash(point) == hash(same)
    assert point != Point(1, 2, {"a": 2})
    assert point != (1, 2, {"a": 1})


def test_a_record_survives_pickle_and_copy(point: Point) -> None:
    assert pickle.loads(pickle.dumps(point)) == point
    assert copy.deepcopy(point) == point


class Labelled(Record):
    x: int
    label: str = "none"
    names: Mapping[str, int] = {"a": 1}


def test_a_field_with_a_default_may_be_left_out() -> None:
    record = Labelled(1)
    assert (record.x, record.label, dict(record.names)) == (1, "none", {"a": 1})
    assert Labelled(1, names={}) != record == pickle.loads(pickle.dumps(record))
    with pytest.raises(TypeError, match="missing x"):
        Labelled(label="some")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        record.names["b"] = 2  # type: ignore[index]
    parameters = inspect.signature(Labelled).parameters
    assert parameters["x"].default is inspect.Parameter.empty
    assert parameters["label"].default == "none"


def test_a_test_double_gives_what_it_cares_about_only() -> None:
    environment = Environment("linux", "ext4", "local_posix_persistent")
    report = GuaranteeReport(environment, {"CrashDurability": "Guaranteed"})
    assert report.is_guaranteed("CrashDurability")
    assert str(report).splitlines()[1] == "  CrashDurability       Guaranteed"
    assert not LockInfo("f", "f.lock").exists
    assert "not locked" in str(LockInfo("f", "f.lock"))


def test_a_record_shows_its_fields(point: Point) -> None:
    assert repr(point).startswith("Point(x=1, y=2, names=")
    assert list(inspect.signature(Point).parameters) == ["x", "y", "names"]
