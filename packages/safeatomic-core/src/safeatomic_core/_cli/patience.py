"""Standard streams that another program has set to non-blocking, used as blocking ones.

The flag belongs to the open file, which our parent and its other children share (fcntl(2),
O_NONBLOCK); some shells, job runners and ssh leave it set. Python's buffered streams treat "no data
yet" as the end of the input, and drop output that does not fit into a pipe at once. Clearing the
flag would disturb the program that has set it.
"""

from __future__ import annotations

import io
import os
import select
import sys

from .._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Patience:
    """Replace the non-blocking standard streams inside a ``with`` block."""

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        for name in ("stdin", "stdout", "stderr"):
            stream = getattr(sys, name)
            if _is_impatient(stream):
                self._before[name] = stream
                setattr(sys, name, _patient(stream))

    def __exit__(self, *_details: object) -> None:
        for name, stream in self._before.items():
            setattr(sys, name, stream)


def _is_impatient(stream: Any) -> bool:
    try:
        return not os.get_blocking(stream.fileno())
    except (AttributeError, OSError, ValueError):  # none, closed, or not a file
        return False


def _patient(stream: Any) -> io.TextIOWrapper:
    """Return a stream on the same descriptor that waits."""
    raw = _Waiting(stream.fileno(), writes=stream.writable())
    buffer = io.BufferedWriter(raw) if stream.writable() else io.BufferedReader(raw)
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )


class _Waiting(io.RawIOBase):
    """A descriptor that belongs to the caller; each call waits until it is ready."""

    def __init__(self, fd: int, *, writes: bool) -> None:
        self._fd = fd
        self._writes = writes

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def readable(self) -> bool:
        return not self._writes

    def writable(self) -> bool:
        return self._writes

    def write(self, data: Any, /) -> int:
        while True:
            try:
                return kernel.write(self._fd, data)
            except BlockingIOError:
                select.select((), (self._fd,), ())

    def readinto(self, buffer: Any, /) -> int:
        while True:
            try:
                data = kernel.read(self._fd, len(buffer))
            except BlockingIOError:
                select.select((self._fd,), (), ())
            else:
                buffer[: len(data)] = data
                return len(data)
