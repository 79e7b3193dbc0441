"""The steps of one write, in their order; every way to write a file is a use of this class.

    Gate      arguments valid, target regular or absent, environment allows it; nothing touched yet
    Acquire   the cooperative lock, so that two writers cannot interleave
    Stage     a temporary file beside the target
    Fill      every byte into it, hashed on the way if a checksum is wanted
    Harden    metadata onto it, then a flush: from here its content survives a crash
    Announce  the checksum sidecar says "new or previous", durably
    Publish   rename over the target: the one instant at which readers see the new content
    Settle    flush the directory: from here the rename survives a crash
    Seal      the sidecar says "new"
    Release   the lock's name goes, then its flock

Before Publish every failure leaves the target, its sidecar and its metadata as they were and no
temp behind; after it nothing is rolled back. Each error says in a note which step failed and what
became of the target. `docs/protocol.md` explains each step, `formal/` checks their order.
"""

from __future__ import annotations

import errno
import os

from . import _trace
from ._announcement import Announcement
from ._change import Change
from ._digests import HashAside, hash_bytes, hash_fd
from ._errors import system_error
from ._gate import mount_point_refusal, pass_gate
from ._in_place import InPlace
from ._metadata import Metadata
from ._permission import require_permission
from ._posix import kernel
from ._recording import record_present
from ._rename import rename_new
from ._settle import settle_directory
from ._sidecar_file import may_be_ours
from ._target import Target, check_path, identity, still_named, unchanged
from ._temp_file import Temp, start_writeback, unlink_if_there
from ._verdicts import is_mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._options import Policy
    from ._types import StrPath

# Bytes up to which the time gained counts. Of a larger file the kernel would drop from its cache
# what is on the disk by then, and would have to read it again (POSIX_FADV_DONTNEED, mm/fadvise.c).
_WRITTEN_BACK_EARLY = 8388608  # 8 MiB
_CLOSED = "the program closed a descriptor of this writer"
_HASH_ASIDE = 262144  # bytes from which hashing in a second thread pays for starting one


class Write(Change):
    """One write under way. Call the steps in order, by `carry_out` or as a stream does.

    Attributes:
        temp: The temporary file.
        metadata: What it is to look like.
    """

    def __init__(self, path: StrPath, policy: Policy) -> None:
        super().__init__(policy)
        self._paired = policy.write_checksum  # whether it announces a record; not in place
        self._digest = ""
        self._aside: HashAside | None = None
        self.target = Target(check_path(path))
        self.temp = Temp(-1)
        self.metadata = Metadata(self.target, self.temp, policy)
        self.in_place: InPlace | None = None  # for a target that is a mount point

    def gate(self) -> None:
        """Find the target, and refuse what cannot be written safely; nothing is touched yet."""
        pass_gate(self.target, self.policy)
        self.enter(self.target)
        require_permission(self.target)
        self.temp.dir_fd = self.target.dir_fd
        if self.target.is_mount_point:
            self._open_in_place()

    def acquire_lock(self) -> None:
        """Take the lock, so that nobody else is between Stage and Seal at the same time."""
        if self.policy.lock:
            found = self.target.status
            self.acquire(self.target)
            self.temp.token = self.token(self.target)
            if not unchanged(found, self.target.status):  # since Gate, which has refused nothing
                self.require_target()
        if self._paired:
            self.step = _trace.ANNOUNCE
            self.announcement = self._announcement()
            self.announcement.look(self.policy.algo)

    def stage(self) -> None:
        """Create the temp beside the target: a rename works within one filesystem only."""
        self.step = _trace.STAGE
        self.temp.lasting = self.target.lasting
        self.metadata.create_temp()
        if _trace.hook is not None:
            inode = kernel.fstat(self.temp.fd).st_ino
            _trace.hook(_trace.STAGE, {"temp": self.temp.name, "inode": inode})

    def fill(self, data: memoryview | bytes) -> None:
        """Write the whole content, hashing it on the way."""
        self.step = _trace.FILL
        # Another thread may change a buffer, and another process what a read-only map shows.
        changeable = isinstance(data, memoryview) and not isinstance(data.obj, bytes)
        if self.policy.write_checksum and not changeable:
            self._hash_aside(data)
        self.temp.write_all(data)
        if self.policy.write_checksum and changeable:  # hash what was written
            self._digest = hash_fd(self.temp.fd, self.policy.algo)
        self.filled(len(data))

    def filled(self, size: int, digest: str | None = None) -> None:
        """Take note that the temp is complete, and of its digest if the caller knows it."""
        if digest is not None:
            self._digest = digest
        if self.policy.write_checksum or size <= _WRITTEN_BACK_EARLY:
            # The disk works on the content while we do what does not need it.
            start_writeback(self.temp.fd)
        if _trace.hook is not None:
            _trace.hook(_trace.FILL, {"bytes": size})

    def require_temp(self) -> None:
        """Refuse to go on if the program closed the temp: its number may be another file's."""
        if not self.temp.valid():
            raise OSError(errno.EBADF, _CLOSED, self.target.path)

    def require_descriptors(self) -> None:
        """Refuse to go on if the program closed one of ours, after a stream has taken its time."""
        self.require_temp()
        others = (self.target, self.announcement, self.in_place)
        if not all(other is None or other.is_open() for other in others):
            raise OSError(errno.EBADF, _CLOSED, self.target.path)
        self.target.lasting = False

    def look_again(self) -> None:
        """See what is to be replaced, and with what, after a stream has taken its time."""
        temp = self.temp
        if not still_named(temp.dir_fd, temp.name, identity(kernel.fstat(temp.fd))):
            # A program that edits every file of a directory leaves a part of the content there.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), temp.name)
        self.step = _trace.GATE
        self.target.look_again()
        self.require_target()
        if self.announcement is not None:
            self.step = _trace.ANNOUNCE
            self.announcement.look_again(self.policy.algo)

    def require_target(self) -> None:
        """Refuse a target that this write must not replace."""
        if not self.policy.overwrite:
            self.target.require_absent()
        self.target.require_regular()
        require_permission(self.target)

    def holds_content(self) -> bool:
        """Tell whether anything was written that is not published."""
        try:
            return not self.published and kernel.fstat(self.temp.fd).st_size > 0
        except system_error():  # there is no temp, or it cannot be asked
            return False

    def commit(self) -> None:
        """Do the remaining steps up to Seal."""
        self.draft()
        self.harden()
        self.announce()
        try:
            self.publish()
        except system_error() as error:
            if not self._must_write_in_place(error):
                raise
            self.draft()
            self.announce()
            self.publish()
        self.settle()
        if self.policy.write_checksum and self.settled:
            if self.target.is_mount_point:
                self.record()
            else:
                self.seal()

    def draft(self) -> None:
        """Prepare what Announce puts in place, while the disk works on the content."""
        self.step = _trace.ANNOUNCE
        if self._paired:
            if self._aside is not None:
                self._digest = self._aside.hexdigest()
            assert self.announcement is not None  # noqa: S101 - looked at after Acquire
            self.announcement.draft(self.policy.algo, self._digest, self.sync_directory)
            return
        if not may_be_ours(self.target):
            return  # as for most files
        announcement = self._announcement()
        self.announcement = announcement  # known to close() first
        if not announcement.find_ours():
            announcement.discard()
            self.announcement = None

    def harden(self) -> None:
        """Give the temp its metadata and flush it; without this a crash may publish NULs.

        A drafted record goes first: a journal then takes both in one transaction (ADR 39).
        """
        self.step = _trace.HARDEN
        self.metadata.put_on()
        if self._paired and self.announcement is not None:
            self.announcement.harden(self.temp.fd, without_acl=self.metadata.without_acl)
        # A failed flush is never tried again: the kernel has dropped the pages it could not write
        # and a second call would report success (fsync(2), PostgreSQL's fsyncgate).
        kernel.fsync(self.temp.fd)
        if _trace.hook is not None:
            _trace.hook(_trace.HARDEN, {"inode": kernel.fstat(self.temp.fd).st_ino})

    def announce(self) -> None:
        """Let the sidecar say "new or previous", or take away one that would be wrong."""
        if self.announcement is None:
            return
        self.step = _trace.ANNOUNCE
        self.require_locks()
        if self._paired:
            self.announcement.announce(self.sync_directory)
        else:
            self.announcement.retire(self.sync_directory)

    def publish(self) -> None:
        """Rename the temp over the target, if the lock is still ours."""
        self.step = _trace.PUBLISH
        self.require_locks()
        dir_fd, temp = self.target.dir_fd, self.temp
        self.publishing = True  # an interrupt after the call must not be taken for one before it
        if self.in_place is not None:
            self.in_place.overwrite(temp, self.sync_directory)
        elif self.policy.overwrite:
            kernel.rename(temp.name, self.target.name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            self._publish_new()
        self.published = True
        temp.name = ""
        if _trace.hook is not None:
            inode = kernel.fstat(temp.fd).st_ino
            _trace.hook(_trace.PUBLISH, {"inode": inode, "lock_checked": bool(self.locks)})

    def settle(self) -> None:
        """Flush the directory; without this a crash may bring the old content back."""
        self.step = _trace.SETTLE
        if self.announcement is not None:
            self.announcement.drop_displaced()
        self.settled = settle_directory(self.target, self.policy.safety, renamed_fd=self.temp.fd)
        if _trace.hook is not None:
            _trace.hook(_trace.SETTLE, {"durable": self.settled})

    def seal(self) -> None:
        """Cut the previous digest off the record; until then a roll-back would go unnoticed."""
        self.step = _trace.SEAL
        assert self.announcement is not None  # noqa: S101 - only a checked write is sealed
        self.announcement.seal()
        if _trace.hook is not None:
            _trace.hook(_trace.SEAL, {})

    def record(self) -> None:
        """Record the checksum of a file that was written in place, as for one that is there."""
        self.step = _trace.ANNOUNCE
        record_present(self)

    def translated(self, error: OSError) -> BaseException:
        """Return the error the caller sees for one of the operating system."""
        if error.errno == errno.EBUSY and self.step == _trace.PUBLISH and not self.published:
            refused = mount_point_refusal(self.target)
            if refused is not None:
                return refused
        return super().translated(error)

    def doing(self) -> str:
        """Say what the present step does; without a checksum, Announce takes one away."""
        if self.step == _trace.ANNOUNCE and not self.policy.write_checksum:
            return "remove the former checksum sidecar"
        return super().doing()

    def inode_fd(self) -> int:
        """Return the temp's descriptor: the target's name shows it once published."""
        return self.temp.fd

    def find_out_whether_published(self) -> None:
        """Settle what an interrupt during the rename left open: did it happen?"""
        super().find_out_whether_published()
        if self.in_place is not None and self.in_place.written:
            self.published = True

    def outcome(self) -> str:
        """Say what became of the target."""
        if self.in_place is not None and self.in_place.copy:
            copy = os.path.join(os.path.dirname(self.target.path), self.in_place.copy)
            if self.in_place.written:
                return f"{super().outcome()}; a copy of it may be left at {copy!r}: remove that"
            return (
                "the target may hold a mixture of old and new content; the complete new content "
                f"is in {copy!r}: copy it over the target (cat COPY > TARGET), then remove it"
            )
        return super().outcome()

    def undo(self) -> None:
        """Put the sidecar back and remove the temp; never masks an error that is under way."""
        if self.in_place is not None:
            if self.in_place.copy:
                return  # nothing is as it was: what would help is the copy, which stays
            if self.in_place.was_longer and self.announcement is not None:
                # A reader that hashed the longer file must not meet the sidecar it saw before.
                self.announcement.leave("the file had another length for a while")
        try:
            super().undo()
        finally:
            if not self.published:
                self.discard_quietly(self.temp)

    def endings(self) -> list[Callable[[], None]]:
        """Return what is to be done at the end, last first."""
        endings = super().endings()
        last = [self.target.close, self._end_temp]
        if self._aside is not None:
            last = [self._aside.end, *last]
        if self.in_place is not None:
            last.append(self.in_place.close)
        endings[:1] = last
        return endings

    def _open_in_place(self) -> None:
        if self.in_place is None:
            self._paired = False
            self.in_place = InPlace(self.target)  # known to close() before it is opened
            self.in_place.open()

    def _announcement(self) -> Announcement:
        creating = not self.policy.overwrite
        return Announcement(self.target, self.token(self.target), creating=creating)

    def _must_write_in_place(self, error: OSError) -> bool:
        """Tell whether the rename failed because the file is a mount point; get ready if so."""
        if error.errno != errno.EBUSY or self.policy.safety == "strict":
            return False
        if not is_mount_point(self.target.dir_fd, self.target.name):
            return False
        self.target.is_mount_point = True
        self._open_in_place()
        self.metadata.hide()
        if self.announcement is not None:
            # What is announced would not describe a mixture: the former sidecar comes back, to be
            # retired instead.
            self.put_back()
            self.discard_quietly(self.announcement)
            self.announcement = None
        return True

    def _publish_new(self) -> None:
        """Give the temp the target's name unless it exists, in one step of the kernel."""
        temp, dir_fd = self.temp.name, self.target.dir_fd
        if rename_new(temp, self.target.name, dir_fd, dir_fd):
            unlink_if_there(temp, dir_fd)

    def _end_temp(self) -> None:
        if self.temp.name:
            self.discard_quietly(self.temp)
        else:
            self.temp.close()

    def _hash_aside(self, data: memoryview | bytes) -> None:
        """Hash the content, beside the writing when that is worth a thread."""
        if len(data) < _HASH_ASIDE:
            self._digest = hash_bytes(data, self.policy.algo)
        else:
            self._aside = HashAside(self.policy.algo)  # known to close() before it has the data
            self._aside.start(data)
