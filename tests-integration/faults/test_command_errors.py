"""An error at every system call of every subcommand, and what the operator then reads.

The command runs in this process, once for each call, with one error that the call can return. Each
run must end with a status of its table, with lines in its own style and its own words that name a
file; what a line says of the target is true.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import safeatomic_core as sa
from safeatomic_core import _posix
from safeatomic_core._cli import main, output, wording

from .errnos import ERRNOS
from .injection import Injection
from .situations import dead_lock

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

OLD, NEW = b"old\n", b"new\n"
PYTHON = re.compile(rf"\b(?:{wording._ARGUMENTS})=|\b\w+\(\)|\b[A-Z]\w+Error\b|\bNone\b|\[Errno")


def one_file(directory: Path) -> None:
    (directory / "input").write_bytes(NEW)
    with _posix.intercept(_without_flushes):
        sa.write_atomic_bytes(directory / "target", OLD, write_checksum=True)


def a_dead_writer(directory: Path) -> None:
    one_file(directory)
    dead_lock(str(directory))


def a_tree(directory: Path) -> None:
    one_file(directory)
    (directory / "tree" / "below").mkdir(parents=True)
    with _posix.intercept(_without_flushes):
        for name in ("a", "below/b", "c"):
            sa.write_atomic_bytes(directory / "tree" / name, OLD, write_checksum=True)


def _without_flushes(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    return os.fstat if name == "fsync" else call


COMMANDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "write": (one_file, "write target --from input"),
    "write-checked": (one_file, "write target --from input --checksum"),
    "write-if-changed": (one_file, "write target --from input --checksum --if-changed"),
    "write-unlocked": (one_file, "write target --from input --no-lock --safety best_effort"),
    "write-new": (one_file, "write a/b/new --from input --parents --no-clobber"),
    "read": (one_file, "read target --check"),
    "move": (one_file, "move target new"),
    "move-forced": (one_file, "move --force target input"),
    "checksum": (one_file, "checksum target input"),
    "checksum-tree": (a_tree, "checksum -r tree"),
    "verify": (one_file, "verify target"),
    "verify-tree": (a_tree, "verify -r tree"),
    "locks": (a_dead_writer, "locks ."),
    "unlock-stale": (a_dead_writer, "unlock --stale target"),
    "unlock-forced": (a_dead_writer, "unlock --force target"),
    "clean": (a_dead_writer, "clean ."),
    "lock": (one_file, "lock target -- true"),
    "lock-after-death": (a_dead_writer, "lock target -- true"),
    "edit": (one_file, "edit target --checksum -- tr o x"),
    "inspect": (one_file, "inspect target"),
    "doctor": (one_file, "doctor target"),
}
MAY_SAY_NO = ("verify", "verify-tree", "locks", "unlock-stale", "unlock-forced", "lock-after-death")


@dataclass
class Outcome:
    """One run of the command."""

    status: int
    out: str
    err: str
    content: bytes | None


def run(directory: Path, prepare: Callable[[Path], None], argv: str, fault: Injection) -> Outcome:
    """Run the command in a fresh directory while one system call fails."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    prepare(directory)
    here = os.getcwd()
    os.chdir(directory)
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _posix.intercept(fault.wrap),
        ):
            status = main(argv.split())
    finally:
        os.chdir(here)
        sa.release_lock(directory / "target")  # a release that failed keeps the descriptor
    said = [_text(stream) for stream in (out, err)]
    target = directory / "target"
    content = target.read_bytes() if target.exists() else None
    return Outcome(status, said[0], said[1], content)


def _text(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def flaws(name: str, argv: str, result: Outcome) -> list[str]:
    """Say what is wrong with the answer to one error."""
    wrong = []
    lines = result.err.splitlines()
    if result.status not in (0, 1, 2, 3) or (
        result.status == 1 and name not in (*MAY_SAY_NO, "doctor")
    ):
        wrong.append(f"status {result.status}")
    if result.status in (2, 3) and not lines and "verify" not in name:
        wrong.append("ends with an error and without a word")
    words = [word for word in argv.split() if not word.startswith("-")]
    for line in lines:
        if not line.startswith("safeatomic: "):
            wrong.append(f"not a line of the command's: {line}")
        if PYTHON.search(line):
            wrong.append(f"speaks Python: {line}")
        if not any(word in line for word in (*words[1:], "standard ", "/")):
            wrong.append(f"names no file: {line}")
        if name == "write-new" or name.startswith("move"):
            continue  # whose target is another file
        if "the target is unchanged" in line and result.content != OLD:
            wrong.append(f"says that nothing changed, and it did: {line}")
        if "the new content is visible" in line and result.content == OLD:
            wrong.append(f"says that the content is new, and it is not: {line}")
    return wrong


def one_error_each(name: str, directory: Path, *, all_codes: bool) -> tuple[list[str], int]:
    """Let each system call of a command fail; return what is wrong, and how many runs it took."""
    prepare, argv = COMMANDS[name]
    watch = Injection()
    first = run(directory, prepare, argv, watch)
    wrong = [] if first.status == 0 and not first.err else [f"fails without a fault: {first}"]
    runs = 0
    for number, (entry, site) in enumerate(watch.calls, 1):
        codes = [code for code in ERRNOS[entry] if code != errno.EINTR]
        for code in codes if all_codes else codes[number % len(codes) :][:1] if codes else []:
            runs += 1
            result = run(directory, prepare, argv, Injection((number,), code))
            where = f"{entry}#{number}-{errno.errorcode[code]} [{site}]"
            wrong += [f"{where}: {flaw}" for flaw in flaws(name, argv, result)]
    return wrong, runs


@pytest.mark.parametrize("name", COMMANDS)
def test_an_operator_reads_what_failed_in_the_command_s_own_words(
    name: str, scratch: Path, tally: Counter[str], long_run: bool
) -> None:
    wrong, runs = one_error_each(name, scratch / "work", all_codes=long_run)
    assert not wrong, f"{len(wrong)} flaws\n" + "\n".join(wrong[:30])
    tally["errors injected under the command"] += runs


BROKEN: dict[str, tuple[Any, str, Any, str]] = {
    "no words": (wording, "own_words", lambda text, _options: text, "speaks Python"),
    "no file": (wording, "_shown", lambda _path: "it", "names no file"),
    "no lines": (output, "complain", lambda _text: None, "without a word"),
    "other lines": (
        output,
        "complain",
        lambda text: sys.stderr.write(f"oops: {text}\n"),
        "not a line",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_command_is_caught(
    name: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, attribute, replacement, said = BROKEN[name]
    monkeypatch.setattr(owner, attribute, replacement)
    wrong, _ = one_error_each("write-checked", scratch / "work", all_codes=True)
    assert any(said in one for one in wrong), wrong[:5]
