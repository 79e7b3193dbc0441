"""A progress bar on standard error while many bytes are read, written or hashed.

It is drawn for long work, if standard error is a terminal that can remove it (not a dumb one).
``--progress`` always asks for it: without such a terminal, a line for each tenth is printed.
"""

from __future__ import annotations

import os
import stat
import sys

from .._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

LONG = 64 << 20  # bytes from which a bar is drawn
_WIDTH = 25
_STEP = 16 << 20  # bytes between two reports where the total is not known


class Progress:
    """The progress of one command; `advance` it by bytes."""

    def __init__(self, total: int | None, *, asked: bool, quiet: bool = False) -> None:
        """Draw nothing yet.

        Args:
            total: Bytes in all, None if unknown.
            asked: Whether ``--progress`` was given.
            quiet: Whether the terminal already shows other output.
        """
        self._total = total
        self._done = 0
        self._shown = -1
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._terminal = self._terminal and os.environ.get("TERM") != "dumb"
        long = total is None or total >= LONG
        self._active = sys.stderr is not None and (asked or (self._terminal and long and not quiet))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed in its place."""
        if self._shown >= 0 and self._terminal:
            self._put("\r\x1b[K")
            self._shown = -1

    def advance(self, size: int) -> None:
        """Count bytes as done."""
        if not self._active:
            return
        self._done += size
        if self._total is None:
            self._show(self._done // _STEP, f"{self._done >> 20} MiB")
        else:
            percent = min(100, self._done * 100 // max(self._total, 1))
            bar = "#" * (percent * _WIDTH // 100)
            shown = percent if self._terminal else percent // 10
            self._show(shown, f"[{bar:<{_WIDTH}}] {percent:3d} %")

    def _show(self, step: int, text: str) -> None:
        if step != self._shown:
            self._shown = step
            self._put(f"\r{text}" if self._terminal else f"safeatomic: {text}\n")

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._active = False


def total_size(paths: Iterable[str]) -> int:
    """Return the total size in bytes of the regular files among paths."""
    return sum(filter(None, map(size_of, paths)))


def size_of(file: str | int) -> int | None:
    """Return the size in bytes of a regular file, given by path or descriptor; None for others."""
    try:
        status = kernel.stat(file)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def size_of_stream(stream: object) -> int | None:
    """Return how many bytes are left in a stream, None if unknown."""
    try:
        fd = stream.fileno()  # type: ignore[attr-defined]
        size = size_of(fd)
        return None if size is None else max(0, size - kernel.lseek(fd, 0, os.SEEK_CUR))
    except (AttributeError, OSError, ValueError):
        return None
