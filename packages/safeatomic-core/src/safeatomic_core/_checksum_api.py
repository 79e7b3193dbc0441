"""The public checksum functions: compute, verify, write and describe."""

from __future__ import annotations

import errno
import os

from . import _trace
from ._announcement import Announcement
from ._change import Change, close
from ._digests import hash_bytes, hash_fd
from ._errors import ChecksumMismatchError
from ._gate import pass_gate
from ._options import Policy, check_data, defaults, resolve_algorithm
from ._posix import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, close_quietly, kernel
from ._reader import AtomicReader, verify_file
from ._settle import settle_directory
from ._sidecar_file import Sidecar, malformed
from ._target import SIDECAR_SUFFIX, Naming, Target, check_path, identity, locate, still_named
from ._types import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._types import Buffer, Concurrency, Safety, StrPath

_OPEN = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC


class ChecksumInfo(Record):
    """What a checksum sidecar records.

    Attributes:
        path: The file it describes.
        algo: Name of the algorithm.
        hash: The digest in hexadecimal.
        timestamp: When it was recorded, ISO 8601 in UTC; None if another tool wrote it.
    """

    path: str
    algo: str
    hash: str
    timestamp: str | None

    def __str__(self) -> str:
        when = "" if self.timestamp is None else f", recorded {self.timestamp}"
        return f"{self.path}: {self.algo} {self.hash}{when}"


def compute_hash_file(path: StrPath, *, algo: str | None = None) -> str:
    """Return the hexadecimal digest of a file's content, in constant memory.

    Args:
        path: The file. A symbolic link is followed.
        algo: Name of a fixed-length `hashlib` algorithm.

    Raises:
        ValueError: The algorithm is not known or of variable length.
        OSError: The file cannot be read.
    """
    algo = resolve_algorithm(algo, "algo")
    with AtomicReader(path, safety="best_effort") as reader:
        try:
            return hash_fd(reader.fileno(), algo)
        except OSError as error:
            raise OSError(error.errno, error.strerror, reader.name) from error


def compute_hash_data(data: Buffer, *, algo: str | None = None) -> str:
    """Return the hexadecimal digest of bytes.

    Args:
        data: Anything that exports contiguous bytes.
        algo: Name of a fixed-length `hashlib` algorithm.

    Raises:
        TypeError: ``data`` is not bytes-like.
        ValueError: The algorithm is not known or of variable length.
    """
    return hash_bytes(check_data(data), resolve_algorithm(algo, "algo"))


def verify_checksum(path: StrPath, expected: str | None = None, *, algo: str | None = None) -> bool:
    """Tell whether a file's content is the one that was written.

    Args:
        path: The file. A symbolic link is followed.
        expected: The digest it should have, in hexadecimal; by default the sidecar's.
        algo: Algorithm of ``expected``; with a sidecar, insist on this one.

    Returns:
        True if the content has the digest, False if it has another.

    Raises:
        FileNotFoundError: The file is missing, or its sidecar when that is asked.
        SafeAtomicError: The sidecar is malformed or names an algorithm this Python does not have.
        ValueError: ``expected`` is no digest of the algorithm, or ``algo`` is not the recorded one.
        OSError: The file or its sidecar cannot be read.
    """
    if expected is not None:
        name = resolve_algorithm(algo, "algo")
        return compute_hash_file(path, algo=name) == _check_digest(expected, name)
    if algo is not None:
        resolve_algorithm(algo, "algo")
    try:
        verify_file(path, algo)
    except ChecksumMismatchError:
        return False
    return True


def write_checksum_file(
    path: StrPath,
    *,
    algo: str | None = None,
    concurrency: Concurrency = "lock",
    retries: int | None = None,
    delay: float | None = None,
    session: str | None = None,
    safety: Safety = "strict",
) -> Path:
    """Record the checksum of a file's present content, whatever it is.

    This declares the present content good. It is done under the lock, durably, in one step.

    Args:
        path: The file. A symbolic link is followed.
        algo: Name of a fixed-length `hashlib` algorithm.
        concurrency: As for `write_atomic_bytes`.
        retries: As for `write_atomic_bytes`.
        delay: As for `write_atomic_bytes`.
        session: As for `write_atomic_bytes`.
        safety: As for `write_atomic_bytes`.

    Returns:
        The path of the sidecar.

    Raises:
        FileNotFoundError: The file is missing. Nothing was changed.
        LockError: Somebody holds the file's lock. Nothing was changed.
        UnsupportedEnvironmentError: Under ``"strict"``. Nothing was changed.
        ValueError: The algorithm is not known or of variable length. Nothing was changed.
        OSError: A system call failed; the former sidecar is in place, or the new one. The file is
            unchanged.
    """
    from pathlib import Path  # slow to import, and only this function returns one

    policy = Policy(
        concurrency=concurrency,
        write_checksum=True,
        checksum_algo=resolve_algorithm(algo, "algo"),
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
    )
    recording = _Recording(path, policy)
    try:
        recording.run()
    except BaseException as error:  # noqa: BLE001 - raised again, explained
        raise recording.fail(error)  # noqa: B904 - the cause is set
    finally:
        close(recording)
    return Path(recording.target.path + SIDECAR_SUFFIX)


def get_checksum_info(path: StrPath) -> ChecksumInfo | None:
    """Return what a file's sidecar records, None if there is none. The content is not looked at.

    Raises:
        SafeAtomicError: The sidecar is malformed.
        OSError: The directory or the sidecar cannot be read.
    """
    target = locate(path)
    try:
        with Naming(target):
            sidecar = Sidecar(target, defaults().checksum_algo)
        sidecar.close()
        if sidecar.flaw is not None:
            raise malformed(target, sidecar.flaw)
        record = sidecar.record
        if record is None:
            return None
        return ChecksumInfo(
            path=check_path(path),
            algo=record.algo,
            hash=record.digest,
            timestamp=record.timestamp,
        )
    finally:
        target.close()


class _Recording(Change):
    """The recording of a checksum: Announce alone, of content that is there already."""

    def __init__(self, path: StrPath, policy: Policy) -> None:
        super().__init__(policy)
        self.target = Target(check_path(path))

    def run(self) -> None:
        """Do the steps in their order."""
        pass_gate(self.target, self.policy, op="sidecar")
        self._require_present()
        self.enter(self.target)
        if self.policy.lock:
            self.acquire(self.target)
        self.step = _trace.ANNOUNCE
        self.announcement = announcement = Announcement(self.target)

        def sync_directory() -> None:
            settle_directory(self.target, self.policy.safety, renamed=announcement.fd)

        while not self._record(announcement, sync_directory):
            self.target.look_again()  # another content has taken the name meanwhile

    def doing(self) -> str:
        """Say what is being done."""
        return "write the checksum sidecar"

    def undo(self) -> None:
        """Undo nothing: an announced record describes the content that is there."""

    def _record(self, announcement: Announcement, sync_directory: Callable[[], None]) -> bool:
        """Make the present content durable, then record its digest; False if it was replaced."""
        target = self.target
        self._require_present()
        fd = kernel.open(target.name, _OPEN, dir_fd=target.dir_fd)
        try:
            inode = identity(kernel.fstat(fd))
            digest = hash_fd(fd, self.policy.algo)
            # What is accepted must survive a crash before its record does: somebody else's write
            # may be neither flushed nor settled.
            kernel.fsync(fd)
            sync_directory()
            if not still_named(target.dir_fd, target.name, inode):
                return False
            target.look_again()
            announcement.draft_plain(self.policy.algo, digest)
            self.require_locks()
            announcement.announce(sync_directory)
            return True
        finally:
            close_quietly(fd)

    def _require_present(self) -> None:
        if self.target.status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.target.path)
        self.target.require_regular()


def _check_digest(expected: object, algo: str) -> str:
    if not isinstance(expected, str):
        kind = type(expected).__name__
        raise TypeError(f"expected must be a str of hexadecimal digits, not {kind}")
    digits = len(hash_bytes(b"", algo))
    text = expected.strip().lower()
    if len(text) != digits or any(digit not in "0123456789abcdef" for digit in text):
        raise ValueError(
            f"expected must be {digits} hexadecimal digits for {algo!r}, not {expected!r}"
        )
    return text
