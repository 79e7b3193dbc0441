"""Errors name the place in the document, and leave the file as it was."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import safeatomic_formats as formats
from safeatomic_formats import _toml_text
from safeatomic_formats._culprit import name_place, name_text

DUMPS: dict[str, Callable[..., None]] = {
    "json": formats.atomic_json_dump,
    "yaml": formats.atomic_yaml_dump,
    "toml": formats.atomic_toml_dump,
}
try:
    import ruamel.yaml  # noqa: F401
except ModuleNotFoundError:
    pass
else:
    DUMPS["ruamel"] = formats.atomic_yaml_dump_ruamel

REFUSED: dict[str, tuple[Any, str, str]] = {
    "an object": (object(), "json yaml toml ruamel", r"obj\['a'\]\[1\]\['b'\]"),
    "a number of another kind": (1j, "json yaml toml ruamel", r"obj\['a'\]\[1\]\['b'\]"),
    "decimal": (decimal.Decimal("1.5"), "json yaml ruamel", r"obj\['a'\]\[1\]\['b'\]"),
    "set": ({1}, "json toml", r"obj\['a'\]\[1\]\['b'\]"),
    "not a number": (float("nan"), "json", r"obj\['a'\]\[1\]\['b'\].*allow_nan="),
    "date": (dt.date(2026, 1, 1), "json", r"obj\['a'\]\[1\]\['b'\].*default="),
    "null": (None, "toml", r"obj\['a'\]\[1\]\['b'\].*leave the key out"),
    "time with an offset": (dt.time(1, tzinfo=dt.UTC), "toml yaml", r"obj\['a'\]\[1\]\['b'\]"),
    "nested tuple as a key": ({(1, (2,)): 1}, "json yaml toml ruamel", r"\(1, \(2,\)\)"),
    "tuple as a key": ({(1, 2): 1}, "json yaml toml", r"obj\['a'\]\[1\]\['b'\]"),
    "object as a key": ({object(): 1}, "json yaml toml ruamel", r"obj\['a'\]\[1\]\['b'\]"),
    "number as a key": ({1: 2}, "toml", r"obj\['a'\]\[1\]\['b'\].*of type int"),
    "half of a character": ("\ud800", "json yaml toml ruamel", r"obj\['a'\]\[1\]\['b'\]"),
    "half of a character in a key": ({"\ud800": 1}, "json yaml toml ruamel", r"obj.*\['b'\]\["),
    "key of too many digits": (
        {10**5_000: 1},
        "json yaml toml ruamel",
        r"obj\['a'\]\[1\]\['b'\].*(int|16,610 bits|digits)",
    ),
    "below a key of too many digits": (
        {10**5_000: {"x": object()}},
        "json yaml ruamel",
        r"obj\['a'\]\[1\]\['b'\]\[<int of 16,610 bits>\]",
    ),
    "too many digits": (10**5_000, "json yaml toml ruamel", r"obj\['a'\]\[1\]\['b'\]"),
}
CASES = [
    pytest.param(DUMPS[name], value, place, id=f"{label}-{name}")
    for label, (value, names, place) in REFUSED.items()
    for name in names.split()
    if name in DUMPS
]


def text_of(error: BaseException) -> str:
    return "\n".join([str(error), *error.__notes__])


@pytest.mark.parametrize(("dump", "value", "place"), CASES)
def test_what_is_refused_is_named_with_its_place(
    dump: Callable[..., None], value: object, place: str, tmp_path: Path
) -> None:
    target = tmp_path / "document"
    target.write_text("old")
    with pytest.raises(Exception, match=r".") as caught:
        dump(target, {"x": 1, "a": ["fine", {"c": 2, "b": value}, "fine"]})
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["document"]
    assert re.search(place, text_of(caught.value)), text_of(caught.value)
    assert "unchanged" in text_of(caught.value)


def test_toml_names_what_to_do_about_the_value(tmp_path: Path) -> None:
    for value, said in (None, "no null"), ({1}, "convert it to plain data"):
        with pytest.raises(TypeError, match=said):
            formats.atomic_toml_dump(tmp_path / "document", {"a": [value]})


@pytest.mark.parametrize(
    ("document", "options", "said"),
    [
        ({1, 2}, {}, r"^obj: .*default="),
        ({"b": 1, 2: 3}, {"sort_keys": True}, r"^obj: .*sort_keys="),
        ({"a": {"b": 1, 2: 3}}, {"sort_keys": True}, r"^obj\['a'\]: .*sort_keys="),
    ],
    ids=["the document itself", "keys without an order", "deeper"],
)
def test_the_option_that_helps_is_named(
    document: object, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=said):
        formats.atomic_json_dump(tmp_path / "document", document, **options)


@pytest.mark.parametrize("name", ["json", "toml"])
@pytest.mark.parametrize("through", ["a mapping", "a list", "the root"])
def test_what_contains_itself_is_named(name: str, through: str, tmp_path: Path) -> None:
    inner: Any = {"x": 1} if through != "a list" else [1]
    document: Any = {"shared": [[2]] * 2, "top": [inner]}
    if through == "a list":
        inner.append({"y": inner})
        place = "obj['top'][0][1]['y'] is obj['top'][0], which"
    elif through == "a mapping":
        inner["y"] = [inner]
        place = "obj['top'][0]['y'][0] is obj['top'][0], which"
    else:
        inner["y"] = document
        place = "obj['top'][0]['y'] is obj, which"
    with pytest.raises((ValueError, RecursionError)) as caught:
        DUMPS[name](tmp_path / "document", document)
    assert place in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_callers_own_code_is_not_called_again_for_a_message(tmp_path: Path) -> None:
    asked: list[object] = []

    def default(value: object) -> object:
        asked.append(value)
        raise TypeError("no such form")

    with pytest.raises(TypeError, match="no such form"):
        formats.atomic_json_dump(tmp_path / "document", [1, [object()]], default=default)
    assert len(asked) == 1


def test_an_error_of_no_single_part_stays_as_it_is() -> None:
    error = ValueError("too long")
    name_place(error, {"a": [1]}, lambda _part: None)
    assert error.args == ("too long",)
    deep = RecursionError("deep")
    name_place(deep, {"a": [1]}, None)
    assert deep.args == ("deep",)
    name_text(UnicodeEncodeError("ascii", "\xe9", 0, 1, "no"), {"a": 1})


def test_a_message_that_a_class_makes_itself_gets_a_note() -> None:
    class MarkedError(Exception):
        def __str__(self) -> str:
            return "marked"

    def render(part: Any) -> None:
        if "bad" in repr(part):
            raise MarkedError

    error = MarkedError("here", 1)
    name_place(error, {"a": ["bad"]}, render)
    assert error.args == ("here", 1)
    assert error.__notes__ == ["obj['a'][0]: here: 1"]


class Late(Exception):  # noqa: N818 - what a program calls its time-out
    """What a signal handler raises."""


@pytest.fixture
def late() -> Iterator[Callable[[], None]]:
    """Raise a time-out from a signal handler when called."""

    def handler(_number: int, _frame: object) -> None:
        raise Late

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_after_a_time_out_the_document_is_not_written_once_more(late: Callable[[], None]) -> None:
    parts: list[object] = []

    def render(part: object) -> None:
        parts.append(part)
        late()

    with pytest.raises(Late) as caught:
        render({"a": [1]})
    name_place(caught.value, {"a": [1]}, render)
    assert parts == [{"a": [1]}]
    assert caught.value.args == ()


def test_a_time_out_while_the_place_is_looked_for_arrives(late: Callable[[], None]) -> None:
    with pytest.raises(Late):
        name_place(ValueError("bad"), {"a": [1]}, lambda _part: late())


def test_a_time_out_while_the_present_file_is_read_arrives(late: Callable[[], None]) -> None:
    pytest.importorskip("ruamel.yaml")
    from safeatomic_formats import _layout

    def present() -> str:
        late()
        return ""

    with pytest.raises(Late):
        _layout._unchanged("a scalar", present)


def test_a_time_out_while_a_part_is_parsed_again_arrives(late: Callable[[], None]) -> None:
    def text_of(_part: object) -> str:
        late()
        return ""

    with pytest.raises(Late):
        _toml_text._survives({"a": 1}, text_of)


@pytest.mark.parametrize("name", DUMPS)
def test_an_error_is_the_same_where_nothing_can_be_imported_any_more(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "signal", None)  # as in a chroot, before anything wanted it
    with pytest.raises(Exception, match=r"obj\['a'\]"):
        DUMPS[name](tmp_path / "document", {"a": object()})


class OwnError(Exception):
    """An error that no library knows."""


class Unspeakable:
    """Has no text."""

    error: Exception = OwnError("no text")

    def __repr__(self) -> str:
        raise self.error


UNSPEAKABLE = {"as a value": [Unspeakable()], "as a key": {Unspeakable(): 1}}


@pytest.mark.parametrize("error", [OwnError("no text"), ValueError("no text"), OSError("no text")])
@pytest.mark.parametrize("value", UNSPEAKABLE.values(), ids=UNSPEAKABLE)
@pytest.mark.parametrize("language", DUMPS)
def test_an_object_whose_text_fails_is_refused_like_any_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
    value: object,
    error: Exception,
) -> None:
    monkeypatch.setattr(Unspeakable, "error", error)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
        DUMPS[language](tmp_path / "document", {"a": value})
    assert type(caught.value).__name__ in ("TypeError", "RepresenterError")
    assert "obj['a']" in str(caught.value)
    assert "no text" not in str(caught.value)
    assert "the target is unchanged" in caught.value.__notes__[-1]


def test_an_object_whose_text_fails_is_refused_by_a_converter_too(tmp_path: Path) -> None:
    ruamel_yaml = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")
    with pytest.raises(ruamel_yaml.representer.RepresenterError, match="<Unspeakable>"):
        formats.atomic_yaml_dump_ruamel(
            tmp_path / "document", [Unspeakable()], yaml_instance=ruamel_yaml.YAML()
        )
