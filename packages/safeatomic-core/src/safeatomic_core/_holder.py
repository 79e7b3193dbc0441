"""Who has taken a lock: a process, a context, an asyncio task."""

from __future__ import annotations

import sys
from _contextvars import ContextVar
from _thread import _local, get_ident

from ._forks import generation
from ._hashes import raised_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token

_here: ContextVar[None] = ContextVar("safeatomic_here")  # a probe; its value means nothing
_thread = _local()


class Holder:
    """Who has taken a lock: this process, this context, this asyncio task."""

    def __init__(self) -> None:
        self.born = generation()
        self.thread = _this_thread()
        self._task = _running_task()
        self._tokens: list[Token[None]] = [_here.set(None)]

    def is_running(self) -> bool:
        """Tell whether it is the running context that has taken it."""
        if self.born != generation() or self._task is not _running_task():
            return False
        while True:
            token = self._tokens[-1]
            try:
                # One call of C uses the token up and keeps the next one: no interrupt loses it.
                self._tokens.extend(map(_here.set, map(_here.reset, (token,))))
            except (ValueError, RuntimeError) as error:
                # Is the token refused, or was this a signal handler's? PyPy has `_contextvars` in
                # Python.
                if raised_in(error) not in (__name__, "_contextvars"):
                    raise
                if self._tokens[-1] is token:  # it was made in another context
                    return False
                continue  # a signal handler asked in between, and has left a newer one
            del self._tokens[:-1]
            return True

    def in_this_thread(self) -> bool:
        """Tell whether it runs in this thread, which therefore must not wait for it."""
        return self.born == generation() and self.thread is _this_thread()


def _this_thread() -> object:
    """Return an object of this thread: the numbers of threads that have ended are used again."""
    try:
        return _thread.itself
    except AttributeError:
        _thread.itself = [get_ident()]
        return _thread.itself


def _running_task() -> object:
    """Return the asyncio task that runs now, None outside one. Nothing is imported for it."""
    asyncio = sys.modules.get("asyncio")
    running_loop = getattr(asyncio, "_get_running_loop", None)
    if running_loop is None or running_loop() is None:
        return None
    return asyncio.current_task()  # type: ignore[union-attr]
