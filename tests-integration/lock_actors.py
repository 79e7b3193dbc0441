"""Processes that act on one lock under the trace hook, and the log that they write together.

They run at the same time, may be killed before any system call, and wait for each other at gates.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trace_check

import safeatomic_core as sa
from safeatomic_core import _posix, _trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from trace_check import Event


class Gate:
    """A gate between processes: those that wait at it continue once it is opened."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()

    def open(self) -> None:
        os.write(self._in, b"x" * 64)

    def wait(self) -> None:
        os.read(self._out, 1)

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)


@dataclass
class Actor:
    """What one process does.

    Attributes:
        key: Names the process in the trace.
        play: What it does, given the target and itself.
        die_at: It is killed before its n-th system call; 0 for never.
        at: What it does before a system call or after an event was logged, by the name of the
            call or of the event's phase (or step); each once.
        breakage: Called first in the process; breaks the code there.
    """

    key: str
    play: Callable[[Path, Actor], None]
    die_at: int = 0
    at: dict[str, Callable[[], None]] = field(default_factory=dict)
    breakage: Callable[[], None] | None = None
    _log: int = -1
    _calls: int = 0

    def run(self, target: Path, log: int) -> None:
        """Do everything; called in a process of its own."""
        self._log = log
        self.say("begin")
        if self.breakage is not None:
            self.breakage()
        _trace.hook = self._hook
        with _posix.intercept(self._wrap):
            self.play(target, self)

    def say(self, step: str, **facts: object) -> None:
        """Log an event."""
        line = json.dumps([step, {**facts, "process": self.key}]) + "\n"
        os.write(self._log, line.encode())

    def _hook(self, step: str, facts: dict[str, object]) -> None:
        self.say(step, **facts)
        self.at.pop(str(facts.get("phase", step)), lambda: None)()

    def _wrap(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            self._calls += 1
            if self._calls == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.at.pop(name, lambda: None)()
            if name == "fsync":
                return None  # nothing of the lock depends on it, and this disk is busy
            return call(*args, **kwargs)

        return wrapped


def record(folder: Path, *acts: list[Actor], gates: tuple[Gate, ...] = ()) -> list[Event]:
    """Play acts one after another, the actors of each at the same time; return the log."""
    folder.mkdir()
    target = folder / "t"
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    outside = Actor("outside", lambda *_: None, _log=log)
    try:
        for act in acts:
            start = Gate()
            children = {_spawn(actor, target, log, start, gates): actor for actor in act}
            start.open()
            while children:
                pid, status = os.wait()
                actor = children.pop(pid)
                killed = os.WIFSIGNALED(status)
                assert killed or status == 0, f"{actor.key} failed"
                Actor(actor.key, actor.play, _log=log).say("kill" if killed else "end")
            start.close()
        outside.say("begin")
        outside.say("seen", inode=inode_of(target))
    finally:
        os.close(log)
        for gate in gates:
            gate.close()
    return trace_check.load(folder / "log")


def _spawn(actor: Actor, target: Path, log: int, start: Gate, gates: tuple[Gate, ...]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        start.wait()
        actor.run(target, log)
        code = 0
    finally:
        for gate in gates:
            gate.open()  # nobody waits for an actor that is gone
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def inode_of(target: Path) -> int:
    """Return the inode of the target's lock, 0 if there is none."""
    try:
        return target.with_name("t.lock").stat().st_ino
    except FileNotFoundError:
        return 0


# What actors do.


def write(
    target: Path,
    me: Actor,
    *,
    checked: bool = False,
    retries: int = 3,
    concurrency: Literal["lock", "none"] = "lock",
) -> None:
    ok = True
    try:
        sa.write_atomic_bytes(
            target,
            me.key.encode(),
            write_checksum=checked,
            retries=retries,
            delay=0.0005,
            concurrency=concurrency,
        )
    except sa.LockError:
        ok = False
    me.say("return", ok=ok)


def hold(target: Path, _me: Actor) -> None:
    """Take the lock and die with it."""
    sa.try_acquire_lock(target)
    os.kill(os.getpid(), signal.SIGKILL)


def take_and_release(target: Path, _me: Actor) -> None:
    if sa.try_acquire_lock(target, retries=3, delay=0.0005):
        sa.release_lock(target)


def force(target: Path, me: Actor) -> None:
    if sa.force_release_lock(target):
        me.say("force")


def clear(target: Path, me: Actor) -> None:
    sa.inspect_lock(target)
    if sa.release_stale_lock(target):
        me.say("stale-released")


def appear(kind: str) -> Callable[[Path, Actor], None]:
    """Make something else take the lock's name: another tool's lock, or garbage."""

    def play(target: Path, me: Actor) -> None:
        payload = {
            "version": 1,
            "pid": 2**31 - 1,  # of nobody
            "hostname": os.uname().nodename,
            "session_hash": None,
            "timestamp": "2026-01-01T00:00:00+00:00",
        }
        text = json.dumps(payload) if kind == "foreign" else "garbage"
        target.with_name("made").write_text(text)
        target.with_name("made").rename(target.with_name("t.lock"))
        me.say("foreign", inode=inode_of(target), kind=kind)
        if kind == "foreign":
            me.say("foreign-dies")

    return play


def sequence(*plays: Callable[[Path, Actor], None]) -> Callable[[Path, Actor], None]:
    def play(target: Path, me: Actor) -> None:
        for one in plays:
            one(target, me)

    return play


def checked_write(target: Path, me: Actor) -> None:
    write(target, me, checked=True)
