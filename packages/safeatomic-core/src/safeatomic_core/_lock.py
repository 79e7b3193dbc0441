"""The cooperative lock ``<target>.lock``: never stuck, never stolen.

*Held* means that the file exists. *Alive* is what the kernel says: the holder keeps an exclusive
flock on the lock's inode, which ends with the process however it ends, so a reused PID, another PID
namespace or a second copy of this library cannot mislead anybody.

A lock is complete before it has a name: an anonymous inode is flocked and filled, then linked to
the name, which fails if the name exists. So nobody ever meets an empty or unflocked lock of a live
holder, and one with a free flock is a dead holder's, which anyone who finds it may take over: flock
the stale inode, check that the name still points to it, unlink the name, link an inode of its own.
`formal/SafeAtomicLock.tla` checks this.
"""

from __future__ import annotations

import errno
import stat

from . import _log, _trace
from ._errors import LockError, system_error
from ._forks import Held
from ._lock_file import CRASH_MARK, Found, flock_stale, probe_free
from ._lock_payload import payload
from ._lock_readers import admit
from ._posix import LOCK_EX, LOCK_NB, NOT_SUPPORTED, kernel
from ._settle import recover
from ._target import LOCK_SUFFIX, identity, still_named
from ._temp_file import Temp, fresh_token, progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ._target import Target

    class Fence(Protocol):
        """A lock as a change sees it, no matter who took it.

        Attributes:
            target: What it locks.
            token: 16 hexadecimal digits that tell it from every other lock.
            lost: What to say when it is no longer held; empty to let the change say it.
        """

        target: Target
        token: str
        lost: str

        def owned(self) -> bool:
            """Tell whether it is still held."""

        def release(self) -> None:
            """End its use."""

        def leave_behind(self) -> None:
            """Let it look like a dead holder's, so that the next writer recovers."""


_MODE = stat.S_IRUSR | stat.S_IWUSR | CRASH_MARK
# Each round removes one dead lock or sees one vanish; so many in a row are other processes' doing.
_ROUNDS = 64
# Kernels and filesystems that do not know O_TMPFILE say so in these ways (open(2)). EPERM is also
# what it says in a directory that was removed, where a file with a name gets ENOENT.
_NO_ANONYMOUS = NOT_SUPPORTED | {errno.EISDIR, errno.ENOENT, errno.EPERM}
# What the way through /proc says where there is none, another PID namespace's, or a Landlock rule.
_NO_PROC = NOT_SUPPORTED | {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM}
_NO_PROC |= {errno.EXDEV, errno.ELOOP}
_NO_LINKS = NOT_SUPPORTED | {errno.EPERM, errno.EMLINK}


class Lock:
    """One acquisition of a lock: an inode of ours, and the name it is linked to.

    Attributes:
        target: What it locks.
        name: The lock's name in the target's directory.
        dir_fd: That directory, which a lock that outlives its call keeps open.
        inode: Device and inode number of the lock file.
        token: 16 hexadecimal digits in its payload, which tell it from every other lock.
        linked: Whether the name was given to our inode (it may since have been taken away).
    """

    __slots__ = (
        "_found",
        "_handle",
        "_held",
        "_safety",
        "_session",
        "_temp",
        "dir_fd",
        "inode",
        "linked",
        "lost",
        "name",
        "target",
        "token",
    )

    def __init__(self, target: Target, safety: str) -> None:
        """Make nothing yet.

        Args:
            target: What is to be locked.
            safety: What to do where the directory cannot be flushed behind a dead holder.
        """
        self.target = target
        self._safety = safety
        self.dir_fd = target.dir_fd
        self.inode = (0, 0)
        self._handle: Held | None = None  # of the directory, once the lock outlives its call
        self._held = Held(lasting=target.lasting)
        self._session: str | None = None
        self._temp: Temp | None = None
        self._found: Found | None = None
        self.name = target.name + LOCK_SUFFIX
        self.token = fresh_token()
        self.lost = ""
        self.linked = False

    @property
    def fd(self) -> int:
        """Descriptor of our inode, whose flock is the lock; -1 before and after."""
        return self._held.fd

    @property
    def found(self) -> Found:
        """What prevented the last attempt; nothing, as of most locks."""
        if self._found is None:
            self._found = Found()
        return self._found

    def attempt(self, session: str | None) -> bool:
        """Try once to take the lock; never waits. What prevented it is in `found`.

        Args:
            session: Text whose SHA-256 goes into the payload, or None.

        Raises:
            LockError: No lock works here, and why. Nothing was touched.
            OSError: The lock file cannot be created or examined. Nothing was touched.
        """
        self._session = session
        self._prepare()
        for _ in range(_ROUNDS):
            if self._link():
                if self._found is not None:
                    self._found.close()
                return True
            found = self.found
            found.look(self.dir_fd, self.name)
            if found.exists and not (found.takeable and self._clear(found)):
                self._report("contended", found.inode[1])
                return False
        return False

    def holder_is_gone(self) -> bool:
        """Tell whether an attempt has a chance, with as little work as possible."""
        found = self.found
        try:
            gone = not still_named(self.dir_fd, self.name, found.inode)
            return gone or (found.alive == "yes" and probe_free(found.fd))
        except system_error():
            return True  # the attempt will say what is wrong

    def owned(self, dir_fd: int = -1) -> bool:
        """Tell whether the name still points to our inode.

        Args:
            dir_fd: The directory as the caller has it open, for a lock that outlives its call: the
                program may have closed the descriptor that the lock keeps.
        """
        if self._handle is not None:
            if not self._held.valid():
                return False  # the flock went with the descriptor
            if not self._handle.valid():
                return dir_fd >= 0 and still_named(dir_fd, self.name, self.inode)
        return still_named(self.dir_fd, self.name, self.inode)

    def release(self, dir_fd: int = -1) -> None:
        """Unlink the name if it is still ours and drop the flock.

        Args:
            dir_fd: As for `owned`.

        Raises:
            OSError: The name could not be removed; the next writer takes the dead lock over.
        """
        done = False
        try:
            self._drop_names(dir_fd)
            done = True
        except system_error():
            done = True  # it was tried twice
            raise
        finally:
            try:
                if not done:  # an interrupt may have come before anything was done
                    self._drop_names(dir_fd)
            finally:
                self._close()

    def _drop_names(self, dir_fd: int) -> None:
        if self._held.ours():
            if self._temp is not None:
                self._drop_name_of(self._temp)
            if self.linked and self._held.fd >= 0:  # while open, its inode number is not reused
                self._unlink_own(dir_fd)

    def leave_behind(self) -> None:
        """Keep the name when the flock is dropped, as if this process had died.

        For a write that failed and could not be undone: the next writer takes the dead lock over
        and makes durable what it finds.
        """
        self.linked = False

    def adopt_directory(self, target: Target) -> None:
        """Take the directory's descriptor over from the target: the lock outlives the call."""
        (handle := Held()).adopt(target.handle, target.directory())
        self._handle = handle
        self._held.lasting = True
        target.hand_over()

    def _close(self) -> None:
        try:
            if self._found is not None:
                self._found.close()
        finally:
            try:
                self._held.close()
            finally:
                if self._handle is not None:
                    self._handle.close()

    def _unlink_own(self, dir_fd: int) -> None:
        """Remove the name if it is still ours, even after one transient error or interrupt."""
        try:
            ours = self._unlink_if_ours(dir_fd)
        except system_error():
            ours = self._unlink_if_ours(dir_fd)
        except BaseException:
            self._unlink_if_ours(dir_fd)
            raise
        if _trace.hook is not None:
            self._report("unlinked" if ours else "lost", self.inode[1], _trace.RELEASE)

    def _unlink_if_ours(self, dir_fd: int) -> bool:
        if self._handle is not None and not self._handle.valid():
            self.dir_fd = dir_fd  # the program closed the one that the lock keeps
        if not self.owned(dir_fd):
            return False
        try:
            kernel.unlink(self.name, dir_fd=self.dir_fd)
        except FileNotFoundError:
            pass  # taken away since the look
        return True

    def _prepare(self) -> None:
        """Make the inode, flock it and fill it; on a later attempt, refresh what it says."""
        fd = self._held.fd
        if fd >= 0:
            kernel.ftruncate(fd, self._fill(fd))
            return
        try:
            fd = self._held.open(kernel.open_anonymous, _MODE, dir_fd=self.dir_fd)
        except system_error() as error:
            if error.errno not in _NO_ANONYMOUS:
                raise
            fd = self._make_named()
        self._complete(fd)

    def _make_named(self) -> int:
        """Make the inode under a temp's name, where one without a name is not to be had."""
        self._temp = Temp(self.dir_fd)
        self._temp.create(_MODE)
        self._held.adopt(self._temp)
        self._temp.detach()
        return self._held.fd

    def _complete(self, fd: int) -> None:
        """Give a fresh inode its readers, its flock and its payload, before it has its name."""
        status = kernel.fstat(fd)
        self._held.shows(status)
        self.inode = identity(status)
        admit(fd, status, self.target.directory(), self.dir_fd, CRASH_MARK)
        try:
            kernel.flock(fd, LOCK_EX | LOCK_NB)
        except system_error() as error:
            if error.errno in NOT_SUPPORTED:
                raise self._impossible("this filesystem has no flock", error) from error
            raise
        self._fill(fd)
        if _trace.hook is not None:
            self._report("prepared", self.inode[1])

    def _fill(self, fd: int) -> int:
        """Write the payload, completely: nobody is to meet a lock that does not say what it is."""
        data = payload(self._session, self.token)
        done: int = kernel.pwrite(fd, data, 0)
        while done < len(data):
            done += progress(kernel.pwrite(fd, data[done:], done))
        return done

    def _link(self) -> bool:
        """Give the inode its name; False when the name exists."""
        try:
            self._link_inode()
        except system_error() as error:
            self.linked = False
            if not isinstance(error, FileExistsError):
                raise
            return False
        if self._temp is not None:
            self._drop_name_of(self._temp)
        if _trace.hook is not None:
            self._report("linked", self.inode[1])
        return True

    def _link_inode(self) -> None:
        if self._temp is None:
            self.linked = True  # before the call: an interrupt right after it must find it to undo
            try:
                kernel.link_anonymous(self._held.fd, self.name, self.dir_fd)
            except system_error() as error:
                if error.errno not in _NO_PROC:
                    raise
            else:
                return
            self.linked = False
            self._held.close()
            self._complete(self._make_named())
        assert self._temp is not None  # noqa: S101 - just made
        self.linked = True
        dir_fd = self.dir_fd
        try:
            name = self._temp.name
            kernel.link(
                name, self.name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False
            )
        except system_error() as error:
            if error.errno not in _NO_LINKS:
                raise
            raise self._impossible("hard links are not permitted here", error) from error

    def _impossible(self, what: str, error: OSError) -> LockError:
        """Return the error of a place where no lock of this kind can be made."""
        return LockError(
            self.target.path,
            f"locks cannot work here: {what} ({error.strerror or error}); if you exclude writers "
            "yourself, make changes with concurrency='none', which take no lock",
        )

    def _drop_name_of(self, temp: Temp) -> None:
        """Remove the temp's name; its descriptor is ours."""
        temp.discard()
        self._temp = None

    def _clear(self, stale: Found) -> bool:
        """Remove a dead holder's lock; False when it turns out to be held or pinned."""
        if not flock_stale(stale.fd):
            return False
        self._report("stale-flocked", stale.inode[1])
        # The flock orders us with every other acquirer; without this look one of them could have
        # replaced the lock before we got here, and we would unlink a live one.
        if not still_named(self.dir_fd, self.name, stale.inode):
            return True
        # The lock is the only sign that its holder may have died between unlinking a sidecar and
        # its barrier (rule R2 in formal/notes-checksum.md), or beside an orphaned temp: it goes
        # last, or we may die here and the next writer would know nothing of it.
        recover(self.target, self._safety, stale.token)
        # That took a flush, and force_release_lock() does not wait for our flock: look again.
        if still_named(self.dir_fd, self.name, stale.inode):
            try:
                kernel.unlink(self.name, dir_fd=self.dir_fd)
            except FileNotFoundError:
                return True
            _log.info("%r: took over the lock of a dead holder", self.name)
            self._report("stale-unlinked", stale.inode[1])
        return True

    def _report(self, phase: str, inode: int, step: str = _trace.ACQUIRE) -> None:
        if _trace.hook is not None:
            _trace.hook(step, {"phase": phase, "inode": inode, "lock": self.name})


def release_quietly(lock: Fence) -> None:
    """Release without masking an error that is already on its way; a failure is logged."""
    try:
        lock.release()
    except system_error() as error:
        _log.warning(
            "could not remove the lock %r (%s); it is dead and the next writer takes it over",
            getattr(lock, "name", ""),
            error,
        )
