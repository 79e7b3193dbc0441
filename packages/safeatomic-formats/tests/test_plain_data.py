"""What counts as plain data in one format does in all: subclasses, and what ruamel.yaml loaded."""

from __future__ import annotations

import collections
import copy
import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import safeatomic_formats
from each_format import HAS_RUAMEL, Format


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


SUBCLASSES: dict[str, tuple[object, object]] = {
    "OrderedDict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "defaultdict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "StrEnum": (Colour.RED, "red"),
    "IntEnum": (Size.BIG, 3),
    "tuple": ((1, ("a",)), [1, ["a"]]),
}


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_what_one_format_takes_for_plain_data_all_do(
    kind: Format, target: Path, value: object, plain: object
) -> None:
    kind.dump(target, {"k": value, "l": [value]})
    assert kind.load(target) == {"k": plain, "l": [plain]}


@pytest.mark.skipif(not HAS_RUAMEL, reason="ruamel.yaml is not installed")
def test_what_ruamel_yaml_loaded_can_be_written_in_every_format(kind: Format, target: Path) -> None:
    target.write_text("# c\na: 'x'\nb: &b [1, {c: 2.50}]\nd: *b\ne: &yes true\nf: |\n  text\n")
    kind.dump(target, safeatomic_formats.atomic_yaml_load_ruamel(target))
    loaded = kind.load(target)
    shared = [1, {"c": 2.5}]
    assert loaded == {"a": "x", "b": shared, "d": shared, "e": True, "f": "text\n"}
    assert "true" in target.read_text()


COPIES: dict[str, Callable[[Any], Any]] = {
    "deep copy": copy.deepcopy,
    "copy": copy.copy,
    "of a plain dict": dict,
    "united": lambda document: document | {"new": 1},
    "slices": lambda document: {"x": document["q"][1:], "y": document["q"][::-1]},
    "a deep copy of a part": lambda document: {"x": copy.deepcopy(document["m"])},
    "sum": lambda document: {"x": document["q"] + [5]},
    "tuple": lambda document: {"x": tuple(document["q"])},
}


@pytest.mark.skipif(not HAS_RUAMEL, reason="ruamel.yaml is not installed")
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_parts_and_copies_of_what_ruamel_yaml_loaded_can_be_written(
    kind: Format, target: Path, duplicate: Callable[[Any], Any]
) -> None:
    target.write_text(
        "a: &a 'x'\nb: &b {k: 1, l: [1, 2.50]}\nm:\n  <<: *b\n  n: 0x1F\n"
        "q: &q\n  - 1\n  - two\n  - &y true\nr: *q\nf: >-\n  folded\n  text\n# end\n"
    )
    document = duplicate(safeatomic_formats.atomic_yaml_load_ruamel(target))
    kind.dump(target, document)
    assert kind.load(target) == json.loads(json.dumps(document))
