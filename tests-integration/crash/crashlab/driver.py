"""Run scenarios in worker processes, and always clean up.

A worker reads scenarios from its standard input, runs each in a forked child (with a fresh mount
namespace and fresh caches) and answers with a report. The `Lab` distributes scenarios in the order
of their announcement and returns reports in the order of the requests. All its processes have a tag
in their environment, by which `close` proves that no process, mount or loop device is left.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from . import isolation, loop, scenario
from .scenario import Report, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

DEADLINE_S = 600  # of one scenario; the slowest takes a minute on a busy machine


class Lab:
    """Runs scenarios; use it as a context manager.

    Args:
        workers: Number of processes; mounting is mostly waiting, so one more than two cores.
    """

    def __init__(self, workers: int = 3) -> None:
        self._tag = f"safeatomic-crash-{os.getpid()}-{os.urandom(4).hex()}"
        self._scratch = tempfile.mkdtemp(prefix="safeatomic-crash-")
        self._size = workers
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: dict[int, tuple[subprocess.Popen[bytes], Spec]] = {}
        self._waiting: dict[Spec, None] = {}
        self._reports: dict[Spec, Report] = {}

    def announce(self, specs: Iterable[Spec]) -> None:
        """Announce later requests, so that workers need not wait."""
        self._waiting.update(
            (spec, None) for spec in specs if spec not in self._reports and not self._runs(spec)
        )

    def run(self, spec: Spec) -> Report:
        """Return the report of a scenario, running it if need be.

        Raises:
            RuntimeError: The harness failed; the message holds the worker's traceback.
        """
        if spec not in self._reports and not self._runs(spec):
            self._waiting = {spec: None, **self._waiting}
        while spec not in self._reports:
            self._hand_out()
            self._collect()
        self._hand_out()  # work goes on while the caller looks at this one
        report = self._reports[spec]
        if report.error:
            raise RuntimeError(f"{spec}: {report.error}")
        return report

    def reports(self) -> list[Report]:
        """Return every report so far."""
        return list(self._reports.values())

    def close(self) -> list[str]:
        """End the workers and return what is left of them; this should be nothing."""
        workers = self._idle + [worker for worker, _ in self._busy.values()]
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()
        self._idle.clear()
        self._busy.clear()
        left = isolation.wait_until_gone(
            self._tag, self._scratch, loop.all_devices(), patience_s=10.0
        )
        os.rmdir(self._scratch)
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        left = self.close()
        if left:
            raise RuntimeError(f"left behind: {left}")

    def _runs(self, spec: Spec) -> bool:
        return any(spec == other for _, other in self._busy.values())

    def _hand_out(self) -> None:
        """Give each idle worker something to do."""
        while self._waiting and len(self._busy) < self._size:
            spec = next(iter(self._waiting))
            del self._waiting[spec]
            worker = self._idle.pop() if self._idle else self._start()
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(json.dumps(asdict(spec)).encode() + b"\n")
            worker.stdin.flush()
            self._busy[worker.stdout.fileno()] = (worker, spec)

    def _collect(self) -> None:
        """Wait for at least one report."""
        ready, _, _ = select.select(list(self._busy), [], [], DEADLINE_S)
        if not ready:
            raise TimeoutError(f"no scenario ended within {DEADLINE_S} s")
        for fd in ready:
            worker, spec = self._busy.pop(fd)
            assert worker.stdout is not None
            line = worker.stdout.readline()
            if line:
                self._reports[spec] = Report.from_json(line.decode())
                self._idle.append(worker)
            else:
                error = f"the worker ended with {worker.wait()}"
                self._reports[spec] = Report(spec, error=error)

    def _start(self) -> subprocess.Popen[bytes]:
        here = str(Path(__file__).resolve().parent.parent)
        environment = {
            **os.environ,
            isolation.TAG_VARIABLE: self._tag,
            "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "crashlab", "serve", self._scratch, self._tag],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # Only this process handles Ctrl-C; the workers end with it.
            start_new_session=True,
        )


def serve(scratch: str, tag: str) -> None:
    """Be a worker: a scenario a line in, a report a line out."""
    isolation.die_with_parent()
    for line in sys.stdin:
        spec = Spec(**json.loads(line))
        sys.stdout.write(run_in_child(spec, scratch, tag).to_json() + "\n")
        sys.stdout.flush()


def run_in_child(spec: Spec, scratch: str, tag: str, *, judges: int = 1) -> Report:
    """Run a scenario in a forked child, which takes its mounts with it when it ends."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            isolation.die_with_parent()
            signal.alarm(DEADLINE_S)
            try:
                report = scenario.run(spec, scratch, tag, judges=judges)
            except BaseException:
                report = Report(spec, error=traceback.format_exc())
            with open(send, "wb") as pipe:
                pipe.write(report.to_json().encode())
        finally:
            os._exit(0)
    os.close(send)
    with open(receive, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        return Report(spec, error=f"the scenario's process ended with status {status}")
    return Report.from_json(answer.decode())
