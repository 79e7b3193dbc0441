"""What the library is compared with: the bare protocol, and other people's ways to do the same.

The bare protocol is the least that makes a replacement atomic and durable, in plain `os` calls:
open O_EXCL, write, fsync, close, rename, open the directory, fsync, close. It takes no lock, checks
nothing, keeps no metadata and leaves its temp behind when it fails.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeAlias

Writer: TypeAlias = Callable[[str, bytes], None]

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


def atomicwrites_writer() -> Writer:
    """Return a writer that uses atomicwrites 1.4.1 as its documentation shows."""
    atomic_write = optional("atomicwrites").atomic_write

    def write(path: str, data: bytes) -> None:
        with atomic_write(path, mode="wb", overwrite=True) as file:
            file.write(data)

    return write


def filelock_writer() -> Writer:
    """Return the same under a lock of filelock."""
    return _under(optional("filelock").FileLock, atomicwrites_writer())


def digest_writer() -> Writer:
    """Return the same with a digest beside the file, in the form of sha256sum."""
    write = atomicwrites_writer()

    def write_both(path: str, data: bytes) -> None:
        write(path, data)
        line = f"{sha256(data).hexdigest()}  {os.path.basename(path)}\n"
        write(path + ".sha256", line.encode())

    return _under(optional("filelock").FileLock, write_both)


def _under(make: Callable[[str], Any], write: Writer) -> Writer:
    """Return a writer that holds a lock meanwhile, one object for each file."""
    locks: dict[str, Any] = {}

    def locked(path: str, data: bytes) -> None:
        if path not in locks:
            locks[path] = make(path + ".lock")
        with locks[path]:
            write(path, data)

    return locked


def portalocker_writer() -> Writer:
    """Return atomicwrites under a lock of portalocker."""
    return _under(optional("portalocker").Lock, atomicwrites_writer())


def safer_writer() -> Writer:
    """Return a writer that uses safer with a temporary file; it flushes nothing to the disk."""
    safer = optional("safer")

    def write(path: str, data: bytes) -> None:
        with safer.open(path, "wb", temp_file=True) as file:
            file.write(data)

    return write


def sqlite_writer() -> Writer:
    """Return what replaces one value of a SQLite database, which flushes at every commit."""
    sqlite3 = optional("sqlite3")
    connections: dict[str, Any] = {}

    def write(path: str, data: bytes) -> None:
        connection = connections.get(path)
        if connection is None:
            connection = connections[path] = sqlite3.connect(path + ".db")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
        with connection:
            connection.execute("INSERT OR REPLACE INTO t VALUES (1, ?)", (data,))

    return write


PEERS: dict[str, Callable[[], Writer]] = {
    "atomicwrites": atomicwrites_writer,
    "filelock + atomicwrites": filelock_writer,
    "filelock + atomicwrites + sha256": digest_writer,
    "portalocker + atomicwrites": portalocker_writer,
    "safer (no flush)": safer_writer,
    "SQLite, synchronous=FULL": sqlite_writer,
}


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
