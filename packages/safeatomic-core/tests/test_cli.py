"""The command as a whole: its exit status, its streams, its signals."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    LockError,
    UnsupportedEnvironmentError,
    __version__,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._cli import commands, main, output
from safeatomic_core._cli.diagnostics import Diagnostics
from safeatomic_core._cli.signals import Ended, Ending

COMMAND = [sys.executable, "-m", "safeatomic_core"]


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, **options)


def in_shell(script: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script in which ``sa`` is the command."""
    prelude = f'sa() {{ "{sys.executable}" -m safeatomic_core "$@"; }}\n'
    return subprocess.run(["bash", "-c", prelude + script], cwd=directory, capture_output=True)


def test_the_table_of_exit_statuses(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(target)
    assert main(["checksum", here]) == 0
    assert main(["verify", here]) == 0
    # 1: the answer is no
    assert main(["locks", here]) == 1
    assert main(["unlock", "--stale", here]) == 1
    assert main(["doctor", here, "--require", "Nonsense"]) == 1
    try_acquire_lock(here)
    for busy in (
        ["write", here, "--from", here],
        ["edit", here, "--", "cat"],
        ["move", here, f"{here}.new"],
        ["checksum", here],
        ["lock", here, "--", "true"],
    ):
        at = busy.index("--") if "--" in busy else len(busy)
        process = run(*busy)
        assert process.returncode == 1, process.stderr
        assert b"lock" in process.stderr
        assert run(*busy[:at], "--conflict-exit", "75", *busy[at:]).returncode == 75
    release_lock(here)
    # 2: wrong usage, and every other error
    assert main(["verify", f"{here}.missing"]) == 2
    assert main(["read", f"{here}.missing"]) == 2
    assert main(["write", here, "more"]) == 2
    target.with_name("foreign.sha256").write_bytes(b"notes\n")
    target.with_name("foreign").write_bytes(b"x")
    assert main(["verify", str(target.with_name("foreign"))]) == 2
    assert main(["checksum", str(target.with_name("foreign"))]) == 2
    # 1 again: what does not match settles the question
    target.write_bytes(b"rotten")
    assert main(["verify", here, f"{here}.missing"]) == 1
    assert main(["read", "--check", here]) == 1


def refuse(*_args: object, **_kwargs: object) -> None:
    raise UnsupportedEnvironmentError("p", "nfs4", "CrashDurability", "NonTarget", "no")


@pytest.mark.parametrize("command", ["write", "read", "move", "lock", "checksum"])
def test_a_refused_environment_is_status_3(
    target: Path, take_place_for: Any, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    take_place_for("nfs4")
    more = {"write": ["--from", str(target)], "move": [f"{target}.new"], "lock": ["--", "true"]}
    assert main([command, str(target), *more.get(command, [])]) == 3
    err = capsys.readouterr().err
    assert "--safety warn" in err
    assert "safety=" not in err
    assert err.count("\n") == 1


def test_a_warning_is_one_line_of_the_command_s_own(
    target: Path, take_place_for: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    take_place_for("nfs4")
    assert main(["write", str(target), "--from", str(target), "--safety", "warn"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("safeatomic: warning: ") for line in lines)
    assert len(set(lines)) == len(lines)


def test_what_the_library_logs_is_a_warning_of_the_command_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import logging

    with Diagnostics(()):
        logging.getLogger("safeatomic").warning("%r: lost", "x")
        logging.getLogger("safeatomic").warning("%r: lost", "x")
    assert capsys.readouterr().err == "safeatomic: warning: 'x': lost\n"


@pytest.mark.parametrize("argv", [["--help"], ["help"], ["help", "write"], ["write", "-h"]])
def test_help_is_printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert "usage: safeatomic" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out == f"safeatomic {__version__}\n"


@pytest.mark.usefixtures("signals_not_ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cleans_up_and_says_what_became_of_the_file(target: Path, number: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "write", str(target)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(b"x" * 3_000_000)
    process.stdin.flush()
    while not list(target.parent.glob(".safeatomic-*")):
        assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number
    assert err == b"safeatomic: interrupted; the target is unchanged\n"
    assert os.listdir(target.parent) == [target.name]
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(os, "posix_spawnp"), reason="no os.posix_spawnp")
def test_a_signal_that_was_ignored_stays_ignored(target: Path) -> None:
    path = shlex.quote(str(target))
    script = f"trap '' TERM; sa lock {path} -- sh -c 'kill -TERM $PPID; kill -TERM $$; echo on'"
    done = in_shell(script, target.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"on\n", b"")


@pytest.mark.parametrize("command", ["lock", "edit"])
def test_an_interpreter_that_starts_no_commands_says_so(
    target: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(os, "posix_spawnp", raising=False)
    assert main([command, str(target), "--", "true"]) == 126
    assert "use CPython's safeatomic" in capsys.readouterr().err
    assert os.listdir(target.parent) == [target.name]
    assert target.read_bytes() == b"old"


def test_only_the_first_signal_interrupts() -> None:
    with pytest.raises(Ended) as caught, Ending() as ending:
        ending._end(signal.SIGTERM, None)
    assert caught.value.number == signal.SIGTERM
    ending._end(signal.SIGTERM, None)


def test_signals_are_left_alone_outside_the_main_thread(target: Path) -> None:
    import threading

    results: list[int] = []
    argv = ["read", str(target)]
    thread = threading.Thread(target=lambda: results.append(main(argv)))
    thread.start()
    thread.join()
    assert results == [0]


def test_an_interrupt_before_anything_is_done_is_status_130(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "inspect_guarantees", interrupt)
    assert main(["inspect", str(target)]) == 130
    assert capsys.readouterr().err == "safeatomic: interrupted\n"


def test_an_interrupt_while_the_command_is_loaded_is_no_traceback(target: Path) -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'argparse': raise KeyboardInterrupt\n"
        "from safeatomic_core._cli import main\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.exit(main(['read', 'data.bin']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=target.parent, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_interrupt_outside_of_the_action_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "reserve_standard_descriptors", interrupt)
    assert main(["locks", "."]) == 130


def test_a_lost_lock_is_an_error_and_not_a_conflict(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_path: str) -> None:
        error = LockError(str(target), "the lock was removed by force")
        error.add_note("safeatomic: Publish failed; the target is unchanged")
        raise error

    monkeypatch.setattr(commands, "inspect_guarantees", lose)
    assert main(["inspect", str(target)]) == 2


def test_a_reader_that_leaves_early_is_no_traceback(target: Path) -> None:
    write_atomic_bytes(target, b"x" * 3_000_000)
    with subprocess.Popen(
        [*COMMAND, "read", str(target)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait() == 2
        assert process.stderr.read() == b""


@pytest.mark.parametrize("command", ["locks .", "verify data.bin", "inspect .", "--help", "-V"])
def test_output_that_leaves_early_is_no_traceback(target: Path, command: str) -> None:
    done = in_shell(f"sa {command} | true; echo ${{PIPESTATUS[0]}}", target.parent)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    "command",
    [
        "read data.bin",
        "inspect data.bin",
        "verify data.bin",
        "doctor .",
        "--help",
        "checksum data.bin",
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_an_error(target: Path, command: str, unbuffered: str) -> None:
    script = f"export PYTHONUNBUFFERED={unbuffered}; sa checksum data.bin -q; sa {command} "
    done = in_shell(f"{script} > /dev/full", target.parent)
    assert done.returncode == 2
    assert b"standard output: No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["inspect .", "doctor .", "verify data.bin", "read data.bin"])
def test_what_has_no_output_to_print_to_is_an_error(target: Path, command: str) -> None:
    done = in_shell(f"sa checksum data.bin -q; sa {command} >&-", target.parent)
    assert (done.returncode, done.stderr) == (2, b"safeatomic: standard output: it is closed\n")


def test_a_closed_standard_input_is_not_an_empty_one(target: Path) -> None:
    done = in_shell("sa write data.bin <&-", target.parent)
    assert done.returncode == 2
    assert done.stderr == (b"safeatomic: standard input: it is closed; the target is unchanged\n")
    assert target.read_bytes() == b"old"


def test_a_closed_standard_error_keeps_its_messages(target: Path) -> None:
    assert in_shell("sa read missing 2>&-; echo $?", target.parent).stdout == b"2\n"
    assert in_shell("sa fly 2>&-; echo $?", target.parent).stdout == b"2\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_standard_error_leaves_the_status(target: Path) -> None:
    for command in ("read missing", "read", "fly"):
        done = in_shell(f"sa {command} 2>/dev/full; echo $?", target.parent)
        assert done.stdout == b"2\n", command


@pytest.mark.skipif(not hasattr(os, "posix_spawnp"), reason="no os.posix_spawnp")
def test_our_files_take_no_standard_stream_s_place(target: Path) -> None:
    done = in_shell(
        "sa lock data.bin -- sh -c 'echo lost; ls -l /proc/self/fd' >&- <&-", target.parent
    )
    assert target.read_bytes() == b"old"
    assert b"Traceback" not in done.stderr
    assert os.listdir(target.parent) == ["data.bin"]


def test_descriptors_that_cannot_be_reserved_are_left(faults: Any, target: Path) -> None:
    faults.fail("open", 13, when=lambda path, *_a, **_k: path == "/")
    assert main(["read", str(target)]) == 0


def test_a_removed_working_directory_is_an_error(target: Path) -> None:
    script = "mkdir gone; cd gone; rmdir ../gone; for c in 'read x' 'write x' 'locks x' 'locks .' "
    script += "'verify x' 'checksum x' 'lock x -- true' 'edit x -- cat' "
    script += "'write --parents a/b' 'move x y'; do sa $c </dev/null >/dev/null; echo $?; done"
    done = in_shell(script, target.parent)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"0\n" not in done.stdout


def test_names_cannot_forge_a_line_or_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil\x1b[2J\nforged: OK\u202e\\name"
    write_atomic_bytes(path, b"x", write_checksum=True)
    assert main(["verify", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.endswith("evil\\x1b[2J\\nforged: OK\\u202e\\\\name: OK\n")
    assert out.count("\n") == 1
    assert main(["read", str(tmp_path / "no\x1b\nforged")]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1
    assert main(["fly\x1b"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert main(["read", "x", "more\x1b\n"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_for_every_name_and_locale(tmp_path: Path, encoding: str) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9 \xc3\xbc \x7f"
    write_atomic_bytes(path, b"x", write_checksum=True)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*COMMAND, "verify", "--json", path], capture_output=True, env=environment, check=True
    )
    assert done.stdout.isascii()
    assert os.fsencode(json.loads(done.stdout)[0]["path"]) == path
    assert b"\x7f" not in done.stdout


def test_bytes_that_are_no_text_show_as_bytes() -> None:
    assert output.name("a\udcff\nb") == "a\\xff\\nb"
    assert output.one_line("\ud800") == "\\ud800"


def test_importing_the_main_module_runs_nothing() -> None:
    assert importlib.import_module("safeatomic_core.__main__").main is main
