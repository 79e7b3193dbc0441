from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from safeatomic_core import _posix
from safeatomic_core._posix import ENTRIES, close_held, intercept, kernel, open_held


def test_every_entry_can_be_replaced_and_comes_back() -> None:
    before = {name: getattr(kernel, name) for name in ENTRIES}
    seen: list[str] = []

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        seen.append(name)
        return lambda *args, **kwargs: call(*args, **kwargs)

    with intercept(wrap):
        assert kernel.fsync is not before["fsync"]
        with intercept(wrap):
            pass
        assert kernel.fsync is not before["fsync"]
    assert set(seen) == set(ENTRIES)
    assert all(getattr(kernel, name) is call for name, call in before.items())


def test_a_missing_call_says_so() -> None:
    call: Callable[[], None] = _posix._or_missing("teleport", None)
    with pytest.raises(OSError, match="teleport is not available") as caught:
        call()
    assert caught.value.errno == errno.ENOSYS
    assert _posix._or_missing("getpid", os.getpid) is os.getpid


@pytest.mark.parametrize(
    ("code", "expected"), [(None, "full"), (errno.ENOTSUP, "plain"), (errno.EIO, "error")]
)
def test_macos_flushes_the_drive_and_falls_back(
    monkeypatch: pytest.MonkeyPatch, code: int | None, expected: str
) -> None:
    calls: list[str] = []

    class Fcntl:
        @staticmethod
        def fcntl(_fd: int, command: int) -> None:
            assert command == 51
            if code is not None:
                raise OSError(code, "no")
            calls.append("full")

    monkeypatch.setattr(_posix, "fcntl", Fcntl)
    monkeypatch.setattr(os, "fsync", lambda _fd: calls.append("plain"))
    if expected == "error":
        with pytest.raises(OSError, match="no"):
            _posix._fsync(3)
        assert calls == []
    else:
        _posix._fsync(3)
        assert calls == [expected]


def test_an_anonymous_file_needs_kernel_support(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_posix, "O_TMPFILE", 0)
    with pytest.raises(OSError, match="O_TMPFILE") as caught:
        _posix._open_anonymous(0, 0o600)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_exclusive_rename_refuses_an_existing_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            kernel.rename_noreplace("a", "b", dir_fd, dir_fd)
        kernel.rename_noreplace("a", "c", dir_fd, dir_fd)
    finally:
        os.close(dir_fd)
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_a_libc_without_an_exclusive_rename_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_kwargs: object())
    call = _posix._find_rename_exclusive()
    with pytest.raises(OSError, match="renameat") as caught:
        call("a", "b", 0, 0)
    assert caught.value.errno == errno.ENOSYS


def test_a_forked_child_keeps_no_held_descriptor(tmp_path: Path) -> None:
    fd = open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT)
    closed_by_the_program = open_held(os.open, tmp_path / "gone", os.O_RDWR | os.O_CREAT)
    os.close(closed_by_the_program)
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(fd)
        except OSError as error:
            os._exit(0 if error.errno == errno.EBADF and not _posix._held else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.fstat(fd)  # the parent keeps its own
    close_held(fd)
    _posix._held.discard(closed_by_the_program)
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


def test_a_fork_waits_for_a_thread_that_is_opening(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "held") as slow:
        threading.Timer(0.2, slow.go_on.set).start()
        pid = os.fork()
        if pid == 0:
            os._exit(0 if not _posix._held and _open_files() == [] else 1)
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
    _posix._before_fork()
    opened: list[int] = []
    thread = threading.Thread(
        target=lambda: opened.append(open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT))
    )
    thread.start()
    thread.join(0.2)
    assert opened == []
    _posix._after_fork()
    thread.join(10)
    _posix._before_fork()
    closing = threading.Thread(target=close_held, args=(opened[0],))
    closing.start()
    closing.join(0.2)
    assert os.fstat(opened[0])
    _posix._after_fork()
    closing.join(10)
    assert opened[0] not in _posix._held


def test_threads_that_open_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with _SlowOpener(tmp_path / "slow") as slow:
        close_held(open_held(os.open, tmp_path / "quick", os.O_RDWR | os.O_CREAT))
        assert slow.fd == -1


def test_a_fork_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_posix, "_LONGEST_WAIT", 0.05)
    with _SlowOpener(tmp_path / "slow"):
        _posix._before_fork()
        _posix._after_fork()
    assert "a forked child may share the file's lock" in caplog.text


def test_nobody_waits_for_ever_for_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close_held(open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT))
    monkeypatch.setattr(_posix, "_LONGEST_WAIT", 0.05)
    _posix._before_fork()
    thread = threading.Thread(
        target=lambda: close_held(open_held(os.open, tmp_path / "held", os.O_RDWR))
    )
    thread.start()
    thread.join(10)
    ended = not thread.is_alive()
    _posix._after_fork()
    thread.join()
    assert ended
    assert caplog.text.count("a fork takes longer") == 2


def test_the_thread_that_forks_does_not_wait_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fork_inside() -> int:
        _posix._before_fork()  # as a signal handler would
        _posix._after_fork()
        return os.open(tmp_path / "held", os.O_RDWR | os.O_CREAT)

    close_held(open_held(fork_inside))
    _posix._before_fork()
    close_held(open_held(os.open, tmp_path / "held", os.O_RDWR))
    _posix._after_fork()
    assert caplog.text == ""


def test_a_name_that_cannot_be_looked_up_is_no_missing_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(OSError, match="no"):
        _posix._exists_at("x", 0)


def test_a_platform_without_fork_needs_no_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    monkeypatch.setattr(_posix, "_fork_hook_set", False)
    close_held(open_held(os.open, tmp_path / "held", os.O_RDWR | os.O_CREAT))


def test_a_platform_without_fcntl_can_import_the_library() -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None; from safeatomic_core import _posix; "
        "assert _posix.fcntl is None"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
