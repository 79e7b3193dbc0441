"""The cooperative lock ``<target>.lock``: never stuck, never stolen.

*Held* means that the file exists. *Alive* is what the kernel says: the holder keeps an exclusive
flock on the lock's inode, which ends with the process however it ends, so a reused PID, another PID
namespace or a second copy of this library cannot mislead anybody.

A lock is complete before it has a name: an anonymous inode is flocked and filled, then linked to
the name, which fails if the name exists. So nobody ever meets an empty or unflocked lock of a live
holder, and whoever meets one with a free flock has met a dead holder's and may take it over:
flock the stale inode, see that the name still points to it, unlink the name, link the own inode.
`formal/SafeAtomicLock.tla` checks this.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from _thread import RLock, get_ident

from . import _log, _trace
from ._errors import LockError
from ._forks import close_held, open_held
from ._lock_file import CRASH_MARK, Found, look, payload, probe_free
from ._posix import LOCK_EX, LOCK_NB, NOT_SUPPORTED, Descriptor, kernel
from ._settle import recover
from ._target import LOCK_SUFFIX, identity, still_named
from ._temp_file import Temp, unlink_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._options import Policy
    from ._target import Target

_WRITE_BITS = stat.S_IWGRP | stat.S_IWOTH
# Each round removes one dead lock or sees one vanish; this many in a row is a crowd, not a corpse.
_ROUNDS = 64
# A prober holds a shared flock for microseconds; whoever holds one longer pins the lock.
_PROBE_ROUNDS = 200


class Lock:
    """One acquisition of a lock: an inode of ours, and the name it is linked to.

    Attributes:
        target: What it locks.
        name: The lock's name in the target's directory.
        fd: Descriptor of our inode, whose flock is the lock; -1 before and after.
        linked: Whether the name was given to our inode (it may since have been taken away).
    """

    __slots__ = (
        "_dir_fd",
        "_directory",
        "_inode",
        "_handle",
        "_pid",
        "_safety",
        "_temp",
        "fd",
        "linked",
        "name",
        "target",
    )

    def __init__(self, target: Target, safety: str) -> None:
        """Make nothing yet.

        Args:
            target: What is to be locked.
            safety: What to do where the directory cannot be flushed behind a dead holder.
        """
        self.target = target
        self._safety = safety
        self._dir_fd = target.dir_fd
        self._directory = target.directory
        self._inode = (0, 0)
        self._handle = Descriptor()  # of the directory, once the lock outlives its call
        self._pid = os.getpid()
        self._temp: Temp | None = None
        self.name = target.name + LOCK_SUFFIX
        self.fd = -1
        self.linked = False

    def attempt(self, session: str | None) -> Found | None:
        """Try once to take the lock; never waits.

        Args:
            session: Text whose SHA-256 goes into the payload, or None.

        Returns:
            None when the lock is ours, else what was found in its place.

        Raises:
            OSError: The lock file cannot be made here. Nothing was touched.
        """
        self._prepare(session)
        for _ in range(_ROUNDS):
            if self._link():
                return None
            found = look(self._dir_fd, self.name)
            try:
                if not found.exists:
                    continue
                if not (found.takeable and self._clear(found)):
                    self._report("contended", found.inode[1])
                    return found
            finally:
                found.close()
        return found

    def __del__(self) -> None:
        """Drop the flock of a lock that nobody can release any more.

        Only an interrupt between two of our own statements leads here. What is left is a dead lock,
        which the next writer takes over, instead of one that lives as long as this process.
        """
        if getattr(self, "fd", -1) >= 0 and self._temp is None and self.ours():
            self._close()

    def ours(self) -> bool:
        """Tell whether this process, not a parent it was forked from, took the lock."""
        return self._pid == os.getpid()

    def owned(self) -> bool:
        """Tell whether the name still points to our inode."""
        try:
            status = kernel.stat(self.name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return identity(status) == self._inode

    def release(self) -> None:
        """Unlink the name if it is still ours and drop the flock.

        Raises:
            OSError: The name could not be removed; what is left is a dead lock that the next
                writer takes over.
        """
        if self._pid != os.getpid():
            self.fd = -1  # a forked child owns nothing; its copy of the descriptor is closed
            return
        try:
            if self._temp is not None:
                self._drop_name_of(self._temp)
            if self.linked:
                self.linked = False
                self._unlink_own()
        finally:
            self._close()

    def leave_behind(self) -> None:
        """Keep the name when the flock is dropped, as if this process had died.

        For a write that failed and could not be undone: the next writer takes the dead lock over
        and makes durable what it finds.
        """
        self.linked = False

    def adopt_directory(self, target: Target) -> None:
        """Take the directory's descriptor over from the target: the lock outlives the call."""
        self._handle = target.hand_over()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        try:
            if fd >= 0:
                close_held(fd)
        finally:
            self._handle.close()

    def _unlink_own(self) -> None:
        """Remove the name if it is still ours, in spite of one passing error or interrupt."""
        try:
            ours = self.owned()
            if ours:
                unlink_if_there(self.name, self._dir_fd)
        except OSError:
            ours = self.owned()
            if ours:
                unlink_if_there(self.name, self._dir_fd)
        except BaseException:
            if self.owned():
                unlink_if_there(self.name, self._dir_fd)
            raise
        if _trace.hook is not None:
            self._report("unlinked" if ours else "lost", self._inode[1], _trace.RELEASE)

    def _prepare(self, session: str | None) -> None:
        """Make the inode, flock it and fill it; on a later attempt, refresh what it says."""
        if self.fd >= 0:
            kernel.pwrite(self.fd, payload(session), 0)
            return
        # Whoever may open the file may flock it, and so pin a dead lock: only those may who may
        # write the directory and so could remove it anyway.
        bits = self._directory().st_mode & _WRITE_BITS
        mode = stat.S_IRUSR | stat.S_IWUSR | bits | CRASH_MARK
        self._make_inode(mode)
        if bits:
            kernel.fchmod(self.fd, mode)  # the umask took the bits away
        status = kernel.fstat(self.fd)
        self._inode = identity(status)
        kernel.flock(self.fd, LOCK_EX | LOCK_NB)
        kernel.write(self.fd, payload(session))
        if _trace.hook is not None:
            self._report("prepared", self._inode[1])

    def _make_inode(self, mode: int) -> None:
        """Create the inode without a name, or with a temp's where the filesystem cannot."""
        try:
            self.fd = open_held(kernel.open_anonymous, self._dir_fd, mode)
        except OSError as error:
            # EISDIR and ENOENT: kernels and filesystems that do not know O_TMPFILE (open(2)).
            if error.errno not in NOT_SUPPORTED | {errno.EISDIR, errno.ENOENT}:
                raise
            self._temp = Temp(self._dir_fd)
            self._temp.create(mode)
            self.fd = self._temp.fd

    def _link(self) -> bool:
        """Give the inode its name; False when the name exists."""
        self.linked = True  # before the call: an interrupt right after it must find it to undo
        try:
            if self._temp is None:
                kernel.link_anonymous(self.fd, self.name, self._dir_fd)
            else:
                kernel.link(
                    self._temp.name,
                    self.name,
                    src_dir_fd=self._dir_fd,
                    dst_dir_fd=self._dir_fd,
                    follow_symlinks=False,
                )
        except FileExistsError:
            self.linked = False
            return False
        except OSError as error:
            self.linked = False
            if self._temp is None and error.errno == errno.ENOENT:
                reason = "/proc is not mounted, or the directory was removed"
                raise OSError(errno.ENOENT, reason, self.name) from error
            raise
        if self._temp is not None:
            self._drop_name_of(self._temp)
        if _trace.hook is not None:
            self._report("linked", self._inode[1])
        return True

    def _drop_name_of(self, temp: Temp) -> None:
        """Remove the temp's name and keep its descriptor, which is ours."""
        self._temp = None
        if self.fd >= 0:
            temp.release_descriptor()
        temp.discard()

    def _clear(self, stale: Found) -> bool:
        """Remove a dead holder's lock; False when it turns out to be held or pinned."""
        if not _flock_stale(stale.fd):
            return False
        self._report("stale-flocked", stale.inode[1])
        # The flock orders us with every other acquirer; without this look one of them could have
        # replaced the lock before we got here, and we would unlink a live one.
        if not still_named(self._dir_fd, self.name, stale.inode):
            return True
        # The lock is the only sign that its holder may have died between unlinking a sidecar and
        # its barrier (rule R2 in formal/notes-checksum.md), or beside an orphaned temp: it goes
        # last, or we may die here and the next writer would know nothing of it.
        recover(self.target, self._safety)
        # That takes a flush, and whoever uses force waits for no flock.
        if still_named(self._dir_fd, self.name, stale.inode):
            try:
                kernel.unlink(self.name, dir_fd=self._dir_fd)
            except FileNotFoundError:
                return True
            _log.info("%r: took over the lock of a dead holder", self.name)
            self._report("stale-unlinked", stale.inode[1])
        return True

    def _report(self, phase: str, inode: int, step: str = _trace.ACQUIRE) -> None:
        if _trace.hook is not None:
            _trace.hook(step, {"phase": phase, "inode": inode, "lock": self.name})


def _flock_stale(fd: int) -> bool:
    """Take the exclusive flock of a dead lock, waiting out probers but nobody else."""
    for _ in range(_PROBE_ROUNDS):
        try:
            kernel.flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            # A shared flock succeeds beside probers only: then nobody owns it, and we go on.
            if not probe_free(fd):
                return False
            time.sleep(0)
        else:
            return True
    return False


def acquire(
    lock: Lock, target: Target, *, session: str | None, retries: int, delay: float
) -> Found | None:
    """Take the lock of a target, with retries if asked for.

    Args:
        lock: A fresh `Lock` of the target, which the caller releases whatever happens.
        target: The target.
        session: Text whose SHA-256 goes into the payload, or None.
        retries: How often to try again.
        delay: Seconds between two attempts.

    Returns:
        None when the lock is held now, else what stood in the way at the last attempt.

    Raises:
        LockError: A lock cannot be taken here at all. Nothing was touched.
    """
    try:
        found = lock.attempt(session)
        for _ in range(retries):
            if found is None or held_by_this_thread(target):
                break
            time.sleep(delay)
            found = lock.attempt(session)
    except OSError as error:
        raise LockError(target.path, _why_impossible(error, lock.name)) from error
    return found


def take(lock: Lock, target: Target, policy: Policy) -> None:
    """Acquire a lock or say who holds it.

    Raises:
        LockError: Somebody else holds it, or no lock can be taken here. Nothing was touched.
    """
    found = acquire(
        lock, target, session=policy.session, retries=policy.retries, delay=policy.delay
    )
    if found is not None:
        raise contention(target, found)


def release_quietly(lock: Lock) -> None:
    """Release without masking an error that is already on its way; a failure is logged."""
    try:
        lock.release()
    except OSError as error:
        _log.warning(
            "could not remove the lock %r (%s); it is dead and the next writer takes it over",
            lock.name,
            error,
        )


def contention(target: Target, found: Found) -> LockError:
    """Return the error that says who holds a lock and what to do."""
    if held_by_this_thread(target):
        reason = (
            "this thread holds it already through try_acquire_lock(); pass concurrency='none' to "
            "write under your own lock"
        )
    else:
        reason = found.describe()
    return LockError(target.path, reason)


# Locks taken by try_acquire_lock(), by directory identity and name; _mine_guard covers the table.
_mine: dict[tuple[int, int, str], tuple[Lock, int]] = {}
_mine_guard = RLock()


def remember(target: Target, lock: Lock) -> None:
    """Enter a lock that outlives its call into the process's table."""
    key = _place(target)
    lock.adopt_directory(target)
    with _mine_guard:
        before = _mine.get(key)
        _mine[key] = (lock, get_ident())
    if before is not None:
        release_quietly(before[0])  # it was forced away; only its descriptors are left


def forget(target: Target) -> Lock | None:
    """Take a lock out of the table; None if this process holds none there."""
    key = _place(target)
    with _mine_guard:
        entry = _mine.pop(key, None)
    return entry[0] if entry is not None and entry[0].ours() else None


def disown(lock: Lock) -> None:
    """Take a lock out of the table that is not kept after all."""
    with _mine_guard:
        for key, (mine, _) in list(_mine.items()):
            if mine is lock:
                del _mine[key]


def held_by_this_thread(target: Target) -> bool:
    """Tell whether the current thread holds the target's lock through try_acquire_lock()."""
    if not _mine:
        return False
    with _mine_guard:
        entry = _mine.get(_place(target))
    if entry is None or entry[1] != get_ident() or not entry[0].ours():
        return False
    return entry[0].owned()


def _place(target: Target) -> tuple[int, int, str]:
    status = target.directory()
    return status.st_dev, status.st_ino, target.name


def _why_impossible(error: OSError, name: str) -> str:
    """Say why no lock can be made, and what to do."""
    code = error.errno
    reason = os.strerror(code) if code is not None else str(error)
    if code in NOT_SUPPORTED:
        return (
            f"this filesystem has no flock ({reason}); pass concurrency='none' if you exclude "
            "writers yourself"
        )
    cure = _CURES.get(code or 0, "see the chained error")
    return f"cannot make the lock file {name!r} ({reason}): {cure}"


_CURES = {
    errno.EACCES: "the directory, or a lock file that is there, does not admit this user",
    errno.EPERM: "the directory may be immutable or sticky and not ours",
    errno.EROFS: "the filesystem is mounted read-only",
    errno.ENOSPC: "the filesystem is full; free space or inodes (df -h, df -i)",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENAMETOOLONG: (
        "the file's name leaves no room for the suffix '.lock'; use a shorter name, or pass "
        "concurrency='none' if you exclude writers yourself"
    ),
    errno.ENOENT: "the directory was removed, or /proc is not mounted",
    errno.EMFILE: "this process has too many open files (ulimit -n)",
    errno.ENFILE: "the system has too many open files",
}
