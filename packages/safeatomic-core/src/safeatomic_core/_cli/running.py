"""Commands under a lock: lock and edit."""

from __future__ import annotations

import json
import os
import threading

from .._checksum_api import get_checksum_info
from .._command_lock import VARIABLE
from .._descriptor import close_quietly
from .._errors import UNCHANGED, ChecksumMismatchError, SafeAtomicError
from .._lock_api import inheritable_lock, release_lock, try_acquire_lock
from .._lock_payload import parse_json
from .._posix import kernel
from .._reader import AtomicReader
from .._settle import recover
from .._target import visit
from . import commands, output, wording
from .locks import conflict
from .output import NO
from .process import Child, StartError
from .signals import Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from .._writer import AtomicWriter

_CHUNK = 65536  # bytes taken from a pipe at a time, which is what it holds


def lock(arguments: Namespace) -> int:
    """Run a command under a lock, which it inherits."""
    path = arguments.path
    taken = try_acquire_lock(
        path, retries=arguments.retries, delay=arguments.delay, safety=arguments.safety
    )
    if not taken:
        output.complain(conflict(path))
        return int(arguments.conflict_exit)
    try:
        with Child() as child:
            child.start(arguments.command, _environment(path, hide=arguments.close))
            return child.wait()
    except StartError as error:
        output.complain(str(error))
        return error.status
    finally:
        _release(path)


def _environment(path: str, *, hide: bool) -> dict[str, str]:
    """Return the command's environment, in which the lock is named; let its flock be inherited."""
    environment = dict(os.environ)
    named = _named(environment)
    held = inheritable_lock(path)
    if held is not None:
        fd, lock_path, token = held
        named.pop(lock_path, None)
        if not hide:
            # The command keeps the flock if we are killed: nobody gets in while it runs.
            os.set_inheritable(fd, True)
            named[lock_path] = token
    if named:
        environment[VARIABLE] = json.dumps(named)
    else:
        environment.pop(VARIABLE, None)
    return environment


def _named(environment: dict[str, str]) -> dict[str, object]:
    """Return the locks that a wrapper around us has named already."""
    named = parse_json(os.fsencode(environment.get(VARIABLE, "")))
    return named if isinstance(named, dict) else {}


def _release(path: str) -> None:
    """Release the lock of a command that has ended; its own status stands whatever happens here."""
    name = output.name(path)
    try:
        _clear_up(path)
    except (OSError, SafeAtomicError) as error:
        why = wording.explained(error, ())
        output.complain(f"warning: what is left beside {name} was not cleared up: {why}")
    try:
        if not release_lock(path):
            output.complain(f"warning: the lock of {name} was taken away while the command ran")
    except (OSError, SafeAtomicError) as error:
        why = wording.explained(error, ())
        output.complain(f"warning: the lock of {name} was not released: {why}")


def _clear_up(path: str) -> None:
    """Flush and sweep: the lock is the only trace of a process that was killed under it."""
    visit(path, lambda target: recover(target, "best_effort"))


def edit(arguments: Namespace) -> int:
    """Replace a file with what a filter makes of it, if the filter succeeds."""
    path = arguments.path
    writer = commands.open_writer(arguments, path)
    with commands.Deciding(writer):
        try:
            checked = arguments.checksum or arguments.algo is not None
            # What is damaged must not be recorded as good.
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

    It writes to a pipe, not into the file: a process that it leaves behind could otherwise go on
    writing after the file was published.
    """
    read_end, write_end = os.pipe()
    pump = _Pump(read_end, writer)
    try:
        with Child() as child:
            try:
                pump.start()
                child.start(command, dict(os.environ), streams=((source, 0), (write_end, 1)))
            finally:
                close_quietly(write_end)
            status = child.wait()
        if child.asked_to_end and status == 0:
            raise Ended(child.asked_to_end)  # what it has printed by then may be the half
        pump.join()
    finally:
        pump.give_up()
    pump.reraise()
    return status


class _Pump(threading.Thread):
    """What a filter prints, on its way into a writer, while the main thread takes signals."""

    def __init__(self, fd: int, writer: AtomicWriter) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self._writer = writer
        self._failure: BaseException | None = None
        self._given_up = False

    def run(self) -> None:
        """Copy until the last writer has closed the pipe."""
        try:
            while (chunk := kernel.read(self._fd, _CHUNK)) and not self._given_up:
                self._writer.write(chunk)
        except OSError as error:
            if error.filename is None:  # not the writer's, so the pipe's
                error.filename = "output of the filter"
            self._failure = error
        except BaseException as error:  # noqa: BLE001 - raised where the result is wanted
            self._failure = error
        finally:
            close_quietly(self._fd)  # a filter that has more to print ends by SIGPIPE

    def give_up(self) -> None:
        """Write nothing more."""
        self._given_up = True

    def reraise(self) -> None:
        """Raise what the copying failed with."""
        if self._failure is not None:
            raise self._failure
