"""The checksum sidecar's part in a change: Announce before the data is published, Seal after.

One exchange replaces the sidecar with a record of the new *and* the previous digest, durable before
anything else happens; so from then on the data agrees with its sidecar whether it is old or new,
at every instant and after every crash. Seal cuts the previous digest off by truncation, which
needs no flush: both lengths are valid records. `formal/notes-checksum.md` derives the rules R1 to
R5 that the comments below name.
"""

from __future__ import annotations

import stat

from . import _log
from ._checksum_record import Checksum, agreeing, carried, format_record
from ._descriptor import Descriptor, closing
from ._digests import digest_of_fd, hash_fd
from ._posix import kernel
from ._readership import Readers, admit, readers_at, readers_of
from ._retirement import RESTLESS, ROUNDS, Retirement
from ._sidecar_file import Sidecar, taken
from ._target import READ_FLAGS, SIDECAR_SUFFIX, require_regular_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._digests import Digest
    from ._target import Target


class Announcement(Retirement):
    """A record for one change: drafted, announced, then sealed or rolled back."""

    _without_acl: bool  # whether neither content is known to have one; said with the readers
    _sealed_length: int  # bytes of what is drafted that Seal leaves

    def __init__(self, target: Target, token: str = "", *, creating: bool = False) -> None:
        """Make nothing yet; see `Retirement`."""
        super().__init__(target, token, creating=creating)
        self._readers: Readers | None = None  # of the sealed record, once known
        self._restricted = False  # whether the record has fewer until then
        self._plain = False  # whether it describes the present content alone
        self._algo = ""
        self._rest: tuple[Digest, ...] = ()

    @property
    def fd(self) -> int:
        """Descriptor of the record, -1 while there is none."""
        return self._place.record.fd

    # --------------------------------------------------------------------------------- Announce

    def look(self, algo: str) -> None:
        """Refuse early what a record must not replace.

        Raises:
            FileExistsError: Something that is not ours. Nothing was touched.
            OSError: The sidecar cannot be read. Nothing was touched.
        """
        self._recognise(algo)
        assert self._present is not None  # noqa: S101 - just recognised
        self._refuse(self._present)

    def look_again(self, algo: str) -> None:
        """Look at what is there by now, after something has taken its time.

        What is put in its place is compared with what it displaces in any case; this saves
        displacing what must then be put back.
        """
        if self._present is None or not self._present.still_there(self._target):
            self.look(algo)

    def draft(
        self,
        algo: str,
        digest: str,
        sync_directory: Callable[[], None],
        rest: tuple[Digest, ...] = (),
    ) -> None:
        """Write the record beside the sidecar, not yet under its name.

        Args:
            algo: Algorithm of the new content's digest.
            digest: The new content's digest.
            sync_directory: Flushes the target's directory.
            rest: Further digests that stay valid after Seal (a move of corrupt data has some).

        Raises:
            FileExistsError: A file that is not ours has the sidecar's name.
            PermissionError: The present content has to be hashed and may not be read.
        """
        self._algo, self._new, self._rest = algo, digest, rest
        if self._present is None:
            self.look(algo)
        present = self._present
        assert present is not None  # noqa: S101 - just looked
        self._hold(present)
        self._previous = self._resolve(present, algo, sync_directory)
        self._outdated = present.record is not None and bool(present.record.previous)
        # The same content again needs no second digest: the record is a sealed one from the start.
        former = (one for one in self._previous if one != (algo, digest))
        self._write(carried((*rest, *former)), rest)

    def draft_plain(self, algo: str, digest: str) -> None:
        """Write a record that describes the present content alone."""
        self._plain = True
        self._algo, self._new = algo, digest
        self.look_again(algo)
        assert self._present is not None  # noqa: S101 - just looked
        self._hold(self._present)
        self._write((), ())

    def harden(self, data_fd: int, *, without_acl: bool = False) -> None:
        """Let those who may read the new content read the record, and flush it.

        Args:
            data_fd: The new content, with the owner, mode and ACL that it will be published with.
            without_acl: Neither it nor what it replaces has an access ACL.
        """
        self._without_acl = without_acl
        self._readers = readers_of(data_fd, without_acl=without_acl)
        self._harden(self._readers)

    def announce(self, sync_directory: Callable[[], None]) -> None:
        """Put the hardened record under the sidecar's name, durably.

        Raises:
            FileExistsError: Another program has put something there that is not ours.
        """
        for _ in range(ROUNDS):
            assert self._present is not None  # noqa: S101 - drafted
            self.announced = True  # before the rename: an interrupt right after it must undo it
            if self._place.install(self._present):
                break
            # Our record stood there for an instant, and a crash may bring it back. If this write is
            # refused now, the next unchecked one leaves the other's file alone, and has no barrier.
            # While `announced`, so that a failure here leaves the lock behind (R7).
            sync_directory()
            self.announced = False
            self._report("put-back")
            self._draft_again(sync_directory)
        else:
            raise taken(self._target, RESTLESS)
        self._report("record")
        # Without this barrier a crash may keep the data's rename and lose the record's: new data
        # beside a digest of the old, a false alarm.
        sync_directory()
        self._report("barrier")

    # ------------------------------------------------------------------------------- afterwards

    def seal(self) -> None:
        """Cut the previous digests off, through our own descriptor (R5)."""
        place = self._place
        if not place.is_untouched():
            # Another program has written into it since, and its bytes are not ours to cut.
            _log.warning(
                "%r: another program wrote into it; it is left as it is",
                self._target.path + SIDECAR_SUFFIX,
            )
            return
        if self._sealed_length < len(place.content):
            kernel.ftruncate(self.fd, self._sealed_length)
        if self._restricted:
            # Not before the former digest is gone from the disk: who may read the new content need
            # not have read the former. Unflushed: a crash leaves fewer readers, never more.
            kernel.fsync(self.fd)
            assert self._readers is not None  # noqa: S101 - restricted from them
            try:
                admit(place.record, self._readers)
            except PermissionError as error:
                # Given away, and without CAP_FOWNER no longer ours to change.
                _log.warning("%r: its sidecar keeps fewer readers (%s)", self._target.path, error)

    # ---------------------------------------------------------------------------------- details

    def _refuse(self, present: Sidecar) -> None:
        if present.kind in ("list", "foreign"):
            raise taken(self._target, present.flaw or "")

    def _draft_again(self, sync_directory: Callable[[], None]) -> None:
        """Look at what stands there by now, and write and flush another record for it."""
        self._place.discard()  # before it is let go: an interrupt must leave it to be closed
        self._replacement = None
        self._drop_present()
        if self._plain:
            self.draft_plain(self._algo, self._new)
        else:
            self.draft(self._algo, self._new, sync_directory, self._rest)
        assert self._readers is not None  # noqa: S101 - hardened before
        self._harden(self._readers)

    def _resolve(
        self, present: Sidecar, algo: str, sync_directory: Callable[[], None]
    ) -> tuple[Digest, ...]:
        """Return what agrees with the present content, after making sure it stays (R1, R3)."""
        record = present.record
        if record is not None and not record.previous:
            return record.digests
        # The writer that left this state may have died between Publish and Settle: its rename, or
        # its absence, may still be lost by a crash, beside a record that describes only the new
        # bytes.
        sync_directory()
        self._report("resolve")
        digests = () if record is None else record.digests
        rounds = ROUNDS
        while self._target.status is not None:
            try:
                return self._digest_of_present(record, algo) or digests
            except FileNotFoundError:  # removed by another program; no crash may bring it back
                rounds -= 1
                if not rounds:
                    raise
                self._target.look_again()
                sync_directory()
        return digests

    def _digest_of_present(self, record: Checksum | None, algo: str) -> tuple[Digest, ...]:
        """Hash the present content; empty if it agrees with none of the recorded digests."""
        target, opened = self._target, Descriptor()

        def hash_present() -> tuple[Digest, ...]:
            # Its owner may have put a FIFO there since Gate: nobody waits on it.
            fd = opened.open(kernel.open, target.name, READ_FLAGS, dir_fd=target.dir_fd)
            require_regular_fd(fd, target.path)
            if record is None:
                return ((algo, hash_fd(fd, algo)),)
            match = agreeing(record, digest_of_fd(fd))
            return () if match is None else (match,)

        return closing(opened, hash_present)

    def _write(self, previous: tuple[Digest, ...], rest: tuple[Digest, ...]) -> None:
        """Write the record under a temp's name, readable by its owner only until `harden`."""
        name, place = self._target.name, self._place
        record = Checksum(self._algo, self._new, previous)
        place.content, self._sealed_length = format_record(name, record)
        if rest:
            kept, _ = format_record(name, Checksum(self._algo, self._new, carried(rest)))
            self._sealed_length = len(kept)
        place.record.create(stat.S_IRUSR | stat.S_IWUSR)
        place.record.write_all(place.content)

    def _harden(self, sealed: Readers) -> None:
        """Let those in who may read all that is described, and flush."""
        readers, present = sealed, self._present
        if self._sealed_length < len(self._place.content):
            other = readers_at(self._target, without_acl=self._without_acl)
            assert present is not None  # noqa: S101 - drafted
            if self._target.status is None and present.exists:
                other = readers_of(present.fd)  # a record beside no data: who could read that
            readers = readers.restricted(other)
        self._restricted = readers is not sealed
        admit(self._place.record, readers)
        kernel.fsync(self.fd)
