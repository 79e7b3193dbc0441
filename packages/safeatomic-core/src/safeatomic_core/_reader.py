"""Streaming reads: a binary file object on one version of a file."""

from __future__ import annotations

import errno
import io

from ._descriptor import shows
from ._errors import system_error
from ._posix import kernel
from ._reading import Opened, Options
from ._target import check_path
from ._types import Safety, StrPath  # noqa: TC001 - at run time, too

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from _typeshed import WriteableBuffer

    _T = TypeVar("_T")

_BUFFER = 65536  # bytes that a stream reads ahead
_CLOSED = "the program closed the descriptor of this reader"


class AtomicReader(io.BufferedReader):
    """A binary file object on one version of a file, which later writes do not change.

    With ``check_checksum=True``, making the reader hashes the content once, in constant memory, on
    the descriptor from which it is then read. Close it with ``close()`` or a ``with`` block, like
    any open file. Threads may share it only under a lock of their own. If the program closed its
    descriptor, reading raises an error, even if another file has that number by then.

    Args:
        path: The file. A symbolic link is followed.
        check_checksum: Verify the content against the sidecar before any of it is returned.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: As for `read_atomic_bytes`.

    Raises:
        ChecksumMismatchError: The bytes are not the ones that were written. Nothing was changed.
        FileNotFoundError: The file is missing; or, with ``check_checksum``, its sidecar is.
        SafeAtomicError: The file at the sidecar's name does not describe the file, or names an
            algorithm this Python does not have; or the file was replaced during each of 1,000
            attempts to check it. Nothing was changed.
        TypeError: An argument of the wrong type. Nothing was changed.
        ValueError: ``checksum_algo`` is not the recorded algorithm. Nothing was changed.
        UnsupportedEnvironmentError: Under ``safety="strict"``. Nothing was changed.
        OSError: The file or its sidecar cannot be read. Nothing was changed.
    """

    __slots__ = ("_ahead", "_opened", "_path")  # quicker than what is in the stream's dictionary

    _on_hashed: Callable[[int], None] | None = None  # as for `verify_file`

    def __init__(
        self,
        path: StrPath,
        *,
        check_checksum: bool = False,
        checksum_algo: str | None = None,
        safety: Safety = "strict",
    ) -> None:
        self._opened: Opened | None = None
        self._ahead = 0  # bytes that can be taken without a system call
        self._path = check_path(path)
        opened = Opened(path, Options(check_checksum, checksum_algo, safety))
        try:
            opened.open_verified(self._on_hashed)
            # BufferedReader does the buffering, readline and iteration, all of it in C.
            super().__init__(kernel.raw_stream(opened.fd, "rb"), _BUFFER)
            opened.outlive()
            self._opened = opened
        finally:
            if self._opened is None:
                try:
                    opened.close()
                finally:
                    opened.close()  # an interrupt may have come before the first had begun

    @property
    def name(self) -> str:
        """The path as it was given, as text."""
        return self._path

    @property
    def mode(self) -> str:
        """Always ``"rb"``."""
        return "rb"

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes, or all that are left."""
        if size is None or not 0 <= size <= self._ahead:
            return self._from_file(super().read, size)
        self._ahead -= size
        return io.BufferedReader.read(self, size)

    def read1(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes with at most one system call."""
        if not 0 <= size <= self._ahead:
            return self._from_file(super().read1, size)
        self._ahead -= size
        return io.BufferedReader.read1(self, size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a writable buffer; return the number of bytes."""
        size = memoryview(buffer).nbytes
        if size > self._ahead:
            return self._from_file(super().readinto, buffer)
        self._ahead -= size
        return io.BufferedReader.readinto(self, buffer)

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """Read as `readinto` does, with at most one system call."""
        return self._from_file(super().readinto1, buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its newline, or what is left."""
        size = -1 if size is None else size
        ahead = self._ahead
        if not ahead:
            return self._from_file(super().readline, size)
        self._ahead = 0  # until it is known
        try:
            line = io.BufferedReader.readline(self, size)
        except system_error() as error:
            raise self._named(error) from error
        if len(line) < ahead:
            self._ahead = ahead - len(line)
        else:
            self._require_open()  # its end may come from the file
        return line

    def peek(self, size: int = 0, /) -> bytes:
        """Return the next bytes, at least one unless it is the end, and stay in front of them."""
        return self._from_file(super().peek, size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position; return it, in bytes from the start."""
        return self._from_file(super().seek, offset, whence)

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._from_file(super().tell)

    def fileno(self) -> int:
        """Return the descriptor, which stays the reader's to close."""
        return self._from_file(super().fileno)

    def detach(self) -> NoReturn:
        """Refuse: what is underneath is the reader's."""
        raise io.UnsupportedOperation("an AtomicReader cannot be detached")

    def close(self) -> None:
        """Close the file; the second time does nothing."""
        opened = self._opened
        try:
            if opened is not None:
                super().close()
        finally:
            if opened is not None:
                try:
                    opened.close()
                finally:
                    opened.close()  # an interrupt may have come before the first had begun
                self._opened = None

    def __repr__(self) -> str:
        return f"<AtomicReader {self._path!r}{' closed' if self.closed else ''}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an AtomicReader cannot be pickled; open the file again")

    def _from_file(self, call: Callable[..., _T], *args: object) -> _T:
        """Make a call that may ask the file."""
        self._ahead = 0  # until it is known
        self._require_open()
        try:
            result = call(*args)
            self._ahead = self.raw.tell() - super().tell()
        except system_error() as error:
            raise self._named(error) from error
        return result

    def _require_open(self) -> None:
        """Refuse to go on if the program closed the file: its number may be another one's."""
        opened = self._opened
        if opened is not None and not shows(opened.fd, opened.inode):
            raise OSError(errno.EBADF, _CLOSED, self._path)

    def _named(self, error: OSError) -> OSError:
        if error.errno is None or error.filename is not None:
            return error
        return OSError(error.errno, error.strerror, self._path)
