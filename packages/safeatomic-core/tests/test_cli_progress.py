from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import write_atomic_bytes
from safeatomic_core._cli import main, progress
from safeatomic_core._cli.progress import Progress, size_of_stream


@pytest.fixture(autouse=True)
def able_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_that_cannot_remove_a_bar_gets_lines_if_asked(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "LONG", 0)
    monkeypatch.setenv("TERM", "dumb")
    assert main(["checksum", "-q", str(target)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["checksum", "-q", "--progress", str(target)]) == 0
    assert capsys.readouterr().err == f"safeatomic: [{'#' * 25}] 100 %\n"


def test_much_work_shows_its_progress_on_a_terminal(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target.write_bytes(b"x" * 1_000_000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "LONG", 1000)
    copy = str(target.with_name("copy"))
    for command in (
        ["write", copy, "--from", str(target)],
        ["checksum", copy],
        ["verify", copy],
        ["read", copy],
    ):
        assert main(command) == 0
        err = capsys.readouterr().err
        assert "[#########################] 100 %" in err
        assert err.endswith("\r\x1b[K")


def test_content_that_is_shown_is_not_mixed_with_a_bar(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(progress, "LONG", 0)
    assert main(["read", str(target)]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_typed_is_not_mixed_with_a_bar(
    target: Path, stdin: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    stdin(b"typed", terminal=True)
    assert main(["write", str(target)]) == 0
    assert "MiB" not in capsys.readouterr().err


def test_a_checked_read_shows_the_hashing_as_well(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_atomic_bytes(target, b"x" * 100, write_checksum=True)
    assert main(["read", str(target), "--check", "--progress"]) == 0
    assert [line.split()[-2] for line in capsys.readouterr().err.splitlines()] == ["50", "100"]


def test_what_is_no_terminal_gets_lines_if_asked(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", str(target), "--progress"]) == 0
    assert capsys.readouterr().err == "safeatomic: [#########################] 100 %\n"


def test_progress_without_a_total_counts_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, asked=True) as shown:
        shown.advance(1)
        shown.advance(1)
        shown.advance(16 << 20)
    assert capsys.readouterr().err == "safeatomic: 0 MiB\nsafeatomic: 16 MiB\n"


def test_what_is_not_done_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(None, asked=True) as shown:
        shown.advance((16 << 20) - 1)
    assert capsys.readouterr().err == "safeatomic: 15 MiB\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1000, asked=True) as shown:
        shown.advance(999)
        assert capsys.readouterr().err.endswith("]  99 %")


def test_a_bar_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="utf-8"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1, asked=True) as shown:
        shown.advance(1)
        assert raw.getvalue() == f"\r[{'#' * 25}] 100 %".encode()


def test_progress_ends_where_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "full")

    monkeypatch.setattr(sys, "stderr", Broken())
    with Progress(10, asked=True) as shown:
        shown.advance(5)
        shown.advance(5)
    assert not shown._active
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(10, asked=True) as shown:
        shown.advance(5)


def test_a_stream_s_size_is_what_is_left_of_it(target: Path) -> None:
    with target.open("rb") as file:
        assert size_of_stream(file) == 3
        os.lseek(file.fileno(), 1, os.SEEK_SET)
        assert size_of_stream(file) == 2
        os.lseek(file.fileno(), 9, os.SEEK_SET)
        assert size_of_stream(file) == 0
    assert size_of_stream(io.BytesIO(b"x")) is None
    assert size_of_stream(None) is None
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as pipe:
        assert size_of_stream(pipe) is None
    os.close(write_end)


def test_without_a_terminal_there_is_a_line_for_each_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(1000, asked=True) as shown:
        for size in (0, 1, *[1] * 998, 1, 100):  # the last is of a file that grew
            shown.advance(size)
    percents = [line[-5:-2].strip() for line in capsys.readouterr().err.splitlines()]
    assert percents == [str(tenth) for tenth in range(0, 101, 10)]


def test_a_file_that_grows_has_no_more_than_all_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(100, asked=True) as shown:
        shown.advance(150)
        assert capsys.readouterr().err == f"\r[{'#' * 25}] 100 %"


@pytest.mark.parametrize("content", [b"x" * 1000, b"old"])
def test_content_that_is_compared_counts_as_well(
    target: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    source = target.with_name("source")
    source.write_bytes(content)
    argv = ["write", str(target), "--from", str(source), "--if-changed", "--progress"]
    assert main(argv) == 0
    assert capsys.readouterr().err == f"safeatomic: [{'#' * 25}] 100 %\n"


def test_an_empty_file_s_progress_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(0, asked=True) as shown:
        shown.advance(1)
    assert capsys.readouterr().err == f"safeatomic: [{'#' * 25}] 100 %\n"


def test_a_bar_that_was_never_drawn_is_not_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1000, asked=True) as shown:
        shown.clear()
        assert capsys.readouterr().err == ""
        shown.advance(0)
        assert capsys.readouterr().err == f"\r[{'':25}]   0 %"
        shown.clear()
        shown.advance(0)
    assert capsys.readouterr().err == f"\r\x1b[K\r[{'':25}]   0 %\r\x1b[K"
