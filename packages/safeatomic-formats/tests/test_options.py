"""An option that is not what it must be is named, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safeatomic_formats import atomic_json_dump, atomic_toml_dump, atomic_yaml_dump

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
