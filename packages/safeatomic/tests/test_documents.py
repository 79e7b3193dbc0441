"""One document of each format through the one package that a user installs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import safeatomic
from safeatomic import (
    atomic_json_dump,
    atomic_json_load,
    atomic_toml_dump,
    atomic_toml_load,
    atomic_yaml_dump,
    atomic_yaml_dump_ruamel,
    atomic_yaml_load,
    atomic_yaml_load_ruamel,
)


@pytest.mark.parametrize(
    ("dump", "load"),
    [
        (atomic_json_dump, atomic_json_load),
        (atomic_yaml_dump, atomic_yaml_load),
        (atomic_toml_dump, atomic_toml_load),
    ],
    ids=["json", "yaml", "toml"],
)
def test_a_document_comes_back(
    tmp_path: Path, dump: Callable[..., None], load: Callable[..., Any]
) -> None:
    document = {"a": [1, 2.5, "ü"], "b": {"c": True}}
    dump(tmp_path / "document", document, write_checksum=True, session="test")
    assert load(tmp_path / "document", check_checksum=True) == document


def test_the_ruamel_functions_work_or_say_what_to_install(tmp_path: Path) -> None:
    target = tmp_path / "document.yaml"
    try:
        import ruamel.yaml  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ImportError, match=r"pip install 'ruamel\.yaml>=0\.17\.21'"):
            atomic_yaml_dump_ruamel(target, {})
        with pytest.raises(ImportError, match=r"pip install 'ruamel\.yaml>=0\.17\.21'"):
            atomic_yaml_load_ruamel(target)
        assert not target.exists()
    else:
        target.write_text("a: 1 # one\n")
        atomic_yaml_dump_ruamel(target, atomic_yaml_load_ruamel(target))
        assert target.read_text() == "a: 1 # one\n"


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="/proc is not mounted here")
def test_a_warning_points_at_the_callers_line(tmp_path: Path) -> None:
    """Through the meta-package and the formats, on a filesystem that keeps no promise."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises((OSError, safeatomic.SafeAtomicError)):
            atomic_json_dump("/proc/safeatomic-test", {}, safety="warn")
    (warning,) = caught
    assert warning.category is safeatomic.UnsupportedEnvironmentWarning
    assert warning.filename == __file__
