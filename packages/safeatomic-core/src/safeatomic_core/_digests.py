"""Digests of bytes and of open files."""

from __future__ import annotations

import _thread
from _thread import allocate_lock, start_new_thread  # threading itself is slow to import
from sys import is_finalizing

from ._hashes import new_hash
from ._options import check_algorithm, check_data
from ._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from typing import Any, TypeAlias

    from _typeshed import ReadableBuffer

    Digest: TypeAlias = tuple[str, str]  # algorithm and hexadecimal digest

HEXADECIMAL = frozenset("0123456789abcdef")
_CHUNK = 262144  # bytes hashed at a time

# From Python 3.13. What it starts can be joined, and is about to leave the system's count then, of
# which os.fork() warns (`warn_about_fork_with_threads` in Modules/posixmodule.c). Up to 3.14 that
# is read after the fork, which leaves the thread the time to end.
_start_joinable: Callable[..., Any] | None = getattr(_thread, "start_joinable_thread", None)


def hash_bytes(data: bytes | memoryview, algo: str) -> str:
    """Return the hexadecimal digest of bytes in memory."""
    digest = new_hash(algo)
    digest.update(data)
    return digest.hexdigest()


def hash_fd(fd: int, algo: str, on_hashed: Callable[[int], None] | None = None) -> str:
    """Return the hexadecimal digest of an open file, from its start, in constant memory.

    Args:
        fd: The file; its position is not used.
        algo: A checked algorithm.
        on_hashed: Called with the size of each chunk in bytes, for a progress bar.
    """
    digest = new_hash(algo)
    offset = 0
    while chunk := kernel.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
        if on_hashed is not None:
            on_hashed(len(chunk))
    return digest.hexdigest()


def digest_of_bytes(data: bytes) -> Callable[[str], str]:
    """Return a function that gives the digest of bytes, hashing once for each algorithm."""
    return _remembering(lambda algo: hash_bytes(data, algo))


def digest_of_fd(fd: int, on_hashed: Callable[[int], None] | None = None) -> Callable[[str], str]:
    """Return a function that gives an open file's digest, hashing once for each algorithm."""
    return _remembering(lambda algo: hash_fd(fd, algo, on_hashed))


def _remembering(hash_by: Callable[[str], str]) -> Callable[[str], str]:
    known: dict[str, str] = {}

    def digest_of(algo: str) -> str:
        if algo not in known:
            known[algo] = hash_by(algo)
        return known[algo]

    return digest_of


def digest_length(algo: str) -> int | None:
    """Return how many hexadecimal digits an algorithm has; None if this Python lacks it."""
    try:
        return _lengths[algo]
    except KeyError:
        pass
    try:
        length = new_hash(check_algorithm(algo)).digest_size * 2
    except ValueError:
        return None
    _lengths[algo] = length
    return length


_lengths: dict[str, int] = {}


class HashAside:
    """The digest of bytes, worked out in a thread of its own where one can be had.

    hashlib releases the interpreter lock while it works, and so does write(2). Where no thread can
    be started (a limit on processes, an interpreter that is ending, a sub-interpreter) the bytes
    are hashed at once instead.
    """

    def __init__(self, algo: str) -> None:
        self._hash = new_hash(algo)
        self._failure: BaseException | None = None
        self._threads: list[Any] = []  # the one that was started
        self._finished = False
        self._done = allocate_lock()

    def start(self, data: memoryview | bytes) -> None:
        """Begin to hash. From here on `hexdigest` waits for it, whatever interrupts this."""
        self._done.acquire()
        if is_finalizing():  # up to Python 3.11 a thread that is started now never runs
            self._work(data)
            return
        if _start_joinable is None:
            thread = map(start_new_thread, (self._work,), ((data,),))
        else:
            thread = map(_start_joinable, (lambda: self._work(data),))
        try:  # one call of C: no interrupt leaves a thread that nobody waits for
            self._threads.extend(thread)
        except RuntimeError:
            if self._threads:  # it started: a signal handler has raised this
                raise
            self._work(data)

    def hexdigest(self) -> str:
        """Wait for the digest and return it."""
        self._wait()
        if self._failure is not None:
            raise self._failure
        return self._hash.hexdigest()

    def end(self) -> None:
        """Wait for the thread to end; later than for the digest it has most often ended already."""
        self._wait()
        if self._threads and _start_joinable is not None:
            self._threads[0].join()

    def _wait(self) -> None:
        if self._threads and not self._finished:
            self._done.acquire()

    def _work(self, data: memoryview | bytes) -> None:
        try:
            self._hash.update(data)
        except BaseException as error:  # noqa: BLE001 - raised where the digest is wanted
            self._failure = error
        finally:
            self._finished = True
            self._done.release()


def update(made: _Hash, data: ReadableBuffer) -> None:
    """Feed bytes into a hash object."""
    view = check_data(data)
    try:
        made.update(view)
    finally:
        if isinstance(view, memoryview):
            view.release()  # a traceback that holds this frame must not hold the buffer
