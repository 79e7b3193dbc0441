"""The built distributions, for the tests that examine or install them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["safeatomic-core", "safeatomic-formats", "safeatomic"]


def build(project: Path, output: Path, *targets: str) -> None:
    """Build the sdist and wheel of a project folder, without a network."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    options = [option for target in targets for option in ("-t", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(output), *options],
        cwd=project,
        check=True,
        capture_output=True,
    )


def provide(folder: Path) -> Path:
    """Return a folder with all sdists and wheels: the one that nox built, or a new one."""
    built = os.environ.get("SAFEATOMIC_DIST")
    if built is not None:
        return Path(built)
    if not (ROOT / "packages").is_dir():
        pytest.skip("this is not a checkout of the repository")
    for package in PACKAGES:
        build(ROOT / "packages" / package, folder)
    return folder


def wheel(folder: Path, package: str) -> Path:
    """Return the wheel of a package."""
    (found,) = folder.glob(f"{package.replace('-', '_')}-[0-9]*.whl")
    return found


def sdist(folder: Path, package: str) -> Path:
    """Return the source distribution of a package."""
    (found,) = folder.glob(f"{package.replace('-', '_')}-[0-9]*.tar.gz")
    return found


def environment(folder: Path) -> Path:
    """Make an empty virtual environment, without even pip; return its interpreter."""
    pytest.importorskip("virtualenv", reason="virtualenv is not installed")
    subprocess.run(
        [sys.executable, "-m", "virtualenv", "--quiet", "--no-seed", str(folder)], check=True
    )
    return folder / "bin" / "python"


def install(python: Path, *arguments: str) -> None:
    """Install into an environment from outside, with the pip that runs the tests."""
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", *arguments],
        check=True,
        capture_output=True,
    )
