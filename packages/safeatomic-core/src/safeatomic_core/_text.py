"""Text streams over a writer: no text stays behind in a buffer, and none is lost unnoticed."""

from __future__ import annotations

import io
from _weakref import ref  # weakref itself is slow to import

from ._errors import SafeAtomicError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, TypeVar

    _T = TypeVar("_T")


class Texts:
    """The text streams of one writer.

    Attributes:
        torn: Whether an interrupt may have cost text that one of them had accepted.
        holding: Marks of those that may hold text that they have accepted, dropped ones included.
        unheard: What was raised while one that was dropped handed text on, where nobody hears it.
    """

    def __init__(self) -> None:
        self._open: list[ref[_Text]] = []
        self.torn = False
        self.holding: set[object] = set()
        self.unheard: BaseException | None = None

    def wrap(self, writer: BinaryIO, encoding: str, newline: str | None) -> io.TextIOWrapper:
        """Return one more; it lives as long as the program keeps it."""
        wrapper = _Text(writer, self, encoding, newline)
        self._open = [*(one for one in self._open if one() is not None), ref(wrapper)]
        return wrapper

    def flush(self) -> None:
        """Let each hand what it holds to the writer, the oldest first."""
        for one in self._open:
            wrapper = one()
            if wrapper is not None and wrapper.is_attached():
                wrapper.flush()

    def require_whole(self, path: str) -> None:
        """Refuse to publish text of which a part may be missing.

        Raises:
            SafeAtomicError: A stream was interrupted while it handed text on.
            BaseException: What interrupted one that was dropped, which had no caller to tell.
        """
        error, self.unheard = self.unheard, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame, and so the writer
        if self.torn:
            raise SafeAtomicError(
                f"{path!r}: a signal handler's exception interrupted a text stream while it handed "
                "text to the writer, and a part of what it had accepted may be lost. Write again"
            )


class _Text(io.TextIOWrapper):
    """One text stream; dropping it does not close the writer.

    `io.TextIOWrapper` forgets what it holds before it hands that on: what interrupts the writer
    then costs lines that were accepted long before.
    """

    _finalizing = False

    def __init__(self, writer: BinaryIO, texts: Texts, encoding: str, newline: str | None) -> None:
        self._texts = texts
        self._mark = object()
        super().__init__(writer, encoding=encoding, newline=newline)

    def write(self, text: str, /) -> int:
        """Write text; return its length."""
        length = self._whole(super().write, text)
        self._texts.holding.add(self._mark)
        return length

    def flush(self) -> None:
        """Hand what is held to the writer, and what that holds to the kernel."""
        self._whole(super().flush)
        self._texts.holding.discard(self._mark)

    def tell(self) -> int:
        """Return the position, as a number for `seek`."""
        return self._whole(super().tell)

    def close(self) -> None:
        """Close the writer as well; not where this is only dropped."""
        if self._finalizing:  # set by CPython's finalizer, which runs no Python code of ours
            try:
                self.detach()
            except BaseException as error:  # noqa: BLE001 - the finalizer would swallow it
                # Tracebacks would keep the writer alive.
                error.__cause__ = error.__context__ = None
                self._texts.unheard = error.with_traceback(None)
        else:
            super().close()

    def is_attached(self) -> bool:
        """Tell whether it has a writer that is open."""
        try:
            return not self.closed
        except ValueError:  # detached
            return False

    def _whole(self, call: Callable[..., _T], *args: Any) -> _T:
        """Call something that hands text on, and note if that was cut short."""
        texts = self._texts
        before = texts.torn
        texts.torn = before or self._mark in texts.holding  # until it is known what was done
        try:
            result = call(*args)
        except BaseException as error:
            traceback = error.__traceback__
            # An exception that no other Python code let through comes from in here, or from the
            # encoder: before anything is forgotten, or after it arrived.
            if traceback is None or traceback.tb_next is None or isinstance(error, UnicodeError):
                texts.torn = before
            del traceback  # it holds this frame, and so a stream that is being dropped
            raise
        texts.torn = before
        return result
