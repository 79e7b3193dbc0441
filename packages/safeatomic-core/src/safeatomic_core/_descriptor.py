"""Owners of descriptors, which no interrupt can separate from what they own.

A signal handler's exception arrives between two instructions of Python, not in C: one call of C
code opens a descriptor and enters it, another takes it out and closes it.
"""

from __future__ import annotations

import errno
import time
from itertools import starmap

from . import _log
from ._errors import system_error
from ._posix import F_DUPFD_CLOEXEC, STANDARD, kernel

try:
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # an interpreter that has it in Python only
    from functools import partial  # slow to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    _T = TypeVar("_T")

    class Closable(Protocol):
        """What can be closed; the second time does nothing."""

        def close(self) -> None:
            """Close it."""


# Without being told, the kernel ends a lease after 45 seconds (proc(5), lease-break-time).
_LEASED_LOOKS = 3000
_LEASED_PAUSE = 0.02  # seconds between two of them


class Descriptor:
    """Owner of at most one open descriptor; no interrupt can separate the two."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[int] = []

    @property
    def fd(self) -> int:
        """The descriptor, -1 while there is none."""
        return self._held[0] if self._held else -1

    def open(self, opener: Callable[..., int], *args: object, dir_fd: int | None = None) -> int:
        """Open it: call ``opener`` as `os.open` is called, and keep what it returns.

        What this owner had open before is closed afterwards, so ``dir_fd`` may be that.
        """
        call = opener if dir_fd is None else partial(opener, dir_fd=dir_fd)
        held = self._held
        try:
            if held:
                held[:0] = starmap(call, (args,))
                drop_former(held)
            else:
                held.extend(starmap(call, (args,)))
        except BlockingIOError:
            _open_leased(held, call, args)
        if held[0] < STANDARD:
            leave_standard(held)
        return held[0]

    def release(self) -> int:
        """Give it away without closing it; -1 if there is none."""
        return self._held.pop() if self._held else -1

    def close(self) -> None:
        """Close it, if it is open."""
        if not self._held:
            return
        try:
            close_all(self._held)
        finally:
            if self._held:  # an interrupt came before the call that closes it
                close_all(self._held)

    def close_if_shows(self, inode: tuple[int, int]) -> None:
        """Close it, unless the program has closed it and its number is another file's by now.

        Args:
            inode: Device and inode number of what was opened.
        """
        try:
            if self._held and not shows(self._held[0], inode):
                self.release()
        finally:
            self.close()

    def detach(self) -> None:
        """Leave the descriptor to the owner that shares it."""
        self._held = []


def closing(resource: Closable, work: Callable[[], _T]) -> _T:
    """Do some work, and close in any case what it opens.

    No ``with`` block does that: an interrupt that arrives as ``__exit__`` begins leaves it undone.

    Args:
        resource: What is to be closed; not open yet, or an interrupt could come before this call.
        work: Opens it, and uses it.
    """
    try:
        return work()
    finally:
        try:
            resource.close()
        finally:
            resource.close()  # an interrupt may have come before the first had begun


def close_quietly(fd: int) -> None:
    """Close a descriptor that was only read from, or whose content is flushed or unwanted.

    An error then loses nothing, and the descriptor is gone all the same (close(2)).
    """
    try:
        kernel.close(fd)
    except system_error() as error:
        _log.debug("an error while closing a file that lost nothing (%s)", error)


def close_all(held: list[int]) -> None:
    """Take descriptors out of a list and close them; an error loses nothing (`close_quietly`)."""
    while held:
        try:
            any(map(kernel.close, map(held.pop, (-1,))))
        except system_error() as error:
            _log.debug("an error while closing a file that lost nothing (%s)", error)
        except IndexError:
            pass  # another thread was quicker


def drop_former(held: list[int]) -> None:
    """Close all descriptors of a list but the first."""
    while len(held) > 1:
        try:
            any(map(kernel.close, map(held.pop, (-1,))))
        except system_error() as error:
            _log.debug("an error while closing a file that lost nothing (%s)", error)


def leave_standard(held: list[int]) -> None:
    """Give a descriptor another number if it has one of the standard streams.

    A program that has closed those goes on printing, and what it prints must not get into a file of
    ours.
    """
    held[:0] = map(kernel.dupfd, held[:1], (F_DUPFD_CLOEXEC,), (STANDARD,))
    drop_former(held)


def _open_leased(held: list[int], call: Callable[..., int], args: tuple[object, ...]) -> None:
    """Open a file on which another process has a lease, once it has given that up.

    An NFS server has leases for its clients (delegations), and so may Samba (oplocks). With
    O_NONBLOCK, open(2) breaks a lease but does not wait for its end (EWOULDBLOCK); without, it
    would wait for ever if a FIFO took the name.
    """
    for _ in range(_LEASED_LOOKS):
        time.sleep(_LEASED_PAUSE)
        try:
            held[:0] = starmap(call, (args,))
            break
        except BlockingIOError:
            pass
    else:
        held[:0] = starmap(call, (args,))
    drop_former(held)


def shows(fd: int, inode: tuple[int, int]) -> bool:
    """Tell whether a descriptor shows what was opened: a program may close all it finds.

    Args:
        fd: The descriptor.
        inode: Device and inode number of what was opened.
    """
    try:
        status = kernel.fstat(fd)
    except system_error() as error:
        return error.errno != errno.EBADF
    return (status.st_dev, status.st_ino) == inode
