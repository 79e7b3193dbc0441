from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    force_release_lock,
    inspect_lock,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._cli import main, process, running
from safeatomic_core._cli.process import Child, StartError
from safeatomic_core._command_lock import VARIABLE
from safeatomic_core._held_locks import kept_by_path

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_spawnp"), reason="no os.posix_spawnp: lock and edit say so"
)

COMMAND = [sys.executable, "-m", "safeatomic_core"]
SHOW = "import os, sys; print(os.environ.get('SAFEATOMIC_LOCK', ''), *os.listdir('/proc/self/fd'))"


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)]
)
def test_lock_runs_a_command_and_returns_its_status(
    target: Path, command: str, status: int
) -> None:
    held = f"test -e {shlex.quote(str(target))}.lock || exit 99; "
    assert main(["lock", str(target), "--", "sh", "-c", held + command]) == status
    assert not inspect_lock(target).exists


def test_lock_says_who_holds_it(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try_acquire_lock(target)
    assert main(["lock", str(target), "--", "true"]) == 1
    assert f"locked by process {os.getpid()}" in capsys.readouterr().err
    assert main(["lock", str(target), "--conflict-exit", "75", "--wait", "0.1", "--", "x"]) == 75
    release_lock(target)


@pytest.mark.parametrize("command", ["lock", "edit"])
def test_the_short_options_are_those_of_flock(target: Path, command: str) -> None:
    holder = threading.Thread(target=try_acquire_lock, args=(target,))  # not this context
    holder.start()
    holder.join()
    assert main([command, "-E", "75", "-w", "0.1", str(target), "--", "true"]) == 75
    assert main([command, "-w0", "-E76", str(target), "true"]) == 76
    release_lock(target)
    assert main([command, "-w", "5", str(target), "--", "grep", "-w", "old"]) == (
        0 if command == "edit" else 1
    )


@pytest.mark.parametrize("command", ["lock", "edit"])
def test_what_cannot_be_started_has_a_shell_s_status(
    target: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(target), "--", "/no/such\x1bcommand"]) == 127
    err = capsys.readouterr().err
    assert "command not found" in err
    assert "\x1b" not in err
    assert main([command, str(target), "--", str(target)]) == 126
    assert main([command, str(target), "--", str(target.parent)]) == 126
    assert main([command, str(target), "--", "a\0b"]) == 126
    assert main([command, str(target), "--", ""]) == 127
    assert "safeatomic: '': command not found" in capsys.readouterr().err
    assert not inspect_lock(target).exists
    assert target.read_bytes() == b"old"


def test_a_command_inherits_the_lock_and_its_name(
    target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inner = [sys.executable, "-c", SHOW]
    assert main(["lock", str(target), "--", *inner]) == 0
    named, _, held = capfd.readouterr().out.partition("} ")
    ((path, token),) = json.loads(named + "}").items()
    assert path == os.path.realpath(f"{target}.lock")
    assert len(token) >= 16
    assert main(["lock", str(target), "--close", "--", *inner]) == 0
    closed = capfd.readouterr().out.split()
    assert len(closed) == len(held.split()) - 1


def test_nested_commands_know_every_lock(target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = str(target.with_name("other"))
    nested = [*COMMAND, "lock", other, "--", sys.executable, "-c", SHOW]
    assert main(["lock", str(target), "--", *nested]) == 0
    named = json.loads(capfd.readouterr().out.partition("} ")[0] + "}")
    assert [os.path.basename(path) for path in named] == ["data.bin.lock", "other.lock"]
    hidden = [*COMMAND, "lock", other, "--close", "--", sys.executable, "-c", SHOW]
    assert main(["lock", str(target), "--", *hidden]) == 0
    named = json.loads(capfd.readouterr().out.partition("} ")[0] + "}")
    assert [os.path.basename(path) for path in named] == ["data.bin.lock"]


def test_a_hidden_lock_is_not_known_by_an_older_name_either(held: Path) -> None:
    named = json.dumps({os.path.realpath(f"{held}.lock"): "0" * 16})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, named)
        kept = kept_by_path(str(held))
        assert VARIABLE not in running._environment(kept, hide=True)
        assert running._environment(kept, hide=False)[VARIABLE] != named


@pytest.mark.parametrize("text", ["", "junk", "[]", "[" * 100_000])
def test_a_variable_that_is_not_ours_is_replaced(text: str) -> None:
    assert running._named({VARIABLE: text}) == {}


def test_a_killed_wrapper_lets_nobody_in_while_its_command_runs(target: Path) -> None:
    script = "echo ready; read line; echo done"
    wrapper = subprocess.Popen(
        [*COMMAND, "lock", str(target), "--", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert wrapper.stdout is not None
    assert wrapper.stdin is not None
    assert wrapper.stdout.readline() == b"ready\n"
    wrapper.kill()
    wrapper.wait()
    assert inspect_lock(target).alive == "yes"
    assert main(["lock", str(target), "--", "true"]) == 1
    wrapper.stdin.close()
    assert wrapper.stdout.read() == b"done\n"
    wrapper.stdout.close()
    assert main(["lock", str(target), "--wait", "10", "--", "true"]) == 0


def test_a_lock_that_was_taken_away_is_said_and_the_status_stands(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["lock", str(target), "--", "sh", "-c", f"rm {shlex.quote(str(target))}.lock; exit 5"])
        == 5
    )
    assert "was taken away while the command ran" in capsys.readouterr().err


def test_trouble_after_the_command_leaves_its_status(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object) -> bool:
        raise OSError(5, "Input/output error", str(target))

    monkeypatch.setattr(running, "_clear_up", fail)
    monkeypatch.setattr(running, "let_go", fail)
    assert main(["lock", str(target), "--", "sh", "-c", "exit 3"]) == 3
    assert capsys.readouterr().err.count("warning: ") == 2
    release_lock(target)


def test_a_lock_that_cannot_be_inherited_is_held_all_the_same(
    target: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "try_acquire_lock", lambda *_args, **_options: True)
    monkeypatch.setenv(VARIABLE, "{}")
    assert main(["lock", str(target), "--", sys.executable, "-c", SHOW]) == 0
    assert "{" not in capfd.readouterr().out


def test_without_proc_a_lock_is_named_by_its_resolved_path(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> str:
        raise FileNotFoundError(2, "no /proc")

    monkeypatch.setattr(running, "directory_of", fail)
    monkeypatch.delenv(VARIABLE, raising=False)
    (path,) = json.loads(running._environment(kept_by_path(str(held)), hide=False)[VARIABLE])
    assert path == os.path.realpath(f"{held}.lock")


@pytest.mark.parametrize("command", ["write f --checksum", "edit f -- cat", "checksum f"])
def test_safeatomic_works_under_the_lock_of_the_command_around_it(
    target: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target.parent)
    Path("f").write_bytes(b"old")
    script = f"{shlex.join(COMMAND)} {command} < data.bin && test -e f.lock"
    assert main(["lock", "f", "--", "sh", "-c", script]) == 0
    lost = f"rm f.lock; {shlex.join(COMMAND)} {command} < data.bin"
    assert main(["lock", "f", "--", "sh", "-c", lost]) == 2


def test_under_a_lock_that_is_gone_the_variable_is_named(
    target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shlex.quote(str(target))
    command = f"rm {path}.lock; {shlex.join(COMMAND)} write {path} < /dev/null"
    assert main(["lock", str(target), "--", "sh", "-c", command]) == 2
    assert "SAFEATOMIC_LOCK" in capfd.readouterr().err
    assert target.read_bytes() == b"old"


def test_what_a_killed_writer_left_under_the_lock_is_swept(target: Path, listing: Any) -> None:
    temp = target.with_name(".safeatomic-tmp-0123456789abcdef.tmp")
    assert main(["lock", str(target), "--", "touch", str(temp)]) == 0
    assert listing() == ["data.bin"]


@pytest.mark.usefixtures("signals_not_ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("command", ["lock", "edit"])
def test_signals_for_the_wrapper_reach_the_command(target: Path, command: str, number: int) -> None:
    script = "echo ready >&2; exec sleep 60"
    wrapper = subprocess.Popen(
        [*COMMAND, command, str(target), "--", "sh", "-c", script],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert wrapper.stderr is not None
    assert wrapper.stderr.readline() == b"ready\n"
    wrapper.send_signal(number)
    assert wrapper.wait() == 128 + number
    wrapper.stderr.close()
    assert os.listdir(target.parent) == ["data.bin"]
    assert target.read_bytes() == b"old"


@pytest.mark.usefixtures("signals_not_ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_filter_that_ends_well_when_told_to_end_replaces_nothing(
    target: Path, number: int
) -> None:
    script = "trap 'exit 0' INT TERM; echo half; echo ready >&2; while :; do sleep 0.1; done"
    wrapper = subprocess.Popen(
        [*COMMAND, "edit", str(target), "--", "sh", "-c", script],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert wrapper.stderr is not None
    assert wrapper.stderr.readline() == b"ready\n"
    wrapper.send_signal(number)
    assert wrapper.stderr.read() == b"safeatomic: interrupted; the target is unchanged\n"
    wrapper.stderr.close()
    assert wrapper.wait() == 128 + number
    assert os.listdir(target.parent) == ["data.bin"]
    assert target.read_bytes() == b"old"


COUNTING = """
import os, signal, sys
came = []
signal.signal(signal.SIGINT, lambda *_: came.append(1))
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
sys.stdout.write(f"interrupts: {len(came)}\\n")
"""


def test_what_a_terminal_sends_reaches_the_command_once(target: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(
            sys.executable, [*COMMAND, "lock", str(target), "--", sys.executable, "-c", COUNTING]
        )
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while b"^C" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"\n")
    while b"interrupts" not in said:
        said += os.read(terminal, 1000)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"interrupts: 1" in said
    assert os.waitstatus_to_exitcode(status) == 0


def test_edit_replaces_a_file_with_what_a_filter_makes_of_it(target: Path) -> None:
    write_atomic_bytes(target, b"abc", write_checksum=True)
    assert main(["edit", str(target), "--checksum", "--", "tr", "a-z", "A-Z"]) == 0
    assert target.read_bytes() == b"ABC"
    assert verify_checksum(target)
    assert not inspect_lock(target).exists


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq on this machine")
def test_edit_runs_jq(target: Path) -> None:
    target.write_text('{"runs": 1}')
    assert main(["edit", str(target), "--", "jq", "-c", ".runs += 1"]) == 0
    assert json.loads(target.read_text()) == {"runs": 2}


def test_edit_passes_more_than_a_pipe_holds(target: Path) -> None:
    content = os.urandom(3_000_000)
    target.write_bytes(content)
    assert main(["edit", str(target), "--", "cat"]) == 0
    assert target.read_bytes() == content


def test_a_filter_that_fails_changes_nothing(
    target: Path, capsys: pytest.CaptureFixture[str], listing: Any
) -> None:
    assert main(["edit", str(target), "--", "sh", "-c", "echo half; exit 4"]) == 4
    assert (
        capsys.readouterr().err == "safeatomic: sh ended with status 4; the target is unchanged\n"
    )
    assert main(["edit", str(target), "--", "sh", "-c", "kill -KILL $$"]) == 137
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_edit_needs_a_file(data: Path, listing: Any) -> None:
    assert main(["edit", str(data), "--", "cat"]) == 2
    assert listing() == []


def test_what_is_damaged_is_not_edited_into_a_good_record(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_atomic_bytes(target, b"abc", write_checksum=True)
    target.write_bytes(b"rot")
    assert main(["edit", str(target), "--checksum", "--", "cat"]) == 1
    assert "does not match" in capsys.readouterr().err
    assert main(["edit", str(target), "--", "cat"]) == 0


def test_a_full_disk_ends_the_filter_and_changes_nothing(
    target: Path, listing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Any, _data: bytes) -> int:
        raise OSError(28, "No space left on device", str(target))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtomicWriter, "write", fail)
        assert main(["edit", str(target), "--", "yes"]) == 2
    assert capsys.readouterr().err.startswith(f"safeatomic: {target}: No space left on device")
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_an_output_that_cannot_be_read_is_named(target: Path) -> None:
    with AtomicWriter(target) as writer:
        pump = running._Pump(os.open(target.parent, os.O_RDONLY), writer)  # no pipe: EISDIR
        pump.run()
        with pytest.raises(IsADirectoryError) as caught:
            pump.reraise()
        writer.abort()
    assert caught.value.filename == "output of the filter"


def test_what_comes_after_an_edit_failed_is_written_nowhere(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes: list[int] = []
    written: list[bytes] = []

    def start(_self: Any, command: list[str], _environment: Any, *, streams: Any) -> None:
        pipes.append(os.dup(streams[1][0]))  # as what the filter leaves behind holds it
        raise StartError(command[0], FileNotFoundError(2, "no"))

    monkeypatch.setattr(Child, "start", start)
    monkeypatch.setattr(AtomicWriter, "write", lambda _self, data: written.append(data))
    before = set(threading.enumerate())
    assert main(["edit", str(target), "--", "none"]) == process.NOT_FOUND
    (pump,) = set(threading.enumerate()) - before
    os.write(pipes[0], b"late")
    os.close(pipes[0])
    pump.join(10)
    assert not pump.is_alive()
    assert pump.daemon  # or what holds the pipe would hold the command, too
    assert written == []


def test_edit_under_a_lock_that_was_forced_away_publishes_nothing(target: Path) -> None:
    script = f"rm {shlex.quote(str(target))}.lock; echo new"
    assert main(["edit", str(target), "--", "sh", "-c", script]) == 2
    assert target.read_bytes() == b"old"
    force_release_lock(target)
