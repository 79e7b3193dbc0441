"""In the guest: perform workloads on a disk whose writes QEMU logs, with marks between them.

``python -m kernels.recorder FILE``, FILE being a JSON list of `Run`.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from crash.crashlab import (
    filesystems,
    images,
    isolation,
    mutants,
    payload,
    peers,
    recording,
    workloads,
)

from . import more_filesystems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = "/mnt/fs"
_BLOCK = 4096  # bytes of a mark
_MARK_BLOCKS = 256
DONE = "RECORDED EVERYTHING"


@dataclass(frozen=True)
class Run:
    """One workload to record; the fields are those of `crashlab.scenario.Spec`.

    Attributes:
        number: Its number, which the start mark bears.
        disk: The disk in the guest.
    """

    number: int
    disk: str
    filesystem: str
    workload: str
    subject: str
    noise: str
    options: str


def dump(runs: Iterable[Run]) -> str:
    """Return the text for `main`."""
    return json.dumps([asdict(run) for run in runs])


class MarkedDisk:
    """Marks as direct writes to the second partition; what a session needs of a recording device.

    Each process writes from a page of its own to a block of its own: what two processes share could
    be changed by one while the other's request is under way.
    """

    def __init__(self, partition: str) -> None:
        self._fd = os.open(partition, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        self._owner = 0
        self._page: mmap.mmap | None = None

    def mark(self, fact: Mapping[str, object]) -> None:
        """Put a fact into the log; every request that was completed is before it."""
        if self._page is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._page = mmap.mmap(-1, _BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        text = json.dumps(fact).encode()
        self._page[:] = text + bytes(_BLOCK - len(text))
        os.pwrite(self._fd, self._page, self._owner % _MARK_BLOCKS * _BLOCK)


def record(run: Run) -> None:
    """Make a filesystem, mount it, and perform a workload on it."""
    os.umask(payload.UMASK)
    filesystem = filesystems.KNOWN[run.filesystem]
    workload = workloads.ALL[run.workload]
    more_filesystems.adapt_to(run.filesystem)
    made = subprocess.run([*filesystem.make, f"{run.disk}1"], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"{filesystem.make[0]}: {made.stderr[-300:]}")
    device = MarkedDisk(f"{run.disk}2")
    with isolation.mounted(f"{run.disk}1", ROOT, filesystem.type, run.options) as root:
        for directory in workloads.DIRECTORIES:
            os.mkdir(f"{root}/{directory}")
        recording.prepare(root, workload.initial, workloads.INITIAL_SIZE)
        random_source = random.Random(f"{run} noise")
        noise = filesystems.Noise(run.noise, run.filesystem, root, random_source)
        kind, _, name = run.subject.partition(":")
        perform = peers.ALL[name] if kind == "peer" else recording.with_library
        session = recording.Session(root, device, noise, perform)
        isolation.syncfs(root)
        device.mark({images.START: run.number})
        with mutants.applied(name if kind == "mutant" else None):
            workload.script(session)
        device.mark({images.STOP: True})
        # The power fails here, as far as the judge is concerned.


def main(path: str) -> int:
    """Record every run that a file lists, each in a process of its own."""
    more_filesystems.register()
    with open(path, encoding="utf-8") as file:
        runs = [Run(**fields) for fields in json.load(file)]
    failed = 0
    for run in runs:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                record(run)
                status = 0
            except BaseException:
                traceback.print_exc(file=sys.stdout)
            finally:
                sys.stdout.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        failed += status != 0
        took = time.monotonic() - started
        print(f"run {run.number} {run.filesystem} {run.workload} {run.subject}: {took:.1f} s")
    if not failed:
        print(DONE)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
