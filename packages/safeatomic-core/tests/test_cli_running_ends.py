"""How a command under a lock ends: its lock is released, whatever signals come and paths change."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, inspect_lock, release_lock, try_acquire_lock
from safeatomic_core._cli import main, running
from safeatomic_core._cli.process import Child
from safeatomic_core._held_locks import kept_by_path
from safeatomic_core._settle import recover

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_spawnp"), reason="no os.posix_spawnp: lock and edit say so"
)

ORPHAN = ".safeatomic-tmp-0123456789abcdef.tmp"


@pytest.fixture
def ended() -> Iterator[None]:
    """Let SIGTERM end this process by default, as it does a program that is started."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def signalling(function: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    """Return a function around which a signal comes."""

    def called(*args: Any, **options: Any) -> Any:
        if first:
            signal.raise_signal(signal.SIGTERM)
        result = function(*args, **options)
        signal.raise_signal(signal.SIGTERM)
        return result

    return called


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("command", ["exit 7", "kill -TERM $PPID; sleep 60"])
def test_signals_during_the_clean_up_are_not_to_interrupt_it(
    target: Path, command: str, monkeypatch: pytest.MonkeyPatch, listing: Any
) -> None:
    monkeypatch.setattr(running, "recover", signalling(recover, first=True))
    script = f"touch {target.with_name(ORPHAN)}; {command}"
    status = 7 if "exit" in command else 128 + signal.SIGTERM
    assert main(["lock", str(target), "--", "sh", "-c", script]) == status
    assert listing() == ["data.bin"]


@pytest.mark.usefixtures("ended")
def test_a_signal_right_after_the_lock_was_taken_leaves_none(
    target: Path, monkeypatch: pytest.MonkeyPatch, listing: Any
) -> None:
    monkeypatch.setattr(running, "try_acquire_lock", signalling(try_acquire_lock, first=False))
    made = target.with_name("made")
    assert main(["lock", str(target), "--", "touch", str(made)]) == 128 + signal.SIGTERM
    assert listing() == ["data.bin"]


@pytest.mark.usefixtures("ended")
def test_a_signal_right_before_the_command_starts_no_command(
    target: Path, monkeypatch: pytest.MonkeyPatch, listing: Any
) -> None:
    monkeypatch.setattr(Child, "__enter__", signalling(Child.__enter__, first=True))
    made = target.with_name("made")
    assert main(["lock", str(target), "--", "touch", str(made)]) == 128 + signal.SIGTERM
    assert listing() == ["data.bin"]


@pytest.mark.usefixtures("ended")
def test_a_lock_of_the_program_around_the_command_stays_its_own(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert try_acquire_lock(target)
    monkeypatch.setattr(running, "try_acquire_lock", signalling(try_acquire_lock, first=False))
    assert main(["lock", str(target), "--", "true"]) == 128 + signal.SIGTERM
    assert inspect_lock(target).alive == "yes"
    assert release_lock(target)


@pytest.mark.parametrize("change", ["ln -sfn two cur", "mv one three; mkdir one"])
def test_the_directory_of_the_lock_is_cleared_up_wherever_its_path_leads(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(name).mkdir()
    os.symlink("one", "cur")
    flushed: list[tuple[int, int]] = []

    def recovered(target: Any, safety: str) -> None:
        status = os.fstat(target.dir_fd)
        flushed.append((status.st_dev, status.st_ino))
        recover(target, safety)

    monkeypatch.setattr(running, "recover", recovered)
    status = os.stat("one")
    script = f"touch one/{ORPHAN} two/{ORPHAN}; {change}"
    assert main(["lock", "cur/f", "--", "sh", "-c", script]) == 0
    assert flushed == [(status.st_dev, status.st_ino)]
    locked = "one" if "ln" in change else "three"
    assert os.listdir(locked) == []
    assert os.listdir("two") == [ORPHAN]


def test_what_the_program_around_the_command_made_of_a_descriptor_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ORPHAN).touch()
    held = tmp_path / "f"
    assert try_acquire_lock(held)
    kept = kept_by_path(str(held))
    assert kept is not None
    fd = os.open(other, os.O_RDONLY)
    with monkeypatch.context() as patch:
        patch.setattr(kept.lock, "dir_fd", fd)
        running._clear_up(kept, str(held))
    os.close(fd)
    running._release(kept, str(held))
    assert os.listdir(other) == [ORPHAN]
    assert not inspect_lock(held).exists


def test_a_write_that_is_under_way_ends_before_its_writer_is_given_up(target: Path) -> None:
    writing, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    class Slow(AtomicWriter):
        def write(self, data: Any, /) -> int:
            writing.set()
            go_on.wait(10)
            order.append("written")
            return super().write(data)

    read_end, write_end = os.pipe()
    with Slow(target) as writer:
        pump = running._Pump(read_end, writer)
        pump.start()
        os.write(write_end, b"chunk")
        assert writing.wait(10)
        threading.Timer(0.1, go_on.set).start()
        pump.close()
        order.append("given up")
        os.close(write_end)
        pump.join(10)
        writer.abort()
    assert order == ["written", "given up"]
