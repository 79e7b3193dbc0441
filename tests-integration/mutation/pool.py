"""The quick look at a mutant: the unit tests that execute its line, in a process that has them all.

First the tests run once under coverage, which tells for each line of the core the tests that
execute it, in whatever process they do. Then a few servers (`server`) collect them once and answer
one mutant after the other. A mutant that passes here, or does not fit, goes on to `trial`: what a
module does when it is imported shows only there.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .server import (
    CHANNELS,
    DEADLINE,
    FAILED,
    MAP_VARIABLE,
    MODE,
    PACKAGE_VARIABLE,
    PASSED,
    SETTINGS_VARIABLE,
    TEST_VARIABLE,
    UNFIT,
)
from .trial import PACKAGE, ROOT, UNIT_TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from .points import Point

_SLOWEST_S = 30.0  # of all tests of one mutant together; the rest is for the full look


class Map:
    """Which tests execute which line of the core, and how long each takes.

    Args:
        lines: Names of tests by source and line number.
        seconds: Duration of each test.
    """

    def __init__(self, lines: dict[str, dict[int, list[str]]], seconds: dict[str, float]) -> None:
        self._lines = lines
        self._seconds = seconds

    def tests_of(self, point: Point) -> list[str]:
        """Return the tests that execute a point, the quickest first."""
        found = self._lines.get(point.module, {})
        lines = range(point.line, point.line + point.old.count("\n") + 1)
        names = {name for line in lines for name in found.get(line, ())}
        return self.quickest(names)

    def quickest(self, names: set[str] | None = None) -> list[str]:
        """Return tests in the order of their duration, as many as are quick together."""
        order = sorted(self._seconds if names is None else names, key=self._seconds.__getitem__)
        if names is None:
            return order
        total = 0.0
        for number, name in enumerate(order):
            total += self._seconds[name]
            if total > _SLOWEST_S:
                return order[:number]
        return order

    def limits_s(self, names: list[str]) -> list[float]:
        """Return for each test the seconds after which it is called a loop."""
        return [10 + 10 * self._seconds[name] for name in names]


def make_map() -> Map:
    """Run the unit tests under coverage.

    Raises:
        SystemExit: They fail, so there is nothing to be learnt.
    """
    import coverage

    with tempfile.TemporaryDirectory(prefix="safeatomic-map-") as folder:
        os.chmod(folder, 0o777)  # some tests go on as other users
        settings, data = Path(folder) / "coveragerc", Path(folder) / "data"
        settings.write_text(
            f"[run]\nsource_pkgs = {PACKAGE.name}\ndata_file = {data}\n"
            f"parallel = true\npatch = _exit\ncontext = ${{{TEST_VARIABLE}}}\n",
            encoding="utf-8",
        )
        environment = _environment("map")
        environment[MAP_VARIABLE] = f"{folder}/seconds"
        environment[SETTINGS_VARIABLE] = str(settings)
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}"]
        done = subprocess.run(
            [*command, *_PYTEST, "-q", UNIT_TESTS],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):  # a test that fails under coverage may pass without it
            raise SystemExit(f"the unit tests did not run\n{done.stdout[-3000:]}")
        whole = coverage.Coverage(config_file=str(settings))
        whole.combine()
        found = whole.get_data()
        lines = {
            Path(path).relative_to(PACKAGE).as_posix(): {
                line: [name for name in names if name]
                for line, names in found.contexts_by_lineno(path).items()
            }
            for path in found.measured_files()
            if Path(path).is_relative_to(PACKAGE)
        }
        return Map(lines, json.loads(Path(folder, "seconds").read_text(encoding="utf-8")))


class Pool:
    """A few servers; use it as a context manager.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._free: queue.Queue[_Server] = queue.Queue()
        self._all: list[_Server] = []

    def __enter__(self) -> Self:
        for _ in range(self._workers):
            server = _Server()
            self._all.append(server)
            self._free.put(server)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self._all:
            server.end()

    def ask(self, point: Point | None, tests: list[str], limits_s: list[float]) -> str:
        """Return how the tests noticed a mutant: one of the answers of `server`.

        Args:
            point: Where the core is broken; None for the core as it is.
            tests: Names of tests.
            limits_s: For each of them, seconds after which it counts as stuck.
        """
        source = ""
        if point is not None:
            source = point.apply((PACKAGE / point.module).read_text("utf-8"))
        module = None if point is None else point.module
        request = {"module": module, "source": source, "tests": tests, "limits_s": limits_s}
        with self._one() as server:
            return server.ask(request)

    @contextlib.contextmanager
    def _one(self) -> Iterator[_Server]:
        server = self._free.get()
        try:
            yield server
        finally:
            self._free.put(server)


class _Server:
    """A process with all tests in it."""

    def __init__(self) -> None:
        theirs, ours = os.pipe()
        answers, their_answers = os.pipe()
        environment = _environment("serve")
        environment[CHANNELS] = f"{theirs},{their_answers}"
        self._process = subprocess.Popen(
            [sys.executable, *_PYTEST, "-q", "-s", UNIT_TESTS],
            cwd=ROOT,
            env=environment,
            pass_fds=(theirs, their_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(their_answers)
        self._requests, self._answers = os.fdopen(ours, "wb"), os.fdopen(answers, "rb")

    def ask(self, request: Mapping[str, object]) -> str:
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._requests.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"a server of tests ended with {self._process.wait()}")
        return str(json.loads(line)["how"])

    def end(self) -> None:
        self._requests.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._answers.close()


_PYTEST = ("-m", "pytest", "-p", "mutation.server", "-p", "no:cacheprovider")


def _environment(mode: str) -> dict[str, str]:
    paths = [str(PACKAGE.parent), str(ROOT / "tests-integration")]
    return {
        **os.environ,
        MODE: mode,
        PACKAGE_VARIABLE: str(PACKAGE),
        "PYTHONPATH": os.pathsep.join(paths),
        "CI": "mutation",  # hypothesis repeats itself then
    }


def caught(how: str) -> bool:
    """Tell whether an answer means that the tests noticed."""
    return how in (FAILED, DEADLINE)


__all__ = ["PASSED", "UNFIT", "Map", "Pool", "caught", "make_map"]
