"""What each subcommand does; `_cli` parses, this acts."""

from __future__ import annotations

import json
import os
import stat
import sys

from .. import _temp_file
from .._checksum_api import get_checksum_info, write_checksum_file
from .._doctor import doctor, wants_colour
from .._errors import ChecksumMismatchError, SafeAtomicError
from .._guarantees import inspect_guarantees
from .._lock_api import (
    force_release_lock,
    inspect_lock,
    release_lock,
    release_stale_lock,
    try_acquire_lock,
)
from .._move import move_atomic
from .._posix import O_CLOEXEC, O_DIRECTORY, kernel
from .._reader import AtomicReader, verify_file
from .._target import LOCK_SUFFIX, SIDECAR_SUFFIX
from .._types import Record
from .._writer import AtomicWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import BinaryIO, Self

OK, NO, ERROR = 0, 1, 2
_CHUNK = 1 << 20  # bytes copied at a time
_LONG = 64 << 20  # bytes from which verifying shows its progress


def complain(error: BaseException) -> None:
    """Print an error as one line on standard error."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            name = (
                os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
            )
            text = f"{name}: {text}"
    line = " ".join(text.split("\n"))
    print(f"safeatomic: {_printable(line)}", file=sys.stderr)


def write(arguments: Namespace) -> int:
    """Copy the input through an `AtomicWriter`; any failure of either side aborts it."""
    writer = AtomicWriter(
        arguments.path,
        concurrency="none" if arguments.no_lock else "lock",
        write_checksum=arguments.checksum or arguments.algo is not None,
        checksum_algo=arguments.algo,
        retries=arguments.retries,
        delay=arguments.delay,
        safety=arguments.safety,
    )
    with writer:
        if arguments.file is None:
            _copy(sys.stdin.buffer, writer)
        else:
            with open(arguments.file, "rb") as source:
                _copy(source, writer)
    return OK


def read(arguments: Namespace) -> int:
    """Copy a file to standard output."""
    try:
        reader = AtomicReader(
            arguments.path, check_checksum=arguments.check, safety=arguments.safety
        )
    except ChecksumMismatchError as error:
        complain(error)
        return NO
    with reader:
        _copy(reader, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return OK


def move(arguments: Namespace) -> int:
    """Rename a file with its sidecar."""
    move_atomic(arguments.src, arguments.dst, force=arguments.force, safety=arguments.safety)
    return OK


def inspect(arguments: Namespace) -> int:
    """Print the guarantees that hold for a path."""
    report = inspect_guarantees(arguments.path)
    print(_to_json(report) if arguments.json else _printable(str(report)))
    return OK


def doctor_(arguments: Namespace) -> int:
    """Print what the doctor found."""
    report = doctor(
        arguments.path, destructive=arguments.destructive, require=arguments.require or None
    )
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(report.summary(colour=wants_colour(sys.stdout)))
    return OK if report.ok else NO


def lock(arguments: Namespace) -> int:
    """Run a command under a lock; see `_cli` for its exit status."""
    import signal
    import subprocess

    taken = try_acquire_lock(
        arguments.path,
        retries=arguments.retries,
        delay=arguments.delay,
        safety=arguments.safety,
    )
    if not taken:
        print(f"safeatomic: {_printable(str(inspect_lock(arguments.path)))}", file=sys.stderr)
        return NO
    try:
        with _Forwarding(signal.SIGTERM, signal.SIGHUP) as forward:
            child = subprocess.Popen(arguments.command)  # noqa: S603
            forward.to(child.pid)
            while True:
                try:
                    status = child.wait()
                    break
                except KeyboardInterrupt:
                    continue  # the terminal sent it to the command as well, which decides
    except FileNotFoundError:
        print(f"safeatomic: command not found: {arguments.command[0]}", file=sys.stderr)
        return ERROR
    finally:
        release_lock(arguments.path)
    return 128 - status if status < 0 else status


def locks(arguments: Namespace) -> int:
    """Show one lock, or those of a directory."""
    path = arguments.path
    if os.path.isdir(path):
        names = sorted(name for name in kernel.listdir(path) if name.endswith(LOCK_SUFFIX))
        found = [inspect_lock(os.path.join(path, name.removesuffix(LOCK_SUFFIX))) for name in names]
    else:
        found = [inspect_lock(path)]
    held = [info for info in found if info.exists]
    if arguments.json:
        print(json.dumps([_plain(info) for info in held], indent=2, ensure_ascii=False))
    else:
        for info in held:
            print(_printable(str(info)))
    return OK if held else NO


def unlock(arguments: Namespace) -> int:
    """Remove a lock, by proof of its holder's death or by force."""
    if arguments.force:
        if arguments.max_age is not None:
            raise ValueError("--max-age goes with --stale")
        removed = force_release_lock(arguments.path)
    else:
        removed = release_stale_lock(arguments.path, max_age_s=arguments.max_age)
    if not removed:
        info = inspect_lock(arguments.path)
        print(f"safeatomic: nothing removed; {_printable(str(info))}", file=sys.stderr)
    return OK if removed else NO


def clean(arguments: Namespace) -> int:
    """Sweep the proven orphans of a directory and list them."""
    dir_fd = kernel.open(arguments.directory, os.O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    try:
        found = _temp_file.orphans(dir_fd, remove=not arguments.dry_run)
    finally:
        kernel.close(dir_fd)
    verb = "would remove" if arguments.dry_run else "removed"
    for name, size in found:
        print(f"{verb} {_printable(os.path.join(arguments.directory, name))} ({size} bytes)")
    return OK


def checksum(arguments: Namespace) -> int:
    """Write sidecars; goes on after a failure."""
    status = OK
    for path in arguments.paths:
        try:
            print(_printable(str(write_checksum_file(path, algo=arguments.algo))))
        except (SafeAtomicError, OSError) as error:
            complain(error)
            status = ERROR
    return status


def verify(arguments: Namespace) -> int:
    """Check files against their sidecars, one line each."""
    results = []
    with _Progress(arguments.paths) as progress:
        for path in arguments.paths:
            verdict, detail = _verdict(path, progress.advance)
            results.append({"path": path, "status": verdict, "detail": detail})
            if not arguments.json:
                progress.clear()
                print(f"{_printable(path)}: {verdict}" + (f" ({detail})" if detail else ""))
    if arguments.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return OK if all(result["status"] == "OK" for result in results) else NO


def _verdict(path: str, on_hashed: Callable[[int], None]) -> tuple[str, str | None]:
    """Return one of the four answers about a file, and what an operator needs to know of it."""
    try:
        verify_file(path, on_hashed=on_hashed)
    except ChecksumMismatchError as error:
        return "MISMATCH", f"recorded {error.expected}, found {error.actual}"
    except FileNotFoundError as error:
        if str(error.filename).endswith(SIDECAR_SUFFIX) and _is_there(path):
            return "NO SIDECAR", None
        return "UNREADABLE", error.strerror
    except OSError as error:
        return "UNREADABLE", error.strerror
    except SafeAtomicError as error:
        return "UNREADABLE", str(error)
    return "OK", None


def _is_there(path: str) -> bool:
    try:
        return get_checksum_info(path) is None and stat.S_ISREG(kernel.stat(path).st_mode)
    except (OSError, SafeAtomicError):
        return False


class _Forwarding:
    """Pass signals on to a child instead of dying before it."""

    def __init__(self, *signals: int) -> None:
        self._signals = signals
        self._before: dict[int, object] = {}
        self._early: list[int] = []
        self._pid = 0

    def to(self, pid: int) -> None:
        """Name the child; it gets what came while it was being started."""
        self._pid = pid
        for number in self._early:
            self._pass_on(number, None)

    def __enter__(self) -> Self:
        import signal

        for number in self._signals:
            self._before[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_details: object) -> None:
        import signal

        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _pass_on(self, number: int, _frame: object) -> None:
        if not self._pid:
            self._early.append(number)
            return
        try:
            kernel.kill(self._pid, number)
        except ProcessLookupError:
            return


class _Progress:
    """A bar on standard error while much is hashed; nothing where that is no terminal."""

    def __init__(self, paths: list[str]) -> None:
        self._total = 0
        self._done = 0
        self._shown = -1
        if sys.stderr.isatty():
            self._total = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed in its place."""
        if self._shown >= 0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = -1

    def advance(self, size: int) -> None:
        """Count bytes that were hashed."""
        if self._total < _LONG:
            return
        self._done += size
        percent = min(100, self._done * 100 // self._total)
        if percent != self._shown:
            self._shown = percent
            bar = "#" * (percent // 4)
            print(f"\r[{bar:<25}] {percent:3d} %", end="", file=sys.stderr, flush=True)


def _copy(source: BinaryIO | AtomicReader, sink: BinaryIO | AtomicWriter) -> None:
    while chunk := source.read(_CHUNK):
        sink.write(chunk)


def _to_json(record: Record) -> str:
    return json.dumps(_plain(record), indent=2, ensure_ascii=False)


def _plain(value: object) -> object:
    """Return a record as what JSON can express."""
    if isinstance(value, Record):
        return {name: _plain(getattr(value, name)) for name in type(value).__annotations__}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _printable(text: str) -> str:
    """Return text without what could move a terminal's cursor or not be encoded at all."""
    safe = "".join(
        char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text
    )
    return safe.encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(
        sys.stdout.encoding or "utf-8"
    )
