"""Record traces of the running code, as `trace_check` takes them.

`Recorder` writes each event to a file with a single `write` to an O_APPEND descriptor, so that
several processes can share the file and a killed process leaves whole lines. It trusts the hook
only as far as it has seen the system calls. Not recorded are a Harden without an fsync of the temp
after its last write, or after an fsync that failed; a Publish without a rename; a Settle without an
fsync of the directory after the rename. A write after Harden is recorded as one more Fill. So code
that leaves out a call and reports the step all the same does not get away with it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from safeatomic_core import _trace
from safeatomic_core._posix import intercept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class Recorder:
    """Record the events of this process into a file, inside a ``with`` block.

    Args:
        path: The file; it is created, or added to.
        kill_at: The event, from 0, at which the process kills itself.
        unreported: Whether it dies before that event is written, its effect done.
        name: The process's name in the trace; None for its number and the thread's.
    """

    def __init__(
        self,
        path: Path,
        *,
        kill_at: int | None = None,
        unreported: bool = False,
        name: str | None = None,
    ) -> None:
        self._path = path
        self._kill_at = kill_at
        self._unreported = unreported
        self._name = name
        self._count = 0
        self._fd = -1
        self._seen = threading.local()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stack.enter_context(intercept(self._witness))
        self._stack.callback(setattr, _trace, "hook", _trace.hook)
        _trace.hook = self._hook
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        os.close(self._fd)

    def call(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> bool:
        """Make one call of the library and record how it ended; True if it returned."""
        try:
            function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever it is, the trace says that the call raised
            self.write("return", {"ok": False})
            return False
        self.write("return", {"ok": True})
        return True

    def write(self, step: str, facts: dict[str, object]) -> None:
        """Write an event."""
        name = self._name or f"{os.getpid()}:{threading.get_ident()}"
        line = json.dumps([step, {"process": name, **facts}]) + "\n"
        os.write(self._fd, line.encode())

    def _hook(self, step: str, facts: dict[str, object]) -> None:
        dying = self._kill_at == self._count
        self._count += 1
        if dying and self._unreported:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._believed(step, facts):
            self.write(step, facts)
        if dying:
            os.kill(os.getpid(), signal.SIGKILL)

    def _believed(self, step: str, facts: dict[str, object]) -> bool:
        seen = vars(self._seen)
        if step == "Gate":
            seen.clear()
        if step == "Harden":
            seen["hardened"] = facts["inode"]
            return facts["inode"] in seen.get("flushed", ())
        if step == "Publish":
            return bool(seen.get("renamed"))
        if step == "Settle" and facts["durable"]:
            return bool(seen.get("settled"))
        return True

    def _witness(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        look = getattr(self, f"_saw_{name}", None)
        if look is None:
            return call

        def witnessed(*args: Any, **kwargs: Any) -> Any:
            done = False
            try:
                result = call(*args, **kwargs)
                done = True
            finally:
                look(vars(self._seen), args[0], done)
            return result

        return witnessed

    def _saw_write(self, seen: dict[str, Any], fd: int, _done: bool) -> None:
        inode = os.fstat(fd).st_ino
        seen.setdefault("flushed", set()).discard(inode)
        if inode == seen.get("hardened"):
            self.write("Fill", {"bytes": 0})

    _saw_pwrite = _saw_ftruncate = _saw_write

    def _saw_fsync(self, seen: dict[str, Any], fd: int, done: bool) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            seen["settled"] = done and seen.get("renamed")
        elif not done:
            seen.setdefault("lost", set()).add(status.st_ino)
        elif status.st_ino not in seen.get("lost", ()):
            seen.setdefault("flushed", set()).add(status.st_ino)

    def _saw_rename(self, seen: dict[str, Any], _source: str, done: bool) -> None:
        if done:
            seen["renamed"] = True
            seen["settled"] = False


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process; return its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def reap(child: int, recorder: Recorder, name: str) -> bool:
    """Wait for a forked process; if it was killed, record that and return True."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        recorder.write("kill", {"process": name})
        return True
    if os.WEXITSTATUS(status) != 0:
        raise RuntimeError(f"the process {name} failed with exit code {os.WEXITSTATUS(status)}")
    return False
