"""A record that is about to replace a sidecar, and a system that lacks calls for that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safeatomic_core._replacement import Replacement
from safeatomic_core._target import Target

# Another program's list of checksums, which does not name the test's file.
LIST = b"0" * 64 + b"  a\n" + b"1" * 64 + b"  b\n"
NO_LINK = {"link": errno.EPERM}  # for `Missing`


def replacement(place: Target, content: bytes = b"a" * 64 + b"  data.bin\n") -> Replacement:
    """Return a replacement whose record is written, but has no name yet."""
    made = Replacement(place, "")
    made.content = content
    made.record.create(0o600)
    made.record.write_all(content)
    return made


def look(path: Path) -> tuple[object, ...]:
    """Return a key that changes with the file and with its content."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, path.read_bytes()


class Missing:
    """Make system calls missing, except for locks: each name with its error."""

    def __init__(self) -> None:
        self.missing: dict[str, int] = {}

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if name in self.missing and "lock" not in str(args):
                code = self.missing[name]
                raise OSError(code, os.strerror(code))
            return call(*args, **options)

        return wrapped
