"""The crash states of a log, and which of them are legitimate: checked without any device."""

from __future__ import annotations

import json
import random

import pytest

from .crashlab.device import Record
from .crashlab.images import BLOCK, Blocks, Plan, plan, sample, split, subsets
from .crashlab.operations import Move, Write
from .crashlab.worlds import Tracker, Value, complaint

OLD = Value(100, "640 1:1 -", sidecar=False)


def mark(**facts: object) -> Record:
    return Record("mark", data=json.dumps(facts).encode())


def write(block: int, letter: bytes, count: int = 1) -> Record:
    return Record("write", block * BLOCK, count * BLOCK, letter * (count * BLOCK))


FLUSH = Record("flush")


def contents(made: Plan) -> list[dict[int, bytes]]:
    """Return what each image holds: the first byte of each block that is not zero."""
    found = []
    for image in made.images:
        blocks = Blocks()
        for index in (*range(image.base), *image.extra):
            blocks.apply(made.units[index])
        runs = blocks.runs()
        found.append({first + i: one[:1] for first, many in runs for i, one in enumerate(many)})
    return found


def test_every_subset_of_unflushed_writes_becomes_an_image() -> None:
    log = [write(9, b"z"), FLUSH, mark(start=True), write(1, b"a"), write(2, b"b"), FLUSH]
    made = plan([*log, mark(stop=True)], 64, random.Random(1))
    z = {9: b"z"}
    a, b = {1: b"a"}, {2: b"b"}
    assert all(state in contents(made) for state in (z, z | a, z | b, z | a | b))
    assert len(made.images) == 4


def test_what_was_flushed_is_never_taken_back() -> None:
    log = [mark(start=True), write(1, b"a"), FLUSH, write(2, b"b"), write(1, b"c"), mark(stop=True)]
    made = plan(log, 64, random.Random(1))
    after_flush = [contents(made)[point.image] for point in made.points[-4:]]
    assert all(1 in state for state in after_flush)


def test_a_write_of_several_blocks_may_be_torn_between_them() -> None:
    made = plan([mark(start=True), write(1, b"a", 3), mark(stop=True)], 64, random.Random(1))
    assert {1: b"a", 3: b"a"} in contents(made)
    assert len(made.images) == 8


def test_states_with_the_same_content_are_one_image() -> None:
    log = [mark(start=True), write(1, b"a"), FLUSH, write(1, b"a"), FLUSH, mark(stop=True)]
    assert len(plan(log, 64, random.Random(1)).images) == 2


def test_a_state_is_judged_again_after_each_mark() -> None:
    log = [mark(start=True), write(1, b"a"), mark(begin=1), mark(ack=1), FLUSH, mark(stop=True)]
    made = plan(log, 64, random.Random(1))
    empty = contents(made).index({})
    assert {point.marks for point in made.points if point.image == empty} >= {0, 1, 2}


def test_nothing_before_the_start_or_after_the_stop_is_a_crash_state() -> None:
    log = [write(1, b"a"), mark(start=True), mark(stop=True), write(2, b"b"), FLUSH]
    assert contents(plan(log, 64, random.Random(1))) == [{1: b"a"}]


def test_a_write_across_a_block_boundary_is_cut_there() -> None:
    units = split(Record("write", BLOCK - 10, 30, b"0123456789abcdefghijABCDEFGHIJ"))
    assert [(unit.block, unit.at, unit.data) for unit in units] == [
        (0, BLOCK - 10, b"0123456789"),
        (1, 0, b"abcdefghijABCDEFGHIJ"),
    ]


def test_zeroing_removes_what_was_there() -> None:
    log = [mark(start=True), write(1, b"a", 2), FLUSH, Record("zero", BLOCK, BLOCK), mark(stop=1)]
    assert contents(plan(log, 64, random.Random(1)))[-1] == {2: b"a"}


@pytest.mark.parametrize(("count", "cap"), [(0, 5), (3, 8), (10, 40), (50, 40), (10, 1)])
def test_subsets_are_different_and_no_more_than_asked_for(count: int, cap: int) -> None:
    found = list(subsets(count, cap, random.Random(1)))
    assert len(found) == len(set(found))
    assert len(found) == min(2**count, cap)
    assert () in found


def test_a_sample_keeps_the_points_of_its_images_only() -> None:
    log = [mark(start=True), *(write(i, b"a") for i in range(8)), mark(stop=True)]
    whole = plan(log, 64, random.Random(1))
    part = sample(whole, 5, random.Random(1))
    assert len(part.images) == 5
    assert {point.image for point in part.points} == set(range(5))
    kept = [contents(part)[point.image] for point in part.points]
    assert all(state in contents(whole) for state in kept)


def seen(value: Value | None) -> dict[str, Value | None]:
    return {"d/f": value}


def new(number: int) -> Value:
    return OLD._replace(version=number)


def test_before_it_returns_a_write_may_show_or_not_and_afterwards_it_must() -> None:
    tracker = Tracker(seen(OLD), [Write(1, "d/f")])
    assert complaint(seen(new(1)), tracker.allowed()) is not None
    tracker.begin(1)
    assert complaint(seen(OLD), tracker.allowed()) is None
    assert complaint(seen(new(1)), tracker.allowed()) is None
    tracker.acknowledge(1)
    assert complaint(seen(new(1)), tracker.allowed()) is None
    kind, _ = complaint(seen(OLD), tracker.allowed()) or ("", "")
    assert kind == "lost"


def test_a_killed_write_may_show_until_the_next_one_is_acknowledged() -> None:
    tracker = Tracker(seen(OLD), [Write(1, "d/f"), Write(2, "d/f")])
    tracker.begin(1)
    tracker.give_up(1)
    tracker.begin(2)
    for value in (OLD, new(1), new(2)):
        assert complaint(seen(value), tracker.allowed()) is None
    tracker.acknowledge(2)
    assert tracker.allowed() == {frozenset(seen(new(2)).items())}


def test_of_two_writes_at_once_either_may_be_the_last() -> None:
    tracker = Tracker(seen(OLD), [Write(1, "d/f"), Write(2, "d/f")])
    tracker.begin(1)
    tracker.begin(2)
    tracker.acknowledge(1)
    assert complaint(seen(OLD), tracker.allowed()) is not None
    tracker.acknowledge(2)
    assert complaint(seen(new(1)), tracker.allowed()) is None
    assert complaint(seen(new(2)), tracker.allowed()) is None


def test_a_write_that_began_after_another_had_returned_is_the_later_one() -> None:
    tracker = Tracker(seen(OLD), [Write(1, "d/f"), Write(2, "d/f")])
    for number in (1, 2):
        tracker.begin(number)
        tracker.acknowledge(number)
    assert complaint(seen(new(1)), tracker.allowed()) is not None


def test_lost_metadata_and_a_lost_sidecar_are_told_apart_from_lost_content() -> None:
    tracker = Tracker(seen(OLD), [])
    assert (complaint(seen(OLD._replace(meta="600 0:0 -")), tracker.allowed()) or ("",))[0] == (
        "metadata"
    )
    assert (complaint(seen(OLD._replace(sidecar=True)), tracker.allowed()) or ("",))[0] == "sidecar"
    assert complaint(seen(OLD._replace(sidecar=True)), tracker.allowed(), sidecars=False) is None


def test_a_moved_file_may_show_in_both_directories_but_never_in_neither() -> None:
    before: dict[str, Value | None] = {"d/a": OLD, "e/a": None}
    tracker = Tracker(before, [Move(1, "d/a", "e/a")])
    tracker.begin(1)
    assert complaint({"d/a": OLD, "e/a": OLD}, tracker.allowed()) is None
    assert complaint({"d/a": None, "e/a": OLD}, tracker.allowed()) is None
    kind, _ = complaint({"d/a": None, "e/a": None}, tracker.allowed()) or ("", "")
    assert kind == "mixture"
    tracker.acknowledge(1)
    assert complaint({"d/a": OLD, "e/a": OLD}, tracker.allowed()) is not None


def test_within_a_directory_a_moved_file_is_never_at_both_names() -> None:
    before: dict[str, Value | None] = {"d/a": OLD, "d/b": None}
    tracker = Tracker(before, [Move(1, "d/a", "d/b")])
    tracker.begin(1)
    assert complaint({"d/a": OLD, "d/b": OLD}, tracker.allowed()) is not None
