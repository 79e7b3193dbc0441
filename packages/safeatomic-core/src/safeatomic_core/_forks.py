"""Descriptors that no forked child may keep, and how often this process was forked.

A flock belongs to the open file description, which a forked child shares: as long as the child
keeps the descriptor, a dead parent's lock looks alive (flock(2)). So descriptors that carry a flock
are opened through `Held`, and a child closes its copies right after the fork.

A signal handler that raises may interrupt any Python code, fork hooks included, and what such a
hook raises is only printed: the rest of the hook does not run. So what runs *after* a fork is made
of the interpreter's own functions, which nothing interrupts; what runs before it does its work a
second time if it was interrupted (`docs/adr/0035-fork-hooks.md`).
"""

from __future__ import annotations

import os
import time
from _thread import RLock, get_ident  # threading itself takes as long to import as this package
from itertools import starmap

from . import _log
from ._descriptor import Descriptor, close_all, leave_standard, shows
from ._posix import STANDARD

try:
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # an interpreter that has it in Python only
    from functools import partial  # slow to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A fork waits until nobody is between opening and remembering, or between forgetting and closing.
# Those who are do not wait for each other: creating a file may block on the journal.
_held: dict[int, tuple[int, int]] = {}  # descriptor: the device and inode number it was opened on
_opening_or_closing: dict[Held, int] = {}  # who is, and in which thread
_forking: list[int] = []  # the thread that is about to fork
_one_at_a_time = RLock()  # held by that thread; reentrant: a signal handler may fork, too
_forks_so_far: list[None] = []  # one entry for each fork between the first process and this one
_doomed: list[tuple[int, int]] = []  # what a child closes: each descriptor, and the number after it
_UNKNOWN = (-1, -1)
_LONGEST_WAIT = 5.0  # seconds; a fork is not to hang as long as a file server that does not answer
_PAUSE = 0.0001  # seconds between two looks at the others
_MAY_SHARE = "a forked child may share the file's lock"


def generation() -> int:
    """Return how many forks lie between the first process and this one.

    What was made in one generation belongs to another process in the next. A PID does not tell: a
    child in a new PID namespace may have its parent's.
    """
    return len(_forks_so_far)


class Held(Descriptor):
    """Owner of at most one descriptor that no forked child may keep.

    Attributes:
        lasting: Whether code of the program runs while it is open; it may close any descriptor.
    """

    __slots__ = ("_born", "lasting")

    def __init__(self, *, lasting: bool = True) -> None:
        self._held = []
        self.lasting = lasting
        self._born = len(_forks_so_far)

    def open(self, opener: Callable[..., int], *args: object, dir_fd: int | None = None) -> int:
        """Open it: call ``opener`` as `os.open` is called, and keep what it returns.

        The caller, who looks at what was opened in any case, passes that to `shows`.
        """
        call = opener if dir_fd is None else partial(opener, dir_fd=dir_fd)
        try:
            try:
                _opening_or_closing[self] = get_ident()
                if _forking:
                    _let_fork_pass(self)
                self._held.extend(starmap(call, (args,)))
                fd = self._held[0]
                if fd < STANDARD:
                    leave_standard(self._held)
                    fd = self._held[0]
                _held[fd] = _UNKNOWN
            finally:
                _opening_or_closing.pop(self, None)
        finally:
            _opening_or_closing.pop(self, None)  # an interrupt may have come before the first
        return fd

    def shows(self, status: os.stat_result) -> None:
        """Take note of what was opened, to notice if another file gets the number later."""
        if self._held and self._held[0] in _held:
            _held[self._held[0]] = status.st_dev, status.st_ino

    def adopt(self, descriptor: Descriptor, status: os.stat_result | None = None) -> None:
        """Share another owner's descriptor, which either closes for both.

        As soon as this one is known to whoever closes it, the other is to `detach`. In this order
        no interrupt finds the descriptor without an owner.

        Args:
            descriptor: The other owner.
            status: What is open, None if the other owner is of this kind and has taken note of it.
        """
        try:
            try:
                _opening_or_closing[self] = get_ident()
                if _forking:
                    _let_fork_pass(self)
                self._held = descriptor._held  # noqa: SLF001 - our kind
                if self._held:
                    _held.setdefault(self._held[0], _UNKNOWN)
            finally:
                _opening_or_closing.pop(self, None)
        finally:
            _opening_or_closing.pop(self, None)
        if status is not None:
            self.shows(status)

    def close(self) -> None:
        """Close it, if it is open and nobody else has closed it and got its number."""
        if not self._held:
            return
        try:
            self._close()
        finally:
            if self._held:  # an interrupt came before the call that closes it
                self._close()

    def _close(self) -> None:
        if self._born != len(_forks_so_far):
            self.release()  # the parent's; this process closed its copy right after the fork
            return
        try:
            try:
                _opening_or_closing[self] = get_ident()
                if _forking:
                    _let_fork_pass(self)
                for fd in self._held[:]:  # none, if another thread was quicker
                    if self.lasting and not _still_shows(fd):
                        self.release()
                    _held.pop(fd, None)
                close_all(self._held)
            finally:
                _opening_or_closing.pop(self, None)
        finally:
            _opening_or_closing.pop(self, None)

    def valid(self) -> bool:
        """Tell whether the descriptor is open and still shows what was opened."""
        return bool(self._held) and self.ours() and _still_shows(self._held[0])

    def ours(self) -> bool:
        """Tell whether this process made the owner, not a parent that it was forked from."""
        return self._born == len(_forks_so_far)


def _still_shows(fd: int) -> bool:
    """Tell whether a descriptor shows what it was opened on, as far as that was noted."""
    opened_on = _held.get(fd, _UNKNOWN)
    return opened_on == _UNKNOWN or shows(fd, opened_on)


def _let_fork_pass(held: Held) -> None:
    """Step back while another thread forks.

    What opens or closes enters itself first and asks `_forking` then, and a fork does the same the
    other way round: one of the two sees the other. Not for ever: another hook of that fork may be
    waiting for something that this thread holds.
    """
    thread = get_ident()
    deadline = time.monotonic() + _LONGEST_WAIT
    while _forking and thread not in _forking:
        _opening_or_closing.pop(held, None)
        time.sleep(_PAUSE)
        late = time.monotonic() > deadline
        _opening_or_closing[held] = thread
        if late:
            _log.warning("a fork takes longer than %g s; %s", _LONGEST_WAIT, _MAY_SHARE)
            return


class _Doomed:
    """The closing of what belongs to the parent: iterating over it closes the next one.

    `os.closerange` ignores descriptors that the program has closed already. Both the iterator and
    what it calls are written in C.
    """

    __iter__: Callable[[], Iterator[None]] = staticmethod(partial(starmap, os.closerange, _doomed))


def _set_hooks() -> None:
    # The hooks after a fork run in the order of registration, those before it in the reverse.
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_forking.clear,
        after_in_child=partial(any, _Doomed()),
    )
    os.register_at_fork(after_in_child=partial(_forks_so_far.append, None))
    for state in (_held, _opening_or_closing, _forking, _doomed):
        os.register_at_fork(after_in_child=state.clear)
    # In a child nobody else runs: what the others held is free.
    free = getattr(_one_at_a_time, "_at_fork_reinit", _one_at_a_time.release)
    os.register_at_fork(
        before=_one_at_a_time.acquire,
        after_in_parent=_one_at_a_time.release,
        after_in_child=free,
    )


def _before_fork() -> None:
    """Prepare for a fork, even if one interrupt arrives."""
    done = False
    try:
        _make_ready()
        done = True
    finally:
        if not done:
            _make_ready()


def _make_ready() -> None:
    """Wait for the other threads that open or close; those that come later wait for us."""
    thread = get_ident()
    if thread not in _forking:
        _forking.append(thread)
    deadline = time.monotonic() + _LONGEST_WAIT
    while any(other != thread for other in list(_opening_or_closing.values())):
        if time.monotonic() > deadline:
            _log.warning("opening a file takes longer than %g s; %s", _LONGEST_WAIT, _MAY_SHARE)
            _opening_or_closing.clear()  # the next fork need not wait for them again
            break
        time.sleep(_PAUSE)
    # What the program has closed behind our back is not the child's to close either.
    _doomed[:] = [(fd, fd + 1) for fd in list(_held) if _still_shows(fd)]


if hasattr(os, "register_at_fork"):  # POSIX
    _set_hooks()
