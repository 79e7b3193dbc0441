"""Run a workload on a filesystem while the device records, with marks at every step.

A workload's script uses a `Session`. It performs operations between marks, lets the library's trace
hook mark each step, disturbs the filesystem after each system call that changes something, and can
kill an operation in a forked child right after a chosen step.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, NamedTuple, Protocol

import safeatomic_core
from safeatomic_core import _posix, _trace

from . import payload
from .isolation import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from .operations import AnyOperation
    from .worlds import Value

# Calls that may change the disk; noise after other calls would show nothing new.
_CHANGING = frozenset(
    {"write", "pwrite", "ftruncate", "fsync", "fchmod", "fchown", "setxattr", "rename"}
    | {"rename_noreplace", "rename_exchange", "link", "link_anonymous", "unlink"}
)


class After(NamedTuple):
    """A moment in an operation: right after a step, in a phase if one is given.

    Attributes:
        step: One of the ten step words.
        phase: The phase that the step reports, empty for any.
        what: What happens then: ``kill``, or a kind of noise for a commit that falls just there.
    """

    step: str
    phase: str = ""
    what: str = "kill"


class Performer(Protocol):
    """How an operation is carried out; the peers have other ways than the library."""

    def __call__(self, operation: AnyOperation, root: str, disturb: Callable[[], None]) -> None: ...


def with_library(operation: AnyOperation, root: str, disturb: Callable[[], None]) -> None:
    """Carry an operation out with safeatomic, disturbing after each system call."""
    with _disturbed(disturb):
        operation.perform(root)


class Marks(Protocol):
    """What takes marks: a recording device, or a disk of a guest."""

    def mark(self, fact: Mapping[str, object]) -> None: ...


class Session:
    """One recording under way.

    Args:
        root: The filesystem's mount point.
        device: The device below it.
        noise: Makes a kind of noise once; the workload's own kind for an empty name.
        perform: How operations are carried out.
    """

    def __init__(
        self,
        root: str,
        device: Marks,
        noise: Callable[[str], None],
        perform: Performer,
    ) -> None:
        self.root = root
        self._device = device
        self._perform = perform
        self._noise = noise

    def do(self, *operations: AnyOperation, after: Sequence[After] = ()) -> None:
        """Perform operations one after the other.

        Args:
            operations: What to do.
            after: What else happens in the middle of each.
        """
        for operation in operations:
            self._device.mark({"begin": operation.number})
            with self._traced(operation, after):
                self._perform(operation, self.root, self._disturb)
            self._device.mark({"ack": operation.number, "process": os.getpid()})

    def do_refused(self, operation: AnyOperation, error: type[Exception]) -> None:
        """Perform an operation that must fail without any effect."""
        try:
            self._perform(operation, self.root, self._disturb)
        except error:
            return
        raise AssertionError(f"{operation} was not refused with {error.__name__}")

    def kill(self, operation: AnyOperation, *after: After) -> None:
        """Begin an operation in a child that is killed after one of its steps.

        The child kills itself with SIGKILL, so that it stops at once and the kernel drops its
        flocks.
        """
        self._device.mark({"begin": operation.number})
        child = os.fork()
        if child == 0:
            try:
                die_with_parent()
                with self._traced(operation, after):
                    self._perform(operation, self.root, self._disturb)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise AssertionError(f"{operation} ended with {status} instead of dying at {after}")
        self._device.mark({"gone": operation.number, "process": child})

    def do_at_once(self, *sequences: Sequence[AnyOperation]) -> None:
        """Perform several sequences of operations, each in its own process."""
        children = []
        for sequence in sequences:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    die_with_parent()
                    self.do(*sequence)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
        if failed:
            raise AssertionError(f"{len(failed)} of {len(children)} concurrent writers failed")

    def _disturb(self) -> None:
        self._noise("")

    @contextlib.contextmanager
    def _traced(self, operation: AnyOperation, after: Sequence[After]) -> Iterator[None]:
        """Mark every step of an operation, and do the planned actions after some of them."""

        def hook(step: str, facts: dict[str, object]) -> None:
            if step == _trace.HARDEN:
                facts = {
                    **facts,
                    "digest": operation.digest,
                }  # what an unchecked write does not say
            facts = {**facts, "process": os.getpid()}
            self._device.mark({"step": step, "facts": facts, "op": operation.number})
            for moment in after:
                if step == moment.step and moment.phase in ("", facts.get("phase")):
                    if moment.what == "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    self._noise(moment.what)

        before, _trace.hook = _trace.hook, hook
        try:
            yield
        finally:
            _trace.hook = before


def prepare(root: str, files: Mapping[str, Value | None], size: int) -> None:
    """Make the files that a workload starts with, of a size in bytes."""
    for name, value in files.items():
        if value is None:
            continue
        path = f"{root}/{name}"
        with open(path, "wb") as file:
            file.write(payload.content(value.version, size))
        payload.set_meta(path, value.meta)
        if value.sidecar:
            safeatomic_core.write_checksum_file(path)


@contextlib.contextmanager
def _disturbed(disturb: Callable[[], None]) -> Iterator[None]:
    """Disturb after each system call of the library that changes something."""

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if name not in _CHANGING:
            return call

        def changed(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            disturb()
            return result

        return changed

    with _posix.intercept(wrap):
        yield
