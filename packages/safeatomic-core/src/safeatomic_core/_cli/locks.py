"""Locks as an operator sees them: locks, unlock, clean."""

from __future__ import annotations

import errno
import os

from .. import _temp_file
from .._descriptor import close_quietly
from .._errors import LockError, SafeAtomicError, age_text
from .._lock_api import (
    force_release_lock,
    inspect_beside,
    inspect_lock,
    is_pinned,
    release_stale_beside,
    release_stale_lock,
)
from .._lock_file import PINNED
from .._posix import kernel
from .._target import DIRECTORY_FLAGS, LOCK_SUFFIX
from . import output, wording
from .output import ERROR, NO, OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from .._lock_api import LockInfo


def locks(arguments: Namespace) -> int:
    """Show one lock, or those of a directory."""
    failures: list[BaseException] = []
    if os.path.isdir(arguments.path):
        held = list(_locks_in(arguments.path, failures))
    else:
        info = inspect_lock(arguments.path)
        held = [info] if info.exists else []
    for failure in failures:
        output.complain(wording.explained(failure, arguments.options))
    if arguments.json:
        output.say_json([{**_fields(info), "age_s": info.age_s} for info in held])
    else:
        for info in held:
            output.say(describe(info))
    if failures:
        return ERROR
    return OK if held else NO


def unlock(arguments: Namespace) -> int:
    """Remove a lock, because its holder is proven dead or by force, and say whose it was."""
    before = inspect_lock(arguments.path)
    if arguments.force:
        if arguments.max_age is not None:
            arguments.parser.error("--max-age goes with --stale")
        removed = force_release_lock(arguments.path)
    else:
        removed = release_stale_lock(arguments.path, max_age_s=arguments.max_age)
    if removed:
        output.say(f"removed the lock of {output.name(arguments.path)}{_whose(before)}")
        return OK
    output.complain(f"nothing removed; {_described(arguments.path, inspect_lock(arguments.path))}")
    return NO


def clean(arguments: Namespace) -> int:
    """Remove the proven orphans of a directory, and the locks of dead holders."""
    directory = arguments.directory
    verb = "would remove" if arguments.dry_run else "removed"
    dir_fd = kernel.open(directory, DIRECTORY_FLAGS)
    refused: list[OSError] = []
    try:
        found = _temp_file.orphans(dir_fd, remove=not arguments.dry_run, refused=refused)
    except OSError as error:
        if error.filename is None:  # from a call with the descriptor
            error.filename = directory
        raise
    finally:
        close_quietly(dir_fd)
    for name, size, owner in found:
        path = output.name(os.path.join(directory, name))
        output.say(f"{verb} {path} of {_user(owner)} ({size} bytes)")
    failures: list[BaseException] = []
    for kept in refused:
        path = os.path.join(directory, str(kept.filename))
        failures.append(OSError(kept.errno, f"cannot remove it: {kept.strerror}", path))
    for info in _locks_in(directory, failures):
        try:
            if info.alive == "no" and _remove(info, dry_run=arguments.dry_run):
                output.say(f"{verb} {output.name(info.lock_path)}{_whose(info)}")
        except (OSError, SafeAtomicError) as error:
            failures.append(error)
    for failure in failures:
        output.complain(wording.explained(failure, arguments.options))
    return ERROR if failures else OK


def _remove(info: LockInfo, *, dry_run: bool) -> bool:
    """Remove a dead holder's lock, or only check whether it can be removed."""
    if not dry_run and release_stale_beside(info.path):
        return True
    if is_pinned(info.path, follow=False, gently=dry_run):
        raise OSError(errno.EAGAIN, f"cannot remove it: {PINNED}", info.lock_path)
    return dry_run


def describe(info: LockInfo) -> str:
    """Return one line about a lock."""
    name = output.name(info.path)
    if not info.exists:
        return f"{name}: not locked"
    if info.corrupt:
        return f"{name}: locked by a file that is not a lock of this library"
    return f"{name}: locked{_whose(info)}"


def conflict(path: str) -> str:
    """Return the line about a lock that was not acquired."""
    info = inspect_lock(path)
    if info.exists:
        return _described(path, info)
    return f"{output.name(path)}: locked at the last attempt; its holder has released it since"


def _described(path: str, info: LockInfo) -> str:
    """Return one line about a lock that could not be acquired."""
    return f"{describe(info)}: {PINNED}" if is_pinned(path) else describe(info)


def _locks_in(directory: str, failures: list[BaseException]) -> Iterator[LockInfo]:
    """Examine every lock in a directory; other tools' files are left out."""
    for name in sorted(kernel.listdir(directory)):
        if not name.endswith(LOCK_SUFFIX) or name.removesuffix(LOCK_SUFFIX) in ("", ".", ".."):
            continue
        try:
            info = inspect_beside(os.path.join(directory, name.removesuffix(LOCK_SUFFIX)))
        except (OSError, LockError, ValueError) as error:
            failures.append(error)
            continue
        if info.exists and not info.corrupt:
            yield info


def _whose(info: LockInfo) -> str:
    """Say who took a lock, as the end of a sentence."""
    if info.pid is None:
        return f" (alive: {info.alive})"
    age = info.age_s
    since = "" if age is None else f", {age_text(age)} ago"
    host = output.name(info.hostname or "?")
    return f" by process {info.pid} on {host}{since} (alive: {info.alive})"


def _user(number: int) -> str:
    """Return a user's name with the number, or the number alone."""
    try:
        import pwd

        return f"user {output.name(pwd.getpwuid(number).pw_name)}"
    except (ImportError, KeyError):  # no such module, or no such user
        return f"user {number}"


def _fields(info: LockInfo) -> dict[str, object]:
    return {name: getattr(info, name) for name in type(info).__annotations__}
