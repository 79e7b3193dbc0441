"""Streaming writes: a binary file object published by a decision, not by a close."""

from __future__ import annotations

import io
import os

from . import _trace
from ._digests import hash_fd, new_hash
from ._errors import SafeAtomicError
from ._options import Policy
from ._posix import kernel
from ._protocol import Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn, Self

    from _typeshed import ReadableBuffer

    from ._types import Concurrency, Safety, StrPath

_BUFFER = 131072  # bytes gathered before a system call


class AtomicWriter(io.BufferedIOBase):
    """A binary file object that replaces a file when it is committed, and otherwise not at all.

    Made to be used in a ``with`` block: leaving it commits, an exception aborts. Whatever writes
    to a binary file can write to it; closing it inside the block (as `io.TextIOWrapper` does)
    decides nothing and loses nothing. A writer that is dropped undecided aborts, with a
    `ResourceWarning`.

    The lock is taken and the temporary file made at once, so that what cannot work fails before
    the content is produced. Memory use does not depend on the size. A writer belongs to the process
    that made it; it may be shared between threads only under a lock of theirs.

    Args:
        path: The file; it need not exist, its directory must. A symbolic link is followed.
        concurrency: As for `write_atomic_bytes`.
        preserve_metadata: As for `write_atomic_bytes`.
        write_checksum: As for `write_atomic_bytes`; hashing happens while writing, a second pass
            over the temporary file only if the stream was rewound or `fileno` was asked for.
        checksum_algo: As for `write_atomic_bytes`.
        retries: As for `write_atomic_bytes`.
        delay: As for `write_atomic_bytes`.
        session: As for `write_atomic_bytes`.
        safety: As for `write_atomic_bytes`.
        mode: As for `write_atomic_bytes`.
        overwrite: As for `write_atomic_bytes`.

    Raises:
        FileExistsError: The target exists, with ``overwrite=False``. It is unchanged.
        LockError: Somebody else holds the lock. The target is unchanged.
        UnsupportedEnvironmentError: Under ``safety="strict"``. The target is unchanged.
        TypeError: An argument of the wrong type. The target is unchanged.
        ValueError: An argument out of range. The target is unchanged.
        OSError: A system call failed. The target is unchanged.

    Example:
        >>> with AtomicWriter("report.csv") as file:  # doctest: +SKIP
        ...     file.write(b"a,b")
    """

    def __init__(
        self,
        path: StrPath,
        *,
        concurrency: Concurrency = "lock",
        preserve_metadata: bool = True,
        write_checksum: bool = False,
        checksum_algo: str | None = None,
        retries: int | None = None,
        delay: float | None = None,
        session: str | None = None,
        safety: Safety = "strict",
        mode: int | None = None,
        overwrite: bool = True,
    ) -> None:
        self._write: Write | None = None
        self._verdict = ""
        self._pid = os.getpid()
        policy = Policy(
            concurrency=concurrency,
            preserve_metadata=preserve_metadata,
            write_checksum=write_checksum,
            checksum_algo=checksum_algo,
            retries=retries,
            delay=delay,
            session=session,
            safety=safety,
            mode=mode,
            overwrite=overwrite,
        )
        self._write = write = Write(path, policy)
        self.name: str = write.target.path
        self.mode = "wb"
        try:
            write.acquire_lock()
            write.stage()
            self._raw = _Raw(write, policy.algo if policy.write_checksum else None)
            self._stream: io.BufferedWriter = io.BufferedWriter(self._raw, _BUFFER)
        except BaseException as error:  # noqa: BLE001 - raised again, explained
            raise self._failed(error)  # noqa: B904 - the cause is set

    def writable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes at the position.

        Returns:
            How many bytes were given.

        Raises:
            ValueError: The writer is closed or decided.
            SafeAtomicError: This is a forked child; the writer is its parent's.
            OSError: The temporary file cannot be written. The target is unchanged.
        """
        return self._check_open().write(data)

    def flush(self) -> None:
        """Hand what is buffered to the kernel; publishes nothing."""
        if not self.closed and self._write is not None and self._pid == os.getpid():
            self._stream.flush()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position; return it, in bytes from the start."""
        return self._check_open().seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._check_open().tell()

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size in bytes, by default to the position; return it."""
        return self._check_open().truncate(size)

    def fileno(self) -> int:
        """Return the temporary file's descriptor, for writing through it.

        What is buffered is flushed first. The descriptor stays the writer's to close.
        """
        self._check_open().flush()
        return self._raw.fileno()

    def close(self) -> None:
        """Flush and close the stream; whether it is published is still to be decided."""
        if not self.closed and self._pid == os.getpid() and self._write is not None:
            self._stream.flush()
        super().close()

    def commit(self) -> None:
        """Publish what was written, durably.

        Raises:
            ValueError: The writer is committed or aborted already.
            SafeAtomicError: The checksum could not be sealed (the target is new), or this is a
                forked child (the target is unchanged).
            LockError: The lock was forced away. The target is unchanged.
            OSError: A system call failed, now or in an earlier `write` or `truncate`, which may
                have left out any part of what was given. The target is unchanged; or new,
                durability unconfirmed, if the flush of the directory failed. The note says.
        """
        write = self._check_undecided()
        write.step = _trace.FILL
        try:
            self.close()
            size, digest = self._raw.finish()
            write.filled(size, digest)
            write.commit()
        except BaseException as error:  # noqa: BLE001 - raised again, explained
            raise self._failed(error)  # noqa: B904 - the cause is set
        self._decide("committed")

    def abort(self) -> None:
        """Drop what was written; the target is unchanged. An aborted writer may be aborted again.

        Raises:
            ValueError: The writer is committed already.
        """
        if self._verdict == "aborted":
            return
        write = self._check_undecided()
        raw = getattr(self, "_raw", None)  # an interrupt may have come before it was made
        if raw is not None:
            raw.finished = True
        try:
            write.undo()
        finally:
            self._decide("aborted")

    def __enter__(self) -> Self:
        self._check_undecided()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._write is None:
            return
        if exc_type is None:
            self.commit()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_write", None) is None or self._pid != os.getpid():
            return
        message = f"{self!r} was dropped undecided and aborted"
        self.abort()
        import warnings  # loaded by the interpreter already

        warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = self._verdict or ("closed, undecided" if self.closed else "undecided")
        return f"<AtomicWriter {getattr(self, 'name', '?')!r} {state}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an AtomicWriter cannot be pickled")

    def _check_undecided(self) -> Write:
        if self._pid != os.getpid():
            raise SafeAtomicError(
                f"{self.name!r} is being written by process {self._pid}; a forked child must make "
                "an AtomicWriter of its own. The target is unchanged"
            )
        if self._write is None:
            raise ValueError(f"this AtomicWriter is {self._verdict} already")
        return self._write

    def _check_open(self) -> io.BufferedWriter:
        self._check_undecided()
        if self.closed:
            raise ValueError("I/O operation on a closed AtomicWriter")
        return self._stream

    def _decide(self, verdict: str) -> None:
        """End the write: Release, then close everything."""
        write, self._write = self._write, None
        self._verdict = verdict
        assert write is not None  # noqa: S101 - callers have just used it
        try:
            super().close()
        finally:
            write.close()

    def _failed(self, error: BaseException) -> BaseException:
        """Undo, and return the error with its explanation."""
        assert self._write is not None  # noqa: S101 - callers have just used it
        raw = getattr(self, "_raw", None)
        if raw is not None:
            raw.finished = True
        try:
            return self._write.fail(error)
        finally:
            self._decide("aborted")


class _Raw(io.RawIOBase):
    """The temp as the raw stream that `io.BufferedWriter` writes to, hashing what passes.

    Attributes:
        finished: Whether the content is complete or given up; nothing is written from then on.
        failure: What a change of the content failed with, None while all of them succeeded.
    """

    def __init__(self, write: Write, algo: str | None) -> None:
        self._write = write
        self._algo = algo
        self._hash = None if algo is None else new_hash(algo)
        self._pid = os.getpid()
        self._position = 0
        self._hashed = 0  # bytes from the start that the hash has seen
        self._straight = True  # whether the hash has seen the file's bytes, each once, in order
        self.finished = False
        self.failure: BaseException | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        if self.finished or self._pid != os.getpid():
            # A buffer that is dropped flushes itself: after an abort, and in a forked child, where
            # the number of our descriptor may belong to another file by now.
            return memoryview(data).nbytes
        try:
            written = kernel.write(self._write.temp.fd, data)
        except OSError as error:
            explained = self._failed(error)
            if not isinstance(error, InterruptedError):  # that io.BufferedWriter tries again
                self.failure = explained
            raise explained from error
        if self._hash is not None:
            if self._position == self._hashed:
                self._hash.update(memoryview(data)[:written])
                self._hashed += written
            else:
                self._straight = False
        self._position += written
        return written

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            self._position = kernel.lseek(self._write.temp.fd, offset, whence)
        except OSError as error:
            raise self._failed(error) from error
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None, /) -> int:
        size = self._position if size is None else size
        try:
            kernel.ftruncate(self._write.temp.fd, size)
        except OSError as error:
            self.failure = self._failed(error)
            raise self.failure from error
        if size != self._hashed:
            self._straight = False
        return size

    def fileno(self) -> int:
        self._straight = False  # whoever asks may write without our seeing it
        return self._write.temp.fd

    def _failed(self, error: OSError) -> BaseException:
        """Return an error that names the target and says that it is unchanged."""
        self._write.step = _trace.FILL
        return self._write.explained(error)

    def finish(self) -> tuple[int, str | None]:
        """Return the size and, if it was asked for, the digest of the complete content.

        Content that is not complete, because somebody went on after an error, is refused with it.
        """
        self.finished = True
        if self.failure is not None:
            raise self.failure
        fd = self._write.temp.fd
        if self._hash is None or self._algo is None:
            return self._position, None
        if self._straight:
            return self._hashed, self._hash.hexdigest()
        return kernel.fstat(fd).st_size, hash_fd(fd, self._algo)
