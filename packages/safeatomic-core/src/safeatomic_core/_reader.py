"""Reading: one consistent version, verified on the bytes or the descriptor that the caller gets."""

from __future__ import annotations

import errno
import io
import os

from . import _trace
from ._descriptor import Descriptor, closing, shows
from ._digests import digest_of_bytes, memoized
from ._errors import SafeAtomicError, system_error
from ._gate import gate
from ._options import check_algorithm, check_flag, check_safety, defaults
from ._posix import kernel
from ._target import (
    READ_FLAGS,
    RESOLUTIONS,
    Naming,
    Target,
    check_path,
    identity,
    require_regular_fd,
)
from ._types import ATOMIC_VISIBILITY, INTEGRITY_DETECTION, READER_CONSISTENCY
from ._verification import Verification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVar

    from _typeshed import WriteableBuffer

    from ._types import Safety, StrPath

    _T = TypeVar("_T")

# Each failed try means that writers published twice within microseconds: 1,000 are not chance.
_TRIES = 1000
_LONGEST_READ = 0x7FFFF000  # bytes that one read(2) returns at most (read(2))
_BUFFER = 65536  # bytes that a stream reads ahead
_CLOSED = "the program closed the descriptor of this reader"
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
    opened = _Opened(path, options)

    def read() -> bytes:
        for _ in range(_TRIES):
            try:
                opened.open()
                verification = opened.verification()
                data = opened.read_rest()
                if verification is None or verification.agrees(digest_of_bytes(data)):
                    return data
            except system_error() as error:  # not `Naming`, which would slow every read down
                opened.raise_named(error)
                raise
            opened.close()
        raise _never_at_rest(path)

    return closing(opened, read)


class AtomicReader(io.BufferedReader):
    """A binary file object on one version of a file, which later writes do not disturb.

    With ``check_checksum=True`` the content is hashed once, in constant memory, when the reader is
    made, on the descriptor that is then read. Like any open file it is closed by ``close()`` or a
    ``with`` block. It may be shared between threads only under a lock of theirs. A program that
    closed its descriptor gets an error instead of what another file has at that number by then.

    Args:
        path: The file. A symbolic link is followed.
        check_checksum: Compare the content with the sidecar before anything is handed out.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: As for `read_atomic_bytes`.

    Raises:
        ChecksumMismatchError: The bytes are not the ones that were written. Nothing was changed.
        FileNotFoundError: The file is missing, or its sidecar, if that was to be checked.
        SafeAtomicError: The file at the sidecar's name does not describe the file, or names an
            algorithm this Python does not have.
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
        self._opened: _Opened | None = None
        self._ahead = 0  # bytes that can be taken without a system call
        self._path = check_path(path)
        opened = _Opened(path, _Options(check_checksum, checksum_algo, safety))
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


def verify_file(
    path: StrPath,
    checksum_algo: str | None = None,
    on_hashed: Callable[[int], None] | None = None,
) -> None:
    """Compare a file with its sidecar; raises what `AtomicReader` does.

    Args:
        path: The file.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        on_hashed: Called with the size of each chunk in bytes, for a progress bar.
    """
    opened = _Opened(path, _Options(True, checksum_algo, "best_effort"))
    closing(opened, lambda: opened.open_verified(on_hashed))


def read_with(path: StrPath, work: Callable[[int], _T]) -> _T:
    """Open a file, do some work with its descriptor, and close it.

    Args:
        path: The file.
        work: Called with the descriptor; its system errors name the path.
    """
    opened = _Opened(path, _Options(False, None, "best_effort"))

    def read() -> _T:
        with opened.naming():
            opened.open()
            return work(opened.fd)

    return closing(opened, read)


def _never_at_rest(path: StrPath) -> SafeAtomicError:
    return SafeAtomicError(
        f"{os.fsdecode(path)!r} was replaced during each of {_TRIES} attempts to read it beside "
        "its checksum; the content was not checked. Hold its lock while you read it"
    )


class _Options:
    """The checked options of one read."""

    __slots__ = ("check", "hint", "requested", "safety")

    def __init__(self, check_checksum: bool, checksum_algo: str | None, safety: Safety) -> None:
        self.check = check_flag(check_checksum, "check_checksum")
        self.requested = None if checksum_algo is None else check_algorithm(checksum_algo)
        self.hint = self.requested or defaults().checksum_algo
        self.safety = check_safety(safety)


class _Opened:
    """A file to read, beside whose name a sidecar may stand: make it, `open` it, `close` it."""

    def __init__(self, path: StrPath, options: _Options) -> None:
        self._options = options
        self._target = Target(check_path(path))
        self._verification: Verification | None = None
        self._handle = Descriptor()
        self._size = 0
        self._lasting = self._closed = False
        self.fd = -1
        self.inode = (0, 0)

    def open(self) -> None:
        """Open the file, and look at what was opened: a name may change before it is."""
        self._closed = False
        target = self._target
        for left in reversed(range(RESOLUTIONS)):
            target.open()
            try:
                self._open_target()
            except FileNotFoundError:
                if not (left and target.leads_elsewhere()):
                    raise
            else:
                return

    def open_verified(self, on_hashed: Callable[[int], None] | None = None) -> None:
        """Open the file, and check it if that is asked for.

        Args:
            on_hashed: See `verify_file`.
        """
        for _ in range(_TRIES):
            with self.naming():
                self.open()
                verification = self.verification()
                if verification is None or verification.agrees(memoized(self.fd, on_hashed)):
                    return
            self.close()
        raise _never_at_rest(self._target.path)

    def _open_target(self) -> None:
        target, options = self._target, self._options
        if target.status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target.path)
        target.require_regular()
        needed = _NEEDED_CHECKED if options.check else _NEEDED
        gate(target.directory().st_dev, options.safety, target.path, needed, target.dir_fd)
        self.fd = self._handle.open(kernel.open, target.name, READ_FLAGS, dir_fd=target.dir_fd)
        status = require_regular_fd(self.fd, target.path)
        self.inode = identity(status)
        self._size = status.st_size
        if _trace.hook is not None:
            _trace.hook("read", {"phase": "open", "inode": status.st_ino})

    def naming(self) -> Naming:
        """Let what fails in a ``with`` block name the caller's path."""
        return Naming(self._target)

    def raise_named(self, error: OSError) -> None:
        """Raise a system error with the caller's path, if it names another one or none."""
        named = self._target.named(error)
        if named is not error:
            raise named from error

    def read_rest(self) -> bytes:
        """Return everything from the descriptor's position on."""
        if self._size >= _LONGEST_READ:  # more than one call returns, and too much to hold twice
            return kernel.raw_stream(self.fd, "rb").readall() or b""
        # One byte more than the size tells the end of the file without a second, empty read.
        data = kernel.read(self.fd, self._size + 1)
        if len(data) == self._size:
            return data
        chunks = [data]
        while chunk := kernel.read(self.fd, max(self._size - len(data) + 1, 65536)):
            chunks.append(chunk)
        return b"".join(chunks)

    def verification(self) -> Verification | None:
        """Look at the sidecar for the first time; None if the content is not to be checked."""
        options = self._options
        if not options.check:
            return None
        self._verification = Verification(self._target, self.inode, options.requested, options.hint)
        self._verification.look()
        return self._verification

    def outlive(self) -> None:
        """Prepare for being used by the program, which may close what it finds."""
        self._close_surroundings()
        self._lasting = True

    def close(self) -> None:
        """Close the file and its directory."""
        if self._closed:
            return
        self.fd = -1
        try:
            if self._lasting:
                self._handle.close_if_shows(self.inode)
            else:
                self._handle.close()
        finally:
            self._close_surroundings()
        self._closed = True

    def _close_surroundings(self) -> None:
        """Close what only opening and checking need."""
        try:
            if self._verification is not None:
                self._verification.close()
        finally:
            self._target.close()
