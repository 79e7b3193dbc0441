"""YAML as its users see it: plain data, readable text, no surprises from hostile input."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import yaml

from safeatomic_formats import atomic_yaml_dump, atomic_yaml_load


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.yaml"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "b:\n- 1\n- x: ü\na: 2\n"),
        ({"sort_keys": True}, "a: 2\nb:\n- 1\n- x: ü\n"),
        ({"default_flow_style": True}, "{b: [1, {x: ü}], a: 2}\n"),
        ({"default_flow_style": None}, "b:\n- 1\n- {x: ü}\na: 2\n"),
    ],
)
def test_the_layout_is_chosen_by_the_caller(
    target: Path, options: dict[str, bool], expected: str
) -> None:
    atomic_yaml_dump(target, {"b": [1, {"x": "ü"}], "a": 2}, **options)  # type: ignore[arg-type]
    assert target.read_text(encoding="utf-8") == expected


def test_a_long_line_is_not_folded(target: Path) -> None:
    document = {"text": "word " * 60 + "end", "list": list(range(100))}
    atomic_yaml_dump(target, document, default_flow_style=True)
    assert target.read_text().count("\n") == 1


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/object:builtins.object {}",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!custom {a: 1}",
    ],
)
@pytest.mark.parametrize("suffix", ["", "\t"], ids=["libyaml", "pure"])
def test_a_tag_that_is_not_plain_data_is_refused(target: Path, tag: str, suffix: str) -> None:
    target.write_text(f"value: {tag} #{suffix}")
    with pytest.raises(yaml.constructor.ConstructorError) as caught:
        atomic_yaml_load(target)
    assert any(str(target) in note for note in caught.value.__notes__)


class Custom:
    pass


@pytest.mark.parametrize("value", [Custom(), Custom, len, 1j, type("Text", (str,), {})("x")])
def test_what_is_not_plain_data_is_not_written(target: Path, value: object) -> None:
    with pytest.raises(yaml.representer.RepresenterError):
        atomic_yaml_dump(target, [value])
    assert not target.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!int ''",
        "!!int x",
        "!!float abc",
        "!!timestamp never",
        "2026-13-01",
        "2026-01-01 25:00:00",
        "!!binary é",
        "!!bool maybe",
        "1" * 5000,
        "!!set [1]",
        "!!omap {a: 1}",
        "? [a]\n: b",
    ],
)
def test_a_value_that_does_not_fit_its_type_is_a_yaml_error(target: Path, text: str) -> None:
    target.write_text(text)
    with pytest.raises(yaml.YAMLError):
        atomic_yaml_load(target)


def test_two_documents_in_one_file_are_refused(target: Path) -> None:
    target.write_text("a: 1\n---\nb: 2\n")
    with pytest.raises(yaml.composer.ComposerError):
        atomic_yaml_load(target)


def test_an_empty_file_is_none(target: Path) -> None:
    target.touch()
    assert atomic_yaml_load(target) is None


def test_of_a_key_twice_the_last_value_counts(target: Path) -> None:
    target.write_text("a: 1\nb: 2\na: 3\n")
    assert atomic_yaml_load(target) == {"a": 3, "b": 2}


def test_an_object_that_contains_itself_comes_back(target: Path) -> None:
    document: dict[str, object] = {}
    document["self"] = document
    atomic_yaml_dump(target, document)
    loaded = atomic_yaml_load(target)
    assert loaded["self"] is loaded


def test_a_shared_object_stays_shared(target: Path) -> None:
    shared = {"a": 1}
    atomic_yaml_dump(target, [shared, shared])
    first, second = atomic_yaml_load(target)
    assert first is second


def test_a_time_in_flow_style_comes_back_as_a_time(target: Path) -> None:
    document = [dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)]
    atomic_yaml_dump(target, document, default_flow_style=True)
    assert atomic_yaml_load(target) == document


@pytest.mark.parametrize(
    "value", [dt.datetime(1800, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=3723))), "\udc80"]
)
def test_what_would_not_come_back_is_refused(target: Path, value: object) -> None:
    with pytest.raises(yaml.representer.RepresenterError):
        atomic_yaml_dump(target, {"value": value})
    assert not target.exists()
