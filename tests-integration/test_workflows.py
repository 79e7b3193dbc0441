"""What a forge runs: its actions are pinned, its sessions exist, a release is checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distributions import PACKAGES, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="this is not a checkout of the repository")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_hash_and_says_its_version(workflow: Path) -> None:
    uses = re.findall(r"^\s*(?:- )?uses: *(.*)$", workflow.read_text("utf-8"), re.MULTILINE)
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_one_action_has_one_hash() -> None:
    text = "".join(workflow.read_text("utf-8") for workflow in WORKFLOWS)
    pins = set(re.findall(r"uses: ([^@]+)@([0-9a-f]{40})", text))
    assert len({action for action, _ in pins}) == len(pins)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_sessions_that_a_workflow_names_exist(workflow: Path) -> None:
    sessions = set(
        re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.M)
    )
    named = re.findall(r"nox --sessions ([a-z ]+?)(?: --.*)?$", workflow.read_text("utf-8"), re.M)
    assert named
    assert {word for words in named for word in words.split()} <= sessions


def test_ci_runs_every_session_that_a_bare_nox_runs() -> None:
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    defaults = set(
        re.findall(r"^@nox\.session\((?!default=False).*\n(?:@.*\n)*def (\w+)", noxfile, re.M)
    )
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    named = " ".join(re.findall(r"nox --sessions ([a-z ]+?)(?: --.*)?$", text, re.M)).split()
    assert defaults <= set(named)


def test_publishing_is_off_until_the_owner_switches_it_on() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    job = text[text.index("  publish:") :]
    assert "if: vars.PUBLISH == 'yes'" in job
    assert "gh-action-pypi-publish" not in text[: text.index("  publish:")]


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A copy of what a release is checked by, as if 2.1.0 were released today."""
    for package in PACKAGES:
        source = ROOT / "packages" / package
        for path in [source / "pyproject.toml", *source.glob("src/*/_version.py")]:
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "release.py", tmp_path / ".ci")
    (tmp_path / "CHANGELOG.md").write_text(f"## [{version(tmp_path)}] - 2026-12-01\n", "utf-8")
    return tmp_path


def version(root: Path) -> str:
    (source,) = (root / "packages" / "safeatomic").glob("src/*/_version.py")
    match = re.search(r'"(.+)"', source.read_text("utf-8"))
    assert match is not None
    return match[1]


def check(root: Path, tag: str) -> str:
    """Return what is wrong with a release."""
    done = subprocess.run(
        [sys.executable, str(root / ".ci" / "release.py"), tag],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


def test_a_release_that_fits_its_tag_passes(released: Path) -> None:
    assert check(released, f"v{version(released)}") == ""


@pytest.mark.parametrize("tag", ["v9.9.9", "2.1.0", "v2.1", "vlatest"])
def test_another_tag_is_refused(released: Path, tag: str) -> None:
    assert check(released, tag)


def test_an_unreleased_heading_of_the_changelog_is_refused(released: Path) -> None:
    changelog = released / "CHANGELOG.md"
    changelog.write_text(f"## [{version(released)}] - unreleased\n", "utf-8")
    assert "not the day of the release" in check(released, f"v{version(released)}")


def test_a_sibling_that_is_pinned_elsewhere_is_refused(released: Path) -> None:
    project = released / "packages" / "safeatomic" / "pyproject.toml"
    text = project.read_text("utf-8")
    project.write_text(text.replace("safeatomic-core==", "safeatomic-core==0."), "utf-8")
    assert "safeatomic requires safeatomic-core==0." in check(released, f"v{version(released)}")
