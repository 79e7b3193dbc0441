"""The data files below a directory, without the files that this library keeps beside them."""

from __future__ import annotations

import errno
import os
import stat

from .._checksum_api import get_checksum_info
from .._errors import SafeAtomicError
from .._lock_api import inspect_beside
from .._lock_file import CRASH_MARK
from .._posix import kernel
from .._target import LOCK_SUFFIX, SIDECAR_SUFFIX
from .._temp_file import is_temp_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def files_below(
    directory: str, on_error: Callable[[OSError], None], *, recorded: bool = False
) -> Iterator[str]:
    """Walk a tree in the order of its names; links are not followed.

    Args:
        directory: Where to begin.
        on_error: Called for a directory that cannot be read; the walk continues. A directory or a
            file that was removed meanwhile is skipped.
        recorded: Also yield the names of files that are missing beside a sidecar of theirs.

    Yields:
        The path of each regular file that is neither a sidecar nor a lock nor a temp of ours.
    """
    waiting = [directory]  # not by recursion: a tree may be deeper than the stack

    def failed(error: OSError) -> None:
        if error.errno != errno.ENOENT or error.filename == directory:
            on_error(error)

    while waiting:
        below: list[str] = []
        yield from _files_in(waiting.pop(), below, failed, recorded=recorded)
        waiting += reversed(below)


def _files_in(
    directory: str, below: list[str], on_error: Callable[[OSError], None], *, recorded: bool
) -> Iterator[str]:
    """Yield the files of one directory; add the directories in it to ``below``."""
    try:
        names = sorted(kernel.listdir(directory))
    except OSError as error:
        on_error(OSError(error.errno, error.strerror, directory))
        return
    present = set(names)
    for name in names:
        path = os.path.join(directory, name)
        try:
            mode = kernel.stat(path, follow_symlinks=False).st_mode
        except OSError as error:
            on_error(error)
            continue
        if stat.S_ISDIR(mode):
            below.append(path)
        elif not stat.S_ISREG(mode) or is_temp_name(name):
            continue
        elif name.endswith(SIDECAR_SUFFIX) and name != SIDECAR_SUFFIX:
            data = name.removesuffix(SIDECAR_SUFFIX)
            if recorded and data not in present and _is_record(path):
                yield path.removesuffix(SIDECAR_SUFFIX)
        elif not _is_lock(name, path, present):
            yield path


def _is_record(path: str) -> bool:
    """Tell whether a sidecar without its file is a record of that file."""
    try:
        return get_checksum_info(path.removesuffix(SIDECAR_SUFFIX)) is not None
    except (OSError, SafeAtomicError, ValueError):
        return False


def _is_lock(name: str, path: str, present: set[str]) -> bool:
    """Tell whether a file is a lock: one of ours, or an empty one beside its file."""
    if not name.endswith(LOCK_SUFFIX) or name == LOCK_SUFFIX:
        return False
    try:
        info = inspect_beside(path.removesuffix(LOCK_SUFFIX))
        if info.raw is None:  # it may not be read; only our locks have the mark
            return bool(kernel.stat(path, follow_symlinks=False).st_mode & CRASH_MARK)
    except (OSError, SafeAtomicError, ValueError):
        return False
    return not info.corrupt or (not info.raw and name.removesuffix(LOCK_SUFFIX) in present)
