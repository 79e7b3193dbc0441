"""Errors in the command's own words: its options and subcommands instead of Python's arguments."""

from __future__ import annotations

import os
import re
import shlex

from .._command_lock import CommandLock
from .._errors import (
    ChecksumMismatchError,
    CrossDeviceAtomicityError,
    LockError,
    UnsupportedEnvironmentError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

_NOTE = "safeatomic: "
# Python names in the library's messages, and their equivalents here; longer names come first.
_WORDS = (
    (r"retries= and delay=", "--wait"),
    (r"retries=\S*|delay=\S*", "--wait"),
    (r"concurrency='none'", "--no-lock"),
    (r"safety='warn' \(or 'best_effort'\)", "--safety warn (or best_effort)"),
    (r"safety='(\w+)'", r"--safety \1"),
    (r"overwrite=False", "--no-clobber"),
    (r"write_checksum=True", "--checksum"),
    (r"check_checksum=True", "--check"),
    (r"force=True", "--force"),
    (r"destructive=True", "--destructive"),
    (r"\bmode=", "--mode"),
    (r"(?:AND|and|or) '(safeatomic [^']*)'", r"or '\1'"),
    (r"release_stale_lock\(max_age_s=…\)", "'safeatomic unlock --stale --max-age S'"),
    (r"release_stale_lock\(\)", "'safeatomic unlock --stale'"),
    (r"force_release_lock\(\)", "'safeatomic unlock --force'"),
    (r"write_checksum_file\(\)", "'safeatomic checksum'"),
    (r"try_acquire_lock\(\)", "'safeatomic lock'"),
    (r"write_atomic(?:_bytes)?\(\)", "'safeatomic write'"),
    (r"('safeatomic [^']*') or \1", r"\1"),
    (r"\bpass (?=--)", "use "),
    (r"\[Errno \d+\] ", ""),
)
_CLAUSE = re.compile(r"(?<=[.;:]) ")
_ARGUMENTS = (
    "algo|check_checksum|checksum_algo|concurrency|delay|destructive|encoding|expected|force|"
    "max_age_s|mode|overwrite|preserve_metadata|require|retries|safety|session|write_checksum"
)
# Not every word before an equals sign: it may be a mount option that is the reason.
_PYTHON = re.compile(rf"\b(?:{_ARGUMENTS})=|\b\w+\((?:\)|\w+=)|\b[A-Z]\w+Error\b")
# A name with any content, as Python quotes it; not a command, nor the value of an argument.
_NAME = re.compile(r"(?<![\w=])(?:'(?!safeatomic )(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
_HIDDEN = re.compile("\0(\\d+)\0")
_OTHER_COMMAND = re.compile(r"'safeatomic [^']*'")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def explained(error: BaseException, options: Container[str]) -> str:
    """Return an error's message in the words of the command line.

    Args:
        error: The exception.
        options: The options of the subcommand; advice that needs other options is left out.
    """
    if isinstance(error, UnsupportedEnvironmentError):
        refusal = (
            f"it is on {error.filesystem}, where {error.guarantee} is {error.level}: "
            f"{error.reason}. Nothing was touched. {error.advice}; to go on without this guarantee "
            "use --safety warn (or best_effort)"
        )
        return f"{_shown(error.path)}: {own_words(refusal, options)}"
    if isinstance(error, ChecksumMismatchError):
        return (
            f"{_shown(error.path)}: it does not match its checksum: recorded {error.expected}, "
            f"found {error.actual}. It was changed by other means or is damaged: restore it from a "
            "good copy; if the change was meant, record it with 'safeatomic checksum'"
        )
    if isinstance(error, CrossDeviceAtomicityError):
        return (
            f"cannot move {_shown(error.src)} to {_shown(error.dst)} atomically: they are on "
            "different devices or mounts. Copy it (safeatomic write "
            f"{shlex.quote(error.dst)} --from {shlex.quote(error.src)}), then remove the source"
        )
    if isinstance(error, LockError):
        # Both arguments are the library's own texts; the path is not searched for words.
        return f"cannot lock {_shown(error.path)}: {own_words(error.reason, options)}"
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        text = own_words(error.strerror, options)
        if error.filename is None:
            return text
        return f"{_shown(os.fsdecode(error.filename))}: {text}"
    return own_words(str(error), options)


def _shown(path: str) -> str:
    """Return a path in a form that stays unique when unprintable characters are escaped."""
    return path.replace("\\", "\\\\") or "''"


def own_words(text: str, options: Container[str] | None) -> str:
    """Return a text of the library without the names of Python arguments and functions.

    A clause is left out if such a name remains in it, or if it needs an option that the subcommand
    does not have.

    Args:
        text: The library's text.
        options: The options of the subcommand; None for a text about other commands, from which
            nothing is left out.
    """
    names: list[str] = []

    def hide(name: re.Match[str]) -> str:
        names.append(name[0])
        return f"\0{len(names) - 1}\0"

    text = _NAME.sub(hide, text.replace("\0", "\\0"))
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    first, *advice = _CLAUSE.split(text)
    if options is not None:
        advice = [clause for clause in advice if _applies(clause, options)]
    return _HIDDEN.sub(lambda place: names[int(place[1])], " ".join([first, *advice]).rstrip(";: "))


def outcome(error: BaseException) -> str | None:
    """Return the library's note on the outcome for the target, None if there is none."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(_NOTE):
            return str(note.rpartition("; ")[2])
    return None


def is_contention(error: LockError) -> bool:
    """Tell whether another holder has the lock; not if it was lost, or cannot be created."""
    notes = getattr(error, "__notes__", ())
    acquiring = any(note.startswith(f"{_NOTE}Acquire failed") for note in notes)
    return acquiring and error.__cause__ is None and error.reason != CommandLock.lost


def _applies(clause: str, options: Container[str]) -> bool:
    if _PYTHON.search(clause):
        return False
    own = _OTHER_COMMAND.sub("", clause)
    return all(option in options for option in _OPTION.findall(own))
