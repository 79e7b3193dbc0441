"""Start a command under a lock, pass signals on to it, and wait for it.

The command gets what a shell would give it: our descriptors, our environment, and the signals that
were ignored when we started. SIGPIPE and SIGXFSZ, which the interpreter ignores, and SIGCHLD, which
our parent may have ignored, have their default action.

We wait for signals instead of using handlers, because the kernel then reports the sender. A
terminal also sends its signals to the command; those of `kill` reach only us, and are passed on.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from .._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Self

NOT_FOUND, NOT_STARTED = 127, 126  # as shells report them
_PAUSE = 0.02  # seconds between two checks on the command if other threads may get the signals
_SIGNALLED = 128
_FROM_KERNEL = 0x80  # SI_KERNEL: from a terminal, not from kill(2) (<asm-generic/siginfo.h>)
_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_RESET = ("SIGPIPE", "SIGXFSZ", "SIGCHLD")


class StartError(Exception):
    """The command could not be started.

    Attributes:
        status: The exit status that says so.
    """

    def __init__(self, command: str, error: OSError) -> None:
        reason, found = error.strerror, True
        if error.errno == errno.ENOENT:
            found = _found(command) is not None
            reason = "the interpreter that it names is missing" if found else "command not found"
        super().__init__(f"{command}: {reason}")
        self.status = NOT_STARTED if found else NOT_FOUND


class Child:
    """One command. Use it in a ``with`` block, in which signals are passed on to the command.

    Attributes:
        asked_to_end: The first signal that ends a program by default, 0 if none came; the command
            may have handled or ignored it.
    """

    def __init__(self) -> None:
        self.asked_to_end = 0
        self._pid = 0
        self._mask: set[Any] = set()
        self._taken: set[Any] = set()
        self._alone: bool
        self._before_child: Any = None

    def __enter__(self) -> Self:
        passed_on = {getattr(signal, name) for name in _PASSED_ON}
        passed_on = {one for one in passed_on if signal.getsignal(one) != signal.SIG_IGN}
        # The kernel may drop a blocked signal that has no handler and is ignored by default.
        self._before_child = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._taken = {signal.SIGCHLD, *passed_on}
        self._alone = _is_only_thread()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        return self

    def __exit__(self, *_details: object) -> None:
        try:
            if self._pid:
                self._pass_on(signal.SIGTERM)
                os.waitpid(self._pid, 0)
        finally:
            signal.signal(signal.SIGCHLD, self._before_child or signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        streams: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Start the command.

        Args:
            command: Its name and arguments.
            environment: Its environment.
            streams: Descriptors of ours, and their numbers in the command.

        Raises:
            StartError: It could not be started.
        """
        if not command[0]:  # without a call of posix_spawnp(3)
            raise StartError("''", OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
        streams = tuple(streams)
        try:
            try:
                self._pid = self._spawn(command, environment, streams)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A script whose first line names no interpreter: run it as execvp(3) does.
                script = ["/bin/sh", _found(command[0]) or command[0], *command[1:]]
                self._pid = self._spawn(script, environment, streams)
        except OSError as error:
            raise StartError(command[0], error) from error
        except ValueError as error:  # a NUL in a name
            raise StartError(command[0], OSError(errno.EINVAL, str(error))) from error

    def _spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[tuple[int, int], ...],
    ) -> int:
        if not hasattr(os, "posix_spawnp"):  # after os.fork(), `_forks` would close the lock
            raise OSError(errno.ENOSYS, "PyPy starts no commands here: use CPython's safeatomic")
        return os.posix_spawnp(
            command[0],
            list(command),
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, its) for ours, its in streams],
            setsigmask=self._mask,
            setsigdef=[getattr(signal, name) for name in _RESET],
        )

    def _pass_on(self, number: int) -> None:
        """Send the command a signal, if that is permitted; for sudo and su it is not."""
        try:
            kernel.kill(self._pid, number)
        except PermissionError:
            pass

    def wait(self) -> int:
        """Pass signals on until the command has ended; return its status as shells report it."""
        while True:
            number, from_terminal = _next_signal(self._taken, alone=self._alone)
            if number != signal.SIGCHLD:
                if signal.Signals(number).name in _ENDING:
                    self.asked_to_end = self.asked_to_end or number
                if not from_terminal:
                    self._pass_on(number)
                continue
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                self._pid = 0
                code = os.waitstatus_to_exitcode(status)
                return _SIGNALLED - code if code < 0 else code


def _found(command: str) -> str | None:
    """Return the path of a command by its name, None if it is not found."""
    places = [command]
    if os.sep not in command:
        places = [os.path.join(directory, command) for directory in os.get_exec_path()]
    found = (place for place in places if os.path.isfile(place) and os.access(place, os.X_OK))
    return next(found, None)


def _is_only_thread() -> bool:
    """Tell whether this process has no other thread, including those not made by Python.

    If unknown, say no: a signal that another thread takes would never arrive here.
    """
    try:
        return len(kernel.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _next_signal(signals: set[Any], *, alone: bool) -> tuple[int, bool]:
    """Wait for a signal; return it and whether a terminal sent it to the whole process group.

    `signal.sigtimedwait` is not called with a timeout: if the process is stopped for longer than
    the timeout, it returns arbitrary memory as a signal.

    Args:
        signals: The signals to wait for.
        alone: Whether every thread blocked them. In a program that runs us in its own process,
            another thread may get the signal of the command's end.
    """
    if not hasattr(signal, "sigwaitinfo"):
        # macOS: a Ctrl-C reaches the command twice there; most commands treat it as one
        return signal.sigwait(signals), False
    info = signal.sigwaitinfo(signals) if alone else signal.sigtimedwait(signals, 0)
    if info is None:
        time.sleep(_PAUSE)
        return signal.SIGCHLD, True
    return info.si_signo, info.si_code == _FROM_KERNEL
