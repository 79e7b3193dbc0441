"""Writers that are dropped without commit or abort: their write is aborted, and the log says so.

A finalizer would run for every writer, and what a signal handler raises inside one goes nowhere
(``object.__del__``). A weak reference calls back only while it exists, and it exists only until the
writer is decided.
"""

from __future__ import annotations

from _weakref import ref  # weakref itself is slow to import

from . import _log, _trace
from ._change import close
from ._forks import generation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._protocol import Write

# Kept here, not by the writer: in a garbage cycle with it a reference would call nobody back.
_guards: set[ref[object]] = set()


def guard(writer: object, write: Write) -> ref[object]:
    """Abort a write when its writer is dropped, unless it is disarmed before."""
    born = generation()

    def dropped(reference: ref[object]) -> None:
        _guards.discard(reference)
        if born == generation():  # in a forked child it is the parent's
            _abort(write)

    reference = ref(writer, dropped)
    _guards.add(reference)
    return reference


def disarm(reference: ref[object] | None) -> None:
    """Take note that a writer was decided."""
    if reference is not None:
        _guards.discard(reference)


def _abort(write: Write) -> None:
    if write.step == _trace.RELEASE:  # it was decided, and its end was cut short
        close(write)
        return
    path, lost = write.target.path, write.holds_content()
    try:
        write.undo()
    finally:
        close(write)
    message = f"<AtomicWriter {path!r}> was dropped undecided and aborted"
    if lost:
        _log.warning("%s; what was written to it is lost", message)
    _log.warn(message, ResourceWarning)
