"""YAML through ruamel.yaml: what is written, what is refused, whose converter is used."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import enum
import math
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ruamel = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from safeatomic_formats import (  # noqa: E402
    _layout,
    _representer,
    atomic_yaml_dump,
    atomic_yaml_dump_ruamel,
    atomic_yaml_load,
    atomic_yaml_load_ruamel,
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.yaml"


HARD_TEXTS = [
    *(
        "\x85",
        "a\u2028b",
        "\u2029",
        "\ufeffx",
        "a\rb",
        "\x07",
        "\U0001f600...",
        "? a",
        "...",
        "---",
    ),
    *(
        "k" * 130,
        "é" * 100,
        " a ",
        "a\n",
        "\n",
        "\n\n",
        "a: b",
        "#",
        "<<",
        "=",
        "2001-01-01",
        "012",
    ),
]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=ascii)
@pytest.mark.parametrize(
    "old", ["a: plain\n", "a: 'x'\n", "a: |\n  x\n", "a: >\n  x\n", "a: [x]\n"], ids=ascii
)
def test_every_text_comes_back(target: Path, old: str, text: str) -> None:
    target.write_text(old)
    document = atomic_yaml_load_ruamel(target)
    document["a"] = text
    document[text] = [text, {text: text}]
    atomic_yaml_dump_ruamel(target, document)
    assert atomic_yaml_load_ruamel(target) == {"a": text, text: [text, {text: text}]}


@pytest.mark.parametrize("document", [{"a": "\ud800"}, [{"\udfff": 1}]])
def test_half_a_surrogate_pair_is_refused(target: Path, document: object) -> None:
    with pytest.raises(ruamel.error.YAMLError, match="surrogate"):
        atomic_yaml_dump_ruamel(target, document)
    assert not target.exists()


@pytest.mark.parametrize(
    "text", ['"\\udd00"', 'a: {b: ["\\uD83D\\uDE00"]}', '? "\\U0000d800"\n: 1\n']
)
def test_half_a_surrogate_pair_is_not_read(target: Path, text: str) -> None:
    target.write_text(text)
    with pytest.raises(ruamel.error.YAMLError, match="surrogate"):
        atomic_yaml_load_ruamel(target)


def test_what_looks_like_half_a_surrogate_pair_is_read(target: Path) -> None:
    target.write_text("a: 'regex \\udd00'\nb: \"\\\\udd00\"\n")
    assert atomic_yaml_load_ruamel(target) == {"a": "regex \\udd00", "b": "\\udd00"}


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Size.BIG, 3),
        (collections.OrderedDict(b=1), {"b": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Point(1, 2), [1, 2]),
        (type("Text", (str,), {})("yes"), "yes"),
        (b"\x00\xff" * 100, b"\x00\xff" * 100),
        ({1: {True: None}}, {1: {True: None}}),
        ({(1, 2): 3}, {(1, 2): 3}),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)),
        (math.inf, math.inf),
    ],
    ids=repr,
)
@pytest.mark.parametrize("nested", [False, True], ids=["in a mapping", "in a loaded list"])
def test_values_of_all_kinds_are_written(
    target: Path, value: object, plain: object, nested: bool
) -> None:
    if nested:
        target.write_text("a:\n  # c\n  - x\n")
        document = atomic_yaml_load_ruamel(target)
        document["a"].append(value)
    else:
        document = {"a": ["x", value]}
    atomic_yaml_dump_ruamel(target, document)
    _, loaded = atomic_yaml_load_ruamel(target)["a"]
    if isinstance(plain, dt.datetime) and loaded.tzinfo is None:
        loaded = loaded.replace(tzinfo=dt.UTC)  # ruamel.yaml 0.17 keeps the offset beside it
    assert loaded == plain


def test_not_a_number_equals_itself(target: Path) -> None:
    atomic_yaml_dump_ruamel(target, {"a": math.nan})
    assert math.isnan(atomic_yaml_load_ruamel(target)["a"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("a: 2\n", r"obj\['a'\] would not read back from YAML: 1 becomes 2"),
        ("a: [\n", r"obj\['a'\] would not read back from YAML"),
        ("b: 1\n", r"obj\['a'\] .* the key is lost"),
        ("a: 1\na: 1\n", "found duplicate key"),
        ("", "obj would not read back from YAML"),
    ],
)
def test_a_text_that_says_something_else_is_not_published(
    target: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, message: str
) -> None:
    target.write_text("a: 1\n")
    document = atomic_yaml_load_ruamel(target)
    document["a"] = 1.0
    document["a"] = 1
    monkeypatch.setattr(_layout, "_dumped", lambda _yaml, _document: wrong)
    document.lc.safeatomic_layout.base = "another text\n"
    with pytest.raises(ValueError, match=message) as caught:
        atomic_yaml_dump_ruamel(target, document, write_checksum=True)
    assert any("unchanged" in note for note in caught.value.__notes__)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.read_text() == "a: 1\n"


def test_a_slip_of_the_library_is_a_clear_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slip(_self: object, _data: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(_representer.Representer, "represent", slip)
    with pytest.raises(ValueError, match=r"cannot write this document \(IndexError: list index"):
        atomic_yaml_dump_ruamel(target, {"a": 1})
    assert not target.exists()


def test_a_converter_of_the_callers_own_is_used_as_it_is(target: Path) -> None:
    own = ruamel.YAML()
    own.indent(mapping=4, sequence=6, offset=3)
    own.explicit_start = True
    own.allow_duplicate_keys = True
    target.write_text("# c\na:   1\nb: {x: [1]}\nb2:\n- y\na: 2\n")
    document = atomic_yaml_load_ruamel(target, yaml_instance=own)
    atomic_yaml_dump_ruamel(target, document, yaml_instance=own)
    assert target.read_text() == "---\n# c\na: 1\nb: {x: [1]}\nb2:\n   -  y\n"


def test_a_converter_of_the_callers_own_knows_its_classes(target: Path) -> None:
    class Dot:
        yaml_tag = "!dot"

        def __init__(self, x: int) -> None:
            self.x = x

    own = ruamel.YAML(typ="safe", pure=True)
    own.register_class(Dot)
    atomic_yaml_dump_ruamel(target, [Dot(3)], yaml_instance=own)
    assert "!dot" in target.read_text()
    (dot,) = atomic_yaml_load_ruamel(target, yaml_instance=own)
    assert dot.x == 3


@pytest.mark.parametrize("wrong", ["a: [\n", "a: 1\na: 2\n"])
def test_what_the_callers_converter_writes_is_checked_too(target: Path, wrong: str) -> None:
    careless = ruamel.YAML()
    careless.dump = lambda _data, stream: stream.write(wrong)
    with pytest.raises(ValueError, match="yaml_instance"):
        atomic_yaml_dump_ruamel(target, {}, yaml_instance=careless)
    assert not target.exists()


@pytest.mark.parametrize("instance", ["rt", 5, object(), ruamel.YAML])
def test_only_a_converter_is_one(target: Path, instance: Any) -> None:
    target.write_text("a: 1\n")
    with pytest.raises(TypeError, match="yaml_instance"):
        atomic_yaml_dump_ruamel(target, {}, yaml_instance=instance)
    with pytest.raises(TypeError, match="yaml_instance"):
        atomic_yaml_load_ruamel(target, yaml_instance=instance)


@pytest.mark.parametrize("document", [{"a": [1, {"b": None}]}, [1, 2], "text", 5, None, True])
def test_plain_objects_are_written(target: Path, document: object) -> None:
    atomic_yaml_dump_ruamel(target, document)
    assert atomic_yaml_load_ruamel(target) == document


def test_a_key_twice_is_refused(target: Path) -> None:
    target.write_text("a: 1\na: 2\n")
    with pytest.raises(ruamel.constructor.DuplicateKeyError):
        atomic_yaml_load_ruamel(target)


@pytest.mark.parametrize(
    "value",
    [
        *("!!int ''", "!!bool maybe", "2001-13-45", "!!float x", "2001-01-01T99:00:00", "!!int 0x"),
        *("!!float ''", "2001-01-01 25:00:00", "!!int " + "x" * 99),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_an_error_with_its_line(
    target: Path, value: str
) -> None:
    target.write_text(f"b: 1\na:\n  - {value}\n")
    for load in (atomic_yaml_load_ruamel, atomic_yaml_load):
        with pytest.raises((ruamel.error.YAMLError, yaml.YAMLError), match="fit its type") as error:
            load(target)
        assert type(error.value).__name__ == "ConstructorError"
        assert "line 3, column 5" in str(error.value)
        assert " is not !!" in str(error.value)
        assert len(str(error.value).splitlines()[0]) < 200
        assert any(target.name in note for note in error.value.__notes__)


def test_an_error_of_the_callers_own_class_arrives_as_it_is(target: Path) -> None:
    class Picky:
        yaml_tag = "!picky"

        @classmethod
        def from_yaml(cls, _constructor: object, _node: object) -> object:
            raise ValueError("not this one")

    own = ruamel.YAML()
    own.register_class(Picky)
    target.write_text("a: !picky 1\n")
    with pytest.raises(ValueError, match="not this one"):
        atomic_yaml_load_ruamel(target, yaml_instance=own)


def test_unsafe_tags_build_nothing(target: Path) -> None:
    target.write_text("a: !!python/object/apply:os.system ['exit 3']\n")
    value = atomic_yaml_load_ruamel(target)["a"]
    assert list(value) == ["exit 3"]


def test_without_the_extra_the_call_says_what_to_install(target: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['ruamel'] = sys.modules['ruamel.yaml'] = None\n"
        "from safeatomic_formats import atomic_yaml_dump_ruamel, atomic_yaml_load_ruamel\n"
        "for call in (lambda: atomic_yaml_dump_ruamel(sys.argv[1], {}),\n"
        "             lambda: atomic_yaml_load_ruamel(sys.argv[1])):\n"
        "    try: call()\n"
        "    except ImportError as error:\n"
        "        assert \"pip install 'ruamel.yaml>=0.17.21'\" in str(error), error\n"
        "        assert error.name == 'ruamel.yaml'\n"
        "    else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=True)
    assert not target.exists()


def test_a_copied_time_stamp_keeps_its_time_in_plain_yaml(target: Path) -> None:
    """A deep copy of ruamel.yaml's time stamp has lost its zone, not what was written."""
    target.write_text("at: 2020-01-01 10:00:00 +02:00\n")
    document = copy.deepcopy(atomic_yaml_load_ruamel(target))
    atomic_yaml_dump(target, document)
    zone = dt.timezone(dt.timedelta(hours=2))
    assert atomic_yaml_load(target) == {"at": dt.datetime(2020, 1, 1, 10, tzinfo=zone)}
