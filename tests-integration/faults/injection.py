"""Make the N-th system call fail.

The seam's entries are replaced (`safeatomic_core._posix.intercept`) and each call is counted. The
chosen call raises, either instead of its effect or after it. ``close`` always closes and then
raises, as the kernel does (close(2)). ``fsync`` is left out: these tests check only the visible
state, and would spend nearly all their time on thousands of flushes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safeatomic_core import _posix

from .errnos import ERRNOS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

_LIBRARY = os.path.dirname(_posix.__file__) + os.sep
_LIVELOCK = 20_000  # calls; the longest scenario makes about 150


class LivelockError(BaseException):
    """A call did not end."""


@dataclass
class Injection:
    """A plan of what fails, and a record of what happened.

    Attributes:
        at: Numbers of the calls that fail, counted from 1.
        code: The errno of the (first) failure; later ones take it too if their call can return it.
        forever: Whether every call after the first of `at` fails as well.
        interrupt: Raise this instead of an OSError.
        after: Raise after the call has taken effect.
        calls: What was called, in order: the entry and the library's functions that called it.
        raised: The exceptions that were raised.
        sites: Where they were raised: the entry, and who called it.
        unsupported: Entries that this machine is not to have, with the error that says so.
        lost: Descriptors that a call returned to nobody, because it then raised.
    """

    at: tuple[int, ...] = ()
    code: int = 0
    forever: bool = False
    interrupt: type[BaseException] | None = None
    after: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    sites: list[tuple[str, str]] = field(default_factory=list)
    unsupported: Mapping[str, int] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in for an entry of the seam."""

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            site = (name, callers(2))
            self.calls.append(site)
            number = len(self.calls)
            if number > _LIVELOCK:
                raise LivelockError(f"{name} from {site[1]}")
            error = self._due(name, number, args)
            if error is None and name in self.unsupported:
                raise OSError(self.unsupported[name], os.strerror(self.unsupported[name]))
            if error is None:
                return _really(name, call, args, kwargs)
            self.raised.append(error)
            self.sites.append(site)
            if name == "close" and (self.interrupt is None or self.after):
                call(*args, **kwargs)
            elif self.after:
                result = None
                with contextlib.suppress(OSError):
                    result = _really(name, call, args, kwargs)
                if name in ("open", "open_anonymous") and result is not None:
                    self.lost.append(result)
            try:
                raise error
            finally:
                del error  # its traceback would refer to itself and delay the clean-up

        return stand_in

    def _due(self, name: str, number: int, args: tuple[Any, ...]) -> BaseException | None:
        if number not in self.at and not (self.forever and self.at and number > self.at[0]):
            return None
        if self.interrupt is not None:
            return self.interrupt("injected")
        possible = ERRNOS[name]
        if not possible:
            return None  # it never fails
        # EINTR only on request: code that repeats an interrupted call would never end.
        other = next(one for one in possible if one != errno.EINTR)
        code = self.code if self.code in possible else other
        filename = args[0] if args and isinstance(args[0], str) else None
        return OSError(code, os.strerror(code), filename)


def _really(name: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    if name == "fsync":
        return _flush_nothing(*args)
    return call(*args, **kwargs)


def unsynced(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Skip flushes and change nothing else; for `intercept`."""
    return _flush_nothing if name == "fsync" else call


def _flush_nothing(fd: int) -> None:
    os.fstat(fd)


def callers(depth: int) -> str:
    """Name the library's functions that led here, the innermost first, at most six."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and len(names) < 6:
        code = frame.f_code
        if code.co_filename.startswith(_LIBRARY):
            names.append(code.co_qualname)
        elif names:
            break
        frame = frame.f_back
    return " < ".join(names)
