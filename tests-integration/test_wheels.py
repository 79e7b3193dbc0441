"""What is shipped: the files in the wheels and sdists, their metadata, and that they install."""

from __future__ import annotations

import email
import email.message
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import distributions
from distributions import PACKAGES, ROOT
from safeatomic_core._cli.arguments import build_parser
from safeatomic_core._cli.completion import files


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distributions.provide(tmp_path_factory.mktemp("dist"))


def files_in_wheel(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def files_in_sdist(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def unpack(path: Path, folder: Path) -> Path:
    with tarfile.open(path) as archive:
        # 3.11 has the filter from 3.11.4 on.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    (top,) = folder.iterdir()
    return top


def metadata(path: Path) -> email.message.Message:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode("utf-8"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_holds_the_code_and_the_licence_and_nothing_else(dist: Path, package: str) -> None:
    import_name = package.replace("-", "_")
    source = ROOT / "packages" / package / "src"
    code = {
        path.relative_to(source).as_posix()
        for path in (source / import_name).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    wheel = distributions.wheel(dist, package)
    version = wheel.name.split("-")[1]
    info = {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"}
    if package == "safeatomic-core":
        info.add("entry_points.txt")
    expected = code | {f"{import_name}-{version}.dist-info/{name}" for name in info}
    assert files_in_wheel(wheel) == expected
    with zipfile.ZipFile(wheel) as archive:
        for name in code:
            assert archive.read(name) == (source / name).read_bytes()


@pytest.mark.parametrize("package", PACKAGES)
def test_metadata_is_complete_and_invents_nothing(dist: Path, package: str) -> None:
    found = metadata(distributions.wheel(dist, package))
    assert found["Name"] == package
    assert found["License-Expression"] == "MIT"
    assert found.get_all("License-File") == ["LICENSE"]
    assert found["Requires-Python"] == ">=3.11"
    assert found["Summary"]
    assert found["Author"]
    assert found["Keywords"]
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload() == (ROOT / "packages" / package / "README.md").read_text("utf-8")
    assert "Typing :: Typed" in found.get_all("Classifier", [])
    for minor in (11, 12, 13, 14, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in found.get_all("Classifier", [])
    assert found["Home-page"] is None
    assert found.get_all("Project-URL") is None
    assert "](http" not in str(found.get_payload())  # an address in an example is not a link


@pytest.mark.parametrize("package", PACKAGES)
def test_every_classifier_is_known(dist: Path, package: str) -> None:
    trove = pytest.importorskip("trove_classifiers", reason="trove-classifiers is not installed")
    found = metadata(distributions.wheel(dist, package)).get_all("Classifier", [])
    assert set(found) <= trove.classifiers


def test_wheels_require_each_other_in_the_same_version(dist: Path) -> None:
    versions = {metadata(distributions.wheel(dist, package))["Version"] for package in PACKAGES}
    (version,) = versions
    required = {
        package: [
            requirement.partition(";")[0].strip()
            for requirement in metadata(distributions.wheel(dist, package)).get_all(
                "Requires-Dist", []
            )
        ]
        for package in PACKAGES
    }
    assert required["safeatomic-core"] == []
    assert f"safeatomic-core=={version}" in required["safeatomic-formats"]
    assert sorted(required["safeatomic"]) == [
        f"safeatomic-core=={version}",
        f"safeatomic-formats=={version}",
        f"safeatomic-formats[ruamel]=={version}",
    ]
    for package in ("safeatomic-formats", "safeatomic"):
        found = metadata(distributions.wheel(dist, package))
        assert found.get_all("Provides-Extra") == ["ruamel"]


@pytest.mark.parametrize("package", PACKAGES)
def test_an_sdist_holds_sources_and_tests(dist: Path, package: str) -> None:
    files = files_in_sdist(distributions.sdist(dist, package))
    tops = {name.partition("/")[0] for name in files}
    assert {"src", "tests", "README.md", "LICENSE", "pyproject.toml", "PKG-INFO"} <= tops
    assert not any(re.search(r"__pycache__|\.pyc$|^dist/|^site/|/states/", name) for name in files)
    if package != "safeatomic":
        assert not {"formal", "docs", "tests-integration"} & tops


def test_the_sdist_of_the_core_holds_the_completions_and_the_manual_page(
    dist: Path, tmp_path: Path
) -> None:
    project = unpack(distributions.sdist(dist, "safeatomic-core"), tmp_path)
    made = {
        path.relative_to(project / "share").as_posix(): path.read_text("utf-8")
        for path in (project / "share").rglob("*")
        if path.is_file()
    }
    assert made == files(build_parser())


def test_the_sdist_of_the_meta_package_holds_the_models_docs_and_tests(dist: Path) -> None:
    files = files_in_sdist(distributions.sdist(dist, "safeatomic"))
    for folder in ("formal", "docs", "tests-integration"):
        here = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.suffix in {".py", ".md", ".tla", ".cfg"} and "states" not in path.parts
        }
        assert here, folder
        assert {name for name in here if name not in files} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_an_sdist_builds_the_same_wheel_and_the_same_sdist(
    dist: Path, package: str, tmp_path: Path
) -> None:
    (tmp_path / "unpacked").mkdir()
    project = unpack(distributions.sdist(dist, package), tmp_path / "unpacked")
    distributions.build(project, tmp_path / "again", "sdist", "wheel")
    again = distributions.wheel(tmp_path / "again", package)
    assert again.read_bytes() == distributions.wheel(dist, package).read_bytes()
    assert files_in_sdist(distributions.sdist(tmp_path / "again", package)) == files_in_sdist(
        distributions.sdist(dist, package)
    )


def test_the_core_installs_alone(dist: Path, tmp_path: Path) -> None:
    python = distributions.environment(tmp_path / "env")
    distributions.install(python, "--no-index", str(distributions.wheel(dist, "safeatomic-core")))
    code = (
        "import importlib.metadata as m, safeatomic_core as s\n"
        "assert [d.name for d in m.distributions()] == ['safeatomic-core']\n"
        "assert len(s.__all__) == 35\n"
        "for name in s.__all__: getattr(s, name)\n"
        "s.write_atomic('a', 'text', write_checksum=True)\n"
        "assert s.read_atomic('a', check_checksum=True) == 'text'\n"
    )
    subprocess.run([python, "-c", code], check=True, cwd=tmp_path)
    command = python.with_name("safeatomic")
    shown = subprocess.run(
        [command, "read", "a", "--check"], check=True, cwd=tmp_path, capture_output=True
    )
    assert shown.stdout == b"text"


def test_each_package_installs_from_its_own_sdist(dist: Path, tmp_path: Path) -> None:
    """Built in isolation, as pip does it; the siblings come from the other sdists."""
    python = distributions.environment(tmp_path / "env")
    distributions.install(
        python, *(str(distributions.sdist(dist, package)) for package in PACKAGES)
    )
    code = (
        "import safeatomic as s\n"
        "s.atomic_yaml_dump('a.yaml', {'a': 1})\n"
        "assert s.atomic_yaml_load('a.yaml') == {'a': 1}\n"
        "try: s.atomic_yaml_load_ruamel('a.yaml')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [python, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert "pip install 'ruamel.yaml>=0.17.21'" in done.stdout


def test_the_sdist_of_the_meta_package_tests_itself(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    project = unpack(distributions.sdist(dist, "safeatomic"), tmp_path / "unpacked")
    python = distributions.environment(tmp_path / "env")
    wheels = (str(distributions.wheel(dist, package)) for package in PACKAGES)
    distributions.install(python, *wheels, "pytest", "hypothesis")
    command = [str(python), "-m", "pytest", "-q", "--import-mode=importlib", "tests"]
    command += ["tests-integration/test_exports.py", "tests-integration/test_lockstep.py"]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=project, check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:]
    listed = subprocess.run(
        [sys.executable, "formal/run.py", "--help"], cwd=project, check=False, capture_output=True
    )
    assert listed.returncode == 0, listed.stderr
