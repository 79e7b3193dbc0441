"""Reading and writing a whole file in one call."""

from __future__ import annotations

from ._change import carry_out
from ._options import Policy, check_data, check_text, resolve_encoding
from ._protocol import Write
from ._reading import read_all
from ._types import Buffer, Concurrency, Safety, StrPath  # noqa: TC001 - at run time, too


def write_atomic(
    path: StrPath,
    data: str,
    *,
    encoding: str | None = None,
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
    """Replace a file's content with text, completely or not at all.

    The text is encoded as it is, without newline translation. See `write_atomic_bytes` for the
    other arguments and errors.

    Args:
        path: The file; it need not exist, its directory must.
        data: The new content.
        encoding: Text encoding; by default ``"utf-8"``.
        concurrency: See `write_atomic_bytes`.
        preserve_metadata: See `write_atomic_bytes`.
        write_checksum: See `write_atomic_bytes`.
        checksum_algo: See `write_atomic_bytes`.
        retries: See `write_atomic_bytes`.
        delay: See `write_atomic_bytes`.
        session: See `write_atomic_bytes`.
        safety: See `write_atomic_bytes`.
        mode: See `write_atomic_bytes`.
        overwrite: See `write_atomic_bytes`.

    Raises:
        UnicodeEncodeError: The text cannot be encoded. The target is unchanged.
        TypeError: ``data`` is not a str. The target is unchanged.
    """
    text = check_text(data)
    encoding = resolve_encoding(encoding)
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
    _write(path, text.encode(encoding), policy)


def write_atomic_bytes(
    path: StrPath,
    data: Buffer,
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
    """Replace a file's content with bytes, completely or not at all, and durably.

    When the call returns, readers see the new content, and a crash does not bring the old one
    back. When a step fails, a note on the exception names the step and says what became of the
    target. An invalid argument raises ValueError or TypeError before anything is touched.

    Args:
        path: The file; it need not exist, its directory must. A symbolic link is followed.
        data: The new content: an object that exports contiguous bytes.
        concurrency: ``"lock"`` excludes other writers that take the lock, too; with ``"none"`` the
            caller has to exclude them. In both cases readers see the old content or the new.
        preserve_metadata: Keep mode, owner, group and extended attributes of an overwritten file;
            otherwise it gets those of a new file.
        write_checksum: Keep a checksum sidecar beside the file, for `read_atomic_bytes` with
            ``check_checksum=True`` and for ``sha256sum --check``. Without it, an existing sidecar
            is removed, because it would not describe the new content.
        checksum_algo: Name of a fixed-length `hashlib` algorithm; by default ``"sha256"``.
        retries: How many times to retry when the lock is held; by default 0.
        delay: Seconds for each retry; by default 0.1. ``retries`` times ``delay`` is the longest
            wait in seconds; a lock that becomes free earlier is taken within about 50 ms.
        session: Text identifying the run that takes the lock; only its SHA-256 is stored.
        safety: ``"strict"`` refuses a filesystem where a guarantee is NonTarget or Unsupported,
            ``"warn"`` warns if a guarantee is not Guaranteed, ``"best_effort"`` says nothing.
        mode: Permission bits of a new file, 0 to 0o777, from its first byte and without the umask:
            ``mode=0o600`` for a secret. By default a new file gets what ``open(path, "w")`` would
            give it. An overwritten file keeps its own bits, unless ``preserve_metadata=False``
            makes it like a new one.
        overwrite: With False, the call creates the file or fails, in one step of the kernel. As
            with ``open(path, "x")``, any link counts as existing, even a dangling one.

    Raises:
        TypeError: An argument of the wrong type. The target is unchanged.
        ValueError: An argument out of range, or a name that is reserved for this library's
            temporary files. The target is unchanged.
        FileExistsError: The target exists, and ``overwrite`` is False; or another program's file
            has the sidecar's name, so that the checksum cannot be recorded. The target is
            unchanged.
        LockError: Somebody else holds the lock, locks cannot work here, or the lock was taken away.
            The target is unchanged.
        UnsupportedEnvironmentError: Under ``"strict"``. The target is unchanged.
        OSError: A system call failed; class and ``errno`` are the system's. The note says whether
            the target is unchanged; or new, durability unconfirmed (the directory could not be
            flushed); or new (only the checksum could not be sealed); or a mixture of old and new
            (only under ``"warn"`` or ``"best_effort"``, if the file is itself a mount point; the
            message names the copy that has the complete new content).
    """
    try:
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
        view = data if type(data) is bytes else check_data(data)
    finally:
        # The traceback of an error holds our frames: an mmap or a bytearray that still shows
        # through one of them could not be closed or resized by who handles the error.
        del data
    try:
        _write(path, view, policy)
    finally:
        if isinstance(view, memoryview):
            view.release()


def read_atomic(
    path: StrPath,
    *,
    encoding: str | None = None,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> str:
    """Return a file's content as text, one consistent version of it.

    The bytes are decoded as they are, without newline translation. See `read_atomic_bytes` for the
    other arguments and errors.

    Args:
        path: The file.
        encoding: Text encoding; by default ``"utf-8"``.
        check_checksum: See `read_atomic_bytes`.
        checksum_algo: See `read_atomic_bytes`.
        safety: See `read_atomic_bytes`.

    Raises:
        UnicodeDecodeError: The bytes are not text in this encoding. The target is unchanged.
    """
    encoding = resolve_encoding(encoding)
    data = read_all(path, check_checksum, checksum_algo, safety)
    return data.decode(encoding)


def read_atomic_bytes(
    path: StrPath,
    *,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> bytes:
    """Return a file's content, one consistent version of it, however many writers are active.

    Args:
        path: The file. A symbolic link is followed.
        check_checksum: Verify the returned bytes against the sidecar.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: ``"strict"`` refuses a filesystem where a reader may see a mixture, ``"warn"``
            warns, ``"best_effort"`` says nothing.

    Raises:
        ChecksumMismatchError: The bytes are not the ones that were written. Nothing was changed.
        FileNotFoundError: The file is missing; or, with ``check_checksum``, its sidecar is
            (``filename`` says which). Nothing was changed.
        SafeAtomicError: The file at the sidecar's name does not describe the file, or names an
            algorithm this Python does not have; or the file was replaced during each of 1,000
            attempts to check it. Nothing was changed.
        ValueError: ``checksum_algo`` is not the recorded algorithm. Nothing was changed.
        UnsupportedEnvironmentError: Under ``"strict"``. Nothing was changed.
        OSError: The file or its sidecar cannot be read. Nothing was changed.
    """
    return read_all(path, check_checksum, checksum_algo, safety)


def _write(path: StrPath, data: memoryview | bytes, policy: Policy) -> None:
    """Take content that is complete in memory through the steps."""
    write = Write(path, policy)

    def steps() -> None:
        write.gate()
        write.acquire_lock()
        write.stage()
        write.fill(data)
        write.commit()

    carry_out(write, steps)
