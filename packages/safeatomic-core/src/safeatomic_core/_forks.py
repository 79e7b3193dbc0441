"""Descriptors that no forked child may keep.

A flock belongs to the open file description, which a forked child shares: as long as the child
keeps the descriptor, a dead parent's lock looks alive (flock(2)). So descriptors that carry a flock
are opened through `open_held`, and a child closes its copies at birth.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, get_ident  # threading itself takes as long to import as this package

from . import _log
from ._posix import close_quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A fork waits until nobody is between opening and remembering, or between forgetting and closing.
# Those who are do not wait for each other: creating a file takes as long as the journal wants.
_held: set[int] = set()
_busy: dict[object, int] = {}  # one entry for each call that is in between: the thread it runs in
_forking = 0  # the thread that is about to fork
_fork_guard = RLock()  # held by that thread; reentrant: a signal handler may write a file, too
_fork_hook_set = False
_LONGEST_WAIT = 5.0  # seconds; a fork is not to hang as long as a file server that does not answer
_MAY_SHARE = "a forked child may share the file's lock"


def open_held(opener: Callable[..., int], *args: object, **kwargs: object) -> int:
    """Open a descriptor that no forked child may keep."""
    if not _fork_hook_set:
        _set_fork_hook()
    token = object()
    try:
        _busy[token] = get_ident()
        if _forking:
            _let_fork_pass(token)
        fd = opener(*args, **kwargs)
        _held.add(fd)
        return fd
    finally:
        _busy.pop(token, None)


def close_held(fd: int) -> None:
    """Close what `open_held` opened; forgotten first, because its number is free at once."""
    token = object()
    try:
        _busy[token] = get_ident()
        if _forking:
            _let_fork_pass(token)
        _held.discard(fd)
        close_quietly(fd)
    finally:
        _busy.pop(token, None)


def _let_fork_pass(token: object) -> None:
    """Step back while another thread forks.

    The token is entered first and `_forking` asked then, and a fork does the same the other way
    round: one of the two sees the other. Not for ever: another hook of that fork may be waiting
    for something that this thread holds.
    """
    thread = get_ident()
    while _forking not in (0, thread):
        _busy.pop(token, None)
        free = _fork_guard.acquire(timeout=_LONGEST_WAIT)
        _busy[token] = thread
        if not free:
            _log.warning("a fork takes longer than %g s; %s", _LONGEST_WAIT, _MAY_SHARE)
            return
        _fork_guard.release()


def _set_fork_hook() -> None:
    global _fork_hook_set
    with _fork_guard:
        if not _fork_hook_set and hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=_before_fork,
                after_in_parent=_after_fork,
                after_in_child=_drop_held,
            )
        _fork_hook_set = True


def _before_fork() -> None:
    """Wait for the other threads that open or close; those that come later wait for us."""
    global _forking
    _fork_guard.acquire()
    _forking = get_ident()
    deadline = time.monotonic() + _LONGEST_WAIT
    while any(thread != _forking for thread in list(_busy.values())):
        if time.monotonic() > deadline:
            _log.warning("opening a file takes longer than %g s; %s", _LONGEST_WAIT, _MAY_SHARE)
            break
        time.sleep(0.0001)


def _after_fork() -> None:
    global _forking
    _forking = 0
    _fork_guard.release()


def _drop_held() -> None:
    """Close, in a forked child, what belongs to the parent (which keeps its flocks)."""
    for fd in _held:
        try:
            os.close(fd)  # noqa: TID251 - a fork hook: nothing may stand between
        except OSError:
            pass  # already closed by the program; nothing is held through it
    _held.clear()
    _busy.clear()
    _after_fork()
