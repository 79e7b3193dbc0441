"""What counts as plain data in one format does in all: subclasses, and what ruamel.yaml loaded."""

from __future__ import annotations

import collections
import copy
import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import safeatomic_formats
from each_format import FORMATS, HAS_RUAMEL, Format


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Image(NamedTuple):
    """Has fields that ruamel.yaml asks its own lists for."""

    tag: str
    anchor: int


class Names(set[str]):
    """A set of the program."""


class Lenient(dict[str, Any]):
    """Has any attribute: the entry, or None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


class Strict(dict[str, Any]):
    """Raises KeyError for what it has not, also if it is an attribute."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Nested(dict[str, Any]):
    """Has any attribute: the entry, or an empty mapping."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name, Nested())


SUBCLASSES: dict[str, tuple[object, object]] = {
    "OrderedDict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "defaultdict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "StrEnum": (Colour.RED, "red"),
    "IntEnum": (Size.BIG, 3),
    "NamedTuple": (Image("v1", 2), ["v1", 2]),
    **{
        f"{mapping.__name__} attributes": (mapping(tag="x", lc=[1]), {"tag": "x", "lc": [1]})
        for mapping in (Lenient, Strict, Nested)
    },
    "tuple": ((1, ("a",)), [1, ["a"]]),
}


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_what_one_format_takes_for_plain_data_all_do(
    kind: Format, target: Path, value: object, plain: object
) -> None:
    kind.dump(target, {"k": value, "l": [value]})
    assert kind.load(target) == {"k": plain, "l": [plain]}


@pytest.mark.skipif(not HAS_RUAMEL, reason="ruamel.yaml is not installed")
@pytest.mark.parametrize(("value", "plain"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_what_is_plain_data_is_so_in_a_document_of_ruamel_yaml(
    kind: Format, target: Path, value: object, plain: object
) -> None:
    target.write_text("a: 1\n\n# c\nb: 2\n")
    document = safeatomic_formats.atomic_yaml_load_ruamel(target)
    document["b"] = value
    kind.dump(target, document)
    assert kind.load(target) == {"a": 1, "b": plain}


@pytest.mark.skipif(not HAS_RUAMEL, reason="ruamel.yaml is not installed")
def test_what_ruamel_yaml_loaded_can_be_written_in_every_format(kind: Format, target: Path) -> None:
    target.write_text("# c\na: 'x'\nb: &b [1, {c: 2.50}]\nd: *b\ne: &yes true\nf: |\n  text\n")
    kind.dump(target, safeatomic_formats.atomic_yaml_load_ruamel(target))
    loaded = kind.load(target)
    shared = [1, {"c": 2.5}]
    assert loaded == {"a": "x", "b": shared, "d": shared, "e": True, "f": "text\n"}
    assert "true" in target.read_text()


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"json", "toml"}))
@pytest.mark.parametrize("kind", [set, Names])
def test_a_set_is_written_in_the_same_order_in_every_run(
    target: Path, name: str, kind: type[set[str]]
) -> None:
    for elements in ("abcdefghij", [*"abcdefghij", 5]):
        FORMATS[name].dump(target, {"s": kind(elements)})
        assert FORMATS[name].load(target)["s"] == set(elements)
        written = [line.partition(":")[0].strip() for line in target.read_text().split("\n")[1:-1]]
        assert written == sorted(written)


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
