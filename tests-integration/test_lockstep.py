"""One version, one licence, one set of settings for the three packages."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["safeatomic-core", "safeatomic-formats", "safeatomic"]
VERSION = re.compile(r'__version__ = "(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)"\n')

pytestmark = pytest.mark.skipif(
    not (ROOT / "packages").is_dir(), reason="this is not a checkout of the repository"
)


def project(package: str, root: Path = ROOT) -> dict[str, Any]:
    text = (root / "packages" / package / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def version(package: str, root: Path = ROOT) -> str:
    (source,) = (root / "packages" / package).glob("src/*/_version.py")
    match = VERSION.fullmatch(source.read_text(encoding="utf-8"))
    assert match is not None, f"{source} is not exactly one literal assignment"
    return match[1]


def pins(package: str, root: Path = ROOT) -> list[str]:
    described = project(package, root)["project"]
    requirements = list(described["dependencies"])
    for extra in described.get("optional-dependencies", {}).values():
        requirements += extra
    return [text for text in requirements if text.startswith("safeatomic")]


def test_all_versions_are_the_same() -> None:
    assert len({version(package) for package in PACKAGES}) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_siblings_are_pinned_to_this_version(package: str) -> None:
    expected = {
        "safeatomic-core": [],
        "safeatomic-formats": ["safeatomic-core"],
        "safeatomic": ["safeatomic-core", "safeatomic-formats", "safeatomic-formats[ruamel]"],
    }[package]
    assert pins(package) == [f"{name}=={version(package)}" for name in expected]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_imported_version_is_the_literal_one(package: str) -> None:
    name = package.replace("-", "_")
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    assert importlib.import_module(name).__version__ == version(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_licence_is_a_copy_of_the_one_at_the_top(package: str) -> None:
    copy = (ROOT / "packages" / package / "LICENSE").read_bytes()
    assert copy == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("key", ["requires-python", "license", "license-files", "authors"])
def test_what_describes_all_is_the_same_in_all(key: str) -> None:
    first, *others = (project(package)["project"][key] for package in PACKAGES)
    assert all(other == first for other in others)


def test_classifiers_and_build_systems_are_the_same() -> None:
    first, *others = (project(package) for package in PACKAGES)
    for other in others:
        assert other["project"]["classifiers"] == first["project"]["classifiers"]
        assert other["build-system"] == first["build-system"]


def test_the_extra_of_the_formats_is_mirrored() -> None:
    formats = project("safeatomic-formats")["project"]["optional-dependencies"]
    assert set(formats) == set(project("safeatomic")["project"]["optional-dependencies"])


def test_test_requirements_are_the_same_everywhere() -> None:
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in PACKAGES:
        assert project(package)["dependency-groups"]["test"] == shared["dependency-groups"]["test"]


def test_the_changelog_has_an_entry_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[?([^\]\s]+)", changelog, re.MULTILINE)
    assert version("safeatomic") in headings or "Unreleased" in headings


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """What `bump` works on, in a folder of its own."""
    if importlib.util.find_spec("nox") is None:
        pytest.skip("nox is not installed")
    for name in ("noxfile.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for package in PACKAGES:
        source = ROOT / "packages" / package
        for path in [source / "pyproject.toml", *source.glob("src/*/_version.py")]:
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return tmp_path


def bump(root: Path, *arguments: str) -> int:
    command = [sys.executable, "-m", "nox", "-s", "bump", "--", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode


@pytest.mark.parametrize("new", ["10.20.30", "3.0.0rc1"])
def test_bump_changes_every_version_and_pin(copied: Path, new: str) -> None:
    before = {package: pins(package, copied) for package in PACKAGES}
    assert bump(copied, new) == 0
    for package in PACKAGES:
        assert version(package, copied) == new
        names = [pin.partition("==")[0] for pin in before[package]]
        assert pins(package, copied) == [f"{name}=={new}" for name in names]


def test_bump_changes_nothing_else(copied: Path) -> None:
    def state() -> dict[Path, bytes]:
        made = {".nox", "__pycache__"}  # by running nox, whatever it does
        files = (path for path in copied.rglob("*.*") if not made.intersection(path.parts))
        return {path: path.read_bytes() for path in files}

    before = state()
    assert bump(copied, "9.9.9") == 0
    assert bump(copied, version("safeatomic")) == 0
    assert state() == before


@pytest.mark.parametrize(
    "arguments",
    [(), ("1",), ("1.2",), ("1.2.3.4",), ("v1.2.3",), ("1.02.3",), ("1.2.3-1",), ("1.2.3", "4")],
    ids=" ".join,
)
def test_bump_refuses_what_is_no_version(copied: Path, arguments: tuple[str, ...]) -> None:
    assert bump(copied, *arguments) != 0
    assert {version(package, copied) for package in PACKAGES} == {version("safeatomic")}
