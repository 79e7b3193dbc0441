"""The public checksum functions: compute, verify, write and describe."""

from __future__ import annotations

import os

from . import _trace
from ._change import Change, carry_out
from ._descriptor import closing
from ._digests import hash_bytes, hash_fd
from ._errors import ChecksumMismatchError, SafeAtomicError, system_error
from ._gate import pass_gate
from ._hashes import unloadable
from ._options import Policy, check_data, defaults, resolve_algorithm
from ._posix import kernel
from ._reading import read_with, verify_file
from ._recording import Batch, record_present, require_present
from ._sidecar_file import Looks, not_a_record
from ._stack import require_stack
from ._target import RESOLUTIONS, SIDECAR_SUFFIX, Target, check_path, visit
from ._types import Buffer, Concurrency, Record, Safety, StrPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ._sidecar_file import Sidecar


class ChecksumInfo(Record):
    """What a checksum sidecar records.

    Attributes:
        path: The file it describes.
        algo: Name of the algorithm.
        hash: The digest in hexadecimal.
        timestamp: When the sidecar was written, ISO 8601 in UTC; None if that is not known.
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
        algo: Name of a fixed-length `hashlib` algorithm; by default that of `safeatomic_config`,
            else ``"sha256"``.

    Raises:
        TypeError: An argument of the wrong type. Nothing was changed.
        ValueError: The algorithm is not known or of variable length. Nothing was changed.
        OSError: The file cannot be read. Nothing was changed.
    """
    algo = resolve_algorithm(algo, "algo")
    return read_with(path, lambda fd: hash_fd(fd, algo))


def compute_hash_data(data: Buffer, *, algo: str | None = None) -> str:
    """Return the hexadecimal digest of bytes.

    Args:
        data: An object that exports contiguous bytes.
        algo: Name of a fixed-length `hashlib` algorithm; by default that of `safeatomic_config`,
            else ``"sha256"``.

    Raises:
        TypeError: ``data`` is not bytes-like.
        ValueError: The algorithm is not known or of variable length.
    """
    try:
        view = check_data(data)
    finally:
        del data  # see write_atomic_bytes()
    try:
        return hash_bytes(view, resolve_algorithm(algo, "algo"))
    finally:
        if isinstance(view, memoryview):
            view.release()


def verify_checksum(path: StrPath, expected: str | None = None, *, algo: str | None = None) -> bool:
    """Return whether a file's content is the content that was written.

    Args:
        path: The file. A symbolic link is followed.
        expected: The digest it should have, in hexadecimal; by default the sidecar's.
        algo: Algorithm of ``expected``, by default that of `safeatomic_config`, else ``"sha256"``.
            Without ``expected``: the algorithm that the sidecar must use, by default any.

    Returns:
        True if the content has the digest, False if it has another.

    Raises:
        FileNotFoundError: The file is missing; or, without ``expected``, its sidecar is.
        SafeAtomicError: The file at the sidecar's name does not describe the file, or names an
            algorithm this Python does not have; or the file was replaced during each of 1,000
            attempts to check it.
        ValueError: ``expected`` is not a digest of the algorithm, or ``algo`` not the recorded one.
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

    This accepts the present content as good. It happens under the lock, durably, in one step.

    Args:
        path: The file. A symbolic link is followed.
        algo: Name of a fixed-length `hashlib` algorithm; by default that of `safeatomic_config`,
            else ``"sha256"``.
        concurrency: As for `write_atomic_bytes`.
        retries: As for `write_atomic_bytes`.
        delay: As for `write_atomic_bytes`.
        session: As for `write_atomic_bytes`.
        safety: As for `write_atomic_bytes`.

    Returns:
        The path of the sidecar; an absolute one if ``path`` is a symbolic link. If pathlib cannot
        be loaded (after a chroot, in a program that had not loaded it before), it is a str.

    Raises:
        FileNotFoundError: The file is missing. Nothing was changed.
        FileExistsError: The sidecar's name is taken by something that is not a sidecar of this
            file. Nothing was changed.
        LockError: Somebody else holds the file's lock, locks cannot work here, or the lock was
            taken away. Nothing was changed.
        UnsupportedEnvironmentError: Under ``"strict"``. Nothing was changed.
        TypeError: An argument of the wrong type. Nothing was changed.
        ValueError: The algorithm is not known or of variable length, or another argument is out of
            range. Nothing was changed.
        OSError: A system call failed; the sidecar is the previous one or the new one. The file is
            unchanged.
    """
    policy = Policy.of(
        concurrency=concurrency,
        write_checksum=True,
        checksum_algo=resolve_algorithm(algo, "algo"),
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
    )
    return _as_path(_record_one(path, policy))


def _as_path(text: str) -> Path:
    """Return a path; its text where pathlib cannot be loaded, since the record is made by now."""
    try:
        from pathlib import Path  # slow to import, and only this function returns one
    except unloadable():
        return text  # type: ignore[return-value]
    return Path(text)


def record_checksums(
    paths: Iterable[str],
    on_recorded: Callable[[str, str | Exception], None],
    *,
    algo: str | None = None,
    concurrency: Concurrency = "lock",
    retries: int | None = None,
    delay: float | None = None,
    safety: Safety = "strict",
    on_hashed: Callable[[int], None] | None = None,
) -> None:
    """Record the checksums of many files as `write_checksum_file` does, with fewer flushes.

    Args:
        paths: The files; those of a directory that follow one another share its flushes.
        on_recorded: Called with each path once its record is durable, and with the sidecar's path,
            or with what its recording failed with. An interrupt comes after those that are recorded
            by then.
        algo: As for `write_checksum_file`.
        concurrency: As for `write_atomic_bytes`.
        retries: As for `write_atomic_bytes`.
        delay: As for `write_atomic_bytes`.
        safety: As for `write_atomic_bytes`.
        on_hashed: Called with the size of each chunk in bytes, for a progress bar.
    """
    from itertools import groupby  # loaded by the interpreter already

    policy = Policy.of(
        concurrency=concurrency,
        write_checksum=True,
        checksum_algo=resolve_algorithm(algo, "algo"),
        retries=retries,
        delay=delay,
        safety=safety,
    )
    for _, group in groupby(paths, os.path.dirname):
        _record_together(list(group), policy, on_recorded, on_hashed)


def _record_together(
    paths: list[str],
    policy: Policy,
    on_recorded: Callable[[str, str | Exception], None],
    on_hashed: Callable[[int], None] | None,
) -> None:
    """Record the checksums of files in one directory."""
    results: list[tuple[str, str | Exception]] = []
    batch = None
    try:
        if len(paths) > 1:
            batch = Batch(paths[0], policy)
            batch.prepare([os.path.basename(path) for path in paths])
    except (SafeAtomicError, system_error(), ValueError):
        pass  # each recording finds the same, and reports it
    try:
        for path in paths:
            result: str | Exception
            try:
                result = _record_one(path, policy, batch, on_hashed)
            except (SafeAtomicError, system_error(), ValueError) as error:
                result = error
            results.append((path, result))
    finally:
        if batch is not None:
            try:
                batch.settle()
            except system_error() as error:
                results = [
                    (path, _unsettled(error, path, policy) if isinstance(result, str) else result)
                    for path, result in results
                ]
            finally:
                batch.close()
        for path, result in results:
            on_recorded(path, result)


def _unsettled(error: OSError, path: str, policy: Policy) -> Exception:
    """Return the error of a file whose record is there, and perhaps not durable."""
    recording = _Recording(path, policy)
    recording.step = _trace.ANNOUNCE
    result = recording.explained(error)
    assert isinstance(result, Exception)  # noqa: S101 - it stays an OSError
    return result


def _record_one(
    path: StrPath,
    policy: Policy,
    batch: Batch | None = None,
    on_hashed: Callable[[int], None] | None = None,
) -> str:
    """Record one checksum; return the sidecar's path."""
    recording = _Recording(path, policy, batch, on_hashed)
    carry_out(recording, recording.run)
    return recording.sidecar


def get_checksum_info(path: StrPath) -> ChecksumInfo | None:
    """Return what a file's sidecar records, None if there is none. The content is not read.

    Raises:
        SafeAtomicError: The file at the sidecar's name is empty, or does not describe the file.
        OSError: The directory or the sidecar cannot be read.
    """
    require_stack()
    looks = Looks()

    def look(target: Target) -> tuple[Sidecar, bool]:
        """Return what was found, and whether to look where the path leads by now."""
        found = looks.look(target, defaults().checksum_algo)
        if found.claim is None and found.flaw is not None:
            raise not_a_record(target, found.flaw)
        return found, found.claim is None and target.leads_elsewhere()

    def find() -> ChecksumInfo | None:
        for _ in range(RESOLUTIONS):
            found, moved = visit(path, look)
            if not moved:
                break
        claim, text = found.claim, check_path(path)
        if claim is None:
            return None
        return ChecksumInfo(
            path=text, algo=claim.algo, hash=claim.digest, timestamp=found.timestamp
        )

    return closing(looks, find)


class _Recording(Change):
    """The recording of a checksum: Announce alone, of content that is there already."""

    def __init__(
        self,
        path: StrPath,
        policy: Policy,
        batch: Batch | None = None,
        on_hashed: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(policy)
        self.target = Target(check_path(path))
        self.target.must_exist = True
        self.sidecar = self.target.path + SIDECAR_SUFFIX
        self._batch = batch
        self._on_hashed = on_hashed

    def run(self) -> None:
        """Do the steps in their order."""
        pass_gate(self.target, self.policy, op="sidecar")
        if self.target.linked:  # that is where the sidecar is
            directory = os.path.dirname(kernel.realpath(self.target.path))
            self.sidecar = os.path.join(directory, self.target.name + SIDECAR_SUFFIX)
        require_present(self.target)
        self.enter(self.target)
        if self.policy.lock:
            self.acquire(self.target)
        self.step = _trace.ANNOUNCE
        record_present(self, self._batch, self._on_hashed)

    def doing(self) -> str:
        """Say what is being done."""
        return "write the checksum sidecar"

    def lost_lock(self) -> str:
        """Say what a lock that was taken away means here."""
        return (
            "the lock was removed by force while the checksum was being recorded; the target is "
            "unchanged. Find out who called force_release_lock(), then record it again"
        )

    def undo(self) -> None:
        """Undo nothing: an announced record describes the content that is there."""


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
