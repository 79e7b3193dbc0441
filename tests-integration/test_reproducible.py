"""The same sources give the same wheels and sdists, byte for byte, wherever and whenever built."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distributions import PACKAGES, ROOT

DAY = 86_400
# A clock that is a day ahead, for whatever the interpreter of the build asks.
_AHEAD = f"""
import time
_time, _gmtime, _localtime = time.time, time.gmtime, time.localtime
time.time = lambda: _time() + {DAY}
time.gmtime = lambda seconds=None: _gmtime(time.time() if seconds is None else seconds)
time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
"""

pytestmark = pytest.mark.skipif(
    not (ROOT / "packages").is_dir(), reason="this is not a checkout of the repository"
)


def checkout(folder: Path, names: list[str], age: int, umask: int) -> Path:
    """Copy the sources into a folder, as a checkout of another day by another user has them."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        executable = (ROOT / name).stat().st_mode & stat.S_IXUSR
        target.chmod((0o777 if executable else 0o666) & ~umask)
        moment = 1_700_000_000 - age
        os.utime(target, (moment, moment))
    return folder


def build(root: Path, package: str, output: Path, variables: dict[str, str]) -> dict[str, str]:
    """Build a package; return the SHA-256 of its wheel and sdist."""
    keep = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(output)],
        cwd=root / "packages" / package,
        env=keep | variables,
        check=True,
        capture_output=True,
    )
    files = sorted(output.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"] or len(files) == 2
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkouts, a day and a umask apart, with names of different lengths."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout: cannot tell which files a fresh clone would hold")
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]
    folder = tmp_path_factory.mktemp("sources")
    first = checkout(folder / "today", names, 0, 0o022)
    return first, checkout(folder / "a-day-before" / "elsewhere", names[::-1], DAY, 0o077)


def environment(folder: Path, *, ahead: bool) -> dict[str, str]:
    variables = {"PYTHONHASHSEED": "1" if ahead else "2", "TZ": "Asia/Tokyo" if ahead else "UTC"}
    if ahead:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_AHEAD, "utf-8")
        variables["PYTHONPATH"] = str(folder)
    return variables


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("epoch", [None, "1700000000"], ids=["clock", "SOURCE_DATE_EPOCH"])
def test_two_builds_a_day_apart_are_the_same(
    sources: tuple[Path, Path], package: str, epoch: str | None, tmp_path: Path
) -> None:
    given = {} if epoch is None else {"SOURCE_DATE_EPOCH": epoch}
    first = build(
        sources[0], package, tmp_path / "one", environment(tmp_path / "-", ahead=False) | given
    )
    second = build(
        sources[1], package, tmp_path / "two", environment(tmp_path / "+", ahead=True) | given
    )
    assert first == second


def test_the_comparison_sees_a_change_of_one_byte(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    package = "safeatomic-core"
    before = build(sources[0], package, tmp_path / "one", {})
    changed = tmp_path / "changed"
    shutil.copytree(sources[0] / "packages" / package, changed / "packages" / package)
    readme = changed / "packages" / package / "README.md"
    readme.write_text(readme.read_text("utf-8") + "\n", "utf-8")
    after = build(changed, package, tmp_path / "two", {})
    assert all(before[name] != after[name] for name in before)


def test_the_clock_that_is_ahead_is_ahead(tmp_path: Path) -> None:
    script = "import time; print(int(time.time()), int(time.mktime(time.localtime())))"
    seen = []
    for ahead in (False, True):
        variables = environment(tmp_path / str(ahead), ahead=ahead)
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        seen.append([int(word) for word in done.stdout.split()])
    assert all(later - earlier >= DAY for earlier, later in zip(*seen, strict=True))
