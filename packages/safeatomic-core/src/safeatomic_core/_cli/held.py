"""The lock of this process as a command inherits it."""

from __future__ import annotations

import os

from .. import _lock
from .._lock_file import look
from .._posix import kernel
from .._target import LOCK_SUFFIX, Naming, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._types import StrPath


def inheritable_lock(path: StrPath) -> tuple[int, str, str] | None:
    """Return what a command needs that is to keep a lock of this process's, None without one.

    Returns:
        The descriptor whose flock is the lock, the lock's absolute path, and its token.
    """
    target = locate(path)
    try:
        with Naming(target):
            entry = _lock._mine.get(_lock._place(target))  # noqa: SLF001 - the table has no other way in
            if entry is None:
                return None
            name = target.name + LOCK_SUFFIX
            found = look(target.dir_fd, name)
            found.close()
            directory = kernel.realpath(os.path.dirname(os.path.abspath(target.path)))
            return entry[0].fd, os.path.join(directory, name), str(found.fields.get("token"))
    finally:
        target.close()
