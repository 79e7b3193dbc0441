"""Moving a file together with its checksum sidecar: one rename, never a copy.

The sidecar cannot simply be renamed along: data and sidecar are two names, and a crash between two
renames would leave one without the other. So the destination's sidecar *announces* the arriving
content as a write does, and the source's sidecar goes last (`formal/notes-checksum.md`).
"""

from __future__ import annotations

import errno
import os

from . import _log, _trace
from ._advice import hinders
from ._announcement import Announcement
from ._change import Change, carry_out
from ._checksum_record import agreeing
from ._descriptor import Descriptor
from ._digests import digest_of_fd
from ._errors import UNCHANGED, CrossDeviceAtomicityError, system_error
from ._gate import pass_gate
from ._held_locks import place_of
from ._options import Policy, check_flag
from ._permission import require_permission
from ._posix import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, kernel
from ._rename import are_one_entry, rename_new, unlink_former
from ._retirement import Retirement
from ._settle import settle_directory
from ._sidecar_file import may_be_ours
from ._target import LOCK_SUFFIX, SIDECAR_SUFFIX, Target, check_path, identity, require_regular_fd
from ._types import Concurrency, Safety, StrPath  # noqa: TC001 - at run time, too

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._digests import Digest
    from ._lock import Fence


_STAYS = "%r: its sidecar stays behind (%s)"


def move_atomic(
    src: StrPath,
    dst: StrPath,
    *,
    force: bool = False,
    preserve_metadata: bool = True,
    concurrency: Concurrency = "lock",
    retries: int | None = None,
    delay: float | None = None,
    session: str | None = None,
    safety: Safety = "strict",
) -> None:
    """Rename a file within one filesystem, atomically and durably, with its checksum sidecar.

    Both names are locked meanwhile. The source's content is flushed before the rename, and both
    directories are flushed after it. If the destination has a sidecar that would not describe the
    new content, it is removed. Another program's file at a sidecar's name stays where it is.

    Args:
        src: The file to move. A symbolic link is followed.
        dst: Its new path; the directory must exist and be on the same filesystem.
        force: Replace an existing destination; otherwise it is refused, in one step of the kernel.
        preserve_metadata: Has no effect, because a rename keeps mode, owner and attributes. It is
            accepted so that you can pass the same options as for a write.
        concurrency: As for `write_atomic_bytes`; ``"lock"`` takes the locks of both names.
        retries: As for `write_atomic_bytes`, for each of the two locks.
        delay: As for `write_atomic_bytes`.
        session: As for `write_atomic_bytes`.
        safety: As for `write_atomic_bytes`.

    Raises:
        CrossDeviceAtomicityError: The two are on different devices, under every ``safety``. Both
            are unchanged.
        FileExistsError: The destination exists and ``force`` is False; or another program's file
            has the name of the destination's sidecar. Both are unchanged.
        FileNotFoundError: The source or the destination's directory is missing. Nothing changed.
        LockError: Somebody else holds one of the locks, locks cannot work here, or one was taken
            away. Both are unchanged.
        UnsupportedEnvironmentError: Under ``"strict"``. Both are unchanged.
        TypeError: An argument of the wrong type. Both are unchanged.
        ValueError: An argument out of range, or two names that belong to each other: a file and its
            own sidecar or lock, or two spellings of one name where case is ignored. Both are
            unchanged.
        OSError: A system call failed. The note says whether the file was moved, and whether
            anything of the source stayed behind.
    """
    check_flag(force, "force")
    policy = Policy.of(
        concurrency=concurrency,
        preserve_metadata=preserve_metadata,
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
    )
    move = _Move(src, dst, policy, force=force)
    carry_out(move, move.run)


class _Move(Change):
    """One move under way, in the terms of the ten steps; its target is the destination."""

    def __init__(self, src: StrPath, dst: StrPath, policy: Policy, *, force: bool) -> None:
        super().__init__(policy)
        self._force = force
        self._source = Descriptor()
        self._source_lock: Fence | None = None
        self._carried: tuple[Digest, ...] | None = None  # what the source's sidecar records
        self._linked = False  # the destination is a second link of the source so far
        self._source_sidecar_undurable = False  # gone, but perhaps not for good
        self._source_sidecar: Retirement | None = None
        self._left: OSError | None = None  # why the source's sidecar could not be removed
        self._src = Target(check_path(src, "src"))
        self._src.must_exist = True
        self.target = Target(check_path(dst, "dst"))
        self._at = self._src  # which of the two the present call is about

    def run(self) -> None:
        """Do the steps in their order."""
        pass_gate(self._src, self.policy, op="move")
        self._at = self.target
        pass_gate(self.target, self.policy, op="move")
        self._refuse_relatives()
        self._refuse_early()
        if self._same_name():
            return
        for target in (self._src, self.target):
            self._at = target
            self.enter(target)
        if self.policy.lock:
            self._acquire_both()
            self._refuse_early()
        self.harden()
        self.announce()
        self.publish()
        self.settle()
        if self._carried is not None and self.settled:
            self.seal()
        self.leave_source()

    def harden(self) -> None:
        """Flush the source's content: its writer may not have done so."""
        self.step, self._at = _trace.HARDEN, self._src
        flags = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        fd = self._source.open(kernel.open, self._src.name, flags, dir_fd=self._src.dir_fd)
        status = require_regular_fd(fd, self._src.path)
        kernel.fsync(fd)
        self._report(_trace.HARDEN, {"inode": status.st_ino})

    def announce(self) -> None:
        """Let the destination's sidecar say what arrives, or take away one that would be wrong."""
        self._carried = self._recorded()
        self._at = dst = self.target
        if self._carried is not None:
            (algo, digest), rest = self._carried[0], self._carried[1:]
            self.announcement = Announcement(dst, self.token(dst))
            self.announcement.draft(algo, digest, self.sync_directory, rest)
            self.announcement.harden(self._source.fd)
            self.require_locks()
            self.announcement.announce(self.sync_directory)
        else:
            self.announcement = Announcement(dst, self.token(dst))
            if may_be_ours(dst) and self.announcement.find_ours():
                self.require_locks()
                self.announcement.retire(self.sync_directory)

    def publish(self) -> None:
        """Rename, if both locks are still ours."""
        self.step, self._at = _trace.PUBLISH, self._src  # which a rename names first
        self.require_locks()
        src, dst = self._src, self.target
        self.publishing = True
        if not self._force:
            self._linked = rename_new(src.name, dst.name, src.dir_fd, dst.dir_fd)
        elif self._hard_links_of_one_file() and dst.shows_what_was_found():
            self._linked = True  # rename(2) would do nothing and report success
        else:
            kernel.rename(src.name, dst.name, src_dir_fd=src.dir_fd, dst_dir_fd=dst.dir_fd)
        self.published = True
        inode = kernel.fstat(self._source.fd).st_ino
        self._report(_trace.PUBLISH, {"inode": inode, "lock_checked": bool(self.locks)})

    def settle(self) -> None:
        """Flush the destination first: at no moment may a crash show the file in neither place."""
        self.step, self._at = _trace.SETTLE, self.target
        assert self.announcement is not None  # noqa: S101 - made by announce()
        self.announcement.drop_displaced()
        self.settled = settle_directory(self.target, self.policy.safety, renamed_fd=self._source.fd)
        self._report(_trace.SETTLE, {"durable": self.settled})
        if self._linked:
            self._at = self._src
            unlink_former(self._src, self._source.fd)
            self._linked = False

    def seal(self) -> None:
        """Cut off what the destination held before."""
        self.step, self._at = _trace.SEAL, self.target
        assert self.announcement is not None  # noqa: S101 - callers have just looked
        self.announcement.seal()
        self._report(_trace.SEAL, {})

    def leave_source(self) -> None:
        """Make durable that the source is gone, its sidecar included."""
        self.step, self._at = _trace.SETTLE, self._src
        settled, self.settled = self.settled, False
        src = self._src
        record = -1
        if self._carried is not None and settled and self.announcement is not None:
            # Only now: before, a crash could bring the source back without its sidecar.
            self._source_sidecar_undurable = True
            self._take_sidecar_away()
            record = self.announcement.fd
        gone = settle_directory(
            src, self.policy.safety, renamed_fd=self._source.fd, barrier_fd=record
        )
        self.settled = settled and gone
        self._source_sidecar_undurable = False
        self._report(_trace.SETTLE, {"durable": self.settled})
        if self._left is not None:
            raise self._left

    # ---------------------------------------------------------------- what it says when it fails

    def inode_fd(self) -> int:
        """Return the source's descriptor: the destination shows it once moved."""
        return self._source.fd

    def doing(self) -> str:
        """Say what is being done."""
        if self._left is not None and self.settled:
            return "remove the source's checksum sidecar"
        return f"move {self._src.path!r}"

    def translated(self, error: OSError) -> BaseException:
        """Return the error the caller sees for one of the operating system."""
        if isinstance(error, FileExistsError) and not self._about_sidecar(error):
            return FileExistsError(
                errno.EEXIST,
                f"the destination exists; pass force=True to replace it. {UNCHANGED.capitalize()}",
                self.target.path,
            )
        if error.errno == errno.EXDEV:
            return CrossDeviceAtomicityError(self._src.path, self.target.path)
        return super().translated(error)

    def path_of(self, error: OSError) -> str:
        """Return the path of the caller's that an error is about."""
        if error is self._left:
            return self._src.path + SIDECAR_SUFFIX
        return str(self.about(error).named(error).filename)

    def outcome(self) -> str:
        """Say what became of the two names."""
        outcome = super().outcome()
        if self.published and self._linked:
            outcome += f", and the source {self._src.path!r} still has its name"
        if self._left is not None:
            sidecar = self._src.path + SIDECAR_SUFFIX
            outcome += f" with its checksum, and the source's sidecar {sidecar!r} stays behind"
        return outcome

    def about(self, error: OSError) -> Target:
        """Return which of the two names an error is about."""
        if error is self._left:
            return self._src
        if self.step == _trace.PUBLISH and error.errno in (errno.EACCES, errno.EPERM):
            return self.target if hinders(self.target) else self._src  # a rename is of both
        if error.errno == errno.ENOENT:  # a removed directory is why, whichever call met that
            for target in (self._at, self.target, self._src):
                if _lost_directory(target):
                    return target
        return self._at

    def lost_lock(self) -> str:
        """Say what a lock that was taken away means here."""
        return (
            "a lock was removed by force while the file was being moved; nothing was "
            "moved. Find out who called force_release_lock(), then move it again"
        )

    def close(self) -> None:
        """Release both locks and close every descriptor."""
        if self._source_sidecar_undurable and self._source_lock is not None:
            # Otherwise the next writer of the source would not know that a crash may bring the
            # sidecar back; a dead lock tells it to flush the directory first (R2).
            self._source_lock.leave_behind()
        super().close()

    def endings(self) -> list[Callable[[], None]]:
        """Return what is to be done at the end, last first."""
        endings = super().endings()
        last = [self.target.close, self._src.close, self._source.close]
        if self._source_sidecar is not None:
            last.append(self._source_sidecar.discard)
        endings[:1] = last
        return endings

    # ----------------------------------------------------------------------------------- details

    def _refuse_early(self) -> None:
        """Refuse what the rename would refuse, before a lock is taken or a sidecar written."""
        src, dst = self._src, self.target
        self._at = src
        if src.status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), src.path)
        if dst.directory().st_dev != src.directory().st_dev:
            raise CrossDeviceAtomicityError(src.path, dst.path)
        if dst.status is not None and not self._same_name():
            if self._hard_links_of_one_file() and are_one_entry(src, dst):
                raise ValueError(
                    f"{src.name!r} and {dst.name!r} are the same name in this directory, which "
                    "does not tell them apart; move the file to a third name first, then to this"
                )
            if not self._force:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst.path)
            self._at = dst
            require_permission(dst)

    def _refuse_relatives(self) -> None:
        """Refuse to move a file to its own sidecar's or lock's name, or back."""
        names = self._src.name, self.target.name
        if identity(self._src.directory()) != identity(self.target.directory()):
            return
        for one, other in (names, names[::-1]):
            if other in (one + SIDECAR_SUFFIX, one + LOCK_SUFFIX):
                raise ValueError(
                    f"{other!r} is where the checksum or the lock of {one!r} is kept; a file "
                    "cannot be moved from or to there. Give another name"
                )

    def _about_sidecar(self, error: OSError) -> bool:
        """Tell whether an error is about a sidecar, not about the destination itself."""
        name = error.filename if isinstance(error.filename, str) else ""
        return self.step == _trace.ANNOUNCE and name.endswith(SIDECAR_SUFFIX)

    def _same_name(self) -> bool:
        """Tell whether source and destination are one name of one directory."""
        src, dst = self._src, self.target
        return src.name == dst.name and identity(src.directory()) == identity(dst.directory())

    def _acquire_both(self) -> None:
        """Lock both, in an order that two opposite moves share."""
        for target in sorted((self._src, self.target), key=place_of):
            self._at = target
            try:
                self.acquire(target)
            finally:
                if target is self._src and self.locks:
                    self._source_lock = self.locks[-1]

    def _recorded(self) -> tuple[Digest, ...] | None:
        """Return what the source's sidecar says of it; None if there is none.

        It is what was recorded, never a fresh hash: a damaged file must arrive as damaged. What is
        not a record of ours stays where it is.
        """
        self.step = _trace.ANNOUNCE
        if not may_be_ours(self._src):
            return None
        self._source_sidecar = Retirement(self._src, self.token(self._src))
        record = self._source_sidecar.recorded()
        if record is None:
            return None
        if record.previous:
            match = agreeing(record, digest_of_fd(self._source.fd))
            return record.digests if match is None else (match,)
        return record.digests

    def _take_sidecar_away(self) -> None:
        """Remove the source's sidecar; one that cannot be removed changes nothing for the file."""
        assert self._source_sidecar is not None  # noqa: S101 - it says what is carried
        try:
            if not self._source_sidecar.take_away(again=False):
                _log.warning(_STAYS, self._src.path, "another program has replaced it")
        except FileExistsError as error:
            _log.warning(_STAYS, self._src.path, error)
        except system_error() as error:
            self._left = error  # raised once everything else is done
        self._source_sidecar.drop_displaced()

    def _hard_links_of_one_file(self) -> bool:
        a, b = self._src.status, self.target.status
        return a is not None and b is not None and identity(a) == identity(b)

    def _report(self, step: str, facts: dict[str, object]) -> None:
        if _trace.hook is not None:
            _trace.hook(step, facts)


def _lost_directory(target: Target) -> bool:
    """Tell whether the directory of a name was removed since it was opened."""
    try:
        target.require_directory()
    except system_error() as error:
        return error.errno == errno.ENOENT
    return False
