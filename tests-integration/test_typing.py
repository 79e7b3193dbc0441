"""What type checkers make of the installed packages: the same names and types as at run time.

mypy and pyright read the wheels in site-packages, as a user's would, from a folder that does not
see the sources.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

import safeatomic

CASES = Path(__file__).parent / "typing"
Checker = Callable[[Path], dict[int, str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: the cases, strict settings, and no path but site-packages."""
    package = Path(safeatomic.__file__).parent
    if package.parent != Path(sysconfig.get_path("purelib")):
        pytest.skip("safeatomic is not installed from a wheel here")
    folder = tmp_path_factory.mktemp("project")
    for case in CASES.glob("*.py"):
        shutil.copy(case, folder)
    (folder / "pyproject.toml").write_text(
        "[tool.mypy]\nstrict = true\npython_version = '3.11'\n"
        "[tool.pyright]\ntypeCheckingMode = 'strict'\npythonVersion = '3.11'\n"
    )
    return folder


def run_mypy(file: Path) -> dict[int, str]:
    """Return line numbers and what mypy says about them."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(r"^[^:]+:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert bool(found) == bool(done.returncode), done.stdout
    return {int(line): message for line, message in found}


def run_pyright(file: Path, *options: str) -> dict[int, str]:
    """Return line numbers and what pyright says about them."""
    pytest.importorskip("pyright", reason="pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(
        [*command, *options, file.name],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report = json.loads(done.stdout)
    return {
        entry["range"]["start"]["line"] + 1: entry["message"]
        for entry in report["generalDiagnostics"]
        if entry["severity"] == "error"
    }


CHECKERS = [pytest.param(run_mypy, id="mypy"), pytest.param(run_pyright, id="pyright")]


@pytest.mark.parametrize("case", ["correct.py", "star.py"])
@pytest.mark.parametrize("check", CHECKERS)
def test_correct_use_is_accepted(project: Path, check: Checker, case: str) -> None:
    assert check(project / case) == {}


@pytest.mark.parametrize("check", CHECKERS)
def test_every_mistake_is_found_and_nothing_else(project: Path, check: Checker) -> None:
    source = (CASES / "wrong.py").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(source, 1) if "# error: " in line}
    assert set(check(project / "wrong.py")) == marked


def test_every_public_name_is_among_the_cases() -> None:
    tree = ast.parse((CASES / "correct.py").read_text(encoding="utf-8"))
    used = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "safeatomic"
        for alias in node.names
    }
    assert used == set(safeatomic.__all__)


@pytest.mark.parametrize("package", ["safeatomic", "safeatomic_core", "safeatomic_formats"])
@pytest.mark.parametrize("check", CHECKERS)
def test_checkers_see_the_names_that_exist(project: Path, check: Checker, package: str) -> None:
    module = sys.modules.get(package) or __import__(package)
    names = sorted(module.__all__)
    case = project / f"names_of_{package}.py"
    lines = [f"import {package}", *(f"print({package}.{name})" for name in names)]
    case.write_text("\n".join(lines) + "\n")
    assert check(case) == {}


@pytest.mark.parametrize("package", ["safeatomic", "safeatomic_core", "safeatomic_formats"])
def test_the_public_types_are_complete(project: Path, package: str) -> None:
    """As pyright judges it for libraries: every public symbol has a known, declared type."""
    pytest.importorskip("pyright", reason="pyright is not installed")
    bin_first = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pyright",
            "--outputjson",
            "--ignoreexternal",
            "--verifytypes",
            package,
        ],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": bin_first},  # where --verifytypes looks for the interpreter
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    assert report["packageRootDirectory"]
    doubtful = [
        symbol["name"]
        for symbol in report["symbols"]
        if symbol["isExported"] and not (symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"])
    ]
    assert doubtful == []
    assert report["completenessScore"] == 1.0
