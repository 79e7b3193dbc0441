"""One kernel from end to end: boot it, record every workload, run the flush tests, keep the logs.

The disks are files in memory where there is room, because QEMU writes each block twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import debian
from crash.crashlab import filesystems
from crash.crashlab.device import save
from crash.crashlab.scenario import Report

from . import debian_kernels, guest, guest_judge, initramfs, recorder
from .disks import Disk
from .recorder import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from crash.crashlab.scenario import Spec

_ROOT = Path(__file__).resolve().parent.parent.parent
_BOOT_S, _RUN_S, _FLUSH_S, _JUDGE_S = 120, 8, 240, 120  # a busy machine emulates slowly
_MODULES = ("loop", "fuse", "btrfs")  # what the flush tests and the judge need
_FLUSH_TESTS = "tests-integration/crash/test_concurrent_flush.py"
_PYTHON = shlex.quote(sys.executable)
_MEMORY = "/dev/shm"
_NEEDED_MEMORY = 2 << 30  # bytes
_PREFIX = "safeatomic-guest-"
_NEW_S = 60


class Recorded(NamedTuple):
    """What a guest left.

    Attributes:
        kernel: The kernel it ran.
        seconds: How long it ran.
        logs: The log of each workload, for ``Spec.replay``.
        flush_report: The JUnit file of the flush tests.
        console: What it printed.
    """

    kernel: debian_kernels.Kernel
    seconds: float
    logs: dict[Spec, str]
    flush_report: Path
    console: str


class Laboratory:
    """A folder for the logs of a kernel; use it as a context manager.

    Args:
        suite: The Debian suite whose kernel is booted.
    """

    def __init__(self, suite: str) -> None:
        self._suite = suite
        for place in (_MEMORY, tempfile.gettempdir()):
            _sweep(place)
        memory = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _NEEDED_MEMORY
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_MEMORY if memory else None)
        self._fd = os.open(self._folder.name, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.cleanup()
        os.close(self._fd)

    def record(self, specs: Sequence[Spec], *, flush_tests: bool = True) -> Recorded:
        """Record workloads in a guest.

        Args:
            specs: What to record.
            flush_tests: Whether to run the tests of overtaken flushes as well.

        Raises:
            debian.NotPossibleError: This machine cannot boot the kernel.
            RuntimeError: The guest did not do what it was told; the message holds its console.
        """
        debian.require(guest.QEMU, "busybox")
        kernel = debian_kernels.obtain(self._suite)
        folder = Path(self._folder.name)
        out = folder / "out"
        out.mkdir()
        names = list(dict.fromkeys(spec.filesystem for spec in specs))
        disks = {name: Disk(folder, name, filesystems.KNOWN[name].size) for name in names}
        for disk in disks.values():
            disk.create()
        devices = {name: f"/dev/vd{'abcdefgh'[index]}" for index, name in enumerate(names)}
        runs = [
            Run(number, devices[spec.filesystem], *_subject(spec))
            for number, spec in enumerate(specs)
        ]
        (out / "runs.json").write_text(recorder.dump(runs), encoding="utf-8")
        done = guest.run(
            kernel,
            _job(flush_tests=flush_tests),
            out,
            modules=(*_MODULES, *(filesystems.KNOWN[name].type for name in names)),
            disks=[argument for disk in disks.values() for argument in disk.arguments()],
            deadline_s=_BOOT_S + _FLUSH_S + _RUN_S * len(runs),
        )
        if done.release != kernel.release or recorder.DONE not in done.console:
            raise RuntimeError(f"{kernel.release}: the guest failed:\n{done.console[-4000:]}")
        logs = {}
        for disk in disks.values():
            for number, records in disk.recordings():
                path = f"{folder}/{number}.records"
                save(records, path)
                logs[specs[number]] = path
            disk.log.unlink()
        report = out / "flush.xml"
        return Recorded(kernel, done.seconds, logs, report, done.console)

    def judge(self, recorded: Recorded, specs: Sequence[Spec]) -> list[Report]:
        """Judge recordings in a second guest with the same kernel, and return the reports.

        Raises:
            RuntimeError: The guest did not do what it was told; the message holds its console.
        """
        out = Path(self._folder.name) / "out"
        lines = []
        for spec in specs:
            log = Path(recorded.logs[spec])
            inside = replace(spec, replay=f"{initramfs.OUT}/{log.name}")
            log.rename(out / log.name)
            lines.append(json.dumps(asdict(inside)))
        (out / "specs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        done = guest.run(
            recorded.kernel,
            _python("kernels.guest_judge", "specs.jsonl", "reports.jsonl"),
            out,
            modules=(*_MODULES, *(filesystems.KNOWN[spec.filesystem].type for spec in specs)),
            deadline_s=_BOOT_S + _JUDGE_S * len(specs),
        )
        if guest_judge.DONE not in done.console:
            raise RuntimeError(f"{recorded.kernel.release}: no verdict:\n{done.console[-4000:]}")
        with (out / "reports.jsonl").open(encoding="utf-8") as file:
            return [Report.from_json(line) for line in file]


def _sweep(place: str) -> None:
    """Remove the folders that killed runs have left, which nobody holds locked any more."""
    for path in Path(place).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if time.time() - path.stat().st_mtime > _NEW_S:  # else it may be about to be locked
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(fd)


def judged(spec: Spec, recorded: Recorded) -> Spec:
    """Return a scenario that judges the recording of another."""
    return replace(spec, replay=recorded.logs[spec])


def _subject(spec: Spec) -> tuple[str, str, str, str, str]:
    return spec.filesystem, spec.workload, spec.subject, spec.noise, spec.options


def _job(*, flush_tests: bool) -> str:
    record = _python("kernels.recorder", "runs.json")
    if not flush_tests:
        return record
    return (
        f"{record} || exit 1\n"
        f"{_PYTHON} -m pytest -q --color=no -p no:cacheprovider --basetemp=/run/tmp/flush "
        f"--junitxml={initramfs.OUT}/flush.xml {_FLUSH_TESTS}"
    )


def _python(module: str, *files: str) -> str:
    """Return the shell commands that run a module of ours in the guest, on files of its folder."""
    paths = os.pathsep.join([str(_ROOT / "tests-integration"), *filter(None, sys.path)])
    arguments = " ".join(f"{initramfs.OUT}/{name}" for name in files)
    return (
        f"cd {shlex.quote(str(_ROOT))}\n"
        f"mkdir -p {recorder.ROOT}\n"
        f"export PYTHONPATH={shlex.quote(paths)}\n"
        f"{_PYTHON} -m {module} {arguments}"
    )
