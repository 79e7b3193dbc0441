"""The effects of recorded system calls on a disk, and the files of a disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Name = tuple[str, str]  # directory (a path relative to the root) and name in it


@dataclass(frozen=True)
class File:
    """A file as a disk holds it."""

    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    xattrs: frozenset[tuple[str, bytes]] = frozenset()


State = dict[Name, File]


@dataclass(frozen=True)
class Op:
    """One recorded effect.

    Attributes:
        kind: create, link, rename, unlink, write, truncate, chmod, chown, setxattr, removexattr,
            fsync, fsyncdir; or, for the oracle alone, begin (of an operation), return (what it did
            is acknowledged) and fail (it says that nothing has changed).
        caller: The library's functions that made the call, innermost first.
        args: What the kind needs; files are numbered in the order in which they appear.
    """

    kind: str
    caller: str
    args: tuple[Any, ...]
