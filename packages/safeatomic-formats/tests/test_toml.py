"""TOML: tables only, no null, UTF-8."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import math
import sys
import tomllib
import types
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats import _toml_text, atomic_toml_dump, atomic_toml_load


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.toml"


@pytest.mark.parametrize("document", [[1], "text", 5, None, [("a", 1)]])
def test_only_a_mapping_is_a_document(target: Path, document: object) -> None:
    with pytest.raises(TypeError, match="obj must be a mapping"):
        atomic_toml_dump(target, document)  # type: ignore[arg-type]
    assert not target.exists()


@pytest.mark.parametrize("document", [{"a": None}, {"a": {"b": [1, None]}}, {"a": {1, 2}}])
def test_what_toml_has_no_form_for_is_refused(target: Path, document: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        atomic_toml_dump(target, document)
    assert not target.exists()


def test_a_mapping_that_contains_itself_is_refused(target: Path) -> None:
    document: dict[str, object] = {}
    document["self"] = document
    with pytest.raises(RecursionError):
        atomic_toml_dump(target, document)
    assert not target.exists()


def test_dates_times_and_floats_that_are_not_finite_come_back(target: Path) -> None:
    document = {
        "date": dt.date(2026, 1, 2),
        "time": dt.time(3, 4, 5, 600),
        "local": dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - TOML has local times
        "zoned": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "inf": math.inf,
        "tables": [{"a": 1}, {"a": 2}],
    }
    atomic_toml_dump(target, document)
    assert atomic_toml_load(target) == document


def test_an_empty_file_is_an_empty_table(target: Path) -> None:
    target.touch()
    assert atomic_toml_load(target) == {}


def test_a_key_twice_is_refused(target: Path) -> None:
    target.write_text("a = 1\na = 2\n")
    with pytest.raises(tomllib.TOMLDecodeError):
        atomic_toml_load(target)


scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.dates()
    | st.times()
    | st.datetimes()
)
tables = st.recursive(
    st.dictionaries(st.text(), scalars),
    lambda children: st.dictionaries(st.text(), scalars | children | st.lists(scalars | children)),
    max_leaves=15,
)


@given(tables, st.booleans())
def test_what_is_rendered_parses_to_the_same(document: dict[str, Any], multiline: bool) -> None:
    try:
        text = _toml_text.render(document, multiline)
    except ValueError:
        assert multiline
        assert "\\r\\n" in repr(document)
    else:
        assert _toml_text.parse(text.encode("utf-8").decode("utf-8")) == document


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({1: "a"}, "the key 1 of obj is of type int"),
        ({"a": [{"b": {None: 1}}]}, r"the key None of obj\['a'\]\[0\]\['b'\] is of type NoneType"),
        ({"a": {("x", "y"): 1}}, r"the key \('x', 'y'\) of obj\['a'\] is of type tuple"),
        ({b"a": 1}, "the key b'a' of obj is of type bytes"),
    ],
)
def test_a_key_that_is_not_a_text_is_named(target: Path, document: Any, place: str) -> None:
    with pytest.raises(TypeError, match=f"{place}: TOML has only strings as keys"):
        atomic_toml_dump(target, document)
    assert not target.exists()


@pytest.mark.parametrize("seconds", [1172, 1, -3599, 86_399])
def test_an_offset_with_seconds_is_refused(target: Path, seconds: int) -> None:
    target.write_text("old = 1\n")
    zone = dt.timezone(dt.timedelta(seconds=seconds))
    with pytest.raises(ValueError, match=r"obj\['a'\]\[0\]: an offset from UTC with seconds"):
        atomic_toml_dump(target, {"a": [dt.datetime(1900, 1, 1, tzinfo=zone)]})
    assert target.read_text() == "old = 1\n"


@pytest.mark.parametrize(
    "zone", [dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=-30)), ZoneInfo("Europe/Berlin")]
)
def test_an_offset_of_whole_minutes_comes_back(target: Path, zone: dt.tzinfo) -> None:
    moment = dt.datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=1)
    atomic_toml_dump(target, {"t": moment})
    assert atomic_toml_load(target)["t"].isoformat() == moment.isoformat()


def test_a_decimal_number_beyond_every_float_is_refused(target: Path) -> None:
    with pytest.raises(ValueError, match=r"obj\['a'\] would not read back from TOML.* inf"):
        atomic_toml_dump(target, {"a": Decimal("1e500")})
    atomic_toml_dump(target, {"a": Decimal("inf")})
    assert atomic_toml_load(target) == {"a": float("inf")}


class Colour(enum.StrEnum):
    RED = "red"


class Size(int, enum.Enum):  # whose str() is not its number
    BIG = 3


class Clock(dt.time):
    def isoformat(self, timespec: str = "auto") -> str:
        return f"at {super().isoformat(timespec)}"

    __str__ = isoformat


class Money(Decimal):
    def __str__(self) -> str:
        return f"{super().__str__()} EUR"


def test_subclasses_are_written_as_their_base(target: Path) -> None:
    document = {
        Colour.RED: Colour.RED,
        "size": [Size.BIG],
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": collections.defaultdict(list, a=[1]),
        "point": (1, 2),
        "proxy": types.MappingProxyType({"a": 1}),
        "decimal": Decimal("0.1"),
        "clock": Clock(1, 2, 3, 4),
        "money": Money("1.50"),
    }
    atomic_toml_dump(target, document)
    assert atomic_toml_load(target) == {
        "red": "red",
        "size": [3],
        "ordered": {"b": 1, "a": 2},
        "default": {"a": [1]},
        "point": [1, 2],
        "proxy": {"a": 1},
        "decimal": 0.1,
        "clock": dt.time(1, 2, 3, 4),
        "money": 1.5,
    }


def test_texts_of_several_lines_are_written_so_if_asked(target: Path) -> None:
    document = {"text": 'one\ntwo \\ """ \'\n'}
    atomic_toml_dump(target, document)
    assert target.read_text().count("\n") == 1
    atomic_toml_dump(target, document, multiline_strings=True)
    assert target.read_text().count("\n") > 2
    assert atomic_toml_load(target) == document


def test_a_carriage_return_that_would_be_lost_is_refused(target: Path) -> None:
    document = {"a": {"text": "one\r\ntwo"}}
    with pytest.raises(ValueError, match=r"obj\['a'\]\['text'\] would not read back from TOML"):
        atomic_toml_dump(target, document, multiline_strings=True)
    atomic_toml_dump(target, document)
    assert atomic_toml_load(target) == document


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**5_000], ids=["63", "-63", "many"])
def test_an_integer_that_other_readers_of_toml_need_not_take_is_refused(
    target: Path, number: int
) -> None:
    with pytest.raises(ValueError, match=r"obj\['a'\]\[0\]: .* 64 bits"):
        atomic_toml_dump(target, {"a": [number]})
    assert not target.exists()
    atomic_toml_dump(target, {"a": [2**63 - 1, -(2**63), True]})
    assert atomic_toml_load(target) == {"a": [2**63 - 1, -(2**63), True]}


def test_multiline_strings_is_a_truth_value(target: Path) -> None:
    with pytest.raises(TypeError, match="multiline_strings must be a bool"):
        atomic_toml_dump(target, {}, multiline_strings=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", ["a = 2", "a = 1.0", "b = 1", "", "a = 1\nb = 1", "a = ", "a = '1'"]
)
def test_a_text_that_says_something_else_is_not_published(
    target: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(tomli_w, "dumps", lambda _document, **_options: wrong)
    with pytest.raises(ValueError, match=r"obj.* would not read back from TOML"):
        atomic_toml_dump(target, {"a": 1})
    assert not target.exists()


MANY_PARTS = {
    "bare": ".".join(["a"] * 20_000) + " = 1\n",
    "spaced": " . ".join(["a"] * 20_000) + " = 1\n",
    "quoted": ".".join(["'a'", '"b.\\""'] * 10_000) + " = 1\n",
    "header": "[" + ".".join(["a"] * 20_000) + "]\nb = 1\n",
    "array of tables": "[[" + ".".join(["a"] * 20_000) + "]]\nb = 1\n",
    "inside brackets": "t = {" + ".".join(["a"] * 20_000) + " = 1}\n",
    "one more than may be": ".".join(["a"] * 1_001) + " = 1\n",
    "many keys": "".join(".".join([f"k{i}"] * 900) + " = 1\n" for i in range(200)),
    "short keys below a long header": (
        "[" + ".".join(["a"] * 900) + "]\n" + "".join(f"k{i}.b.c.d = 1\n" for i in range(20_000))
    ),
    "behind a string": 'x = """\n"""\n' + ".".join(["a"] * 20_000) + " = 1\n",
    "behind a string that does not end": "'''" + ".".join(["a"] * 20_000) + "\n",
}


@pytest.mark.parametrize("text", MANY_PARTS.values(), ids=MANY_PARTS)
def test_keys_of_many_parts_take_no_memory(target: Path, text: str) -> None:
    tracemalloc = pytest.importorskip(
        "tracemalloc", reason="PyPy does not trace memory", exc_type=ImportError
    )
    target.write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises((RecursionError, tomllib.TOMLDecodeError)):
            atomic_toml_load(target)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 900) + " = 1\n",
        "a = '" + "a." * 5_000 + "'\n",
        'a = """\n' + "a." * 5_000 + '"""\n',
        "a = '''\n" + "a." * 5_000 + "'''\n",
        'a = """\\"""' + "a." * 5_000 + '""""\n',
        "# " + "a." * 5_000 + "\na = 1\n",
        "a = [" + "1.5, " * 5_000 + "]\n",
        "a = [" + '"b.c.d", ' * 2_000 + "]\n",
        "'" + "a." * 5_000 + "' = 1\n",
    ],
    ids=["900 parts", "'", '"""', "'''", "quotes", "comment", "floats", "strings", "quoted key"],
)
def test_dots_that_part_no_key_are_not_counted(target: Path, text: str) -> None:
    target.write_text(text)
    assert atomic_toml_load(target) == tomllib.loads(text)


def test_too_many_levels_are_refused_whatever_the_interpreter_allows(target: Path) -> None:
    document: dict[str, Any] = {}
    for _ in range(1_001):
        document = {"a": document}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        with pytest.raises(RecursionError, match=r"1,000 levels"):
            atomic_toml_dump(target, document)
    finally:
        sys.setrecursionlimit(limit)
    assert not target.exists()


def test_a_text_that_never_ends_is_looked_through_once() -> None:
    """An escaped quote in it would else begin another text, to the end as well."""
    found = list(_toml_text._TOKEN.finditer('x = "' + 'a\\"' * 1_000 + "." * 100 + "\n"))
    assert [token[0][:3] for token in found] == ["x", '"a\\']
