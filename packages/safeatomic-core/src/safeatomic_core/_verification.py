"""What a reader concludes from a file and its checksum sidecar.

A reader takes no lock. It hashes the data it opened, reads the record, and believes a mismatch only
if afterwards both names still point to the very inodes it read (`formal/SafeAtomicChecksum.tla`).
"""

from __future__ import annotations

import errno

from . import _trace
from ._digests import digest_length
from ._errors import ChecksumMismatchError, SafeAtomicError
from ._sidecar_file import Sidecar, agreeing, malformed
from ._target import SIDECAR_SUFFIX, still_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._sidecar_file import Checksum
    from ._target import Target


def verify(
    target: Target,
    inode: tuple[int, int],
    digest_of: Callable[[str], str],
    requested: str | None,
    hint: str,
) -> bool:
    """Hold the content of an open file against the sidecar beside it.

    Args:
        target: The name the content was opened under.
        inode: Device and inode number of what was opened, which must still be open.
        digest_of: Gives the content's digest for an algorithm.
        requested: Algorithm the caller insists on, or None for the recorded one.
        hint: Algorithm to assume when the sidecar names none.

    Returns:
        True if they agree; False if a writer moved on meanwhile, and the reader must start again.

    Raises:
        ChecksumMismatchError: The content is not what was recorded.
        FileNotFoundError: There is no sidecar.
        SafeAtomicError: The sidecar is malformed, or its algorithm unknown to this Python.
        ValueError: The recorded algorithm is not the requested one.
        OSError: The sidecar cannot be read.
    """
    sidecar = Sidecar(target, hint)
    try:
        record = sidecar.record
        agrees, expected, actual, unknown = _compare(record, digest_of)
        if record is not None and requested is not None and requested != record.algo:
            raise ValueError(
                f"checksum_algo={requested!r}, but the sidecar of {target.path!r} records "
                f"{record.algo!r}; leave checksum_algo out to check what is recorded"
            )
        # Only when both names still point to what was read did the two stand side by side.
        current = agrees or (
            still_named(target.dir_fd, target.name, inode) and sidecar.still_there(target)
        )
        if _trace.hook is not None:
            _report(_trace.hook, inode, sidecar, actual, agrees=agrees, current=current)
        if agrees:
            return True
        if not current:
            return False
    finally:
        sidecar.close()
    if sidecar.flaw is not None:
        raise malformed(target, sidecar.flaw)
    if record is None:
        raise FileNotFoundError(
            errno.ENOENT,
            "no checksum sidecar; write_checksum_file() makes one",
            target.path + SIDECAR_SUFFIX,
        )
    if unknown is not None:
        raise SafeAtomicError(
            f"the sidecar of {target.path!r} records the algorithm {unknown!r}, which this Python "
            "does not offer; the content was not checked"
        )
    raise ChecksumMismatchError(target.path, expected, actual)


def _compare(
    record: Checksum | None, digest_of: Callable[[str], str]
) -> tuple[bool, str, str, str | None]:
    """Return whether a content agrees, what was expected and found, and an algorithm not known."""
    if record is None:
        return False, "", "", None
    if agreeing(record, digest_of) is not None:
        return True, record.digest, record.digest, None
    unknown = next((algo for algo, _ in record.digests if digest_length(algo) is None), None)
    actual = "" if digest_length(record.algo) is None else digest_of(record.algo)
    return False, record.digest, actual, unknown


def _report(
    hook: _trace.Hook,
    inode: tuple[int, int],
    sidecar: Sidecar,
    actual: str,
    *,
    agrees: bool,
    current: bool,
) -> None:
    recorded = [] if sidecar.record is None else [hexa for _, hexa in sidecar.record.digests]
    verdict = "retry"
    if agrees:
        verdict = "good"
    elif current:
        verdict = "missing" if sidecar.record is None else "mismatch"
    facts: dict[str, object] = {
        "phase": "verdict",
        "inode": inode[1],
        "digest": actual,
        "recorded": recorded,
        "verdict": verdict,
    }
    hook("read", facts)
