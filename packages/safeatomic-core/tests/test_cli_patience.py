"""Standard streams that do not block, and a terminal as input: nothing is lost, nobody waits."""

from __future__ import annotations

import errno
import io
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from safeatomic_core._cli.patience import Patience

COMMAND = [sys.executable, "-m", "safeatomic_core"]
BIG = bytes(range(256)) * 8000  # more than a pipe holds


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_input_that_is_not_there_yet_is_waited_for(target: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with subprocess.Popen([*COMMAND, "write", str(target)], stdin=read_end) as process:
        os.close(read_end)
        until(Path(f"{target}.lock").exists)  # it reads from here on
        for part in (BIG[:1000], BIG[1000:]):
            with open(write_end, "wb", closefd=False) as pipe:
                pipe.write(part)
        os.close(write_end)
        assert process.wait(timeout=60) == 0
    assert target.read_bytes() == BIG


def test_an_output_that_takes_little_at_a_time_gets_all_of_it(target: Path) -> None:
    target.write_bytes(BIG)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with subprocess.Popen([*COMMAND, "read", str(target)], stdout=write_end) as process:
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            assert pipe.read() == BIG
        assert process.wait(timeout=60) == 0


def test_the_lines_of_a_command_wait_as_well(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number:0200}") for number in range(600)]
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with subprocess.Popen([*COMMAND, "verify", *paths], stdout=write_end) as process:
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            assert len(pipe.read().splitlines()) == len(paths)
        assert process.wait(timeout=60) == 2


def test_streams_that_block_or_are_no_files_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w") as blocking:
        monkeypatch.setattr(sys, "stdin", None)
        monkeypatch.setattr(sys, "stdout", blocking)
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        before = sys.stdin, sys.stdout, sys.stderr
        with Patience():
            assert (sys.stdin, sys.stdout, sys.stderr) == before


def open_pipe() -> tuple[IO[str], IO[str]]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return open(ends[0], encoding="utf-8"), open(ends[1], "w", encoding="ascii", errors="replace")


def test_a_stream_that_waits_is_like_the_one_that_does_not(monkeypatch: Any) -> None:
    given, taken = open_pipe()
    with given, taken:
        monkeypatch.setattr(sys, "stdin", given)
        monkeypatch.setattr(sys, "stdout", taken)
        waiting: list[object] = []
        real = select.select

        def counted(*sets: Any) -> Any:
            waiting.append(sets)
            return real(*sets)

        monkeypatch.setattr(select, "select", counted)
        with Patience():
            assert sys.stdout.encoding == "ascii"
            assert sys.stdout.errors == "replace"
            assert sys.stdout.fileno() == taken.fileno()
            assert not sys.stdout.isatty()
            assert not sys.stdin.writable()
            text = "x" * 300_000
            read: list[str] = []
            reader = threading.Thread(target=lambda: read.append(sys.stdin.read(len(text))))
            reader.start()
            sys.stdout.write(text)
            sys.stdout.flush()
            reader.join()
            assert read == [text]
        assert waiting
        assert (sys.stdin, sys.stdout) == (given, taken)


def test_a_stream_that_is_not_ready_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    given, taken = open_pipe()
    with given, taken:
        monkeypatch.setattr(sys, "stdin", given)
        monkeypatch.setattr(sys, "stdout", taken)
        waited: list[object] = []
        monkeypatch.setattr(select, "select", lambda *ready: waited.append(ready))
        for call in ("read", "write"):
            faults.fail(call, errno.EAGAIN, at=1)
        with Patience():
            sys.stdout.write("line\n")
            sys.stdout.flush()
            assert sys.stdin.readline() == "line\n"
        assert waited == [((), (taken.fileno(),), ()), ((given.fileno(),), (), ())]


def test_one_end_of_input_from_a_terminal_is_enough(target: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*COMMAND, "write", str(target)])
    seen = b""
    while b"reading standard input" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"one line\n\x04")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert target.read_bytes() == b"one line\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_does_not_block_is_still_one(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    given, taken = open_pipe()
    with given, taken:
        monkeypatch.setattr(sys, "stdout", taken)
        monkeypatch.setattr(os, "isatty", lambda _fd: terminal)
        with Patience():
            assert sys.stdout is not taken
            assert sys.stdout.isatty() is terminal
