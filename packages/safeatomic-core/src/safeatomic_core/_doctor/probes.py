"""The tests of `doctor`: each promise of the filesystem, through the library's own code paths.

The probes write test files under names that no other program uses, never the user's file, and
always remove them. They run under ``safety="best_effort"``: they test the behaviour of this place,
not the expectations about it.
"""

from __future__ import annotations

import os
import stat
from functools import partial

from .._descriptor import Descriptor, closing
from .._errors import ChecksumMismatchError, LockError, SafeAtomicError, system_error
from .._file_api import read_atomic_bytes, write_atomic_bytes
from .._lock_api import inspect_lock, is_locked, release_lock, try_acquire_lock
from .._move import move_atomic
from .._posix import LOCK_EX, LOCK_NB, O_DIRECTORY, kernel
from .._target import LOCK_SUFFIX, READ_FLAGS, SIDECAR_SUFFIX
from .._temp_file import fresh_token, unlink_if_there
from .checks import PROBE_PREFIX
from .subject import failed, passed, warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .subject import Finding, Place

_OLD, _NEW = b"safeatomic doctor: old content\n", b"safeatomic doctor: new content\n"
_CREATE = READ_FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL
_ROLES = ("create", "sync", "replace", "source", "destination", "flock", "lock", "checksum")


class Probes:
    """One round of probes in one directory; always call `clean` and `close` afterwards.

    The probes work in a directory of their own that nobody else may enter, and reach it through its
    descriptor. The owner of the directory above may rename it or put a link in its place; root's
    probes still write only here.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._above = place.dir_fd
        self._name = ""
        self._made = False
        self._room = Descriptor()
        self._files = _Files()
        self.cleaned = False

    def all(self) -> tuple[tuple[str, Callable[[], Finding]], ...]:
        """Return every probe with the name of its check, in the order in which they run."""
        probes = (
            ("probe_exclusive_create", self.exclusive_create),
            ("probe_fsync_file", self.fsync_file),
            ("probe_fsync_directory", self.fsync_directory),
            ("probe_replace", self.replace),
            ("probe_no_clobber", self.no_clobber),
            ("probe_flock", self.flock),
            ("probe_lock", self.lock),
            ("probe_checksum", self.checksum),
        )
        return tuple((name, partial(closing, self._files, probe)) for name, probe in probes)

    def clean(self) -> Finding:
        """Remove every file that a probe may have made.

        Raises:
            OSError: A file could not be removed; the removal of all others was tried.
        """
        try:
            return self._clean()
        finally:
            if self.cleaned:  # after an interrupt, the next call still needs the directory
                self._room.close()

    def close(self) -> None:
        """Close the probes' directory, if no clean-up was completed."""
        self._room.close()

    def _clean(self) -> Finding:
        whole = False
        try:
            failure = self._remove_all()
            whole = failure is None or getattr(failure, "errno", None) is not None
        finally:
            if not whole:  # an interrupt cut the first round short
                self._remove_all()
        self.cleaned = True
        if failure is not None:
            raise failure
        return passed("the probes left nothing behind")

    def _remove_all(self) -> BaseException | None:
        """Remove the probes and their directory; return the failure, an interrupt before others."""
        failure: BaseException | None = None
        try:
            names = self._names()
        except BaseException as error:  # noqa: BLE001 - an interrupt, raised when all is done
            return error
        removals: list[Callable[[], None]] = [
            *(lambda name=name: unlink_if_there(name, self._room.fd) for name in names),
            lambda: kernel.rmdir(self._name, dir_fd=self._above),
        ]
        for remove in removals:
            try:
                remove()
            except FileNotFoundError:
                pass  # no probe has made it
            except BaseException as error:  # noqa: BLE001 - first the rest, then the interrupt
                if failure is None or not isinstance(error, system_error()):
                    failure = error
        return failure

    def _names(self) -> list[str]:
        """Return every name in the probes' directory; all of them belong to the probes."""
        if self._room.fd == -1:
            return []
        try:
            return kernel.listdir(self._room.fd)
        except system_error():
            suffixes = ("", LOCK_SUFFIX, SIDECAR_SUFFIX)
            return [role + suffix for role in _ROLES for suffix in suffixes]

    def _enter(self) -> int:
        """Return a descriptor of the probes' directory; the first call makes it."""
        if self._room.fd == -1:
            if not self._name:  # a second one would hide the first from the clean-up
                self._name = PROBE_PREFIX + fresh_token()
            if not self._made:
                kernel.mkdir(self._name, stat.S_IRWXU, dir_fd=self._above)
                self._made = True
            flags = READ_FLAGS | O_DIRECTORY
            fd = self._room.open(kernel.open, self._name, flags, dir_fd=self._above)
            try:
                owner = kernel.fstat(fd).st_uid
                if owner != os.geteuid():
                    raise SafeAtomicError(
                        f"the probes' directory belongs to user {owner} as soon as it is made: the "
                        "filesystem gives files another owner (mount option uid, or root_squash), "
                        "or somebody else replaced it"
                    )
                if kernel.listdir(fd):
                    reason = "somebody else replaced the probes' directory"
                    raise SafeAtomicError(reason)
            except BaseException:
                self._room.close()
                raise
        return self._room.fd

    def _path(self, role: str) -> str:
        """Return a path for the library's own functions that no link can redirect."""
        fd = self._enter()
        there = f"/proc/self/fd/{fd}"
        if not os.path.isdir(there):
            there = self._place.reach(self._name)
        return os.path.join(there, role)

    # ------------------------------------------------------------------------------ the probes

    def exclusive_create(self) -> Finding:
        """Create a file that must not exist, and check that a second creation is refused."""
        name, room = "create", self._enter()
        status = kernel.fstat(self._files.create(name, room))
        try:
            self._files.create(name, room)
        except FileExistsError:
            pass
        else:
            return failed("O_EXCL is ignored: an existing file was 'created' a second time")
        mode = stat.S_IMODE(status.st_mode)
        if mode != stat.S_IRUSR | stat.S_IWUSR:
            return warned(
                f"a file created with mode 0600 has mode {mode:04o}: the filesystem keeps no "
                "modes, and others may read what is private (mount options uid, gid, umask)"
            )
        return passed("a file is created once, with mode 0600")

    def fsync_file(self) -> Finding:
        """Flush a file that was just written."""
        fd = self._files.create("sync", self._enter())
        kernel.write(fd, _NEW)
        kernel.fsync(fd)
        return passed("a file can be flushed")

    def fsync_directory(self) -> Finding:
        """Flush the directory."""
        kernel.fsync(self._above)
        return passed("the directory can be flushed")

    def replace(self) -> Finding:
        """Replace a file while a reader has it open."""
        path = self._path("replace")
        _write(path, _OLD)
        fd = self._files.open(path, READ_FLAGS)
        _write(path, _NEW)
        held = kernel.read(fd, len(_OLD) + 1)
        if held != _OLD:
            return failed("a file that was open during the replacement changed for its reader")
        if read_atomic_bytes(path, safety="best_effort") != _NEW:
            return failed("what is read back is not the new content")
        return passed("a file is replaced in one step, and an open one stays as it was")

    def no_clobber(self) -> Finding:
        """Move a file onto an existing one without force, then onto a free name."""
        source, destination = self._path("source"), self._path("destination")
        _write(source, _NEW)
        _write(destination, _OLD)
        try:
            move_atomic(source, destination, safety="best_effort")
        except FileExistsError:
            pass
        else:
            return failed("a move that must not replace anything replaced a file")
        if read_atomic_bytes(destination, safety="best_effort") != _OLD:
            return failed("a refused move changed its destination")
        unlink_if_there("destination", self._enter())
        move_atomic(source, destination, safety="best_effort")
        if read_atomic_bytes(destination, safety="best_effort") != _NEW:
            return failed("what is read back is not the moved content")
        return passed("a move refuses an existing name and accepts a free one")

    def flock(self) -> Finding:
        """Take an exclusive flock through two descriptors."""
        name, room = "flock", self._enter()
        first = self._files.create(name, room)
        second = self._files.open(name, READ_FLAGS, dir_fd=room)
        kernel.flock(first, LOCK_EX | LOCK_NB)
        try:
            kernel.flock(second, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return passed("flock excludes a second holder")
        return failed("flock was granted twice: it excludes nobody here")

    def lock(self) -> Finding:
        """Take the library's own lock, inspect it, check that it is exclusive, release it."""
        path = self._path("lock")
        try:
            if not try_acquire_lock(path, safety="best_effort"):
                return failed("a lock that nobody holds was refused")
            info = inspect_lock(path)
            if info.alive != "yes" or info.pid != os.getpid():
                return failed(f"our own lock does not show us as its live holder: {info}")
            if try_acquire_lock(path, safety="best_effort"):
                return failed("a lock was granted twice")
        except LockError as error:
            return failed(error.reason)
        finally:
            try:
                released = release_lock(path)
            except BaseException as error:
                released = release_lock(path)  # it must not stay held after an error or interrupt
                if not isinstance(error, system_error()):
                    raise
        if not released or is_locked(path):
            return failed("the lock was still there after its release")
        return passed("a lock is taken, seen alive, refused a second time, and released")

    def checksum(self) -> Finding:
        """Write with a checksum, read it back, and check that damage is noticed."""
        path = self._path("checksum")
        for data in (_OLD, _NEW):  # only the second exchanges a sidecar, and truncates it
            write_atomic_bytes(
                path, data, concurrency="none", write_checksum=True, safety="best_effort"
            )
        content = read_atomic_bytes(path, check_checksum=True, safety="best_effort")
        if content != _NEW:
            return failed("the content read back is not what was written, yet its checksum agrees")
        kernel.write(self._files.open(path, READ_FLAGS | os.O_WRONLY), _OLD)
        try:
            read_atomic_bytes(path, check_checksum=True, safety="best_effort")
        except ChecksumMismatchError:
            return passed("a checksum is written and read back, and damage is noticed")
        return failed("damage to the content was not noticed")


class _Files:
    """The descriptors that one probe has opened, closed when it ends."""

    def __init__(self) -> None:
        self._opened: list[Descriptor] = []

    def open(self, *args: object, dir_fd: int | None = None) -> int:
        """Open one more file, as the system call of that name does."""
        one = Descriptor()
        self._opened.append(one)
        return one.open(kernel.open, *args, dir_fd=dir_fd)

    def create(self, name: str, dir_fd: int) -> int:
        """Create a private file that must not exist, and open it."""
        return self.open(name, _CREATE, 0o600, dir_fd=dir_fd)

    def close(self) -> None:
        """Close them all; after an interrupt, the next call closes the rest."""
        while self._opened:
            self._opened[-1].close()
            del self._opened[-1]


def _write(path: str, data: bytes) -> None:
    write_atomic_bytes(path, data, concurrency="none", safety="best_effort")
