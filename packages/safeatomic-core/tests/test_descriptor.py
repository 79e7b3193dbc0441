"""What opens a descriptor closes it, whatever interrupts it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    _change,
    _descriptor,
    _forks,
    read_atomic_bytes,
    write_atomic_bytes,
)
from safeatomic_core._change import close, finish
from safeatomic_core._descriptor import Descriptor, closing, shows
from safeatomic_core._forks import Held
from safeatomic_core._posix import kernel


class Late(Exception):  # noqa: N818 - what a program calls its time-out
    """What a signal handler raises."""


class Interrupted:
    """What is closed at the second attempt: the first is cut short before it does anything."""

    def __init__(self) -> None:
        self.attempts = 0
        self.closed = False

    def close(self) -> None:
        self.attempts += 1
        if self.attempts == 1:
            raise Late
        self.closed = True


def test_the_result_is_passed_on_and_everything_is_closed(target: Path) -> None:
    opened = Descriptor()
    fd = closing(opened, lambda: opened.open(kernel.open, str(target), os.O_RDONLY))
    assert fd >= 0
    assert opened.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_an_error_is_passed_on_and_everything_is_closed(target: Path) -> None:
    opened = Descriptor()

    def fail() -> None:
        opened.open(kernel.open, str(target), os.O_RDONLY)
        raise Late

    with pytest.raises(Late):
        closing(opened, fail)
    assert opened.fd == -1


def test_a_close_that_was_cut_short_is_done_again() -> None:
    resource = Interrupted()
    with pytest.raises(Late):
        closing(resource, lambda: None)
    assert resource.closed


def test_who_owns_nothing_gives_nothing_away() -> None:
    assert Descriptor().release() == -1


@pytest.mark.parametrize("kind", [Descriptor, Held])
def test_what_an_interrupt_kept_from_being_closed_is_closed(
    target: Path, kind: type[Descriptor], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = kind()
    fd = opened.open(kernel.open, str(target), os.O_RDONLY)
    real, calls = _descriptor.close_all, []

    def close_all(held: list[int]) -> None:
        calls.append(held)
        if len(calls) == 1:
            raise Late
        real(held)

    for module in (_descriptor, _forks):
        monkeypatch.setattr(module, "close_all", close_all)
    with pytest.raises(Late):
        opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_change_is_closed_however_often_that_is_interrupted() -> None:
    class Change(Interrupted):
        def close(self) -> None:
            self.attempts += 1
            if self.attempts < 4:
                raise Late
            self.closed = True

    change = Change()
    with pytest.raises(Late):
        close(change)  # type: ignore[arg-type]
    assert change.closed


def test_a_change_that_is_interrupted_again_and_again_is_given_up_some_day() -> None:
    class Change(Interrupted):
        def close(self) -> None:
            self.attempts += 1
            raise Late

    change = Change()
    with pytest.raises(Late):
        close(change)  # type: ignore[arg-type]
    assert change.attempts == _change._ATTEMPTS


def test_an_ending_that_fails_twice_keeps_no_other_from_being_done() -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("tried")
        raise Late

    endings: list[Callable[[], None]] = [lambda: done.append("first"), fail]
    with pytest.raises(Late):
        finish(endings)
    assert done == ["tried", "tried", "first"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_only_what_still_shows_what_was_opened_is_closed(
    target: Path, tmp_path: Path, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Descriptor()
    fd = opened.open(kernel.open, str(target), os.O_RDONLY)
    inode = (os.fstat(fd).st_dev, os.fstat(fd).st_ino)
    assert shows(fd, inode)
    if interrupted:

        def fstat(_fd: int) -> None:
            raise Late

        monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
        with pytest.raises(Late):
            opened.close_if_shows(inode)
        monkeypatch.undo()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        return
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.dup2(other, fd)  # the program has closed ours, and got its number
    assert not shows(fd, inode)
    opened.close_if_shows(inode)
    os.fstat(fd)
    os.close(fd)
    os.close(other)
    assert not shows(fd, inode)


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("refusals", [1, 3, 10**6])
def test_the_end_of_a_lease_is_waited_for_boundedly(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, reopened: bool, refusals: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("safeatomic_core._descriptor.time.sleep", pauses.append)
    flags = os.O_RDONLY | os.O_NONBLOCK
    opened = Descriptor()
    if reopened:
        opened.open(kernel.open, os.devnull, os.O_RDONLY)
    faults.fail("open", errno.EWOULDBLOCK, when=lambda *_args: len(pauses) < refusals)
    if refusals == 10**6:
        with pytest.raises(BlockingIOError):
            opened.open(kernel.open, str(target), flags)
        assert 45 < sum(pauses) < 90
        assert (opened.fd >= 0) == reopened
    else:
        fd = opened.open(kernel.open, str(target), flags)
        assert os.path.samestat(os.fstat(fd), target.stat())
        assert len(pauses) == refusals
        assert opened.release() == fd
        assert opened.fd == -1  # what was open before is closed
        os.close(fd)
    opened.close()


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="no leases here")
def test_a_leased_file_and_a_leased_record_are_read(target: Path) -> None:
    write_atomic_bytes(target, b"x", write_checksum=True)
    for path in (target, Path(f"{target}.sha256")):
        with path.open("r+b") as file:

            def give_up(*_signal: object, fd: int = file.fileno()) -> None:
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

            before = signal.signal(signal.SIGIO, give_up)
            try:
                try:
                    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                except OSError as error:
                    pytest.skip(f"this filesystem has no leases ({error})")
                assert read_atomic_bytes(target, check_checksum=True) == b"x"
            finally:
                signal.signal(signal.SIGIO, before)
