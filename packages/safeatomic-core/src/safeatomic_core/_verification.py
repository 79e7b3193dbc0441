"""What a reader concludes from a file and its checksum sidecar.

A reader takes no lock. It reads the sidecar, hashes the data it opened before, and reads the
sidecar again. A digest that was recorded either time is good. A mismatch is reported only if the
data's name still points to the inode that was read, and the sidecar was the same both times: then
the two existed together (`formal/SafeAtomicChecksum.tla`). Between the opening and the first
reading of the sidecar there is no hashing, so that a reader finishes even beside a writer that
never pauses.
"""

from __future__ import annotations

import errno
import time

from . import _trace
from ._checksum_record import agreeing
from ._digests import digest_length
from ._errors import ChecksumMismatchError, SafeAtomicError, system_error
from ._posix import kernel
from ._sidecar_file import Looks, Sidecar, not_a_record
from ._stack import require_stack
from ._target import SIDECAR_SUFFIX, still_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._checksum_record import Checksum
    from ._target import Target

# A record that names two contents may have fewer readers than each, from Announce to Seal.
_REFUSED_LOOKS = 20
_REFUSED_DELAY = 0.01  # seconds between two of them
_LONGEST_SEAL = 60.0  # seconds after which an unreadable record is one that stays so


class Verification:
    """The check of one opened file: make it, `look`, read the file, ask whether it `agrees`."""

    __slots__ = ("_first", "_hint", "_inode", "_looks", "_requested", "_target")

    _first: Sidecar

    def __init__(
        self, target: Target, inode: tuple[int, int], requested: str | None, hint: str
    ) -> None:
        """Look at nothing yet.

        Args:
            target: The name the content was opened under.
            inode: Device and inode number of what was opened, which must stay open.
            requested: Algorithm the caller requires, or None for the recorded one.
            hint: Algorithm that may have made an untagged digest of its length.
        """
        self._target = target
        self._inode = inode
        self._requested = requested
        self._hint = hint
        self._looks = Looks()

    def look(self) -> None:
        """Look at the sidecar for the first time, after the data was opened.

        Raises:
            OSError: The sidecar cannot be read.
        """
        require_stack()
        self._first = self._look()
        if _trace.hook is not None:
            claim = self._first.claim
            recorded = [] if claim is None else [digest for _, digest in claim.digests]
            _trace.hook("read", {"phase": "look", "inode": self._inode[1], "recorded": recorded})

    def close(self) -> None:
        """Close what was looked at."""
        self._looks.close()

    def agrees(self, digest_of: Callable[[str], str]) -> bool:
        """Compare the content with the sidecar.

        Args:
            digest_of: Gives the content's digest for an algorithm.

        Returns:
            True if they agree; False if a writer moved on meanwhile, and the reader must start
            again.

        Raises:
            ChecksumMismatchError: The content is not what was recorded.
            FileNotFoundError: There is no sidecar.
            SafeAtomicError: It does not describe the file, or with an algorithm that this Python
                does not have.
            ValueError: The recorded algorithm is not the requested one.
            OSError: The sidecar cannot be read.
        """
        target, first = self._target, self._first
        claim = first.claim
        agrees = claim is not None and agreeing(claim, digest_of) is not None
        # Before the second look: beside moves the other order gives a false alarm.
        current = not agrees and still_named(target.dir_fd, target.name, self._inode)
        if not agrees:
            again = self._look()
            agrees = again.claim is not None and agreeing(again.claim, digest_of) is not None
            current = current and first.is_like(again)
            claim = again.claim if agrees else claim
        if _trace.hook is not None:
            self._report(_trace.hook, claim, digest_of, agrees=agrees, current=current)
        if agrees:
            assert claim is not None  # noqa: S101 - it agrees with one
            self._require_algorithm(claim)
            return True
        if not current:
            return False
        if claim is None:
            if not first.exists and target.leads_elsewhere():
                return False  # the place was removed, the sidecar first
            raise self._nothing_recorded(first)
        self._require_algorithm(claim)
        unknown = next((algo for algo, _ in claim.digests if digest_length(algo) is None), None)
        if unknown is not None:
            raise SafeAtomicError(
                f"the sidecar of {target.path!r} records the algorithm {unknown!r}, which this "
                "Python does not offer; the content was not checked"
            )
        raise ChecksumMismatchError(target.path, claim.digest, digest_of(claim.algo))

    def _require_algorithm(self, claim: Checksum) -> None:
        if self._requested not in (None, claim.algo, claim.alias):
            raise ValueError(
                f"{self._requested!r} is asked for, but the sidecar of {self._target.path!r} "
                f"records {claim.algo!r}; leave the algorithm out to check what is recorded"
            )

    def _nothing_recorded(self, found: Sidecar) -> Exception:
        if found.flaw is not None:
            return not_a_record(self._target, found.flaw)
        reason = (
            "no checksum sidecar; if the content is known to be good, write_checksum_file() "
            "records it"
        )
        if not found.fits:
            reason = (
                f"no checksum sidecar, and no room for one: the file's name and {SIDECAR_SUFFIX!r} "
                "are longer than the filesystem allows. Move the file to a shorter name to record "
                "a checksum"
            )
        return FileNotFoundError(errno.ENOENT, reason, self._target.path + SIDECAR_SUFFIX)

    def _look(self) -> Sidecar:
        """Look at the sidecar, boundedly again if it may not be read for the moment."""
        for _ in range(_REFUSED_LOOKS):
            try:
                return self._looks.look(self._target, self._hint)
            except PermissionError:
                if not self._is_recent():
                    raise
                time.sleep(_REFUSED_DELAY)
        return self._looks.look(self._target, self._hint)

    def _is_recent(self) -> bool:
        """Tell whether the sidecar was changed so recently that its writer may be at work."""
        target = self._target
        try:
            name = target.name + SIDECAR_SUFFIX
            status = kernel.stat(name, dir_fd=target.dir_fd, follow_symlinks=False)
        except system_error():
            return True
        return time.time() - status.st_ctime < _LONGEST_SEAL

    def _report(
        self,
        hook: _trace.Hook,
        claim: Checksum | None,
        digest_of: Callable[[str], str],
        *,
        agrees: bool,
        current: bool,
    ) -> None:
        verdict = "retry"
        if agrees:
            verdict = "good"
        elif current:
            verdict = "missing" if claim is None else "mismatch"
        known = claim is not None and digest_length(claim.algo) is not None
        facts: dict[str, object] = {
            "phase": "verdict",
            "inode": self._inode[1],
            "digest": digest_of(claim.algo) if claim is not None and known else "",
            "recorded": [] if claim is None else [digest for _, digest in claim.digests],
            "verdict": verdict,
        }
        hook("read", facts)
