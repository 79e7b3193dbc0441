"""The full look at a mutant: all tests on a broken copy of the core, the cheapest first.

Each run is a process of its own that imports the copy. A broken library may loop, fork or kill: so
each run has a deadline, and as root a process namespace that ends with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .points import Point

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "packages/safeatomic-core/src/safeatomic_core"
UNIT_TESTS = "packages/safeatomic-core/tests"
_FAULTS = ROOT / "tests-integration/faults"
_MEMORY = "/dev/shm"
# Real mounts, other users; then an error, interrupt or kill anywhere, and the simulated disk.
_NEIGHBOURS = ("mounted_files", "filesystems", "sidecar_users")
_INJECTED = ("errors", "interrupts", "simulation", "simulated_mutants", "forks", "kills")
SURVIVED = "survived"


class Stage(NamedTuple):
    """Some of the tests.

    Attributes:
        name: What it is called in reports.
        paths: What pytest runs.
        deadline_s: Seconds after which the mutant counts as caught.
    """

    name: str
    paths: list[str]
    deadline_s: float


def stages(module: str, *, quick: bool = False) -> list[Stage]:
    """Return the stages for a mutant of a module.

    Args:
        module: Path of the source below the package.
        quick: Only the unit tests, all of them last.
    """
    path = Path(module)
    words = {part.strip("_").removesuffix(".py") for part in path.parts} - {"init"}
    own = sorted(
        str(test)
        for test in (ROOT / UNIT_TESTS).glob("test_*.py")
        if any(word in test.stem for word in words)
    )
    found = [Stage("own tests", own, 120)] if own else []
    found.append(Stage("unit tests", [UNIT_TESTS], 300))
    if quick:
        return found
    return [
        *found,
        Stage("neighbours", [str(_FAULTS.parent / f"test_{name}.py") for name in _NEIGHBOURS], 600),
        Stage("injected faults", [str(_FAULTS / f"test_{name}.py") for name in _INJECTED], 1200),
    ]


class Verdict(NamedTuple):
    """What became of a mutant.

    Attributes:
        point: Where the core was broken; None for the core as it is.
        caught_by: Name of the stage, or `SURVIVED`.
        how: ``failed`` or ``deadline``; empty if it survived.
        seconds: How long it took.
    """

    point: Point | None
    caught_by: str
    how: str
    seconds: float


def attempt(point: Point | None, *, quick: bool = False, own: bool = False) -> Verdict:
    """Run the stages on a copy of the core that is broken at a point, until one fails.

    Args:
        point: Where the core is broken; None for the core as it is.
        quick: Only the unit tests.
        own: Only the tests that have the module's name.
    """
    started = time.monotonic()
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="safeatomic-mutant-", dir=memory) as folder:
        copy = Path(folder) / "src" / PACKAGE.name
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if point is not None:
            source = copy / point.module
            source.write_text(point.apply(source.read_text("utf-8")), encoding="utf-8")
        chosen = stages(point.module if point is not None else "nothing", quick=quick)
        for stage in chosen[: len(chosen) - 1 if own else None]:
            how = _run(stage, Path(folder))
            if how:
                return Verdict(point, stage.name, how, time.monotonic() - started)
    return Verdict(point, SURVIVED, "", time.monotonic() - started)


def require_sound(*, quick: bool) -> None:
    """Run the stages on the core as it is.

    Raises:
        SystemExit: They fail, and so would for every mutant.
    """
    verdict = attempt(None, quick=quick)
    if verdict.caught_by != SURVIVED:
        raise SystemExit(f"the core as it is: {verdict.caught_by}: {verdict.how}")


def _run(stage: Stage, folder: Path) -> str:
    """Return how the tests noticed; empty if they did not."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}"]
    command += [f"--basetemp={folder / 'tests'}", *(str(ROOT / path) for path in stage.paths)]
    if os.geteuid() == 0 and shutil.which("unshare"):
        alone = ["--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["unshare", *alone, *command]
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
        "CI": "mutation",  # hypothesis repeats itself then
    }
    process = subprocess.Popen(
        command,
        cwd=folder,  # a relative path is not to reach the checkout
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return "failed" if process.wait(stage.deadline_s) else ""
    except subprocess.TimeoutExpired:
        return "deadline"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
