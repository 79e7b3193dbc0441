"""An interpreter that puts every import off (Python 3.15), and what must not be left to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import safeatomic_core

PACKAGE = Path(safeatomic_core.__file__).parent

LAZY = pytest.mark.skipif(
    not hasattr(sys, "set_lazy_imports"), reason="no import waits for its first use here"
)


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program that imports the package as ``sa``, lazily."""
    return subprocess.run(
        [
            *(sys.executable, "-X", "lazy_imports=all", "-c"),
            f"import sys, types, {PACKAGE.name} as sa; {code}",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )


def test_loading_everything_changes_nothing_where_everything_is_loaded() -> None:
    before = {name: vars(module).copy() for name, module in _modules().items()}
    safeatomic_core._load_all()
    assert {name: vars(module) for name, module in _modules().items()} == before


def _modules() -> dict[str, object]:
    name = safeatomic_core.__name__
    return {key: one for key, one in sys.modules.items() if f"{key}.".startswith(f"{name}.")}


@LAZY
def test_the_first_use_of_the_package_loads_all_of_it() -> None:
    code = """sa.AtomicWriter
for name in [name for name in sys.modules if name.startswith(sa.__name__)]:
    for attribute, value in vars(sys.modules[name]).items():
        if isinstance(value, types.LazyImportType):
            print(name, attribute)
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@LAZY
def test_a_traceback_shows_a_class_as_it_is_imported() -> None:
    assert f"{PACKAGE.name}.LockError: held" in run("raise sa.LockError('held')").stderr


@LAZY
def test_a_writer_that_is_left_at_the_end_of_the_interpreter_aborts(
    tmp_path: Path,
) -> None:
    done = run("kept = sa.AtomicWriter(sys.argv[1]); kept.write(b'x')", tmp_path / "x")
    assert "was dropped undecided and aborted; what was written to it is lost" in done.stderr
    assert not list(tmp_path.iterdir())
