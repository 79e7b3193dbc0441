"""Rows about whole programs: imports, formats, many threads, many processes, large directories."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opponents import Skipped, bare_write, bare_write_all, optional
from rows import KIB, Folders, Plan, Row, relative
from rows_files import MODES
from straight import STRAIGHT

from safeatomic_core import write_atomic_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timing import Operation

_SMALL = os.urandom(4 * KIB)
_THREADS = 8
_WRITES_PER_THREAD = 8
_PROCESSES = 8
_WRITES_PER_PROCESS = 25
_DELAY = 0.002  # seconds between two attempts, for both contenders
_CROWD = 100_000
_DEPTH = 10


def rows() -> list[Row]:
    """Return the rows in the order of the table."""
    return [
        _import("safeatomic_core", 8.0),
        _import("safeatomic", 10.0),
        *_yaml(),
        _json("ext4"),
        _json("tmpfs"),
        _threads("default", MODES["default"]),
        _threads("none", MODES["none"]),
        _threads("straight default", STRAIGHT["default"]),
        _threads("straight none", STRAIGHT["none"]),
        _contention(),
    ]


def rows_crowded() -> list[Row]:
    """Return the rows that delete 100,000 files at their end; see `rows_files.rows_new_names`."""
    return [_crowded("tmpfs"), _crowded("ext4")]


def _import(module: str, limit: float) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        # Compiled once, as an installation is, even where this environment forbids it.
        environment = dict(os.environ, PYTHONPYCACHEPREFIX=os.path.join(folders.any(), "compiled"))
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def start(code: str) -> Operation:
            command = [sys.executable, "-c", code]
            return lambda: subprocess.run(command, check=True, env=environment)

        importing = start(f"import {module}")
        try:
            importing()
        except subprocess.CalledProcessError as error:
            raise Skipped(f"{module} cannot be imported") from error
        candidates = {"bare": start("pass"), "import": importing}
        yield Plan(candidates, lambda times: (times["import"] - times["bare"]) * 1e3)

    name = f"import-{module.replace('_', '-')}"
    return Row(name, f"import {module}", "over a bare interpreter", "ms", limit, prepare)


def _yaml() -> list[Row]:
    def document() -> dict[str, Any]:
        return {
            f"service-{number}": {
                "image": f"registry.example/app/{number}:1.{number}",
                "replicas": number % 5,
                "enabled": number % 2 == 0,
                "ports": [8000 + number, 9000 + number],
                "labels": {"tier": "backend", "owner": f"team-{number % 7}"},
                "ratio": number / 7,
            }
            for number in range(330)
        }

    def load(folders: Folders) -> Iterator[Plan]:
        yaml, formats = optional("yaml"), optional("safeatomic_formats")
        path = os.path.join(folders.of("tmpfs"), "document.yaml")
        text = yaml.dump(document(), Dumper=yaml.SafeDumper)
        write_atomic_bytes(path, text.encode())
        candidates: dict[str, Operation] = {
            "pure": lambda: yaml.load(text, Loader=yaml.SafeLoader),
            "ours": lambda: formats.atomic_yaml_load(path),
        }
        notes: dict[str, object] = {"document_kib": round(len(text) / KIB, 1)}
        yield Plan(candidates, relative("pure", "ours"), notes=notes)

    def dump(folders: Folders) -> Iterator[Plan]:
        yaml, formats = optional("yaml"), optional("safeatomic_formats")
        path = os.path.join(folders.of("tmpfs"), "document.yaml")
        data = document()
        candidates: dict[str, Operation] = {
            "pure": lambda: yaml.dump(data, Dumper=yaml.SafeDumper, sort_keys=False),
            "ours": lambda: formats.atomic_yaml_dump(path, data),
        }
        yield Plan(candidates, relative("pure", "ours"))

    return [
        Row("yaml-load", "atomic_yaml_load(), 64 KB", "how many times as fast as the pure-Python "
            "SafeLoader on a string", "x", 4.0, load, at_least=True),
        Row("yaml-dump", "atomic_yaml_dump(), 64 KB", "how many times as fast as the pure-Python "
            "SafeDumper to a string", "x", 1.3, dump, at_least=True),  # the text is parsed again
    ]  # fmt: skip


def _json(filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        formats = optional("safeatomic_formats")
        folder = folders.of(filesystem)
        data = [
            {"id": number, "name": f"item {number}", "tags": ["a", "b"], "value": number / 3}
            for number in range(83_000)
        ]

        def bare() -> None:
            text = json.dumps(data, indent=2, ensure_ascii=False)
            bare_write_all(os.path.join(folder, "bare.json"), text.encode())

        def ours() -> None:
            formats.atomic_json_dump(os.path.join(folder, "ours.json"), data)

        ours()
        size = os.path.getsize(os.path.join(folder, "ours.json"))
        notes: dict[str, object] = {"document_mb": round(size / 1e6, 1)}
        yield Plan({"bare": bare, "ours": ours}, relative("ours", "bare"), notes=notes)

    what = f"atomic_json_dump(), 10 MB, {filesystem}"
    against = "json.dumps + encode + the bare protocol"
    # Half of json.loads more: what was rendered is parsed again.
    return Row(f"json-dump-{filesystem}", what, against, "x", 1.5, prepare)


def _threads(mode: str, write: Callable[[str, bytes], None]) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of("ext4")
        for number in range(_THREADS):
            bare_write(os.path.join(folder, f"ours-{number}"), _SMALL)
        candidates = {
            "bare": in_threads(bare_write, folder, "bare", _THREADS, _WRITES_PER_THREAD),
            mode: in_threads(write, folder, "ours", _THREADS, _WRITES_PER_THREAD),
        }
        yield Plan(candidates, relative("bare", mode))

    what = f"{_THREADS} threads on {_THREADS} files, {mode}, ext4: throughput"
    against = f"the bare protocol in {_THREADS} threads"
    return Row(
        f"threads-{mode.replace(' ', '-')}", what, against, "x", None, prepare, at_least=True
    )


def in_threads(
    write: Callable[[str, bytes], None],
    folder: str,
    label: str,
    threads: int,
    writes: int,
    data: bytes = _SMALL,
) -> Operation:
    """Return an operation: so many threads, each overwriting a file of its own so many times."""

    failures: list[BaseException] = []

    def work(path: str) -> None:
        try:
            for _ in range(writes):
                write(path, data)
        except BaseException as error:
            failures.append(error)

    def operation() -> None:
        workers = [
            threading.Thread(target=work, args=(os.path.join(folder, f"{label}-{number}"),))
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]  # what was not written must not count as fast

    return operation


def _contention() -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        optional("filelock")
        folder = folders.of("ext4")
        ours_waits: list[float] = []
        theirs_waits: list[float] = []
        candidates: dict[str, Operation] = {
            "filelock": lambda: contend(_with_filelock, folder, theirs_waits),
            "ours": lambda: contend(_with_retries, folder, ours_waits),
        }
        notes: dict[str, object] = {}
        yield Plan(candidates, relative("ours", "filelock"), notes=notes)
        for name, waits in (("filelock", theirs_waits), ("ours", ours_waits)):
            notes[f"fairness_{name}"] = round(_jain(waits), 3)

    what = (
        f"{_PROCESSES} processes, one file, {_WRITES_PER_PROCESS} writes each, "
        f"attempts every {_DELAY * 1e3:g} ms, ext4"
    )
    return Row("contention", what, "filelock + the bare protocol", "x", 1.0, prepare)


def contend(writer: Callable[[str, int], None], folder: str, shares: list[float]) -> None:
    """Let the processes write one file; note each one's rate while all of them were at it."""
    path = os.path.join(folder, "contended")
    context = multiprocessing.get_context("fork")
    start = context.Barrier(_PROCESSES)
    finished = context.SimpleQueue()

    def work() -> None:
        start.wait()
        began = time.perf_counter()
        writer(path, _WRITES_PER_PROCESS)
        finished.put(_WRITES_PER_PROCESS / (time.perf_counter() - began))

    workers = [context.Process(target=work) for _ in range(_PROCESSES)]
    for worker in workers:
        worker.start()
    shares[:] = [finished.get() for _ in workers]
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            raise RuntimeError(f"a contender ended with {worker.exitcode}")


def _with_retries(path: str, writes: int) -> None:
    for _ in range(writes):
        write_atomic_bytes(path, _SMALL, retries=1_000_000, delay=_DELAY)


def _with_filelock(path: str, writes: int) -> None:
    lock = optional("filelock").FileLock(path + ".filelock", timeout=-1)
    for _ in range(writes):
        with lock.acquire(poll_interval=_DELAY):
            bare_write(path, _SMALL)


def _jain(rates: list[float]) -> float:
    """Return Jain's index: 1 when all have the same rate, 1/n when one has all of it."""
    return sum(rates) ** 2 / (len(rates) * sum(rate**2 for rate in rates))


def _crowded(filesystem: str) -> Row:
    def prepare(folders: Folders) -> Iterator[Plan]:
        folder = folders.of(filesystem)
        empty = Path(folder, "empty")
        crowded = Path(folder, "crowd", *(f"level-{number}" for number in range(_DEPTH - 1)))
        empty.mkdir()
        crowded.mkdir(parents=True)
        for number in range(_CROWD):
            Path(crowded, f"file-{number:06}").touch()
        os.sync()

        def writing(write: Callable[[str, bytes], None], folder: Path) -> Operation:
            path = str(folder / write.__name__)
            return lambda: write(path, _SMALL)

        candidates = {
            "empty": writing(write_atomic_bytes, empty),
            "crowded": writing(write_atomic_bytes, crowded),
            "bare empty": writing(bare_write, empty),
            "bare crowded": writing(bare_write, crowded),
        }
        yield Plan(candidates, relative("crowded", "empty"), 5 if filesystem == "ext4" else 4)

    what = f"write_atomic_bytes() among {_CROWD:,} files, {_DEPTH} levels deep, {filesystem}"
    against = "the same in an empty directory"
    return Row(f"crowded-{filesystem}", what, against, "x", 1.05, prepare)
