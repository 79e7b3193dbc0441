"""Run the tests of this checkout on one interpreter of the room.

``python run.py TOOLS REPORTS INTERPRETER [OPTION...]``: ``TOOLS`` is a folder with pytest and our
wheels (``pip install --target``), ``REPORTS`` gets a JUnit file for each suite and
``INTERPRETER-tried.json``; the options, such as ``--long`` and ``--seed N``, are those of
``tests-integration``.
Exits with 77 where there can be no room, or no such interpreter in it, after saying why.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests-integration"))

import debian  # noqa: E402 - found through the line above
from crash.crashlab.isolation import die_with_parent  # noqa: E402
from interpreters import room  # noqa: E402

NOT_POSSIBLE = 77
_PACKAGES = ("safeatomic-core", "safeatomic-formats", "safeatomic")
# Not the simulated disk and the failing devices: what they find does not depend on the interpreter.
_ANYWHERE = ("forks", "contention")
# An error at the N-th system call, an interrupt at the N-th bytecode: a run has to repeat itself,
# and where a collector decides when a finalizer closes a descriptor (PyPy) it does not.
_COUNTED = ("interrupts", "errors")
# These take minutes and depend on the interpreter least: with --long, errors also on the newest.
_LONG = ("errors", "kills")
_NEWEST = "python3.15"


def main(tools: Path, reports: Path, interpreter: str, options: list[str]) -> int:
    """Run everything; return an exit status."""
    try:
        root = room.obtain()
    except debian.NotPossibleError as reason:
        print(f"{interpreter.upper()} WAS NOT TRIED: {reason}")
        return NOT_POSSIBLE
    if not room.has(root, interpreter):
        print(f"{interpreter.upper()} WAS NOT TRIED: Debian's {room.SUITE} has no package of it")
        return NOT_POSSIBLE
    tried: _Tried = {"version": _version(root, tools, reports, interpreter), "suites": {}}
    print(f"==== {tried['version']}", flush=True)
    for suite, words in _suites(interpreter, options).items():
        started = time.monotonic()
        program = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        program += [f"--junitxml=/reports/{interpreter}-{suite}.xml", *words]
        command = room.command(root, ROOT, tools, reports, program)
        status = subprocess.run(command, preexec_fn=die_with_parent).returncode
        took = time.monotonic() - started
        print(f"---- {interpreter} {suite}: status {status}, {took:.0f} s", flush=True)
        tried["suites"][suite] = status
    report = reports / f"{interpreter}-tried.json"
    report.write_text(json.dumps(tried), encoding="utf-8")
    return 1 if any(tried["suites"].values()) else 0


class _Tried(TypedDict):
    """What was tried on an interpreter: the exit status of each suite."""

    version: str
    suites: dict[str, int]


def _suites(interpreter: str, options: list[str]) -> dict[str, list[str]]:
    """Return the arguments of each suite that makes sense on an interpreter."""
    faults = [*_ANYWHERE, *_COUNTED, "kills"]
    if interpreter.startswith("pypy"):
        faults = [name for name in faults if name not in _COUNTED]
    if "--long" not in options:
        kept = ("errors",) if interpreter == _NEWEST else ()
        faults = [name for name in faults if name not in _LONG or name in kept]
    # Each in a process of its own: an interrupt between two bytecodes may leave any lock taken.
    return {
        **{package: [f"packages/{package}/tests"] for package in _PACKAGES},
        **{name: [f"tests-integration/faults/test_{name}.py", *options] for name in faults},
    }


def _version(root: Path, tools: Path, reports: Path, interpreter: str) -> str:
    ask = "import platform as p; print(p.python_implementation(), p.python_version())"
    command = room.command(root, ROOT, tools, reports, [interpreter, "-c", ask])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
