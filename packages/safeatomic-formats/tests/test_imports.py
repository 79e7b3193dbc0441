"""What importing costs: no parser is loaded before it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import safeatomic_formats


def modules_after(code: str) -> set[str]:
    """Return what some code loads beyond what the interpreter and its site load by themselves."""
    return _modules(code) - _modules("")


def _modules(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_loads_no_parser() -> None:
    loaded = modules_after("import safeatomic_formats") - modules_after("pass")
    assert not loaded & {"yaml", "tomli_w", "tomllib", "ruamel", "ruamel.yaml"}
    assert "importlib.metadata" not in loaded


@pytest.mark.parametrize(
    ("call", "parser"),
    [
        ("atomic_yaml_load", "yaml"),
        ("atomic_toml_load", "tomllib"),
    ],
)
def test_a_call_loads_its_own_parser_only(call: str, parser: str) -> None:
    code = f"import safeatomic_formats as f\ntry: f.{call}('/dev/null')\nexcept Exception: pass"
    loaded = modules_after(code) - modules_after("pass")
    others = {"yaml", "tomli_w", "tomllib", "ruamel.yaml"} - {parser}
    assert not loaded & others


def test_the_public_surface_is_the_eight_functions() -> None:
    assert len(safeatomic_formats.__all__) == len(set(safeatomic_formats.__all__)) == 8
    public = {name for name in vars(safeatomic_formats) if not name.startswith("_")}
    assert public - {"annotations"} == set(safeatomic_formats.__all__)


def test_no_group_is_possessive() -> None:
    """Python before 3.11.5 loses its way in such a group (CPython issue 106052)."""
    sources = Path(safeatomic_formats.__file__).parent.rglob("*.py")
    found = [path.name for path in sources if re.search(r"\)[*+?]\+", path.read_text("utf-8"))]
    assert not found
