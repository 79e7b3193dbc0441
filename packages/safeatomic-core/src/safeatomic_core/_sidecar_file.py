"""The checksum sidecar ``<target>.sha256``: how it is recognised before it is touched.

Ours is a regular file with a record of the target and nothing else. Whatever is not exactly that is
somebody else's: it may be read, where it is a list that names the file, and is never replaced or
removed (`docs/protocol.md`, "What is ours").
"""

from __future__ import annotations

import errno
import os
import stat
import time

from . import _log
from ._checksum_lines import escape, parse_line
from ._checksum_record import CAP, Checksum, MalformedError, checksum_of, parse_record
from ._descriptor import Descriptor, shows
from ._errors import SafeAtomicError, system_error
from ._forks import Held
from ._posix import LOCK_EX, LOCK_NB, NO_FLOCK, kernel
from ._target import READ_FLAGS, SIDECAR_SUFFIX, identity, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from ._target import Target

    Kind: TypeAlias = Literal["nothing", "ours", "no record", "list", "foreign"]

_LONGEST_LIST = 16 * 2**20  # bytes of somebody else's list that are read
_CHUNK = 262144  # bytes read at a time
_LEFT = "%r: it %s, and is left as it is"
# Errors of open(2) that say something of the file: a link, a socket, somebody else's.
_ABOUT_WHAT_IS_THERE = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM})


class Sidecar:
    """What stands at a sidecar's name, recognised on a descriptor that stays open; `close` it.

    Attributes:
        kind: ``"nothing"``, ``"ours"``, ``"no record"`` (empty or all NULs), ``"list"`` (somebody
            else's, whose lines for the file all give one digest) or ``"foreign"``.
        status: What it was when it was opened, None where nothing could be opened.
        raw: The bytes of one of ours.
        record: What one of ours says, None for any other kind.
        claim: What it says of the file: of one of ours or of a list.
        flaw: What it is instead of ours, as "the checksum sidecar …" goes on; None if it is ours or
            not there.
        fits: Whether the filesystem has room for such a name.
    """

    __slots__ = (
        "_handle",
        "_lasting",
        "claim",
        "fits",
        "flaw",
        "kind",
        "raw",
        "record",
        "status",
    )

    def __init__(self, target: Target, hint: str) -> None:
        """Look at it.

        Args:
            target: The file that it may describe.
            hint: An algorithm that may have made an untagged digest of its length.

        Raises:
            OSError: It cannot be read.
        """
        self._handle: Descriptor = Descriptor()
        self._lasting = target.lasting
        self.kind: Kind = "nothing"
        self.status: os.stat_result | None = None
        self.raw = b""
        self.record: Checksum | None = None
        self.claim: Checksum | None = None
        self.flaw: str | None = None
        self.fits = True
        try:
            self._handle.open(
                kernel.open, target.name + SIDECAR_SUFFIX, READ_FLAGS, dir_fd=target.dir_fd
            )
        except FileNotFoundError:
            return
        except system_error() as error:
            # A name that is too long cannot be there: its file's name just fits.
            self.fits = error.errno != errno.ENAMETOOLONG
            if self.fits:
                self._refuse_to_open(target, error)
            return
        except BaseException:
            self.close()
            raise
        try:
            self._recognise(target, hint)
        except system_error() as error:
            self.close()
            raise unreadable(target, error) from error
        except BaseException:
            self.close()
            raise

    @property
    def exists(self) -> bool:
        """Whether anything stands at the sidecar's name."""
        return self.kind != "nothing"

    @property
    def inode(self) -> tuple[int, int] | None:
        """Device and inode number of what was opened, None if nothing was."""
        return None if self.status is None else identity(self.status)

    @property
    def fd(self) -> int:
        """Descriptor of what was opened, -1 if nothing was."""
        return self._handle.fd

    @property
    def timestamp(self) -> str | None:
        """When it was written last, ISO 8601 in UTC; None for a year that this cannot write."""
        assert self.status is not None  # noqa: S101 - asked of what was read
        try:
            moment = time.gmtime(self.status.st_mtime)
        except (OverflowError, system_error()):  # gmtime(3); a tmpfs keeps any time
            return None
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", moment) if 999 < moment.tm_year < 10000 else None

    def hold(self) -> bool:
        """Flock it, so that no sweep takes it for an orphan; False if somebody else does."""
        if self.status is None:
            return True
        if not isinstance(self._handle, Held):
            held = Held(lasting=self._lasting)  # no forked child is to keep the flock
            held.adopt(self._handle, self.status)
            self._handle = held  # the former owner goes, and closes nothing
        try:
            kernel.flock(self.fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        except system_error() as error:
            # EBADF: NFS wants a descriptor to write to (flock(2)). Nobody can prove anything then.
            if error.errno not in NO_FLOCK | {errno.EBADF}:
                raise
        return True

    def is_at(self, name: str, dir_fd: int) -> bool:
        """Tell whether a name shows what was recognised, unchanged."""
        if self.status is None:
            return False
        try:
            status = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        # Two changes within one tick of the kernel's coarse clock, of 1 to 10 ms, have one time
        # (clock_getres(2), CLOCK_REALTIME_COARSE): hence the bytes as well.
        return stamp(status) == stamp(self.status) and (
            kernel.pread(self.fd, CAP + 1, 0) == self.raw or self.kind not in ("ours", "no record")
        )

    def is_like(self, other: Sidecar) -> bool:
        """Tell whether two looks saw the same: one inode with the same bytes, or twice nothing."""
        if self.kind != other.kind or self.raw != other.raw or self.flaw != other.flaw:
            return False
        if self.status is None or other.status is None:
            return self.status is other.status
        return stamp(self.status) == stamp(other.status)

    def still_there(self, target: Target) -> bool:
        """Tell whether the sidecar's name seems to show what was read, or still nothing.

        What is then displaced is compared byte by byte.
        """
        name = target.name + SIDECAR_SUFFIX
        if self.status is None:
            return self.exists == bool(kernel.exists_at(name, target.dir_fd))
        try:
            status = kernel.stat(name, dir_fd=target.dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stamp(status) == stamp(self.status)

    def log_left(self, target: Target) -> None:
        """Log that it is left as it is, beside new content."""
        name = target.path + SIDECAR_SUFFIX
        if self.kind == "list":
            _log.warning("%r: it %s; its line for the file goes stale", name, self.flaw)
        elif self.flaw is not None:
            _log.info(_LEFT, name, self.flaw)

    def close(self) -> None:
        """Close the file, and with it the flock; until then its inode number means nothing else."""
        if self._lasting and self.inode is not None:
            self._handle.close_if_shows(self.inode)
        else:
            self._handle.close()

    def is_open(self) -> bool:
        """Tell whether the descriptor, if there is one, still shows what was opened."""
        return self.inode is None or shows(self.fd, self.inode)

    def _refuse_to_open(self, target: Target, error: OSError) -> None:
        """Note what could not be opened because of its kind; raise for what may not be read."""
        name = target.name + SIDECAR_SUFFIX
        try:
            mode = kernel.stat(name, dir_fd=target.dir_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            if error.errno in _ABOUT_WHAT_IS_THERE:
                return  # and is gone by now
            raise unreadable(target, error) from error
        if stat.S_ISREG(mode):
            raise unreadable(target, error) from error
        self.kind, self.flaw = "foreign", f"is {kind_of(mode)}"

    def _recognise(self, target: Target, hint: str) -> None:
        status = kernel.fstat(self.fd)
        self.status = status
        if not stat.S_ISREG(status.st_mode):
            self.kind, self.flaw = "foreign", f"is {kind_of(status.st_mode)}"
            return
        raw = kernel.pread(self.fd, CAP + 1, 0)
        self.raw = raw
        if len(raw) <= CAP:
            if not raw.strip(b"\0"):
                self.kind, self.flaw = "no record", "is empty"
                return
            try:
                self.record = self.claim = parse_record(
                    raw, hint, lambda name: _is_name_of(name, target)
                )
            except MalformedError as flaw:
                self.flaw = str(flaw)
            else:
                self.kind = "ours"
                return
        found = _ForeignList(os.fsencode(target.name), hint)
        if found.read(self.fd):
            self.kind, self.claim, self.flaw = "list", found.claim, "is another program's list"
        elif found.blank:
            self.kind, self.flaw = "no record", "is empty"
        else:
            self.kind = "foreign"
            self.flaw = found.flaw or self.flaw or "does not name this file"


class Looks:
    """Sidecars that were looked at, to be closed together.

    Each is kept by the call that makes it, so that no interrupt comes in between.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: list[Sidecar] = []

    def look(self, target: Target, hint: str) -> Sidecar:
        """Look once more; see `Sidecar`."""
        self._made.extend(map(Sidecar, (target,), (hint,)))
        return self._made[-1]

    def close(self) -> None:
        """Close them all."""
        while self._made:
            self._made[-1].close()
            del self._made[-1]


class _ForeignList:
    """What the lines of somebody else's list say of one file."""

    def __init__(self, name: bytes, hint: str) -> None:
        self._names = (name, b"./" + name)
        self._needles = (escape(name), name)  # BusyBox and openssl escape nothing
        self._hint = hint
        self.blank = True  # nothing but NULs so far
        self.claim: Checksum | None = None
        self.flaw: str | None = None

    def read(self, fd: int) -> bool:
        """Read the list; True if its lines for the file give exactly one digest."""
        offset, rest, ended = 0, b"", False
        while self.flaw is None and (chunk := kernel.pread(fd, _CHUNK, offset)):
            offset += len(chunk)
            if offset > _LONGEST_LIST:
                self.flaw = f"is longer than {_LONGEST_LIST} bytes"
                self.blank = False  # what was not read may be anything
                return False
            self.blank = self.blank and not chunk.strip(b"\0")
            if not ended:  # from the first NUL on nothing counts
                text, nul, _ = chunk.partition(b"\0")
                lines = (rest + text).split(b"\n")
                rest, ended = lines.pop()[:CAP], bool(nul)  # no line of ours is as long
                self._look_at(lines)
        if not ended:
            self._look_at([rest])
        return self.claim is not None and self.flaw is None

    def _look_at(self, lines: list[bytes]) -> None:
        for text in lines:
            if not any(needle in text for needle in self._needles):
                continue
            line = parse_line(text)
            if line is None or line.name not in self._names:
                continue
            try:
                claim = checksum_of(line, None, (), self._hint)
            except MalformedError:
                continue
            if self.claim is not None and claim.digests != self.claim.digests:
                self.flaw = "lists more than one digest for this file"
            self.claim = claim


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what identifies a file in its present state, as far as its status shows."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def may_be_ours(target: Target) -> bool:
    """Tell whether a regular file has the name of a target's sidecar; anything else is left.

    It is not opened for that: the writer of a FIFO would no longer wait for a reader (fifo(7)).

    Raises:
        OSError: That cannot be found out.
    """
    try:
        mode = kernel.exists_at(target.name + SIDECAR_SUFFIX, target.dir_fd)
    except system_error() as error:
        raise unreadable(target, error) from error
    if mode and not stat.S_ISREG(mode):
        _log.info(_LEFT, target.path + SIDECAR_SUFFIX, f"is {kind_of(mode)}")
        return False
    return bool(mode)


def not_a_record(target: Target, flaw: str) -> SafeAtomicError:
    """Return the error of a reader who finds something else at the sidecar's name."""
    return SafeAtomicError(
        f"{target.path + SIDECAR_SUFFIX!r} is not a checksum sidecar of this file: it {flaw}. The "
        "content was not checked. If nobody needs that file, move it away; if the content is known "
        "to be good, write_checksum_file() records its checksum"
    )


def taken(target: Target, flaw: str) -> FileExistsError:
    """Return the error of a writer who must not replace what stands at the sidecar's name."""
    return FileExistsError(
        errno.EEXIST,
        f"its name is taken by something that is not a checksum sidecar of this file (it {flaw}); "
        "move that away",
        target.name + SIDECAR_SUFFIX,
    )


def unreadable(target: Target, error: OSError) -> OSError:
    """Return the error for a sidecar that cannot be read, which says nothing about the content."""
    code = error.errno or errno.EIO
    return OSError(
        code,
        f"cannot read the checksum sidecar: {error.strerror or os.strerror(code)}",
        target.path + SIDECAR_SUFFIX,
    )


def _is_name_of(name: bytes, target: Target) -> bool:
    """Tell whether a name in a line is one of the target: its own, or another of its inode.

    Raises:
        MalformedError: It is a path that ends in the target's name. Where such a path leads depends
            on where somebody stands, and to follow it may hang; so it is not followed.
    """
    own = os.fsencode(target.name)
    if name in (own, b"./" + own):
        return True
    if name.rpartition(b"/")[1:] == (b"/", own):
        shown = os.fsdecode(name)
        raise MalformedError(f"gives a path, {shown!r}, instead of this file's own name")
    if b"/" in name or target.status is None:
        return False
    try:
        status = kernel.stat(os.fsdecode(name), dir_fd=target.dir_fd)
    except (system_error(), ValueError):
        return False
    return identity(status) == identity(target.status)
