"""The output of the command, and its standard streams.

Other people choose file names and host names. Any name is shown on one line, cannot move the
cursor, and does not stop the output if the encoding lacks a character. JSON is ASCII, so it is
valid in every locale. A stream that was closed before we started stays closed: no file that we open
may get its number, or printed text would go into that file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys

from .._posix import kernel
from .._types import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, TextIO

OK, NO, ERROR, REFUSED = 0, 1, 2, 3
_COLOUR = re.compile("(\x1b\\[[0-9]*m)")
_BYTE = range(0xDC80, 0xDD00)  # the form of a byte that is not UTF-8 in a name (PEP 383)


def reserve_standard_descriptors() -> None:
    """Keep the numbers 0 to 2, those of the standard streams, from the files that we open.

    If one is closed, a directory is opened there, which can be neither read nor written. In the
    commands that we run, these descriptors are closed again.
    """
    try:
        while (fd := kernel.open("/", os.O_RDONLY)) <= 2:
            pass
        kernel.close(fd)
    except OSError:
        return  # nothing else can be opened, either


def standard_input() -> BinaryIO:
    """Return standard input for bytes.

    Raises:
        OSError: It was closed before we started.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed", "standard input")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Return standard output for bytes.

    Raises:
        OSError: It was closed before we started.
    """
    return _stdout().buffer


def say(text: str) -> None:
    """Print one line to standard output."""
    _put(one_line(text) + "\n")


def say_as_it_is(text: str) -> None:
    """Print text of our own."""
    _put(text)


def say_lines(text: str) -> None:
    """Print text whose line ends are ours."""
    for line in text.split("\n"):
        say(line)


def say_coloured(text: str) -> None:
    """Print one line that may contain our own colours, and no other control characters."""
    parts = _COLOUR.split(text)
    shown = [one_line(part) if place % 2 == 0 else part for place, part in enumerate(parts)]
    _put("".join(shown) + "\n")


def say_json(value: object) -> None:
    """Print a value, or a record, as JSON in printable ASCII characters."""
    text = json.dumps(_plain(value), indent=2).replace("\x7f", "\\u007f")
    _put(text + "\n")


def _put(text: str) -> None:
    stream = _stdout()
    with Named():
        stream.write(_encodable(text, stream))


class Named:
    """Give an error of the standard output, which has no file name, a name."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = "standard output"


def complain(text: str) -> None:
    """Print one line to standard error, if that is open and writable."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(_encodable(f"safeatomic: {one_line(text)}", stream) + "\n")
        stream.flush()
    except OSError:
        pass  # this cannot be reported anywhere; the exit status shows the failure


def finish(status: int) -> int:
    """Flush both streams; return the exit status, which standard output may change."""
    status = _finish_output(status)
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)  # otherwise Python 3.14 and later exit with a status of their own
    return status


def _finish_output(status: int) -> int:
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout)
        return ERROR
    except OSError as error:
        _abandon(sys.stdout)
        if status != ERROR:  # an error has been reported already, perhaps this one
            complain(f"cannot write to standard output: {error.strerror}")
        return ERROR if status == NO else status or ERROR  # the answer was not printed
    return status


def _abandon(stream: TextIO) -> None:
    """Discard the buffered output, so that the flush at exit does not fail."""
    with open(os.devnull, "wb") as nowhere:
        try:
            os.dup2(nowhere.fileno(), stream.fileno())
        except (OSError, ValueError):
            return  # it is not a file, so the flush at exit reaches none


def name(path: str) -> str:
    """Return a path for display: on one line, and different for different paths."""
    return one_line(path.replace("\\", "\\\\")) or "''"


def one_line(text: str) -> str:
    """Escape characters that could end the line, move the cursor or change the direction."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code in _BYTE:
        return f"\\x{code - 0xDC00:02x}"
    # Not in the form of a byte, which means something else.
    return f"\\u{code:04x}" if 0x80 <= code <= 0xFF else repr(char)[1:-1]


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed", "standard output")
    return sys.stdout


def _plain(value: object) -> object:
    """Return a record as values that JSON can express."""
    if isinstance(value, Record):
        return {name: _plain(getattr(value, name)) for name in type(value).__annotations__}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
