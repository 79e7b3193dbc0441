"""How a command that runs under a lock is started, told of signals, and waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safeatomic_core._cli import main, process
from safeatomic_core._cli.process import Child, StartError
from safeatomic_core._posix import kernel

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_spawnp"), reason="no os.posix_spawnp: lock and edit say so"
)

COMMAND = [sys.executable, "-m", "safeatomic_core"]


def test_a_script_without_an_interpreter_is_the_shell_s(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = target.with_name("script")
    script.write_text('[ "$1" = x ] && exit 6\n')
    script.chmod(0o755)
    assert main(["lock", str(target), "--", str(script), "x"]) == 6
    for name in ("directory", "text"):  # neither can be run
        target.with_name(name).mkdir()
    Path(target.parent, "directory", "script").mkdir()
    Path(target.parent, "text", "script").touch(0o644)
    places = [str(target.with_name(name)) for name in ("none", "directory", "text")]
    places += [str(target.parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(places))
    assert main(["lock", str(target), "--", "script", "x"]) == 6


def test_a_program_s_own_handler_is_its_own_again(target: Path) -> None:
    def handler(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        assert main(["lock", str(target), "--", "true"]) == 0
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_status_is_known_although_somebody_ignores_sigchld(target: Path) -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from safeatomic_core._cli import main\n"
        f"sys.exit(main(['lock', {str(target)!r}, '--', 'sh', '-c', 'exit 7']))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 7


def test_a_platform_that_does_not_say_who_sent_a_signal(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, "sigwaitinfo")
    script = "trap 'exit 9' USR1; kill -USR1 $PPID; while :; do sleep 1; done"
    assert main(["lock", str(target), "--", "sh", "-c", script]) == 9


def test_a_command_that_is_abandoned_is_ended() -> None:
    with pytest.raises(RuntimeError), Child() as child:
        child.start(["sleep", "60"], dict(os.environ))
        pid = child._pid
        raise RuntimeError
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_start_error_has_the_status_of_a_shell() -> None:
    assert StartError("x", FileNotFoundError(2, "no")).status == process.NOT_FOUND
    assert StartError("x", PermissionError(13, "no")).status == process.NOT_STARTED


def test_a_missing_interpreter_is_not_a_missing_command(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = target.with_name("no-such-command")
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(target.parent), os.environ["PATH"]]))
    for command in (str(script), "no-such-command"):
        assert main(["lock", str(target), "--", command]) == process.NOT_STARTED
        said = f"safeatomic: {command}: the interpreter that it names is missing\n"
        assert capsys.readouterr().err == said
    script.chmod(0o644)
    assert main(["lock", str(target), "--", "no-such-command"]) == 126  # it may not be run


def test_a_command_that_is_stopped_for_a_while_is_waited_for(target: Path) -> None:
    script = 'while [ "$(cut -d" " -f3 /proc/$1/stat)" != T ]; do :; done; kill -CONT $1'
    stop = f"sh -c '{script}' - $$ & kill -STOP $$; exit 5"
    assert main(["lock", str(target), "--", "sh", "-c", stop]) == 5


def test_a_wrapper_that_is_stopped_for_a_while_goes_on_waiting(target: Path) -> None:
    script = "kill -STOP $PPID; sleep 0.7; kill -CONT $PPID; exit 5"
    done = subprocess.run([*COMMAND, "lock", str(target), "--", "sh", "-c", script])
    assert done.returncode == 5


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="no signal.sigwaitinfo")
@pytest.mark.parametrize(("code", "from_terminal"), [(0x80, True), (0, False)])
def test_what_the_kernel_sends_comes_from_a_terminal(
    monkeypatch: pytest.MonkeyPatch, code: int, from_terminal: bool
) -> None:
    sent = SimpleNamespace(si_signo=signal.SIGINT, si_code=code)
    monkeypatch.setattr(signal, "sigwaitinfo", lambda _signals: sent)
    found = process._next_signal({signal.SIGINT}, alone=True)
    assert found == (signal.SIGINT, from_terminal)


def test_no_signal_is_waited_for_with_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stopped for longer gets what stands in memory (`process._next_signal`)."""
    timeouts: list[float] = []
    monkeypatch.setattr(signal, "sigtimedwait", lambda _signals, timeout: timeouts.append(timeout))
    found = process._next_signal({signal.SIGCHLD}, alone=False)
    assert found == (signal.SIGCHLD, True)  # as if one had come: the command is looked at
    assert timeouts == [0]


@contextlib.contextmanager
def another_thread() -> Iterator[None]:
    """Let a thread wait meanwhile, which the kernel may give the signals of the process to."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_thread_that_takes_the_signals_hides_no_end(target: Path) -> None:
    with another_thread():
        assert main(["lock", str(target), "--", "sh", "-c", "sleep 0.1; exit 5"]) == 5


def test_the_only_thread_is_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, only in ((["1"], True), (["1", "2"], False)):
        monkeypatch.setattr(kernel, "listdir", lambda _path, found=threads: found, raising=False)
        assert process._is_only_thread() is only


def test_where_threads_cannot_be_counted_no_end_is_missed(target: Path, faults: Any) -> None:
    faults.fail("listdir", errno.ENOENT, when=lambda path: path == "/proc/self/task")
    assert not process._is_only_thread()
    with another_thread():
        assert main(["lock", str(target), "--", "sh", "-c", "sleep 0.1; exit 5"]) == 5
