"""What reaches the standard streams, and what of the command's own stands beside them."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from safeatomic_core import UnsupportedEnvironmentWarning, write_checksum_file
from safeatomic_core._cli import checksums, commands, main, output, progress
from safeatomic_core._cli.diagnostics import Diagnostics
from safeatomic_core._posix import kernel


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\udc80\udcff", "\\x80\\xff"),
        ("\x85\udc85\xa0\udca0", "\\u0085\\x85\\u00a0\\xa0"),
        ("\x7f\xff", "\\x7f\xff"),
        ("\udc7f\udd00", "\\udc7f\\udd00"),
        ("a\nb\x1b[2J\u202e", "a\\nb\\x1b[2J\\u202e"),
    ],
)
def test_what_moves_the_cursor_is_shown_as_what_it_is(text: str, shown: str) -> None:
    assert output.one_line(text) == shown


def test_a_name_that_is_empty_is_shown_as_one() -> None:
    assert output.name("") == "''"


def test_colours_of_ours_are_the_only_ones(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_coloured("\x1b[31mfail\x1b[0m a\x07b \x1b[2mc\x1b[0m\x1b[9A")
    assert capsys.readouterr().out == ("\x1b[31mfail\x1b[0m a\\x07b \x1b[2mc\x1b[0m\\x1b[9A\n")


@pytest.mark.parametrize("free", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_are_all_filled(
    monkeypatch: pytest.MonkeyPatch, free: tuple[int, ...]
) -> None:
    numbers, closed = iter((*free, 3)), list[int]()
    monkeypatch.setattr(kernel, "open", lambda *_args: next(numbers), raising=False)
    monkeypatch.setattr(kernel, "close", closed.append, raising=False)
    output.reserve_standard_descriptors()
    assert closed == [3]
    assert list(numbers) == []


def test_the_library_s_log_is_the_command_s_while_it_runs() -> None:
    logger = logging.getLogger("safeatomic")
    handlers = list(logger.handlers)
    filters, show = list(warnings.filters), warnings.showwarning
    for before in (True, False):
        logger.propagate = before
        try:
            with Diagnostics(()):
                assert not logger.propagate
            assert logger.propagate is before
            assert logger.handlers == handlers
            assert warnings.filters == filters
            assert warnings.showwarning is show
        finally:
            logger.propagate = True


def test_warnings_for_developers_are_not_the_command_s(capsys: pytest.CaptureFixture[str]) -> None:
    with Diagnostics(()):
        warnings.warn("an old call", DeprecationWarning, stacklevel=1)
        warnings.warn("a poor place", UnsupportedEnvironmentWarning, stacklevel=1)
    assert capsys.readouterr().err == "safeatomic: warning: a poor place\n"


def test_a_message_is_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="utf-8"))
    output.complain("reading")
    assert raw.getvalue() == b"safeatomic: reading\n"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"\\xe9\n"), ("latin-1", b"\xe9\n")])
def test_what_an_output_cannot_express_is_escaped(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    output.say("\xe9")
    sys.stdout.flush()
    assert raw.getvalue() == shown


def test_json_is_indented_by_two(capsys: pytest.CaptureFixture[str]) -> None:
    output.say_json({"a": [1]})
    assert capsys.readouterr().out == '{\n  "a": [\n    1\n  ]\n}\n'


def test_an_input_file_is_closed(target: Path) -> None:
    with commands._Input(str(target)) as source:
        stream = source.stream
        assert not stream.closed
    assert stream.closed


@pytest.mark.parametrize("command", ["checksum", "verify"])
def test_a_bar_makes_way_for_each_line(
    target: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn: list[str] = []

    def one_after_the_other(
        paths: list[str],
        on_recorded: Callable[[str, str | Exception], None],
        *,
        on_hashed: Callable[[int], None],
        **_options: object,
    ) -> None:
        results: list[str | Exception] = ["a", OSError(5, "broken", "f"), "b"]
        for path, result in zip(paths, results, strict=True):
            on_hashed(1)
            on_recorded(path, result)

    def noted(_text: str) -> None:
        drawn.append(capsys.readouterr().err)

    write_checksum_file(target)
    for name in ("say", "complain"):
        monkeypatch.setattr(output, name, noted)
    monkeypatch.setattr(checksums, "record_checksums", one_after_the_other)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "LONG", 0)
    main([command, *[str(target)] * 3])
    assert len(drawn) == 3
    for bar in drawn:
        assert bar.startswith("\r[#")
        assert bar.endswith("\r\x1b[K")


def test_a_long_text_that_nobody_reads_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "safeatomic_core", "--print-completion", "zsh"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, b"")


@pytest.mark.parametrize("buffering", [-1, 1], ids=["blocks", "lines"])
@pytest.mark.parametrize("argv", [["--print-completion", "zsh"], ["--version"]])
def test_what_nobody_reads_is_not_flushed_later(
    argv: list[str], buffering: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(argv) == 2
        # The interpreter flushes it as well when it exits, as closing it does here.


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(("name", "status"), [("stdout", 2), ("stderr", 0)])
def test_what_cannot_be_printed_is_not_flushed_later(
    name: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, name, stream)
        stream.write("lost\n")
        assert output.finish(0) == status


def test_an_output_that_is_no_file_is_abandoned_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Broken())
    assert output.finish(0) == 2
    monkeypatch.setattr(sys, "stdout", None)
    assert output.finish(0) == 0


@pytest.mark.parametrize("status", [0, 1])
def test_a_standard_error_that_takes_nothing_leaves_the_status(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Full())
        assert output.finish(status) == status
        patch.setattr(sys, "stderr", None)
        assert output.finish(status) == status


@pytest.mark.parametrize(
    ("status", "finished", "said"), [(0, 2, 1), (1, 2, 1), (2, 2, 0), (75, 75, 1)]
)
def test_an_output_that_is_full_is_reported_once(
    status: int,
    finished: int,
    said: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert output.finish(status) == finished
    assert capsys.readouterr().err.count("No space left") == said
