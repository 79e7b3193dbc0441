"""Signals that end the command: it cleans up first, and then reports the signal."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Self

ENDING = tuple(
    number
    for number in (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    if number is not None
)


class Ended(KeyboardInterrupt):
    """One of the signals came.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Ending:
    """Turn the first signal that ends a program into `Ended`; an ignored signal stays ignored.

    `Ended` unwinds the command's work. Later signals do not interrupt the clean-up; SIGQUIT still
    ends the command.

    Attributes:
        noted: The first one that came after `defer`, 0 if none did.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came = False
        self._deferred = False
        self.noted = 0

    def defer(self) -> None:
        """From now on, only note the signals."""
        self._deferred = True

    def __enter__(self) -> Self:
        for number in ENDING:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                try:
                    self._before[number] = signal.signal(number, self._end)
                except ValueError:
                    pass  # only the main thread gets signals
        return self

    def __exit__(self, *_details: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._deferred:
            self.noted = self.noted or number
        elif not self._came:
            self._came = True
            raise Ended(number)
