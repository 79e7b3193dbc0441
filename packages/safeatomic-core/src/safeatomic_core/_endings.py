"""What a call has to close in the end, done whatever interrupts it.

A signal handler's exception may arrive at the first instruction of a ``finally``, before anything
is closed. A finalizer for each object would run in ordinary calls, and lose what such a handler
raises in it; a weak reference calls back only while it exists.
"""

from __future__ import annotations

from _weakref import ref  # weakref itself is slow to import

try:
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # an interpreter that has it in Python only
    from functools import partial  # slow to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    Endings: TypeAlias = list[Callable[[], None]]
    _T = TypeVar("_T")


def keeping(work: Callable[[Endings], _T]) -> _T:
    """Do something, then the endings that it enters into a list, whatever interrupts that.

    Args:
        work: A function made for this call, which nobody else keeps: with the call it goes, and if
            an interrupt came before the endings, they are done then. It enters each ending before
            there is anything to end.
    """
    endings: Endings = []
    kept: list[Any] = [endings]
    kept.append(ref(work, partial(_do_late, kept)))  # a cycle, which keeps the reference
    try:
        return work(endings)
    finally:
        finish(endings)
        kept.clear()


def finish(endings: Endings, *, again: bool = True) -> None:
    """Do every ending, the last of the list first, whatever interrupts one of them.

    An ending that an interrupt cut short is done once more, and the rest after it; then the
    interrupt goes on. Endings log what fails, and are harmless when done twice.
    """
    try:
        while endings:
            endings[-1]()
            del endings[-1]
    finally:
        if endings:
            if not again:
                del endings[-1]
            finish(endings, again=not again)


def _do_late(kept: list[Any], _reference: object) -> None:
    endings = kept[0]
    kept.clear()
    finish(endings)
