"""The checksum sidecar's part in a write: Announce before the data is published, Seal after.

One rename replaces the sidecar by a record of the new *and* the previous digest, durable before
anything else happens; so from then on the data agrees with its sidecar whether it is old or new,
at every instant and after every crash. Seal cuts the previous digest off by truncation, which
needs no flush: both lengths are valid records. `formal/notes-checksum.md` derives the rules R1 to
R5 that the comments below name.
"""

from __future__ import annotations

import os
import stat

from . import _log, _trace
from ._digests import hash_fd, memoized
from ._posix import O_CLOEXEC, O_NOFOLLOW, close_quietly, kernel
from ._sidecar_file import (
    Checksum,
    Sidecar,
    agreeing,
    carried,
    format_record,
    timestamp_now,
)
from ._target import SIDECAR_SUFFIX
from ._temp_file import Temp, start_writeback, unlink_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._digests import Digest
    from ._target import Target

_PERMISSIONS = 0o666


class Announcement:
    """A record for one write: drafted, announced, then sealed or rolled back.

    Attributes:
        announced: Whether the name may point to our record.
        retired: Whether the sidecar was removed instead.
    """

    __slots__ = (
        "_before",
        "_new",
        "_outdated",
        "_previous",
        "_sealed_length",
        "_target",
        "_temp",
        "announced",
        "retired",
    )

    def __init__(self, target: Target) -> None:
        self._target = target
        self._temp = Temp(target.dir_fd)
        self._before = b""  # the former sidecar, to put back if the write fails
        self._outdated = False  # whether the former sidecar is one that must not come back
        self._new = ""
        self._previous: tuple[Digest, ...] = ()
        self._sealed_length = 0
        self.announced = False
        self.retired = False

    @property
    def fd(self) -> int:
        """Descriptor of the record, -1 while there is none."""
        return self._temp.fd

    def draft(
        self,
        algo: str,
        digest: str,
        sync_directory: Callable[[], None],
        rest: tuple[Digest, ...] = (),
    ) -> None:
        """Write the record beside the sidecar, not yet under its name, and start its writeback.

        Args:
            algo: Algorithm of the new content's digest.
            digest: The new content's digest.
            sync_directory: Flushes the target's directory.
            rest: Further digests that stay valid after Seal (a move of corrupt data has some).
        """
        target = self._target
        present = Sidecar(target, algo)
        try:
            self._before = present.raw
            self._previous = self._resolve(present, algo, sync_directory)
            self._outdated = present.record is not None and bool(present.record.previous)
        finally:
            present.close()
        # The same content again needs no second digest: the record is a sealed one from the start.
        former = (one for one in self._previous if one != (algo, digest))
        previous = carried((*rest, *former))
        stamp = timestamp_now()
        record = Checksum(algo, digest, previous, stamp)
        content, self._sealed_length = format_record(target.name, record)
        if rest:
            kept, _ = format_record(target.name, Checksum(algo, digest, carried(rest), stamp))
            self._sealed_length = len(kept)
        self._new = digest
        self._write_temp(content)

    def draft_plain(self, algo: str, digest: str) -> None:
        """Write a record that speaks of the present content alone."""
        record = Checksum(algo, digest, (), timestamp_now())
        content, self._sealed_length = format_record(self._target.name, record)
        self._new = digest
        self._write_temp(content)

    def announce(self, sync_directory: Callable[[], None]) -> None:
        """Put the record under the sidecar's name, durably."""
        kernel.fsync(self._temp.fd)
        dir_fd = self._target.dir_fd
        self.announced = True  # before the rename: an interrupt right after it must undo it
        kernel.rename(
            self._temp.name,
            self._target.name + SIDECAR_SUFFIX,
            src_dir_fd=dir_fd,
            dst_dir_fd=dir_fd,
        )
        self._temp.name = ""
        self._report("record")
        # Without this barrier a crash may keep the data's rename and lose the record's: new data
        # beside a digest of the old, a false alarm.
        sync_directory()
        self._report("barrier")

    def retire(self, sync_directory: Callable[[], None]) -> None:
        """Remove a sidecar that will not speak of the new content, durably."""
        present = Sidecar(self._target, "sha256")
        present.close()
        self._before = present.raw
        self.retired = True  # before the unlink, for the same reason as in announce()
        name = self._target.name + SIDECAR_SUFFIX
        try:
            kernel.unlink(name, dir_fd=self._target.dir_fd)
        except FileNotFoundError:
            if kernel.exists_at(name, self._target.dir_fd):
                raise
            # Somebody who takes no lock was quicker.
        self._report("retire")
        # Without this barrier a crash may keep the data's rename and bring the old digest back.
        sync_directory()
        self._report("barrier")

    def seal(self) -> None:
        """Cut the previous digests off, through our own descriptor (R5)."""
        kernel.ftruncate(self._temp.fd, self._sealed_length)

    def roll_back(self, sync_directory: Callable[[], None]) -> bool:
        """Put the former sidecar back after a failure before Publish (R4).

        Safe at every instant, because every record involved contains the old content's digest. A
        failure here is logged: the announced record is valid for the old content, too.

        Returns:
            Whether that was done, durably.
        """
        if not (self.announced or self.retired):
            return True
        # An unsealed record stays replaced: what resolving it has ruled out stays ruled out.
        keep = self.announced and self._outdated
        self.announced = self.retired = False
        try:
            if keep:
                pass
            elif self._before:
                self._temp.discard()
                self._write_temp(self._before)
                kernel.fsync(self._temp.fd)
                dir_fd = self._target.dir_fd
                name = self._target.name + SIDECAR_SUFFIX
                kernel.rename(self._temp.name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
                self._temp.name = ""
            else:
                unlink_if_there(self._target.name + SIDECAR_SUFFIX, self._target.dir_fd)
            sync_directory()
        except OSError as error:
            _log.warning(
                "could not put the checksum sidecar of %r back (%s)", self._target.path, error
            )
            return False
        return True

    def discard(self) -> None:
        """Remove the temp if it has not become the sidecar, and close it."""
        self._temp.discard()

    def _resolve(
        self, present: Sidecar, algo: str, sync_directory: Callable[[], None]
    ) -> tuple[Digest, ...]:
        """Return what agrees with the present content, after making sure it stays (R1, R3)."""
        record = present.record
        if record is not None and not record.previous:
            return record.digests
        # Whoever left this state may have died between Publish and Settle: its rename, or its
        # absence, may still be lost by a crash, beside a record that speaks only of the new bytes.
        sync_directory()
        if present.flaw is not None:
            _log.warning(
                "replacing the malformed checksum sidecar of %r (%s)",
                self._target.path,
                present.flaw,
            )
        self._report("resolve")
        digests = () if record is None else record.digests
        if self._target.status is None:
            return digests
        return self._digest_of_present(record, algo) or digests

    def _digest_of_present(self, record: Checksum | None, algo: str) -> tuple[Digest, ...]:
        """Hash the present content; empty if it agrees with none of the recorded digests."""
        target = self._target
        fd = kernel.open(target.name, os.O_RDONLY | O_NOFOLLOW | O_CLOEXEC, dir_fd=target.dir_fd)
        try:
            if record is None:
                return ((algo, hash_fd(fd, algo)),)
            match = agreeing(record, memoized(fd))
            return () if match is None else (match,)
        finally:
            close_quietly(fd)

    def _write_temp(self, content: bytes) -> None:
        """Write a sidecar under a temp's name, readable by whoever may read the data."""
        status = self._target.status
        temp = self._temp
        if status is None:
            temp.create(_PERMISSIONS)
        else:
            temp.create(stat.S_IRUSR | stat.S_IWUSR)
            if temp.owner != (status.st_uid, status.st_gid):
                try:
                    kernel.fchown(temp.fd, status.st_uid, status.st_gid)
                except OSError as error:
                    _log.debug("the sidecar keeps our owner, not the data's (%s)", error)
            kernel.fchmod(temp.fd, status.st_mode & _PERMISSIONS)
        temp.write_all(content)
        start_writeback(temp.fd)

    def _report(self, phase: str) -> None:
        if _trace.hook is not None:
            previous = [digest for _, digest in self._previous]
            facts: dict[str, object] = {"phase": phase, "new": self._new, "previous": previous}
            _trace.hook(_trace.ANNOUNCE, facts)
