"""The common path from an object to a file and back, for every format.

A format has two functions: one renders an object as text that reads back as that object, and one
parses text. This module does the rest, in the same way for all formats. The whole text exists, and
is known to read back, before anything is touched. Every option is passed to the core unchanged. An
error of the format's own library keeps its class, and gets a note that names the file.
"""

from __future__ import annotations

import codecs
import os

from safeatomic_core import read_atomic, write_atomic
from safeatomic_core._options import resolve_encoding

from ._culprit import name_place, name_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypedDict, TypeVar, Unpack

    from safeatomic_core._types import Concurrency, Safety, StrPath

    T = TypeVar("T")

    class WriteOptions(TypedDict):
        """The options of every ``dump``, without defaults, so that none can be forgotten."""

        encoding: str | None
        concurrency: Concurrency
        preserve_metadata: bool
        write_checksum: bool
        checksum_algo: str | None
        retries: int | None
        delay: float | None
        session: str | None
        safety: Safety
        mode: int | None
        overwrite: bool

    class ReadOptions(TypedDict):
        """The options of every ``load``."""

        encoding: str | None
        check_checksum: bool
        checksum_algo: str | None
        safety: Safety


def dump(
    path: StrPath,
    language: str,
    document: object,
    render: Callable[[Any], str],
    *,
    foreign: bool = False,
    **options: Unpack[WriteOptions],
) -> None:
    """Render a document completely, then replace the file with it.

    Args:
        path: The file.
        language: Name of the format, for the note on an error.
        document: The object to write.
        render: Returns the text of a document, after a check that it reads back.
        foreign: Whether ``render`` calls the caller's own code; it is then not called again after
            an error.
        **options: Passed unchanged to `safeatomic_core.write_atomic`.
    """
    try:
        text = render(document)
    except Exception as error:
        name_place(error, document, None if foreign else render)
        error.add_note(f"while rendering {_name(path)} as {language}; the target is unchanged")
        _explain_depth(error, language)
        raise
    try:
        _check_encoding(text, options["encoding"], path)
        write_atomic(path, text, **options)
    except UnicodeError as error:
        error.add_note(
            f"{_name(path)}: the document holds characters that this encoding lacks; "
            "the target is unchanged"
        )
        if isinstance(error, UnicodeEncodeError):
            name_text(error, document)
        raise


def load(
    path: StrPath,
    language: str,
    parse: Callable[[str], T],
    **options: Unpack[ReadOptions],
) -> T:
    """Read one consistent version of the file, then parse it.

    A byte order mark at the start is not part of the document: it is dropped, in every format.

    Args:
        path: The file.
        language: Name of the format, for the note on an error.
        parse: Returns the document of a text.
        **options: Passed unchanged to `safeatomic_core.read_atomic`.
    """
    try:
        text = read_atomic(path, **options)
        return parse(text.removeprefix("\ufeff"))
    except OSError:
        raise  # names the file itself
    except Exception as error:
        error.add_note(f"while reading {_name(path)} as {language}")
        _explain_depth(error, language)
        raise


def check_bool(name: str, value: object, *, none: bool = False) -> None:
    """Refuse an option that is not a bool, before anything is rendered with it.

    Args:
        name: The argument.
        value: What was passed.
        none: Whether None is allowed as well.
    """
    if not isinstance(value, bool) and not (none and value is None):
        allowed = "True, False or None" if none else "True or False"
        raise TypeError(f"{name} must be a bool ({allowed}), not {type(value).__name__}")


def _check_encoding(text: str, encoding: str | None, path: StrPath) -> None:
    """Refuse an encoding if its bytes would be read as another text."""
    name = resolve_encoding(encoding)
    if codecs.lookup(name).name != "utf-8" and text.encode(name).decode(name) != text:
        error = ValueError(f"the encoding {name!r} would not give the document back")
        error.add_note(f"while encoding {_name(path)}; the target is unchanged")
        raise error


def _name(path: StrPath) -> str:
    """Return the path for a message; the core refuses a path of the wrong type."""
    return repr(os.fsdecode(path)) if isinstance(path, bytes) else repr(str(path))


def _explain_depth(error: Exception, language: str) -> None:
    if isinstance(error, RecursionError):
        error.add_note(f"the document is nested too deeply to be handled as {language} here")
