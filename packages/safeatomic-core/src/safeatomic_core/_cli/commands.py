"""Files and their surroundings: write, read, move, inspect, doctor."""

from __future__ import annotations

import errno
import os
import sys

from .._descriptor import close_quietly
from .._doctor import DoctorCheck, DoctorReport, doctor, wants_colour
from .._errors import NEW, UNCHANGED, ChecksumMismatchError, SafeAtomicError, explain
from .._guarantees import inspect_guarantees
from .._move import move_atomic
from .._posix import kernel
from .._reader import AtomicReader
from .._reading import verify_file
from .._target import DIRECTORY_FLAGS
from .._writer import AtomicWriter
from . import output, wording
from .output import NO, OK
from .progress import Progress, size_of, size_of_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import BinaryIO, Self

_CHUNK = 1 << 20  # bytes copied at a time


def write(arguments: Namespace) -> int:
    """Copy the input through an `AtomicWriter`; any failure of either side aborts it."""
    made: list[str] = []
    try:
        with _Input(arguments.source) as source:
            if arguments.parents and os.path.basename(arguments.path) not in ("", ".", ".."):
                _make_parents(arguments.path, made)
            writer = open_writer(arguments, arguments.path, overwrite=not arguments.no_clobber)
            progress = Progress(source.size(), asked=arguments.progress, quiet=source.is_terminal)
            with Deciding(writer), progress:
                _fill(arguments, source.stream, writer, progress.advance)
    except BaseException as error:
        _remove_empty(made)
        if isinstance(error, KeyboardInterrupt | OSError) and wording.outcome(error) is None:
            error.add_note(f"safeatomic: interrupted; {UNCHANGED}")
        raise
    return OK


class Deciding:
    """Abort a writer that is still undecided, and note the outcome for its target."""

    def __init__(self, writer: AtomicWriter) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        self._writer.abort()  # no effect on a committed one
        if error is not None and wording.outcome(error) is None:
            outcome = NEW if self._writer._verdict == "committed" else UNCHANGED  # noqa: SLF001
            error.add_note(f"safeatomic: interrupted; {outcome}")


def open_writer(arguments: Namespace, path: str, *, overwrite: bool = True) -> AtomicWriter:
    """Return a writer with the options that write and edit have in common."""
    return AtomicWriter(
        path,
        concurrency="none" if arguments.no_lock else "lock",
        write_checksum=arguments.checksum or arguments.algo is not None,
        checksum_algo=arguments.algo,
        retries=arguments.retries,
        delay=arguments.delay,
        mode=arguments.mode,
        overwrite=overwrite,
        safety=arguments.safety,
    )


def read(arguments: Namespace) -> int:
    """Copy a file to standard output."""
    sink = output.standard_output()
    quiet = sys.stdout.isatty()  # the terminal shows the content itself
    size = size_of(arguments.path)
    if size is not None and arguments.check:
        size *= 2  # it is read twice, once for the checksum
    with Progress(size, asked=arguments.progress, quiet=quiet) as progress:
        try:
            reader = _Reader(progress.advance, arguments)
        except ChecksumMismatchError as error:
            output.complain(wording.explained(error, arguments.options))
            return NO
        with reader:
            while chunk := reader.read(_CHUNK):
                with output.Named():
                    sink.write(chunk)
                progress.advance(len(chunk))
    return OK


class _Reader(AtomicReader):
    """A reader that reports the progress of hashing, which comes before the first read."""

    def __init__(self, on_hashed: Callable[[int], None], arguments: Namespace) -> None:
        self._on_hashed = on_hashed
        super().__init__(arguments.path, check_checksum=arguments.check, safety=arguments.safety)


def move(arguments: Namespace) -> int:
    """Rename a file with its sidecar."""
    move_atomic(
        arguments.src,
        arguments.dst,
        force=arguments.force,
        concurrency="none" if arguments.no_lock else "lock",
        retries=arguments.retries,
        delay=arguments.delay,
        safety=arguments.safety,
    )
    return OK


def inspect(arguments: Namespace) -> int:
    """Print the guarantees that hold for a path."""
    report = inspect_guarantees(arguments.path)
    if arguments.json:
        output.say_json(report)
    else:
        output.say_lines(str(report))
    return OK


def doctor_(arguments: Namespace) -> int:
    """Print what the doctor found."""
    report = _in_own_words(
        doctor(arguments.path, destructive=arguments.destructive, require=arguments.require or None)
    )
    if arguments.json:
        output.say_json(report.to_dict())
    else:
        stream = sys.stdout
        colour = stream is not None and wants_colour(stream)
        for line in report.summary(colour=colour).split("\n"):
            output.say_coloured(line) if colour else output.say(line)
    return OK if report.ok else NO


def _in_own_words(report: DoctorReport) -> DoctorReport:
    """Return a report whose details name commands and options, not Python functions."""
    return DoctorReport(
        path=report.path,
        environment=report.environment,
        guarantees=dict(report.guarantees),
        checks=tuple(
            DoctorCheck(check.name, check.status, wording.own_words(check.detail, None))
            for check in report.checks
        ),
        ok=report.ok,
    )


def _make_parents(path: str, made: list[str]) -> None:
    try:
        make_parents(path, made)
    except OSError as error:
        raise explain(error, "make the missing directories", path, UNCHANGED) from error


def _remove_empty(made: list[str]) -> None:
    """Remove directories that we made and did not use."""
    try:
        for directory in reversed(made):
            kernel.rmdir(directory)
    except OSError:
        pass  # it is already in use


def make_parents(path: str, made: list[str]) -> None:
    """Make the missing directories above a file, so that they survive a crash.

    A new directory is durable once its parent directory has been flushed. An existing directory may
    come from a run that was killed before that flush, so the parent of the last one is flushed too.

    Args:
        path: The file.
        made: A list to which each new directory is added.
    """
    missing = []
    parent = os.path.dirname(path) or "."  # not normalised: ".." after a link leads elsewhere
    while not os.path.lexists(parent):
        missing.append(parent)
        parent = os.path.dirname(parent) or "."
    _flush(os.path.dirname(kernel.realpath(parent)))
    for directory in reversed(missing):
        try:
            kernel.mkdir(directory)
            made.append(directory)
        except FileExistsError:
            pass  # another process made it, and may not have flushed it yet
        _flush(os.path.dirname(directory) or ".")


def _flush(directory: str) -> None:
    try:
        fd = kernel.open(directory, DIRECTORY_FLAGS)
    except PermissionError:
        return  # it may not be listed, so no earlier run of ours can have made a name in it
    try:
        kernel.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # it cannot be flushed, or need not be
            raise
    finally:
        close_quietly(fd)


class _Input:
    """The input of a write: standard input, or a file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._owned = source != "-"
        self.is_terminal = False  # if so, the screen shows the typed input

    def __enter__(self) -> Self:
        if self._owned:
            self.stream: BinaryIO = open(self._source, "rb")
            return self
        self.stream = output.standard_input()
        self.is_terminal = sys.stdin.isatty()
        if self.is_terminal:
            output.complain("reading standard input; Ctrl-D ends it, Ctrl-C gives up")
        return self

    def __exit__(self, *_details: object) -> None:
        if self._owned:
            self.stream.close()

    def size(self) -> int | None:
        """Return the number of bytes, None if unknown."""
        return size_of_stream(self.stream)


def read_input(source: BinaryIO) -> bytes:
    """Return the next bytes of the input, as soon as there are some.

    The buffer is bypassed: it would continue to read after the first Ctrl-D of a terminal.

    Raises:
        OSError: The input cannot be read; the error names it.
    """
    raw: BinaryIO = getattr(source, "raw", source)
    try:
        return raw.read(_CHUNK)
    except OSError as error:
        name = getattr(source, "name", None)
        shown = name if isinstance(name, str) and name != "<stdin>" else "standard input"
        raise OSError(error.errno, error.strerror, shown) from error


def _fill(
    arguments: Namespace,
    source: BinaryIO,
    writer: AtomicWriter,
    advance: Callable[[int], None],
) -> None:
    """Copy the input and commit, or leave the writer undecided if nothing would change."""
    chunk = b""
    if arguments.if_changed:
        same, chunk, changed = _compare(arguments, source, advance)
        if not changed:
            return
        _copy_start(arguments.path, same, writer)
    if chunk:
        writer.write(chunk)
        advance(len(chunk))
    while chunk := read_input(source):
        writer.write(chunk)
        advance(len(chunk))
    writer.commit()


def _compare(
    arguments: Namespace, source: BinaryIO, advance: Callable[[int], None]
) -> tuple[int, bytes, bool]:
    """Compare the input with the file, whose lock is held.

    Returns:
        The number of equal bytes at the start, the bytes read from the input after them, and
        whether anything differs.
    """
    same = 0
    try:
        reader = AtomicReader(arguments.path, safety="best_effort")
    except FileNotFoundError:
        return 0, b"", True
    with reader:
        while chunk := read_input(source):
            if reader.read(len(chunk)) != chunk:
                return same, chunk, True
            same += len(chunk)
            advance(len(chunk))
        changed = bool(reader.peek()) or not _recorded(arguments)
    return same, b"", changed


def _copy_start(path: str, size: int, writer: AtomicWriter) -> None:
    """Copy the equal start from the file itself, since the input can be read only once."""
    if not size:
        return
    with AtomicReader(path, safety="best_effort") as reader:
        while size and (chunk := reader.read(min(size, _CHUNK))):
            writer.write(chunk)
            size -= len(chunk)
    if size:
        raise SafeAtomicError(f"{path!r} was changed while it was compared; {UNCHANGED}")


def _recorded(arguments: Namespace) -> bool:
    """Tell whether the file already has the requested checksum, or none was requested."""
    if not arguments.checksum and arguments.algo is None:
        return True
    try:
        verify_file(arguments.path, arguments.algo)
    except (OSError, SafeAtomicError, ValueError):
        return False
    return True
