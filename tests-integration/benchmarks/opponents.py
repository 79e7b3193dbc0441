"""What the library is compared with: the bare protocol, and other people's ways to do the same.

The bare protocol is the least that makes a replacement atomic and durable, in plain `os` calls:
open O_EXCL, write, fsync, close, rename, open the directory, fsync, close. It takes no lock, checks
nothing, keeps no metadata and leaves its temp behind when it fails.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TEMP = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def bare_write(path: str, data: bytes) -> None:
    """Replace a file with the bare protocol."""
    temp = path + ".tmp"
    fd = os.open(temp, _TEMP, 0o666)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    os.rename(temp, path)
    fd = os.open(os.path.dirname(path), _DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def bare_write_all(path: str, data: bytes) -> None:
    """Replace a file with the bare protocol, with contents that one write(2) may not take."""
    temp = path + ".tmp"
    fd = os.open(temp, _TEMP, 0o666)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)
    os.close(fd)
    os.rename(temp, path)
    fd = os.open(os.path.dirname(path), _DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def atomicwrites_writer() -> Callable[[str, bytes], None]:
    """Return a writer that uses atomicwrites 1.4.1 as its documentation shows."""
    atomic_write = optional("atomicwrites").atomic_write

    def write(path: str, data: bytes) -> None:
        with atomic_write(path, mode="wb", overwrite=True) as file:
            file.write(data)

    return write


def optional(name: str) -> Any:
    """Import what a row needs and an installation may lack.

    Raises:
        Skipped: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Skipped(f"{name} cannot be imported ({error})") from error


class Skipped(Exception):  # noqa: N818 - it is an answer, not an error
    """A row cannot be measured here, and why."""
