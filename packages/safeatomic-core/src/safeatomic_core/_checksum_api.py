"""The public checksum functions: compute, verify, write and describe."""

from __future__ import annotations

import errno
import os

from . import _trace
from ._announcement import Announcement
from ._errors import UNCHANGED, ChecksumMismatchError, explain
from ._lock import release_quietly
from ._lock_file import still_named
from ._options import Policy, check_data, defaults, resolve_algorithm
from ._posix import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, close_quietly, kernel
from ._protocol import discard_quietly, new_lock, open_gate, settle_directory, take_lock
from ._reader import AtomicReader
from ._sidecar_file import (
    SUFFIX,
    Sidecar,
    hash_bytes,
    hash_fd,
    malformed,
)
from ._target import Naming, check_path, locate
from ._types import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ._target import Target
    from ._types import Buffer, StrPath

_OPEN = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC


class ChecksumInfo(Record):
    """What a checksum sidecar records.

    Attributes:
        path: The file it speaks of.
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
        AtomicReader(path, check_checksum=True, checksum_algo=algo, safety="best_effort").close()
    except ChecksumMismatchError:
        return False
    return True


def write_checksum_file(path: StrPath, *, algo: str | None = None) -> Path:
    """Record the checksum of a file's present content, whatever it is.

    This declares the present content good. It is done under the lock, durably, in one step.

    Args:
        path: The file. A symbolic link is followed.
        algo: Name of a fixed-length `hashlib` algorithm.

    Returns:
        The path of the sidecar.

    Raises:
        FileNotFoundError: The file is missing. Nothing was changed.
        LockError: Somebody holds the file's lock. Nothing was changed.
        UnsupportedEnvironmentError: The filesystem gives no guarantees. Nothing was changed.
        ValueError: The algorithm is not known or of variable length. Nothing was changed.
        OSError: A system call failed; the former sidecar is in place, or the new one. The file is
            unchanged.
    """
    from pathlib import Path  # slow to import, and only this function returns one

    policy = Policy("lock", True, True, resolve_algorithm(algo, "algo"), None, None, None, "strict")
    target = open_gate(path, policy, op="sidecar")
    lock = new_lock(target, policy.safety)
    announcement = Announcement(target)
    step = _trace.ACQUIRE
    try:
        _require_present(target)
        take_lock(lock, target, policy)
        step = _trace.ANNOUNCE
        _record_present(target, policy, announcement)
    except BaseException as error:
        failure = error
        if isinstance(error, OSError) and error.errno is not None:
            failure = explain(error, "write the checksum sidecar", target.path, UNCHANGED)
        failure.add_note(f"safeatomic: {step} failed; {UNCHANGED}")
        if failure is error:
            raise
        raise failure from error
    finally:
        try:
            discard_quietly(announcement, target)
        finally:
            try:
                release_quietly(lock)
            finally:
                target.close()
    return Path(target.path + SUFFIX)


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


def _record_present(target: Target, policy: Policy, announcement: Announcement) -> None:
    """Make the present content durable, then record its digest."""

    def sync_directory() -> None:
        settle_directory(target, policy.safety, renamed=announcement.fd)

    while True:
        _require_present(target)
        fd = kernel.open(target.name, _OPEN, dir_fd=target.dir_fd)
        try:
            status = kernel.fstat(fd)
            digest = hash_fd(fd, policy.algo)
            # What is blessed must survive a crash before the blessing does: somebody else's write
            # may be neither flushed nor settled.
            kernel.fsync(fd)
            sync_directory()
            inode = (status.st_dev, status.st_ino)
            if not still_named(target.dir_fd, target.name, inode):
                target.look_again()
                continue
            target.look_again()
            announcement.draft_plain(policy.algo, digest)
            announcement.announce(sync_directory)
            return
        finally:
            close_quietly(fd)


def _require_present(target: Target) -> None:
    if target.status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target.path)
    target.require_regular()


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
