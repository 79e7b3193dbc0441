"""Streaming writes: a binary file object that is published on commit, not on close."""

from __future__ import annotations

import errno
import io
import os

from . import _trace
from ._abandoned import abandon, arm, disarm, guard, leave_to_finalizer
from ._change import Explaining, close
from ._digests import hash_fd, update
from ._errors import SafeAtomicError
from ._forks import generation
from ._hashes import new_hash
from ._options import Policy, resolve_encoding
from ._posix import kernel
from ._protocol import Write
from ._text import Texts
from ._types import Concurrency, Safety, StrPath  # noqa: TC001 - at run time, too

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _weakref import ref
    from hashlib import _Hash
    from typing import Any, NoReturn, Self

    from _typeshed import ReadableBuffer


_BUFFER = 131072  # bytes gathered before a system call
_UNFLUSHED = "before the writer had handed it all that was written. Write again"
_MOVED_NOTHING = (errno.EINVAL, errno.EFBIG, errno.EOVERFLOW)  # lseek(2), ftruncate(2)


class AtomicWriter(io.BufferedWriter):
    """A binary file object that replaces a file when you commit it, and otherwise not at all.

    Use it in a ``with`` block: leaving the block commits, an exception aborts. Code that writes to
    a binary file can write to it; closing it inside the block (as `io.TextIOWrapper` does) neither
    publishes nor discards. If a writer is dropped without `commit` or `abort`, it aborts with a
    `ResourceWarning`, and logs a warning if content is lost; so it does when the program ends.

    The lock is held from construction to the last step, so *read, modify, write* is one block::

        with AtomicWriter(path) as file:
            file.write(changed(read_atomic_bytes(path)))

    The constructor takes the lock and makes the temporary file, so that what cannot work fails
    before you produce the content. Memory use does not depend on the size. A writer belongs to the
    process that made it. Threads may share it only under a lock of their own.

    Args:
        path: The file; it need not exist, its directory must. A symbolic link is followed.
        concurrency: As for `write_atomic_bytes`.
        preserve_metadata: As for `write_atomic_bytes`.
        write_checksum: As for `write_atomic_bytes`. The content is hashed while it is written;
            only if the stream was rewound or `fileno` was called, it is read and hashed again.
        checksum_algo: As for `write_atomic_bytes`.
        retries: As for `write_atomic_bytes`.
        delay: As for `write_atomic_bytes`.
        session: As for `write_atomic_bytes`.
        safety: As for `write_atomic_bytes`.
        mode: As for `write_atomic_bytes`.
        overwrite: As for `write_atomic_bytes`.

    Raises:
        FileExistsError: The target exists, and ``overwrite`` is False; or another program's file
            has the sidecar's name, so that the checksum cannot be recorded. The target is
            unchanged.
        LockError: Somebody else holds it, or locks cannot work here. The target is unchanged.
        UnsupportedEnvironmentError: Under ``safety="strict"``. The target is unchanged.
        TypeError: An argument of the wrong type. The target is unchanged.
        ValueError: An argument out of range. The target is unchanged.
        OSError: A system call failed. The target is unchanged.
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
        self._born = generation()
        self._failure: BaseException | None = None  # what a change of the content failed with
        self._size = 0  # bytes written one after the other, from the start
        self._hash: _Hash | None = None
        self._straight = True  # whether the hash has seen those bytes, and there are no others
        self._texts: Texts | None = None
        self._room = _BUFFER  # bytes that can be taken without a system call, at least
        self._closing = False
        self._guard: ref[object] | None = None
        policy = Policy.of(
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
        write.target.lasting = True
        self._path = write.target.path
        self._guard = guard(self, write)
        try:
            write.gate()
            write.acquire_lock()
            write.stage()
            if policy.write_checksum:
                self._hash = new_hash(policy.algo)
            super().__init__(kernel.raw_stream(write.temp.fd, "wb"), _BUFFER)
            leave_to_finalizer(self._guard)
        except BaseException as error:  # noqa: BLE001 - raised again, explained
            raise self._failed(error)  # noqa: B904 - the cause is set

    @property
    def name(self) -> str:
        """The path as it was given, as text."""
        return self._path

    @property
    def mode(self) -> str:
        """Always ``"wb"``."""
        return "wb"

    @property
    def raw(self) -> Any:  # type: ignore[override]
        """The unbuffered stream underneath, for writing through it."""
        self._check_undecided().require_temp()
        self._straight = False
        arm(self._guard)  # it may be closed through this
        return super().raw

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes at the position; nobody may change the buffer meanwhile.

        Returns:
            How many bytes were given.

        Raises:
            ValueError: The writer is closed, committed or aborted.
            SafeAtomicError: This is a forked child; the writer is its parent's.
            OSError: The temporary file cannot be written. The target is unchanged.
        """
        try:
            write = self._check_open()
            straight, self._straight = self._straight, False  # until it is known what was done
            with self._explaining():
                size = len(data) if type(data) is bytes else _BUFFER + 1
                if size > self._room:  # this may make a system call
                    write.require_temp()
                    self._room = _BUFFER
                self._room = max(self._room - size, 0)
                count = super().write(data)
            if straight and self._hash is not None:
                update(self._hash, data)
        finally:
            del data  # a traceback that holds this frame must not hold the buffer
        self._size += count
        self._straight = straight
        return count

    def flush(self) -> None:
        """Hand buffered bytes to the kernel; publish nothing. Raises what `write` raises."""
        if not self.closed and self._write is not None:
            write = self._check_undecided()
            with self._explaining():
                if not self._closing:
                    write.require_temp()
                super().flush()
            self._room = _BUFFER

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position; return it, in bytes from the start."""
        self._check_open()
        straight, self._straight = self._straight, False
        self.flush()
        with self._explaining(harmless=_MOVED_NOTHING):
            position = super().seek(offset, whence)
        self._straight = straight and position == self._size
        return position

    def tell(self) -> int:
        """Return the position in bytes from the start, as the kernel knows it."""
        self._check_open()
        return super().tell()

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size in bytes, by default to the position; return it."""
        self._check_open()
        straight, self._straight = self._straight, False
        self.flush()
        with self._explaining(harmless=_MOVED_NOTHING):
            length = super().truncate(size)
        self._straight = straight and length == self._size
        return length

    def fileno(self) -> int:
        """Return the temporary file's descriptor, for writing through it.

        Buffered bytes are flushed first. Do not close the descriptor: it is the writer's. A mode
        or access ACL that you set through it (`os.fchmod`, `os.setxattr`) becomes that of the
        published file.
        """
        write = self._check_open()
        self.flush()
        self._straight = False  # the caller may now write without our seeing it
        write.metadata.expose()
        return write.temp.fd

    def text(self, encoding: str | None = None, newline: str | None = None) -> io.TextIOWrapper:
        r"""Return a new text stream over the writer; `commit` and `close` flush it.

        Args:
            encoding: Text encoding; by default that of `safeatomic_config`, else UTF-8.
            newline: As for `open`; by default ``"\n"`` is written as `os.linesep`.

        Raises:
            ValueError: The writer is closed, committed or aborted; or the encoding is not known.
        """
        self._check_open()
        if self._texts is None:
            self._texts = Texts()
        return self._texts.wrap(self, resolve_encoding(encoding), newline)

    def detach(self) -> NoReturn:
        """Refuse: what is underneath is the writer's."""
        raise io.UnsupportedOperation("an AtomicWriter cannot be detached")

    def close(self) -> None:
        """Flush and close the stream; `commit` can still publish it, and `abort` discard it."""
        write = self._write
        try:
            if write is None or self._born != generation() or not write.temp.valid():
                self._drop()
            else:
                self._close()
        finally:
            abandon(self, self._guard)

    def _close(self) -> None:
        if not self.closed:
            arm(self._guard)
            if self._texts is not None:
                self._texts.flush()
            self._closing = True  # by those who have just seen that the descriptor is ours
            super().close()

    def commit(self) -> None:
        """Publish what was written, durably.

        Raises:
            ValueError: The writer is committed or aborted already.
            SafeAtomicError: This is a forked child; or content may be lost (a text stream was
                interrupted, or `raw` was closed too early). The target is unchanged.
            LockError: The lock was taken away. The target is unchanged.
            OSError: A system call failed, now or in an earlier `write` or `truncate`. The note says
                whether the target is unchanged; or new, durability unconfirmed (the directory could
                not be flushed); or new (only the checksum could not be sealed); or a mixture of old
                and new (only under ``"warn"`` or ``"best_effort"``, if the file is itself a mount
                point; the message names the copy that has the complete new content).
        """
        write = self._check_undecided()
        try:
            try:
                self._publish(write)
            except BaseException as error:  # noqa: BLE001 - raised again, explained
                raise self._failed(error)  # noqa: B904 - the cause is set
            self._decide("committed")
        finally:
            if self._write is not None:  # an interrupt came before that had begun
                self._decide("published" if write.published else "aborted")

    def _publish(self, write: Write) -> None:
        write.step = _trace.FILL
        write.require_descriptors()
        self._close()
        if (texts := self._texts) is not None:
            texts.require_whole(self._path)
        # Closed through `raw`, or by a close() whose flush an interrupt cut short.
        if self._room < _BUFFER or (texts is not None and texts.holding):
            raise SafeAtomicError(f"{self._path!r}: its raw stream was closed {_UNFLUSHED}")
        if self._failure is not None:  # content that somebody went on with after an error
            raise self._failure
        write.filled(*self._measured(write))
        write.look_again()
        write.commit()

    def abort(self) -> None:
        """Discard what was written; the target is unchanged.

        After `commit` or `abort` this does nothing, so that it can be called in a ``finally``.
        """
        if self._write is None:
            return
        write = self._check_undecided()
        try:
            write.undo()
        finally:
            self._decide("aborted")

    def __enter__(self) -> Self:
        self._check_undecided()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exc_type is None and self._write is not None:
                self.commit()
        finally:  # after an exception, or an interrupt that came before `commit` had begun
            if self._born == generation():  # else an exception of a forked child's is to arrive
                self.abort()

    def __repr__(self) -> str:
        state = self._verdict or ("closed, undecided" if self.closed else "undecided")
        return f"<AtomicWriter {self._path!r} {state}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an AtomicWriter cannot be pickled")

    def _check_undecided(self) -> Write:
        if self._born != generation():
            raise SafeAtomicError(
                f"{self.name!r} is being written by process {self._pid}; a forked child must make "
                "an AtomicWriter of its own. The target is unchanged"
            )
        if self._write is None:
            raise ValueError(f"this AtomicWriter is {self._verdict} already")
        return self._write

    def _check_open(self) -> Write:
        write = self._check_undecided()
        if self.closed:
            raise ValueError("I/O operation on a closed AtomicWriter")
        return write

    def _explaining(self, harmless: tuple[int, ...] = ()) -> Explaining:
        assert self._write is not None  # noqa: S101 - callers have just checked
        return Explaining(self._write, _trace.FILL, self._refuse_commit, harmless)

    def _refuse_commit(self, failure: BaseException) -> None:
        failure.__cause__ = None  # its traceback holds this writer
        self._failure = failure

    def _measured(self, write: Write) -> tuple[int, str | None]:
        """Return the size of the complete content in bytes and, if asked for, its digest."""
        if self._straight:
            return self._size, None if self._hash is None else self._hash.hexdigest()
        digest = None if self._hash is None else hash_fd(write.temp.fd, write.policy.algo)
        return kernel.fstat(write.temp.fd).st_size, digest

    def _drop(self) -> None:
        """Close the stream without writing what it holds."""
        raw: io.RawIOBase | None = super().raw  # type: ignore[assignment]
        if raw is not None and not raw.closed:  # an interrupt may come before there is a stream
            arm(self._guard)
            raw.close()

    def _decide(self, verdict: str) -> None:
        """End the write: Release, then close everything."""
        write = self._write
        assert write is not None  # noqa: S101 - callers have just used it
        self._verdict = verdict
        try:
            self._drop()
        finally:
            try:
                close(write)
            finally:
                if not write.closed:  # an interrupt came before the first call had begun
                    close(write)
                self._write = None
                if write.closed:  # else, after interrupts, the end of this writer closes it
                    disarm(self._guard)
                    self._guard = None

    def _failed(self, error: BaseException) -> BaseException:
        """Undo, and return the error with its explanation."""
        write = self._write
        assert write is not None  # noqa: S101 - callers have just used it
        try:
            return write.fail(error)
        finally:
            self._decide("published" if write.published else "aborted")
