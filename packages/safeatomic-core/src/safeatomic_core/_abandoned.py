"""Writers that are dropped without commit or abort: their write is aborted, and the log says so.

A finalizer of our own would run for every writer, and what a signal handler raises inside one goes
nowhere (``object.__del__``). `io.BufferedWriter` has one, in C, which closes what is still open. So
it is `close` that aborts when a finalizer calls it, as at the end of the interpreter: a cycle then
takes everything along, this module and its weak references too, but finalizers come first.

A stream that is closed, or not made yet, has nothing to finalize. While that is so, and always
where `close` is not told who calls it, a weak reference calls back, until the writer is decided.
"""

from __future__ import annotations

import io
from _weakref import ref  # weakref itself is slow to import

from . import _log, _trace
from ._change import close
from ._forks import generation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._protocol import Write

# Kept here, not by the writer: in a garbage cycle with it a reference would call nobody back. By
# their numbers, because what refers to garbage cannot be hashed any more.
_guards: dict[int, ref[object]] = {}


def guard(writer: object, write: Write) -> ref[object]:
    """Return what aborts a write when its writer is dropped, unless it is disarmed before."""
    born = generation()

    def dropped(reference: ref[object]) -> None:
        _guards.pop(id(reference), None)
        if born == generation():  # in a forked child it is the parent's
            _abort(write)

    _log.keep()
    reference = ref(writer, dropped)
    arm(reference)
    return reference


def arm(reference: ref[object] | None) -> None:
    """Take note that no finalizer is going to close a writer that is undecided."""
    if reference is not None:
        _guards[id(reference)] = reference


def leave_to_finalizer(reference: ref[object]) -> None:
    """Take note that a finalizer is going to close the writer, and to say that it is one."""
    if hasattr(io.BufferedWriter, "_finalizing"):  # CPython
        disarm(reference)


def abandon(writer: object, reference: ref[object] | None) -> None:
    """Abort the write of a writer that is undecided, if it is a finalizer that closes it."""
    if reference is not None and getattr(writer, "_finalizing", False):
        assert reference.__callback__ is not None  # noqa: S101 - `guard` gave it one
        reference.__callback__(reference)


def disarm(reference: ref[object] | None) -> None:
    """Take note that a writer was decided."""
    if reference is not None:
        _guards.pop(id(reference), None)


def _abort(write: Write) -> None:
    if write.closed:
        return
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
