"""Forks and those who open or close descriptors meanwhile: who waits for whom, and how long."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from held_descriptors import CREATE, exit_code, held_at
from safeatomic_core import _forks, _log
from safeatomic_core._forks import Held, generation


class _SlowOpener:
    """Opens a file in another thread, and takes its time until it is told to go on."""

    def __init__(self, path: Path) -> None:
        self.held = Held()
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self._path = path
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.held.open(self._open)

    def _open(self) -> int:
        self.inside.set()
        assert self.go_on.wait(10)
        return os.open(self._path, CREATE)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.inside.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._thread.join()
        self.held.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_a_thread_that_is_opening(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "held") as slow:
        threading.Timer(0.2, slow.go_on.set).start()
        pid = os.fork()
        if pid == 0:
            os._exit(0 if not _forks._held and _open_files() == [] else 1)
        assert slow.go_on.is_set()
        assert exit_code(pid) == 0


def _open_files() -> list[str]:
    """Return what this process has open that is called "held"."""
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue  # the listing's own
    return [name for name in names if name.endswith("/held")]


class _Forking:
    """As if this thread were about to fork."""

    def __enter__(self) -> None:
        generation()
        _forks._one_at_a_time.acquire()
        _forks._before_fork()

    def __exit__(self, *_: object) -> None:
        _forks._forking.clear()
        _forks._one_at_a_time.release()


def test_a_thread_that_opens_or_closes_during_a_fork_waits_for_it(tmp_path: Path) -> None:
    held = Held()
    with _Forking():
        opening = threading.Thread(target=held.open, args=(os.open, tmp_path / "held", CREATE))
        opening.start()
        opening.join(0.2)
        assert held.fd == -1
    opening.join(10)
    fd = held.fd
    with _Forking():
        closing = threading.Thread(target=held.close)
        closing.start()
        closing.join(0.2)
        assert os.fstat(fd)
    closing.join(10)
    assert fd not in _forks._held


def test_a_thread_that_takes_over_during_a_fork_waits_for_it(tmp_path: Path) -> None:
    first, second = held_at(tmp_path / "held"), Held()
    with _Forking():
        adopting = threading.Thread(target=second.adopt, args=(first,))
        adopting.start()
        adopting.join(0.2)
        assert second.fd == -1
    adopting.join(10)
    assert second.fd == first.fd
    second.close()


def test_whoever_waits_for_a_fork_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    held, waited_for = Held(), []

    def sleep(_seconds: float) -> None:
        waited_for.append(held in _forks._opening_or_closing)
        _forks._forking.clear()

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(_forks, "_forking", [-1])  # another thread
    monkeypatch.setattr(_forks, "_opening_or_closing", {held: threading.get_ident()})
    _forks._let_fork_pass(held)
    assert waited_for == [False]
    assert held in _forks._opening_or_closing


def test_threads_that_open_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "slow") as slow:
        held_at(tmp_path / "quick").close()
        assert slow.held.fd == -1


def test_a_fork_does_not_wait_for_ever_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_forks, "_LONGEST_WAIT", 0.05)
    with _SlowOpener(tmp_path / "slow"):
        with _Forking():
            pass
        with _Forking():
            pass
    assert caplog.text.count("a forked child may share the file's lock") == 1


class _Busy(dict[object, int]):
    """As if another thread began to open whenever the last one was given up."""

    def clear(self) -> None:
        super().clear()
        self[object()] = -1


def test_a_fork_waits_once_however_many_threads_begin_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[object] = []

    def warning(*details: object) -> None:
        assert not warned, "it goes on waiting"
        warned.append(details)

    busy = _Busy()
    busy.clear()
    monkeypatch.setattr(_forks, "_opening_or_closing", busy)
    monkeypatch.setattr(_forks, "_LONGEST_WAIT", 0)
    monkeypatch.setattr(_log, "warning", warning)
    with _Forking():
        pass
    assert warned


def test_nobody_waits_for_ever_for_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_forks, "_LONGEST_WAIT", 0.05)
    with _Forking():
        thread = threading.Thread(target=lambda: held_at(tmp_path / "held").close())
        thread.start()
        thread.join(10)
        ended = not thread.is_alive()
    thread.join()
    assert ended
    assert caplog.text.count("a fork takes longer") == 2


def test_the_thread_that_forks_does_not_wait_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fork_inside() -> int:
        with _Forking():  # as a signal handler would
            return os.open(tmp_path / "held", CREATE)

    held = Held()
    held.open(fork_inside)
    held.close()
    with _Forking():
        held_at(tmp_path / "held").close()
    assert caplog.text == ""
