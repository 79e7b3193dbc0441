"""Options reach the core as they came; one that is not what it must be is named."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import safeatomic_core
import safeatomic_formats
from each_format import FORMATS, Format, names
from safeatomic_formats import (
    _documents,
    atomic_json_dump,
    atomic_toml_dump,
    atomic_yaml_dump,
)

DOCUMENT = {"name": "x", "list": [1, 2.5, True]}

A_BOOL = r"must be a bool \(True or False\), not"
WRONG: dict[str, tuple[Any, object, type[Exception], str]] = {
    "indent": (atomic_json_dump, "x", ValueError, "must be white space"),
    "sort_keys": (atomic_json_dump, None, TypeError, f"{A_BOOL} NoneType"),
    "ensure_ascii": (atomic_json_dump, 1, TypeError, f"{A_BOOL} int"),
    "allow_nan": (atomic_json_dump, None, TypeError, f"{A_BOOL} NoneType"),
    "default": (atomic_json_dump, "x", TypeError, "must be callable or None, not str"),
    "cls": (atomic_json_dump, dict, TypeError, "must be a subclass of json.JSONEncoder or None"),
    "sort_keys ": (atomic_yaml_dump, "yes", TypeError, f"{A_BOOL} str"),
    "default_flow_style": (
        atomic_yaml_dump,
        "block",
        TypeError,
        r"must be a bool \(True, False or None\), not str",
    ),
    "multiline_strings": (atomic_toml_dump, "x", TypeError, f"{A_BOOL} str"),
}


@pytest.mark.parametrize("document", [{}, {"k": [1]}, {"k": {1j}}], ids=["empty", "good", "bad"])
@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_option_is_not_blamed_on_the_document(
    tmp_path: Path, option: str, document: object
) -> None:
    dump, value, error, message = WRONG[option]
    name = option.strip()
    with pytest.raises(error, match=f"^{name} {message}") as caught:
        dump(tmp_path / "document", document, **{name: value})
    assert "obj" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_flow_style_of_its_own_is_allowed(tmp_path: Path) -> None:
    atomic_yaml_dump(tmp_path / "document", {"a": [1]}, default_flow_style=None)
    assert (tmp_path / "document").read_text() == "a: [1]\n"


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("concurrency", "maybe", ValueError),
        ("preserve_metadata", "yes", TypeError),
        ("write_checksum", 1, TypeError),
        ("checksum_algo", "md17", ValueError),
        ("retries", -1, ValueError),
        ("delay", "soon", TypeError),
        ("session", 5, TypeError),
        ("safety", "loose", ValueError),
        ("mode", 0o1000, ValueError),
        ("overwrite", None, TypeError),
    ],
)
def test_every_option_of_a_dump_reaches_the_core(
    kind: Format, target: Path, option: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=option):
        kind.dump(target, DOCUMENT, **{option: value})
    assert names(target.parent) == []


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("check_checksum", 1, TypeError),
        ("checksum_algo", "md17", ValueError),
        ("safety", "loose", ValueError),
    ],
)
def test_every_option_of_a_load_reaches_the_core(
    kind: Format, target: Path, option: str, value: object, error: type[Exception]
) -> None:
    kind.dump(target, DOCUMENT)
    with pytest.raises(error, match=option):
        kind.load(target, **{option: value})


def test_options_arrive_unchanged(
    kind: Format, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(
        _documents, "write_atomic", lambda _path, _text, **options: seen.update(options)
    )
    options: dict[str, object] = {
        "concurrency": "none",
        "preserve_metadata": False,
        "write_checksum": True,
        "checksum_algo": "blake2b",
        "retries": 7,
        "delay": 0.5,
        "session": "nightly",
        "safety": "warn",
        "mode": 0o600,
        "overwrite": False,
    }
    kind.dump(target, DOCUMENT, **options)
    encoding = seen.pop("encoding")
    assert seen == options
    assert encoding == ("utf-8" if kind is FORMATS["toml"] else None)


@pytest.mark.parametrize("option", ["encoding", "checksum_algo", "retries", "delay"])
def test_options_left_out_are_the_configured_ones(
    kind: Format, target: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(
        _documents, "write_atomic", lambda _path, _text, **options: seen.update(options)
    )
    kind.dump(target, DOCUMENT)
    if not (option == "encoding" and kind is FORMATS["toml"]):
        assert seen[option] is None


@pytest.mark.parametrize("name", safeatomic_formats.__all__)
def test_the_options_are_those_of_the_core(name: str) -> None:
    function = getattr(safeatomic_formats, name)
    model = safeatomic_core.write_atomic if "dump" in name else safeatomic_core.read_atomic
    wanted = dict(inspect.signature(model).parameters)
    del wanted["path"]
    wanted.pop("data", None)
    if "toml" in name:
        del wanted["encoding"]
    given = inspect.signature(function).parameters
    assert {name: given[name] for name in wanted} == wanted


@pytest.mark.parametrize("name", safeatomic_formats.__all__)
def test_every_argument_is_documented(name: str) -> None:
    function = getattr(safeatomic_formats, name)
    documentation = inspect.getdoc(function) or ""
    for argument in inspect.signature(function).parameters:
        assert f"\n    {argument}: " in documentation


OWN = {
    "indent": {"json"},
    "sort_keys": {"json", "yaml"},
    "ensure_ascii": {"json"},
    "allow_nan": {"json"},
    "default": {"json"},
    "cls": {"json"},
    "default_flow_style": {"yaml"},
    "yaml_instance": {"ruamel"},
    "multiline_strings": {"toml"},
    "encoding": {"json", "yaml", "ruamel"},
}


@pytest.mark.parametrize("option", OWN)
@pytest.mark.parametrize("name", FORMATS)
def test_an_option_of_another_format_is_refused_by_name(
    name: str, option: str, target: Path
) -> None:
    if name in OWN[option]:
        assert option in inspect.signature(FORMATS[name].dump).parameters
        return
    with pytest.raises(TypeError, match=option):
        FORMATS[name].dump(target, {}, **{option: None})
    assert names(target.parent) == []
