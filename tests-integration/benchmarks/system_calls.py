"""Record the system calls of each mode: ``python tests-integration/benchmarks/system_calls.py``.

Counts do not depend on the machine, so they are what a test can pin. Recorded is what passes the
seam (`_posix.kernel`), with the step that asked for it and what it was done to. The mount watch of
Gate (one ``lseek``, one ``poll``) is not in it: it touches no disk.

``--write FILE`` regenerates the table in the documentation, ``--check FILE`` tells whether it is
current, ``--json`` prints the sequences as data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from straight import STRAIGHT

import safeatomic_core
from safeatomic_core import (
    AtomicReader,
    AtomicWriter,
    _settle,
    move_atomic,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._change import Change
from safeatomic_core._posix import _TableStream, intercept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DATA = b"x" * 4096
_BEFORE = b"y" * 4096
_NAME = "data"
_MOVED = "moved"


class Call(NamedTuple):
    """One system call.

    Attributes:
        step: The step of the write it belongs to, empty outside one.
        name: The seam's entry.
        what: What it was done to.
    """

    step: str
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name} {self.what}".rstrip()


class Mode(NamedTuple):
    """One way of using the library.

    Attributes:
        name: A short name.
        title: How it is called, as code.
        note: What was there before.
        prepare: Makes that.
        run: What is recorded.
    """

    name: str
    title: str
    note: str
    prepare: Callable[[str], object]
    run: Callable[[str], object]


def modes() -> list[Mode]:
    """Return the recorded modes."""
    return [
        Mode("none-new", 'write_atomic_bytes(concurrency="none")', "new file", _nothing, _none),
        Mode("none", 'write_atomic_bytes(concurrency="none")', "over a file", _plain, _none),
        Mode("default", "write_atomic_bytes()", "over a file", _plain, _default),
        Mode(
            "checksum",
            "write_atomic_bytes(write_checksum=True)",
            "over a file with a sidecar",
            _paired,
            _checked,
        ),
        Mode(
            "checksum-first",
            "write_atomic_bytes(write_checksum=True)",
            "over a file without a sidecar",
            _plain,
            _checked,
        ),
        Mode(
            "checksum-new",
            "write_atomic_bytes(write_checksum=True)",
            "new file",
            _nothing,
            _checked,
        ),
        Mode("retire", "write_atomic_bytes()", "over a file with a sidecar", _paired, _default),
        Mode("writer", "AtomicWriter()", "over a file, one write()", _plain, _writer),
        Mode(
            "writer-checksum",
            "AtomicWriter(write_checksum=True)",
            "over a file with a sidecar, one write()",
            _paired,
            _checked_writer,
        ),
        Mode("read", "read_atomic_bytes()", "", _plain, read_atomic_bytes),
        Mode(
            "read-checked",
            "read_atomic_bytes(check_checksum=True)",
            "",
            _paired,
            lambda path: read_atomic_bytes(path, check_checksum=True),
        ),
        Mode("reader", "AtomicReader()", "one read()", _plain, _read_stream),
        Mode("verify", "verify_checksum()", "", _paired, verify_checksum),
        Mode(
            "record-file", "write_checksum_file()", "no sidecar before", _plain, write_checksum_file
        ),
        Mode("move", "move_atomic()", "no sidecar", _plain, _move),
        Mode("move-checked", "move_atomic()", "with a sidecar", _paired, _move),
        Mode("lock", "try_acquire_lock()", "", _plain, try_acquire_lock),
        Mode("unlock", "release_lock()", "", try_acquire_lock, release_lock),
    ]


def straight_modes() -> list[Mode]:
    """Return the floors under the benchmark's rows, which are to make the same calls."""

    def calling(write: Callable[[str, bytes], None]) -> Callable[[str], None]:
        return lambda path: write(path, _DATA)

    return [
        Mode(
            f"straight-{name}",
            write.__name__,
            "",
            _paired if name == "checksum" else _plain,
            calling(write),
        )
        for name, write in STRAIGHT.items()
    ]


def record(mode: Mode) -> list[Call]:
    """Return the system calls of a mode, in their order, in a fresh private directory."""
    with tempfile.TemporaryDirectory(prefix=".safeatomic-calls-") as folder:
        path = os.path.join(folder, _NAME)
        mode.prepare(path)
        recorder = _Recorder(folder)
        # The page shows what holds everywhere, also when it is recorded on btrfs or an overlay.
        with (
            mock.patch.object(_settle, "OVERTAKEN", frozenset()),
            intercept(recorder.wrap),
        ):
            mode.run(path)
        release_lock(path)
    return recorder.calls


def counts(calls: list[Call]) -> dict[str, int]:
    """Return how many calls there are, and how many of the kinds that matter most."""
    return {
        "calls": len(calls),
        "file_flushes": sum(call.name == "fsync" and call.what != "directory" for call in calls),
        "directory_flushes": sum(
            call.name == "fsync" and call.what == "directory" for call in calls
        ),
        "renames": sum(call.name.startswith("rename") for call in calls),
    }


def order(calls: list[Call]) -> list[str]:
    """Return what makes a write durable or visible, in its order."""
    decisive = ("fsync", "rename", "rename_noreplace", "unlink", "link_anonymous", "ftruncate")
    return [str(call) for call in calls if call.name in decisive]


class _Recorder:
    """Notes each call, and keeps track of what the descriptors stand for."""

    def __init__(self, folder: str) -> None:
        self.calls: list[Call] = []
        self._folder = folder
        self._roles: dict[int, str] = {}

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for an entry of the seam."""

        def recorded(*args: Any, **kwargs: Any) -> Any:
            what = self._what(name, args)
            self.calls.append(Call(_step(), name, what))
            result = call(*args, **kwargs)
            if name in {"open", "open_anonymous"}:
                self._roles[result] = what
            elif name.startswith("rename"):
                source, destination = what.split(" -> ")
                exchanged = name == "rename_exchange"
                for fd, role in self._roles.items():
                    if role == source:
                        self._roles[fd] = destination
                    elif role == destination and exchanged:
                        self._roles[fd] = source
            return result

        return recorded

    def _what(self, name: str, args: tuple[Any, ...]) -> str:
        first = args[0] if args else ""
        if name == "open_anonymous":
            return "lock"
        if name == "link_anonymous":
            return "lock"
        if name.startswith("rename"):
            return f"{self._role(first)} -> {self._role(args[1])}"
        if isinstance(first, int):
            return self._roles.get(first, "directory")
        return self._role(first)

    def _role(self, name: str) -> str:
        """Return what a name stands for."""
        if name == self._folder:
            return "directory"
        base = os.path.basename(name)
        if base.startswith(".safeatomic-tmp-"):
            return "temp"
        if base.startswith(".safeatomic-sum-"):
            return "record temp"
        return {
            _NAME: "target",
            _NAME + ".lock": "lock",
            _NAME + ".sha256": "sidecar",
            _MOVED: "destination",
            _MOVED + ".lock": "destination's lock",
            _MOVED + ".sha256": "destination's sidecar",
        }.get(base, base)


def _step() -> str:
    """Return the step that is under way, as the running write itself knows it for its errors."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, _TableStream):
            return "Fill"  # a buffer that is full or flushed
        if isinstance(owner, Change):
            return owner.step
        frame = frame.f_back
    return ""


def _nothing(_path: str) -> None:
    pass


def _plain(path: str) -> None:
    with open(path, "wb") as file:
        file.write(_BEFORE)


def _paired(path: str) -> None:
    write_atomic_bytes(path, _BEFORE, write_checksum=True)


def _none(path: str) -> None:
    write_atomic_bytes(path, _DATA, concurrency="none")


def _default(path: str) -> None:
    write_atomic_bytes(path, _DATA)


def _checked(path: str) -> None:
    write_atomic_bytes(path, _DATA, write_checksum=True)


def _writer(path: str) -> None:
    with AtomicWriter(path) as file:
        file.write(_DATA)


def _checked_writer(path: str) -> None:
    with AtomicWriter(path, write_checksum=True) as file:
        file.write(_DATA)


def _read_stream(path: str) -> None:
    with AtomicReader(path) as file:
        file.read()


def _move(path: str) -> None:
    move_atomic(path, os.path.join(os.path.dirname(path), _MOVED))


def markdown() -> str:
    """Return the page for the documentation."""
    recorded = [(mode, record(mode)) for mode in modes()]
    lines = [_HEAD]
    for mode, calls in recorded:
        number = counts(calls)
        lines.append(
            f"| `{mode.title}` | {mode.note} | {number['calls']} | {number['file_flushes']} | "
            f"{number['directory_flushes']} | {number['renames']} |"
        )
    lines.append(_MIDDLE)
    for mode, calls in recorded:
        lines.append(f"### `{mode.title}`{', ' + mode.note if mode.note else ''}\n")
        lines += _sequence(calls)
        lines.append("")
    return "\n".join(lines)


def _sequence(calls: list[Call]) -> list[str]:
    """Return the calls, a row for each step."""
    if not any(call.step for call in calls):
        return textwrap.wrap(" · ".join(_code(call) for call in calls), 150)
    rows = ["| step | system calls |", "|---|---|"]
    grouped: list[tuple[str, list[Call]]] = []
    for call in calls:
        if not grouped or grouped[-1][0] != call.step:
            grouped.append((call.step, []))
        grouped[-1][1].append(call)
    rows += [f"| {step} | {' · '.join(_code(call) for call in group)} |" for step, group in grouped]
    return rows


def _code(call: Call) -> str:
    text = str(call)
    return f"**{text}**" if call.name in {"fsync", "rename", "rename_noreplace"} else text


_HEAD = """\
# System calls

What each call asks of the kernel, on Linux, as it passes the library's seam (`_posix`).
`python tests-integration/benchmarks/system_calls.py --write docs/system-calls.md` writes this page.
`tests-integration/test_system_calls.py` pins the counts and the order of flushes and renames, and \
compares the page with a new recording.
The mount watch of Gate (one `lseek`, one `poll` on `/proc/self/mountinfo`) touches no disk and is \
left out.
A file with extended attributes costs two calls more for each of them.
On btrfs and overlays Settle flushes the renamed file as well \
([ADR 22](adr/0022-overtaken-flush.md)).

| call | before | system calls | file flushes | directory flushes | renames |
|---|---|---|---|---|---|"""

_MIDDLE = """
A plain durable replacement has one file flush and one directory flush; the lock adds none.
A checked one over a sealed sidecar adds one file flush and one directory flush: the record must be
durable before the data is published.
Seal is an `ftruncate` without a flush.

## In their order

A step's name is repeated where its calls are spread out: Announce looks at the sidecar early, and
exchanges it only after Harden.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", metavar="FILE", help="write the page there")
    parser.add_argument("--check", metavar="FILE", help="exit 1 unless that page is current")
    parser.add_argument("--json", action="store_true", help="print the sequences as JSON")
    options = parser.parse_args(arguments)
    safeatomic_core.inspect_guarantees(tempfile.gettempdir())  # warm, as in a running program
    if options.json:
        recorded = [*modes(), *straight_modes()]
        print(json.dumps({mode.name: record(mode) for mode in recorded}, indent=1))
        return 0
    page = markdown()
    if options.write:
        with open(options.write, "w", encoding="utf-8") as file:
            file.write(page)
        return 0
    if options.check:
        with open(options.check, encoding="utf-8") as file:
            return 0 if file.read() == page else 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
