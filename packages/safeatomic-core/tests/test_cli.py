from __future__ import annotations

import importlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    __version__,
    inspect_lock,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._cli import commands, main


class Stdin:
    """Standard input with given bytes, or one that fails."""

    def __init__(self, content: bytes | None) -> None:
        self.buffer = io.BytesIO(content) if content is not None else self

    def read(self, _size: int) -> bytes:
        raise OSError(5, "input failed")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda content: monkeypatch.setattr(sys, "stdin", Stdin(content))


def test_write_takes_standard_input(target: Path, stdin: Any) -> None:
    stdin(b"new")
    assert main(["write", str(target), "--checksum"]) == 0
    assert target.read_bytes() == b"new"
    assert verify_checksum(target)


def test_write_takes_a_file(target: Path, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"from a file")
    options = ["--algo", "sha512", "--retries", "3", "--delay", "0.5", "--no-lock"]
    assert main(["write", str(target), str(tmp_path / "input"), *options]) == 0
    assert target.read_bytes() == b"from a file"
    assert verify_checksum(target, algo="sha512")


def test_write_publishes_nothing_when_its_input_fails(
    target: Path, stdin: Any, capsys: pytest.CaptureFixture[str], listing: Any
) -> None:
    stdin(None)
    assert main(["write", str(target)]) == 2
    assert capsys.readouterr().err == "safeatomic: input failed\n"
    assert main(["write", str(target), str(target.with_name("missing"))]) == 2
    assert "No such file" in capsys.readouterr().err
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_read_prints_and_checks(target: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_atomic_bytes(target, b"\xff\0raw", write_checksum=True)
    assert main(["read", str(target), "--check"]) == 0
    assert capfdbinary.readouterr().out == b"\xff\0raw"
    target.write_bytes(b"rotten")
    assert main(["read", str(target), "--check"]) == 1
    out = capfdbinary.readouterr()
    assert out.out == b""
    assert b"does not match its checksum" in out.err
    assert main(["read", str(target.with_name("missing"))]) == 2


def test_move_renames(target: Path, listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    target.with_name("other").write_bytes(b"x")
    assert main(["move", str(target), str(target.with_name("other"))]) == 2
    assert "pass force=True" in capsys.readouterr().err
    assert main(["move", str(target), str(target.with_name("other")), "--force"]) == 0
    assert listing() == ["other"]


@pytest.mark.usefixtures("guaranteed_place")
def test_inspect_prints_text_and_json(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(target)]) == 0
    assert "AtomicVisibility" in capsys.readouterr().out
    assert main(["inspect", str(target), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["guarantees"]["AtomicVisibility"] == "Guaranteed"


@pytest.mark.usefixtures("guaranteed_place")
def test_doctor_answers_by_its_exit_status(
    target: Path, capsys: pytest.CaptureFixture[str], listing: Any
) -> None:
    assert main(["doctor", str(target), "--destructive"]) == 0
    assert "AtomicVisibility" in capsys.readouterr().out
    assert main(["doctor", str(target), "--require", "Nonsense"]) == 1
    capsys.readouterr()
    assert main(["doctor", str(target), "--require", "atomic_visibility", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert listing() == ["data.bin"]


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)]
)
def test_lock_runs_a_command_and_returns_its_status(
    target: Path, command: str, status: int
) -> None:
    held = f"test -e {target}.lock || exit 99; "
    assert main(["lock", str(target), "--", "sh", "-c", held + command]) == status
    assert not inspect_lock(target).exists


def test_lock_says_who_holds_it(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try_acquire_lock(target)
    assert main(["lock", str(target), "--", "true"]) == 1
    assert f"locked by process {os.getpid()}" in capsys.readouterr().err
    release_lock(target)


def test_lock_without_such_a_command_is_an_error(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", str(target), "--", "/no/such/command"]) == 2
    assert "command not found" in capsys.readouterr().err
    assert not inspect_lock(target).exists


def test_lock_passes_signals_on_and_releases(target: Path) -> None:
    code = (
        "import sys; from safeatomic_core._cli import main; "
        "sys.exit(main(['lock', sys.argv[1], '--', 'sh', '-c', 'echo ready; exec sleep 60']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    process.stdout.close()
    assert not inspect_lock(target).exists


def test_an_interrupt_waits_for_the_command(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    real = subprocess.Popen.wait

    def wait(self: Any, *args: Any, **kwargs: Any) -> int:
        waits.append(1)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    assert main(["lock", str(target), "--", "true"]) == 0
    assert len(waits) == 2


def test_a_signal_while_the_child_is_being_started_reaches_it() -> None:
    forward = commands._Forwarding(signal.SIGTERM)
    forward._pass_on(signal.SIGTERM, None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        forward.to(child.pid)
        assert child.wait() == -signal.SIGTERM


def test_a_signal_after_the_child_is_harmless() -> None:
    forward = commands._Forwarding(signal.SIGTERM)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    forward.to(gone.pid)
    forward._pass_on(signal.SIGTERM, None)


def test_locks_lists_a_file_and_a_directory(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locks", str(target)]) == 1
    try_acquire_lock(target)
    assert main(["locks", str(target)]) == 0
    assert "alive: yes" in capsys.readouterr().out
    assert main(["locks", str(target.parent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == str(target)
    release_lock(target)
    assert main(["locks", str(target.parent)]) == 1


def test_unlock_removes_what_it_may(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unlock", str(target), "--stale"]) == 1
    assert "nothing removed" in capsys.readouterr().err
    Path(f"{target}.lock").write_bytes(b"junk")
    assert main(["unlock", str(target), "--stale", "--max-age", "0"]) == 1
    assert main(["unlock", str(target), "--force", "--max-age", "0"]) == 2
    assert main(["unlock", str(target), "--force"]) == 0


def test_clean_sweeps_orphans(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orphan = target.with_name(".safeatomic-tmp-0123456789abcdef.tmp")
    orphan.write_bytes(b"12345")
    assert main(["clean", str(target.parent), "--dry-run"]) == 0
    assert capsys.readouterr().out == f"would remove {orphan} (5 bytes)\n"
    assert main(["clean", str(target.parent)]) == 0
    assert capsys.readouterr().out == f"removed {orphan} (5 bytes)\n"
    assert not orphan.exists()
    assert main(["clean", str(target)]) == 2


def test_checksum_writes_sidecars(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checksum", str(target), str(target.with_name("missing"))]) == 2
    out = capsys.readouterr()
    assert out.out == f"{target}.sha256\n"
    assert "missing" in out.err
    assert verify_checksum(target)


def test_verify_has_four_answers(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {
        name: target.with_name(name)
        for name in ("good", "bad", "bare", "gone", "odd", "dir", "no.sha256")
    }
    for name in ("good", "bad"):
        write_atomic_bytes(paths[name], b"x", write_checksum=True)
    paths["bad"].write_bytes(b"y")
    paths["bare"].write_bytes(b"x")
    paths["odd"].write_bytes(b"x")
    Path(f"{paths['odd']}.sha256").write_bytes(b"junk")
    paths["dir"].mkdir()
    assert main(["verify", *map(str, paths.values())]) == 1
    lines = capsys.readouterr().out.splitlines()
    answers = [
        line.removeprefix(f"{path}: ") for line, path in zip(lines, paths.values(), strict=True)
    ]
    assert answers[0] == "OK"
    assert answers[1].startswith("MISMATCH (recorded")
    assert answers[2] == "NO SIDECAR"
    assert all(answer.startswith("UNREADABLE") for answer in answers[3:])
    assert main(["verify", str(paths["good"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "OK"


def test_long_verification_shows_its_progress_on_a_terminal(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_atomic_bytes(target, b"x" * 1_000_000, write_checksum=True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(commands, "_LONG", 1000)
    assert main(["verify", str(target)]) == 0
    err = capsys.readouterr().err
    assert "[#########################] 100 %" in err
    assert err.endswith("\r\x1b[K")


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil\x1b[2Jname"
    write_atomic_bytes(path, b"x", write_checksum=True)
    assert main(["verify", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["read", str(tmp_path / "no\x1b")]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["write"],
        ["write", "x", "--algo", "crc"],
        ["write", "x", "--retries", "-1"],
        ["write", "x", "--delay", "soon"],
        ["write", "x", "--safety", "none"],
        ["unlock", "x"],
    ],
)
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: safeatomic" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"safeatomic {__version__}\n"


def test_an_interrupt_is_status_130(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "inspect_guarantees", interrupt)
    assert main(["inspect", str(target)]) == 130


def test_a_reader_that_leaves_early_is_no_traceback(target: Path) -> None:
    write_atomic_bytes(target, b"x" * 3_000_000)
    command = [sys.executable, "-m", "safeatomic_core", "read", str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait() == 2
        assert process.stderr.read() == b""


def test_the_bar_is_drawn_when_it_grows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = commands._Progress([])
    progress._total = 1000
    monkeypatch.setattr(commands, "_LONG", 1000)
    for size in (10, 1, 10):
        progress.advance(size)
    assert capsys.readouterr().err.count("%") == 2


def test_importing_the_main_module_runs_nothing() -> None:
    assert importlib.import_module("safeatomic_core.__main__").main is main
