"""The lock that ``safeatomic lock`` holds for a command, and that the command's processes use.

The wrapper tells its command about the lock in one environment variable, a JSON object of the lock
file's absolute path and the token in it. Every process of the command that changes that file uses
the lock as its own: it checks before Publish that the lock file contains the token and that its
flock is held, and does not release it. Processes of one command are not excluded from each other,
as under flock(1).
"""

from __future__ import annotations

import os

from ._errors import system_error
from ._lock_file import Found
from ._lock_payload import parse_json
from ._posix import kernel
from ._target import LOCK_SUFFIX, identity

try:
    from posix import environ  # the dictionary behind `os.environ`, whose own `get` is slower
except ImportError:  # Windows
    environ = {}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._target import Target

VARIABLE = "SAFEATOMIC_LOCK"
_ENTRY = os.fsencode(VARIABLE)


class CommandLock:
    """The lock of a target that the environment names; not ours to release.

    Attributes:
        target: What it locks.
        token: What must stand in the lock file.
    """

    lost = (
        f"the lock that the environment variable {VARIABLE} names is gone: its file was removed or "
        "overwritten, or the 'safeatomic lock' that took it has ended. The target is unchanged. "
        f"Run the command under 'safeatomic lock' again, or without {VARIABLE} in its environment"
    )

    def __init__(self, target: Target, token: str) -> None:
        self.target = target
        self.token = token

    def owned(self) -> bool:
        """Tell whether the token stands in the lock file and its flock is held."""
        found = Found()
        try:
            found.look(self.target.dir_fd, self.target.name + LOCK_SUFFIX)
            return found.token == self.token and found.alive == "yes"
        finally:
            found.close()

    def release(self) -> None:
        """Leave it to the wrapper."""

    def leave_behind(self) -> None:
        """Do nothing: before the wrapper removes the name it flushes the directory and sweeps."""


def command_lock(target: Target) -> CommandLock | None:
    """Return the lock of a target that the environment names, None if it names none."""
    text = environ.get(_ENTRY)
    if text is None:
        return None
    named = parse_json(text)
    if not isinstance(named, dict):
        return None
    for path, token in named.items():
        directory, _, name = path.rpartition(os.sep)
        if name != target.name + LOCK_SUFFIX or not isinstance(token, str):
            continue
        try:
            status = kernel.stat(directory or os.sep)
        except ValueError:  # no path at all: a NUL, or half a surrogate pair
            continue
        except system_error():
            continue
        if identity(status) == identity(target.directory()):
            return CommandLock(target, token)
    return None
