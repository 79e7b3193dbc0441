"""Commands under a lock: lock and edit."""

from __future__ import annotations

import json
import os
import threading

from .._checksum_api import get_checksum_info
from .._command_lock import VARIABLE
from .._descriptor import close_quietly, closing, shows
from .._errors import UNCHANGED, ChecksumMismatchError, SafeAtomicError
from .._held_locks import kept_by_path, let_go
from .._lock_api import try_acquire_lock
from .._lock_payload import parse_json
from .._mounts import directory_of
from .._posix import kernel
from .._reader import AtomicReader
from .._settle import recover
from .._target import Target
from . import commands, output, wording
from .locks import conflict
from .output import NO
from .process import Child, StartError
from .signals import Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from .._held_locks import Kept
    from .._writer import AtomicWriter
    from .signals import Ending

_CHUNK = 65536  # bytes read from a pipe at a time: its capacity


def lock(arguments: Namespace) -> int:
    """Run a command under a lock, which it inherits."""
    held = _Held(arguments.path, arguments.ending)

    def run() -> int:
        if not held.take(arguments):
            output.complain(conflict(arguments.path))
            return int(arguments.conflict_exit)
        try:
            with Child() as child:
                held.require_going_on()
                child.start(arguments.command, held.environment(hide=arguments.close))
                return child.wait()
        except StartError as error:
            output.complain(str(error))
            return error.status

    return closing(held, run)


class _Held:
    """The lock of a command. `close` releases it, even if signals arrive."""

    def __init__(self, path: str, ending: Ending) -> None:
        self._path = path
        self._ending = ending
        self._others = kept_by_path(path)  # of a program that runs us in its process
        self._kept: Kept | None = None
        self._released = False

    def take(self, arguments: Namespace) -> bool:
        """Take the lock; from then on signals are only noted, or passed on to the command."""
        taken = try_acquire_lock(
            self._path,
            retries=arguments.retries,
            delay=arguments.delay,
            safety=arguments.safety,
        )
        if taken:
            self._ending.defer()
            self._kept = kept_by_path(self._path)
        return taken

    def require_going_on(self) -> None:
        """Start no command if a signal came that would have ended it."""
        if self._ending.noted:
            raise Ended(self._ending.noted)

    def environment(self, *, hide: bool) -> dict[str, str]:
        """Return the command's environment, which names the lock; let its flock be inherited."""
        return _environment(self._kept, hide=hide)

    def close(self) -> None:
        """Release the lock after the command has ended; a failure does not change its status."""
        self._ending.defer()
        kept = self._kept
        if kept is None and self._others is None:  # a signal may have come after the acquisition
            kept = kept_by_path(self._path)
        if kept is not None and not self._released:
            _release(kept, self._path)
            self._released = True


def _environment(kept: Kept | None, *, hide: bool) -> dict[str, str]:
    """Return the environment of a command, and let it inherit a lock."""
    environment = dict(os.environ)
    named = _named(environment)
    held = inheritable(kept)
    if held is not None:
        fd, lock_path, token = held
        named.pop(lock_path, None)
        if not hide:
            # If we are killed, the command keeps the flock, and no writer gets in while it runs.
            os.set_inheritable(fd, True)
            named[lock_path] = token
    if named:
        environment[VARIABLE] = json.dumps(named)
    else:
        environment.pop(VARIABLE, None)
    return environment


def inheritable(kept: Kept | None) -> tuple[int, str, str] | None:
    """Return a lock that this process keeps, in a form that a child process can inherit.

    Returns:
        The descriptor whose flock is the lock, the lock file's absolute path without links, and its
        token; None if there is no lock, or it was taken away.
    """
    if kept is None or not kept.live() or not kept.owned(-1):
        return None
    try:
        directory = directory_of(kept.lock.dir_fd)
    except OSError:  # no /proc
        directory = os.path.dirname(kernel.realpath(kept.path))
    return kept.lock.fd, os.path.join(directory, kept.lock.name), kept.lock.token


def _named(environment: dict[str, str]) -> dict[str, object]:
    """Return the locks that an outer wrapper has named already."""
    named = parse_json(os.fsencode(environment.get(VARIABLE, "")))
    return named if isinstance(named, dict) else {}


def _release(kept: Kept, path: str) -> None:
    """Release the lock of a command that has ended; a failure does not change its status."""
    name = output.name(path)
    try:
        _clear_up(kept, path)
    except (OSError, SafeAtomicError) as error:
        why = wording.explained(error, ())
        output.complain(f"warning: what is left beside {name} was not cleared up: {why}")
    try:
        if not let_go(kept):
            output.complain(f"warning: the lock of {name} was taken away while the command ran")
    except (OSError, SafeAtomicError) as error:
        why = wording.explained(error, ())
        output.complain(f"warning: the lock of {name} was not released: {why}")


def _clear_up(kept: Kept, path: str) -> None:
    """Flush and sweep: the lock is the only trace of a killed process that wrote under it."""
    device, inode, name = kept.place
    dir_fd = kept.lock.dir_fd
    if shows(dir_fd, (device, inode)):  # else a program that runs us in its process closed it
        recover(Target.borrowed(path, name, dir_fd, None), "best_effort")


def edit(arguments: Namespace) -> int:
    """Replace a file with the output of a filter, if the filter succeeds."""
    path = arguments.path
    writer = commands.open_writer(arguments, path)
    with commands.Deciding(writer):
        try:
            checked = arguments.checksum or arguments.algo is not None
            # Damaged content must not be recorded as good.
            check = checked and get_checksum_info(path) is not None
            reader = AtomicReader(path, check_checksum=check, safety="best_effort")
        except ChecksumMismatchError as error:
            output.complain(wording.explained(error, arguments.options))
            return NO
        try:
            with reader:
                status = _filter(arguments.command, reader.fileno(), writer)
        except StartError as error:
            output.complain(f"{error}; {UNCHANGED}")
            return error.status
        if status == 0:
            writer.commit()
        else:
            output.complain(f"{arguments.command[0]} ended with status {status}; {UNCHANGED}")
    return status


def _filter(command: list[str], source: int, writer: AtomicWriter) -> int:
    """Run a filter from a descriptor into a writer; return its status.

    The filter writes to a pipe, not into the file: otherwise a process that it leaves behind could
    still write after the file was published.
    """
    read_end, write_end = os.pipe()
    pump = _Pump(read_end, writer)

    def run() -> int:
        with Child() as child:
            try:
                pump.start()
                child.start(command, dict(os.environ), streams=((source, 0), (write_end, 1)))
            finally:
                close_quietly(write_end)
            status = child.wait()
        if child.asked_to_end and status == 0:
            raise Ended(child.asked_to_end)  # its output may be incomplete
        pump.join()
        return status

    status = closing(pump, run)
    pump.reraise()
    return status


class _Pump(threading.Thread):
    """Copy the output of a filter into a writer while the main thread waits for signals."""

    def __init__(self, fd: int, writer: AtomicWriter) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self._writer = writer
        self._failure: BaseException | None = None
        self._given_up = False
        self._writing = threading.Lock()

    def run(self) -> None:
        """Copy until the last writer has closed the pipe."""
        try:
            while (chunk := kernel.read(self._fd, _CHUNK)) and self._write(chunk):
                pass
        except OSError as error:
            if error.filename is None:  # from the pipe, not from the writer
                error.filename = "output of the filter"
            self._failure = error
        except BaseException as error:  # noqa: BLE001 - raised where the result is wanted
            self._failure = error
        finally:
            close_quietly(self._fd)  # SIGPIPE ends a filter that has more output

    def _write(self, chunk: bytes) -> bool:
        """Write a chunk, unless the copying was given up."""
        with self._writing:
            if not self._given_up:
                self._writer.write(chunk)
            return not self._given_up

    def close(self) -> None:
        """Write nothing more; wait for a write that is under way, since the writer is closed next.

        This does not wait for the end of the output: a process that the filter has left behind may
        keep the pipe open.
        """
        self._given_up = True
        with self._writing:
            pass

    def reraise(self) -> None:
        """Raise the exception of the copying, if it failed."""
        if self._failure is not None:
            raise self._failure
