"""Errors from a signal handler, which must reach the program whatever they interrupt."""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]  # signal itself is slow to import
    getsignal,
    valid_signals,
)


def interrupted(error: BaseException) -> bool:
    """Tell whether a signal handler raised an error, such as one that limits a call in time."""
    handlers = map(getsignal, valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False
