from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Self

import pytest

from safeatomic_core import _forks
from safeatomic_core._forks import close_held, open_held


def test_a_forked_child_keeps_no_held_descriptor(tmp_path: Path) -> None:
    fd = open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT)
    closed_by_the_program = open_held(os.open, tmp_path / "gone", os.O_RDWR | os.O_CREAT)
    os.close(closed_by_the_program)
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(fd)
        except OSError as error:
            os._exit(0 if error.errno == errno.EBADF and not _forks._held else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.fstat(fd)  # the parent keeps its own
    close_held(fd)
    _forks._held.discard(closed_by_the_program)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class _SlowOpener:
    """Opens a file in another thread, and takes its time until it is told to go on."""

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self._path = path
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.fd = open_held(self._open)

    def _open(self) -> int:
        self.inside.set()
        assert self.go_on.wait(10)
        return os.open(self._path, os.O_RDWR | os.O_CREAT)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.inside.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._thread.join()
        close_held(self.fd)


# That a fork beside threads is a risk (an interpreter's warning since 3.12) is what is tested here.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_for_a_thread_that_is_opening(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "held") as slow:
        threading.Timer(0.2, slow.go_on.set).start()
        pid = os.fork()
        if pid == 0:
            os._exit(0 if not _forks._held and _open_files() == [] else 1)
        assert slow.go_on.is_set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _open_files() -> list[str]:
    """Return what this process has open that is called "held"."""
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue  # the listing's own
    return [name for name in names if name.endswith("/held")]


def test_whoever_opens_during_a_fork_waits_for_it(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "first"):
        pass  # the hook is set, and nobody is inside
    _forks._before_fork()
    opened: list[int] = []
    thread = threading.Thread(
        target=lambda: opened.append(open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT))
    )
    thread.start()
    thread.join(0.2)
    assert opened == []
    _forks._after_fork()
    thread.join(10)
    _forks._before_fork()
    closing = threading.Thread(target=close_held, args=(opened[0],))
    closing.start()
    closing.join(0.2)
    assert os.fstat(opened[0])
    _forks._after_fork()
    closing.join(10)
    assert opened[0] not in _forks._held


def test_threads_that_open_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "slow") as slow:
        close_held(open_held(os.open, tmp_path / "quick", os.O_RDWR | os.O_CREAT))
        assert slow.fd == -1


def test_a_fork_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_forks, "_LONGEST_WAIT", 0.05)
    with _SlowOpener(tmp_path / "slow"):
        _forks._before_fork()
        _forks._after_fork()
    assert "a forked child may share the file's lock" in caplog.text


def test_nobody_waits_for_ever_for_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close_held(open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT))
    monkeypatch.setattr(_forks, "_LONGEST_WAIT", 0.05)
    _forks._before_fork()
    thread = threading.Thread(
        target=lambda: close_held(open_held(os.open, tmp_path / "held", os.O_RDWR))
    )
    thread.start()
    thread.join(10)
    ended = not thread.is_alive()
    _forks._after_fork()
    thread.join()
    assert ended
    assert caplog.text.count("a fork takes longer") == 2


def test_the_thread_that_forks_does_not_wait_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fork_inside() -> int:
        _forks._before_fork()  # as a signal handler would
        _forks._after_fork()
        return os.open(tmp_path / "held", os.O_RDWR | os.O_CREAT)

    close_held(open_held(fork_inside))
    _forks._before_fork()
    close_held(open_held(os.open, tmp_path / "held", os.O_RDWR))
    _forks._after_fork()
    assert caplog.text == ""


def test_a_platform_without_fork_needs_no_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    monkeypatch.setattr(_forks, "_fork_hook_set", False)
    close_held(open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT))
