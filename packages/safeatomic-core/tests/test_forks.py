from __future__ import annotations

import contextlib
import dis
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from held_descriptors import CREATE, exit_code, held_at
from safeatomic_core import _descriptor, _forks
from safeatomic_core._forks import Held, generation

if TYPE_CHECKING:
    from types import FrameType


def test_a_forked_child_keeps_no_held_descriptor(tmp_path: Path) -> None:
    held = held_at(tmp_path / "held")
    fd = held.fd
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(fd)
        except OSError as error:
            os._exit(0 if error.errno == errno.EBADF and not _forks._held else 1)
        os._exit(2)
    assert exit_code(pid) == 0
    assert os.fstat(fd)  # the parent keeps its own
    held.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_child_closes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    closed, reused = held_at(tmp_path / "closed"), held_at(tmp_path / "reused")
    os.close(closed.fd)
    os.close(reused.fd)
    fd = os.open(tmp_path / "another", CREATE)
    assert fd == min(closed.fd, reused.fd)
    pid = os.fork()
    if pid == 0:
        os.fstat(fd)
        closed.close()
        reused.close()
        os.fstat(fd)
        os._exit(0)
    assert exit_code(pid) == 0
    assert not closed.valid()
    assert not reused.valid()
    closed.close()
    reused.close()
    os.fstat(fd)
    os.close(fd)


def test_a_child_takes_note_of_nothing_that_is_its_parent_s(tmp_path: Path) -> None:
    held = held_at(tmp_path / "held")
    pid = os.fork()
    if pid == 0:
        held.shows((tmp_path / "held").stat())
        os._exit(len(_forks._held))
    assert exit_code(pid) == 0
    held.close()
    held.shows((tmp_path / "held").stat())  # closed by now: nothing to take note of


def test_a_generation_is_a_fork(tmp_path: Path) -> None:
    held = held_at(tmp_path / "held")
    before = generation()
    pid = os.fork()
    if pid == 0:
        known = generation() == before + 1 and not held.valid()
        held.close()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if generation() == before + 2 else 1)
        os._exit(0 if known and exit_code(grandchild) == 0 else 1)
    assert exit_code(pid) == 0
    assert generation() == before
    assert held.valid()
    held.close()
    held.close()
    assert held.fd == -1


def test_a_descriptor_is_taken_over_with_what_it_was_opened_on(tmp_path: Path) -> None:
    first, second = held_at(tmp_path / "held"), Held()
    fd = first.fd
    second.adopt(first)
    assert (first.fd, second.fd) == (fd, fd)
    first.detach()
    assert (first.fd, second.fd) == (-1, fd)
    assert second.valid()
    second.adopt(first)
    assert (first.fd, second.fd) == (-1, -1)
    os.close(fd)


@pytest.mark.parametrize("closer", [0, 1])
def test_a_shared_descriptor_is_closed_for_both_owners(tmp_path: Path, closer: int) -> None:
    owners = held_at(tmp_path / "held"), Held()
    fd = owners[0].fd
    owners[1].adopt(owners[0])
    owners[closer].close()
    assert [owner.fd for owner in owners] == [-1, -1]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def refuse(*_args: object) -> int:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def open_share_close(opener: Callable[..., int], path: Path, owners: list[Held]) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            owners[0].open(opener, path, os.O_RDWR | os.O_CREAT)
        owners[1].adopt(owners[0])
        owners[0].detach()
    finally:
        owners[1].close()
        owners[0].close()


@pytest.mark.parametrize("opener", [os.open, refuse])
def test_an_interrupt_anywhere_in_an_owner_loses_no_descriptor_and_delays_no_fork(
    tmp_path: Path, opener: Callable[..., int]
) -> None:
    class Interrupt(BaseException):
        pass

    left = 0

    def step(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        left -= event in ("line", "opcode")
        # NOT_TAKEN only tells a tracer of a branch. No signal is handled there, and CPython 3.15
        # leaves it out of the try statement around it.
        if left == 0 and frame.f_code.co_code[frame.f_lasti] == dis.opmap.get("NOT_TAKEN"):
            left = 1
        if left == 0:
            sys.settrace(None)
            raise Interrupt
        return step

    def call(frame: FrameType, _event: str, _arg: object) -> Any:
        if frame.f_code.co_filename not in (_forks.__file__, _descriptor.__file__):
            return None
        frame.f_trace_opcodes = True
        return step

    former, number = sys.gettrace(), 0
    while left <= 0:
        number += 1
        left = number
        owners = [Held(), Held()]
        try:
            sys.settrace(call)
            open_share_close(opener, tmp_path / "held", owners)
        except Interrupt:
            pass
        finally:
            sys.settrace(former)
        # Whoever makes an owner closes it, again if it was cut short before it began.
        for owner in owners:
            owner.close()
        assert not _forks._opening_or_closing, f"interrupt {number} would delay a fork"
        assert not [fd for fd in _forks._held if shows(fd, tmp_path / "held")], number
    assert number > (100 if opener is os.open else 50)
    assert not [fd for fd in range(3, 200) if shows(fd, tmp_path / "held")]


def shows(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def test_what_cannot_be_looked_at_is_ours_all_the_same(tmp_path: Path, faults: Any) -> None:
    faults.fail("fstat", errno.EIO)
    held = held_at(tmp_path / "held")
    fd = held.fd
    assert held.valid()
    held.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert fd not in _forks._held


def test_an_interrupt_before_a_fork_leaves_nothing_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hook raises is printed and goes nowhere; the fork happens all the same."""
    held = held_at(tmp_path / "held")
    real, calls = _forks._make_ready, []

    def interrupted() -> None:
        calls.append("call")
        if len(calls) == 1:
            raise KeyboardInterrupt
        real()

    monkeypatch.setattr(_forks, "_make_ready", interrupted)
    swallowed: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda info: swallowed.append(info.exc_type))
    fd = held.fd
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(fd)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert exit_code(pid) == 0
    assert swallowed == [KeyboardInterrupt]
    assert _forks._forking == []
    held.close()


@pytest.mark.skipif(hasattr(list.append, "__code__"), reason="here built-in methods have code, too")
def test_what_runs_after_a_fork_is_not_python_code(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[object] = []

    def register(**named: object) -> None:
        hooks.extend(hook for name, hook in named.items() if name != "before")

    monkeypatch.setattr(os, "register_at_fork", register)
    _forks._set_hooks()
    assert len(hooks) == 9
    for hook in hooks:
        assert not hasattr(getattr(hook, "func", hook), "__code__"), hook
    assert not hasattr(_forks._Doomed.__iter__.func, "__code__")  # type: ignore[attr-defined]


INTERRUPTED = """
import os, signal, sys
from safeatomic_core import _descriptor, _forks

class Tick(Exception): pass
def handler(*_): raise Tick
signal.signal(signal.SIGALRM, handler)
held = _forks.Held()
held.open(os.open, sys.argv[1], os.O_RDWR | os.O_CREAT)
ticks = 0
for microseconds in range(50, 3000, 50):
    try:
        signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6, 0.05)
        if os.fork() == 0:
            os._exit(0)
        while True:
            pass
    except Tick:
        signal.setitimer(signal.ITIMER_REAL, 0)
        ticks += 1
    assert _forks._forking == []
    assert _forks._one_at_a_time.acquire(blocking=False)
    _forks._one_at_a_time.release()
    try: os.wait()
    except ChildProcessError: pass
print(ticks, "logging" in sys.modules)
"""


def test_a_handler_that_raises_after_a_fork_is_heard_and_stops_no_other_thread(
    tmp_path: Path,
) -> None:
    """It is heard where Python code runs next: in the caller (or, before the fork, by nobody).

    In a process of its own: the hooks of `logging` are Python code, and would keep its lock.
    """
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, tmp_path / "held"], capture_output=True, text=True
    )
    assert done.stdout == "59 False\n", done.stderr


def test_a_platform_without_fork_needs_no_hook(data: Path) -> None:
    program = (
        "import os, random, sys\n"  # the standard library's own modules have been told
        "del os.register_at_fork\n"
        "from safeatomic_core import write_atomic\n"
        "write_atomic(sys.argv[1], 'new')\n"
    )
    subprocess.run([sys.executable, "-c", program, data], check=True)
    assert data.read_text() == "new"
