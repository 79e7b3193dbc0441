"""Reading: one consistent version, verified on the very bytes or descriptor that are handed out."""

from __future__ import annotations

import io
import os

from . import _trace
from ._digests import hash_bytes, memoized
from ._gate import gate
from ._options import check_algorithm, check_flag, check_safety, defaults
from ._posix import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, close_quietly, kernel
from ._target import Naming, check_path, identity, locate
from ._types import ATOMIC_VISIBILITY, INTEGRITY_DETECTION, READER_CONSISTENCY
from ._verification import verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ._types import Safety, StrPath

_OPEN = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
_NEEDED = (ATOMIC_VISIBILITY, READER_CONSISTENCY)
_NEEDED_CHECKED = (ATOMIC_VISIBILITY, READER_CONSISTENCY, INTEGRITY_DETECTION)


def read_all(
    path: StrPath,
    check_checksum: bool,
    checksum_algo: str | None,
    safety: Safety,
) -> bytes:
    """Return a file's whole content; see `read_atomic_bytes`."""
    options = _Options(check_checksum, checksum_algo, safety)
    while True:
        opened = _Opened(path, options)
        try:
            with opened.naming():
                data = opened.read_rest()
                if not options.check or opened.verify_bytes(data):
                    return data
        finally:
            opened.close()


class AtomicReader(io.BufferedIOBase):
    """A binary file object on one version of a file, which later writes do not disturb.

    With ``check_checksum=True`` the content is hashed once, in constant memory, when the reader is
    made, on the descriptor that is then read. Like any open file it is closed by ``close()`` or a
    ``with`` block. It may be shared between threads only under a lock of theirs.

    Args:
        path: The file. A symbolic link is followed.
        check_checksum: Compare the content with the sidecar before anything is handed out.
        checksum_algo: Insist on this algorithm; by default the recorded one is used.
        safety: As for `read_atomic_bytes`.

    Raises:
        ChecksumMismatchError: The bytes are not the ones that were written. Nothing was changed.
        FileNotFoundError: The file is missing, or its sidecar, if that was to be checked.
        SafeAtomicError: The sidecar is malformed or names an algorithm this Python does not have.
        UnsupportedEnvironmentError: Under ``safety="strict"``. Nothing was changed.
        OSError: The file or its sidecar cannot be read. Nothing was changed.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        check_checksum: bool = False,
        checksum_algo: str | None = None,
        safety: Safety = "strict",
    ) -> None:
        self._opened: _Opened | None = None
        opened = _open(path, _Options(check_checksum, checksum_algo, safety))
        self.name: str = check_path(path)
        self.mode = "rb"
        self._opened = opened
        # BufferedReader does the buffering, readline and iteration over our descriptor.
        self._stream: io.BufferedReader = io.BufferedReader(_Raw(opened))

    def readable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes, or all that are left."""
        return self._check_open().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes with at most one system call."""
        return self._check_open().read1(size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read into a writable buffer; return the number of bytes."""
        return self._check_open().readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its newline, or what is left."""
        return self._check_open().readline(-1 if size is None else size)

    def peek(self, size: int = 0, /) -> bytes:
        """Return buffered bytes without moving the position."""
        return self._check_open().peek(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position; return it, in bytes from the start."""
        return self._check_open().seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._check_open().tell()

    def fileno(self) -> int:
        """Return the descriptor, which stays the reader's to close."""
        self._check_open()
        assert self._opened is not None  # noqa: S101 - open readers have one
        return self._opened.fd

    def close(self) -> None:
        """Close the file; the second time does nothing."""
        if not self.closed:
            opened, self._opened = self._opened, None
            try:
                super().close()
            finally:
                if opened is not None:
                    opened.close()

    def __repr__(self) -> str:
        return f"<AtomicReader {getattr(self, 'name', '?')!r}{' closed' if self.closed else ''}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an AtomicReader cannot be pickled; open the file again")

    def _check_open(self) -> io.BufferedReader:
        if self.closed:
            raise ValueError("I/O operation on a closed AtomicReader")
        return self._stream


def verify_file(
    path: StrPath,
    checksum_algo: str | None = None,
    on_hashed: Callable[[int], None] | None = None,
) -> None:
    """Compare a file with its sidecar; raises what `AtomicReader` does.

    Args:
        path: The file.
        checksum_algo: Insist on this algorithm.
        on_hashed: Called with the size of each chunk in bytes, for a progress bar.
    """
    _open(path, _Options(True, checksum_algo, "best_effort"), on_hashed).close()


def _open(
    path: StrPath, options: _Options, on_hashed: Callable[[int], None] | None = None
) -> _Opened:
    """Open a file, verified if that is asked for."""
    while True:
        opened = _Opened(path, options)
        try:
            with opened.naming():
                if not options.check or opened.verify_descriptor(on_hashed):
                    return opened
        except BaseException:
            opened.close()
            raise
        opened.close()


class _Options:
    """The checked options of one read."""

    __slots__ = ("check", "hint", "requested", "safety")

    def __init__(self, check_checksum: bool, checksum_algo: str | None, safety: Safety) -> None:
        self.check = check_flag(check_checksum, "check_checksum")
        self.requested = None if checksum_algo is None else check_algorithm(checksum_algo)
        self.hint = self.requested or defaults().checksum_algo
        self.safety = check_safety(safety)


class _Opened:
    """A file opened for reading, beside whose name a sidecar may stand."""

    __slots__ = ("_options", "_size", "_target", "fd", "inode")

    def __init__(self, path: StrPath, options: _Options) -> None:
        self._options = options
        self.fd = -1
        self._target = target = locate(path)
        try:
            if target.status is None:
                raise FileNotFoundError(2, os.strerror(2), target.path)
            target.require_regular()
            needed = _NEEDED_CHECKED if options.check else _NEEDED
            gate(target.directory().st_dev, options.safety, target.path, needed, target.dir_fd)
            self.fd = kernel.open(target.name, _OPEN, dir_fd=target.dir_fd)
            status = kernel.fstat(self.fd)
            self.inode = identity(status)
            self._size = status.st_size
            if _trace.hook is not None:
                facts: dict[str, object] = {"phase": "open", "inode": status.st_ino}
                _trace.hook("read", facts)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                named = target.named(error)
                if named is not error:
                    raise named from error
            raise

    def naming(self) -> Naming:
        """Let what fails in a ``with`` block name the caller's path."""
        return Naming(self._target)

    def read_rest(self) -> bytes:
        """Return everything from the descriptor's position on."""
        # One byte more than the size tells the end of the file without a second, empty read.
        data = kernel.read(self.fd, self._size + 1)
        if len(data) == self._size:
            return data
        chunks = [data]
        while chunk := kernel.read(self.fd, max(self._size - len(data) + 1, 65536)):
            chunks.append(chunk)
        return b"".join(chunks)

    def verify_bytes(self, data: bytes) -> bool:
        """Compare bytes that were read with the sidecar; False to start again."""
        known: dict[str, str] = {}

        def digest_of(algo: str) -> str:
            if algo not in known:
                known[algo] = hash_bytes(data, algo)
            return known[algo]

        digest_of(self._options.hint)  # before the sidecar is read, which may move on meanwhile
        return self._verify(digest_of)

    def verify_descriptor(self, on_hashed: Callable[[int], None] | None = None) -> bool:
        """Compare the whole file with the sidecar, in constant memory; False to start again."""
        digest_of = memoized(self.fd, on_hashed)
        digest_of(self._options.hint)
        return self._verify(digest_of)

    def _verify(self, digest_of: Callable[[str], str]) -> bool:
        options = self._options
        return verify(self._target, self.inode, digest_of, options.requested, options.hint)

    def close(self) -> None:
        """Close the file and its directory."""
        fd, self.fd = self.fd, -1
        try:
            if fd >= 0:
                close_quietly(fd)
        finally:
            self._target.close()


class _Raw(io.RawIOBase):
    """The descriptor of an open file as the raw stream that `io.BufferedReader` asks for."""

    def __init__(self, opened: _Opened) -> None:
        self._opened = opened

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        with self._opened.naming():
            data = kernel.read(self._opened.fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with self._opened.naming():
            return kernel.lseek(self._opened.fd, offset, whence)

    def tell(self) -> int:
        with self._opened.naming():
            return kernel.lseek(self._opened.fd, 0, os.SEEK_CUR)
