"""Checksums of many files: checksum and verify, one line for each file."""

from __future__ import annotations

import os
import time

from .._checksum_api import record_checksums
from .._errors import (
    ChecksumMismatchError,
    LockError,
    SafeAtomicError,
    UnsupportedEnvironmentError,
)
from .._lock_api import inspect_beside
from .._posix import kernel
from .._reading import verify_file
from .._target import SIDECAR_SUFFIX
from . import output, wording
from .output import ERROR, NO, OK, REFUSED
from .progress import Progress, total_size
from .trees import files_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

# A sidecar is there before its new file, and for a while after its file has been moved.
_LOOKS = 500  # at the lock of such a file, while somebody holds it
_PAUSE = 0.01  # seconds between two of them
_UNLOCKED_LOOKS = 2  # where nobody does, but the directory was changed
_RECENT = 1.0  # seconds ago
_TRIES = 10  # to record a file that was moved away and is there again


def checksum(arguments: Namespace) -> int:
    """Write sidecars; continue after a failure."""
    worst = OK
    locked = False
    left = _TRIES
    again: list[str] = []

    def failed(error: BaseException) -> None:
        nonlocal worst, locked
        output.complain(wording.explained(error, arguments.options))
        if isinstance(error, LockError) and wording.is_contention(error):
            locked = True
        else:
            refused = isinstance(error, UnsupportedEnvironmentError)
            worst = max(worst, REFUSED if refused else ERROR)

    def done(path: str, result: str | Exception) -> None:
        if isinstance(result, FileNotFoundError) and path in walked:
            _await_release(path)
            if _is_gone(path):
                return  # removed since the walk
            if left and os.path.lexists(path):
                again.append(path)
                return
        if isinstance(result, str) and arguments.quiet:
            return
        progress.clear()
        if isinstance(result, str):
            output.say(output.name(result))
        else:
            failed(result)

    paths, walked = _expanded(arguments, failed)
    with Progress(total_size(paths), asked=arguments.progress) as progress:
        while paths:
            left -= 1
            again = []
            record_checksums(
                paths,
                done,
                algo=arguments.algo,
                concurrency="none" if arguments.no_lock else "lock",
                retries=arguments.retries,
                delay=arguments.delay,
                safety=arguments.safety,
                on_hashed=progress.advance,
            )
            paths = again
    # An error takes precedence over a held lock, whichever status that has.
    return worst or (int(arguments.conflict_exit) if locked else OK)


def verify(arguments: Namespace) -> int:
    """Check files against their sidecars, one line each."""
    results: list[dict[str, str | None]] = []
    failures: list[BaseException] = []
    paths, walked = _expanded(arguments, failures.append, recorded=True)
    found: set[int] = set()
    with Progress(total_size(paths), asked=arguments.progress) as progress:
        for path in paths:
            verdict, detail = _verdict(path, progress.advance, arguments)
            if verdict == "MISSING" and path in walked:
                _await_release(path)
                verdict, detail = _verdict(path, progress.advance, arguments)
            if verdict in ("MISSING", "UNREADABLE") and path in walked and _is_gone(path):
                continue  # removed since the walk
            ignored = verdict == "NO SIDECAR" or (verdict == "MISSING" and _is_left_behind(path))
            if arguments.ignore_missing and ignored:
                continue
            verdict = "UNREADABLE" if verdict == "MISSING" else verdict
            found.add(_STATUS[verdict])
            if verdict == "OK" and arguments.quiet:
                continue
            if arguments.json:
                results.append({"path": path, "status": verdict, "detail": detail})
            else:
                progress.clear()
                output.say(f"{output.name(path)}: {verdict}" + (f" ({detail})" if detail else ""))
    if arguments.json:
        output.say_json(results)
    for error in failures:
        output.complain(wording.explained(error, arguments.options))
    if NO in found:  # one mismatch decides, even if other files could not be checked
        return NO
    return ERROR if failures or ERROR in found else OK


_STATUS = {"OK": OK, "MISMATCH": NO, "NO SIDECAR": NO, "UNREADABLE": ERROR}


def _expanded(
    arguments: Namespace, on_error: Callable[[OSError], None], *, recorded: bool = False
) -> tuple[list[str], set[str]]:
    """Return the given paths; with -r, replace each directory with the files below it.

    Returns:
        All paths, and those among them that were not given by name.
    """
    if not arguments.recursive:
        if any(os.path.isdir(path) for path in arguments.paths):
            output.complain("a directory is given; -r goes through the files below it")
        return list(arguments.paths), set()
    paths: list[str] = []
    walked: set[str] = set()
    for path in arguments.paths:
        if os.path.isdir(path):
            below = list(files_below(path, on_error, recorded=recorded))
            paths += below
            walked.update(below)
        else:
            paths.append(path)
    return paths, walked.difference(arguments.paths)


def _verdict(
    path: str, on_hashed: Callable[[int], None], arguments: Namespace
) -> tuple[str, str | None]:
    """Return the verdict on a file, and a detail for the operator."""
    try:
        verify_file(path, on_hashed=on_hashed)
    except ChecksumMismatchError as error:
        return "MISMATCH", f"recorded {error.expected}, found {error.actual}"
    except FileNotFoundError as error:
        if error.filename == path + SIDECAR_SUFFIX:
            return "NO SIDECAR", None
        return "MISSING", error.strerror
    except (OSError, SafeAtomicError, ValueError, RecursionError) as error:
        if isinstance(error, OSError):
            return "UNREADABLE", error.strerror
        return "UNREADABLE", wording.explained(error, arguments.options)
    return "OK", None


def _await_release(path: str) -> None:
    """Wait while a file may be about to come or to go.

    It may be while a living process holds its lock, and, since a program without locks removes or
    moves the file and its sidecar in two steps, for a moment after its directory was changed.
    """
    try:
        for look in range(_LOOKS):
            held = inspect_beside(path).alive == "yes"
            if not held and (look >= _UNLOCKED_LOOKS or not _is_changing(path)):
                return
            time.sleep(_PAUSE)
    except (OSError, SafeAtomicError):
        return  # its directory is gone, for example, which is reported next


def _is_changing(path: str) -> bool:
    """Tell whether a sidecar is without its file in a directory that was changed just now."""
    changed = kernel.stat(os.path.dirname(path) or os.curdir).st_mtime
    return abs(time.time() - changed) < _RECENT and _is_left_behind(path)


def _is_left_behind(path: str) -> bool:
    """Tell whether a sidecar is without its file."""
    return os.path.lexists(path + SIDECAR_SUFFIX) and not os.path.lexists(path)


def _is_gone(path: str) -> bool:
    """Tell whether neither a file nor a sidecar of it exists."""
    return not os.path.lexists(path) and not os.path.lexists(path + SIDECAR_SUFFIX)
