"""One version of a file to read: opened, compared with its sidecar if asked for, and closed."""

from __future__ import annotations

import errno
import os
import stat

from . import _trace, _verdicts
from ._descriptor import Descriptor, closing
from ._digests import digest_of_bytes, digest_of_fd
from ._errors import SafeAtomicError, system_error
from ._gate import gate
from ._options import check_algorithm, check_flag, check_safety, defaults
from ._posix import O_NOFOLLOW, kernel
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
    from typing import TypeVar

    from ._types import Safety, StrPath

    _T = TypeVar("_T")

# Each failed try means that writers published twice within microseconds: 1,000 are not chance.
_TRIES = 1000
_CHUNK = 262144  # bytes read at a time where the size has not said how many there are
_LONGEST_READ = 0x7FFFF000  # bytes that one read(2) returns at most (read(2))
# What the path alone cannot settle: links that are replaced, a final slash, a very long path.
_TAKEN_ELSEWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NEEDED = (ATOMIC_VISIBILITY, READER_CONSISTENCY)
_NEEDED_CHECKED = (ATOMIC_VISIBILITY, READER_CONSISTENCY, INTEGRITY_DETECTION)


def read_all(
    path: StrPath,
    check_checksum: bool,
    checksum_algo: str | None,
    safety: Safety,
) -> bytes:
    """Return a file's whole content; see `read_atomic_bytes`."""
    options = Options(check_checksum, checksum_algo, safety)
    opened = Opened(path, options)

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
    opened = Opened(path, Options(True, checksum_algo, "best_effort"))
    closing(opened, lambda: opened.open_verified(on_hashed))


def read_with(path: StrPath, work: Callable[[int], _T]) -> _T:
    """Open a file, do some work with its descriptor, and close it.

    Args:
        path: The file.
        work: Called with the descriptor; its system errors name the path.
    """
    opened = Opened(path, Options(False, None, "best_effort"))

    def read() -> _T:
        with opened.naming():
            opened.open()
            return work(opened.fd)

    return closing(opened, read)


class Options:
    """The checked options of one read."""

    __slots__ = ("check", "hint", "requested", "safety")

    def __init__(self, check_checksum: bool, checksum_algo: str | None, safety: Safety) -> None:
        self.check = check_flag(check_checksum, "check_checksum")
        self.requested = None if checksum_algo is None else check_algorithm(checksum_algo)
        self.hint = self.requested or defaults().checksum_algo
        self.safety = check_safety(safety)


class Opened:
    """A file to read, beside whose name a sidecar may stand: make it, `open` it, `close` it."""

    def __init__(self, path: StrPath, options: Options) -> None:
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
        if not self._options.check and self._open_by_path():
            return
        target = self._target
        target.may_be_nameless = True
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
                if verification is None or verification.agrees(digest_of_fd(self.fd, on_hashed)):
                    return
            self.close()
        raise _never_at_rest(self._target.path)

    def _open_by_path(self) -> bool:
        """Open a regular file by its path if nothing else has to be found out; tell whether it did.

        It does not where the directory is needed: for a sidecar, for a link as the last component,
        on an unknown filesystem, and for what the path alone cannot open.
        """
        path = self._target.path
        try:
            status = kernel.stat(path, follow_symlinks=False)
            if not (stat.S_ISREG(status.st_mode) and self._is_known(status.st_dev)):
                return False
            self._handle.open(kernel.open, path, READ_FLAGS)
        except system_error() as error:
            if error.errno not in _TAKEN_ELSEWHERE:
                raise
            return False
        self._look()
        return True

    def _is_known(self, dev: int) -> bool:
        """Tell whether nothing has to be refused, or warned of, on a file's own device."""
        if self._options.safety == "best_effort":
            return True
        verdict = _verdicts.remembered(dev)
        return (
            verdict is not None and verdict.holds_for_files and verdict.degraded.isdisjoint(_NEEDED)
        )

    def _open_target(self) -> None:
        target, options = self._target, self._options
        if target.nameless:
            self._open_nameless()
            return
        if target.status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target.path)
        target.require_regular()
        needed = _NEEDED_CHECKED if options.check else _NEEDED
        gate(target.directory().st_dev, options.safety, target.path, needed, target.dir_fd)
        self._handle.open(kernel.open, target.name, READ_FLAGS, dir_fd=target.dir_fd)
        self._look()

    def _open_nameless(self) -> None:
        """Open what only the path leads to: a file of another program's, by a link of ``/proc``."""
        path, options = self._target.path, self._options
        if options.check:
            reason = "the path leads to an open file that has no name here; no sidecar is beside it"
            raise OSError(errno.EINVAL, reason, path)
        self._handle.open(kernel.open, path, READ_FLAGS & ~O_NOFOLLOW)
        self._look()
        gate(self.inode[0], options.safety, path, _NEEDED, self.fd)

    def _look(self) -> None:
        """Note what was opened."""
        self.fd = self._handle.fd
        status = require_regular_fd(self.fd, self._target.path)
        self.inode = identity(status)
        self._size = status.st_size
        if _trace.hook is not None:
            _trace.hook("read", {"phase": "open", "inode": status.st_ino})

    def naming(self) -> Naming:
        """Let what fails in a ``with`` block name the caller's path."""
        return Naming(self._target)

    def raise_named(self, error: OSError) -> None:
        """Raise a system error with the caller's path, if it names another one or none."""
        if self._target.named(error) is not error:
            raise self._target.named(error) from error

    def read_rest(self) -> bytes:
        """Return everything from the descriptor's position on."""
        if self._size >= _LONGEST_READ:  # more than one call returns, and too much to hold twice
            return kernel.raw_stream(self.fd, "rb").readall() or b""
        # Asking for one byte more than the size shows the end of the file without a second, empty
        # read. Files of the kernel have no size, and some give everything at the first read and
        # nothing at the next (__do_proc_dointvec in kernel/sysctl.c).
        data = kernel.read(self.fd, self._size + 1 if self._size else _CHUNK)
        if len(data) == self._size:
            return data
        chunks = [data]
        while chunk := kernel.read(self.fd, _CHUNK):
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


def _never_at_rest(path: StrPath) -> SafeAtomicError:
    return SafeAtomicError(
        f"{os.fsdecode(path)!r} was replaced during each of {_TRIES} attempts to read it beside "
        "its checksum; the content was not checked. Hold its lock while you read it"
    )
