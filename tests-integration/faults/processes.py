"""Real processes for the tests: forked, waited for, and always cleaned up."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

FAILED = 99  # exit status of a child that raised


class Children:
    """Forked children, killed and reaped at the end of a ``with`` block."""

    def __init__(self) -> None:
        self._alive: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pid in list(self._alive):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)

    def fork(self, action: Callable[[], int | None]) -> int:
        """Run a function in a child; its exit status is what the function returns.

        Returns:
            The child's process number.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = FAILED
            try:
                status = action() or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        self._alive.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Wait until a child has ended; return its exit status, or minus the signal's number."""
        _, status = os.waitpid(pid, 0)
        self._alive.discard(pid)
        return os.waitstatus_to_exitcode(status)

    def wait_for_any(self) -> tuple[int, int]:
        """Wait until some child has ended; return its number and its exit status."""
        pid, status = os.wait()
        self._alive.discard(pid)
        return pid, os.waitstatus_to_exitcode(status)

    def wait_until_stopped(self, pid: int) -> bool:
        """Wait until a child has stopped itself; False if it has ended instead."""
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._alive.discard(pid)
        self.last = os.waitstatus_to_exitcode(status)
        return False


class Shared:
    """A few numbers that parent and children all see."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, count * 8)

    def __getitem__(self, index: int) -> int:
        return int(struct.unpack_from("q", self._memory, index * 8)[0])

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("q", self._memory, index * 8, value)


class Pipe:
    """A pipe between a parent and a child."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def say(self, word: bytes = b".") -> None:
        """Write something."""
        os.write(self._write, word)

    def hear(self, size: int = 1) -> bytes:
        """Wait for something; empty when every writing end is closed."""
        return os.read(self._read, size)

    def only_read(self) -> None:
        """Close the writing end of this process."""
        os.close(self._write)
        self._write = -1

    def close(self) -> None:
        """Close both ends."""
        for fd in (self._read, self._write):
            if fd >= 0:
                os.close(fd)
        self._read = self._write = -1
