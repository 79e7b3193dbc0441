"""The lock file: what it says, and what can be concluded from finding one.

The payload is one UTF-8 JSON line. Who is alive is not read from it but asked of the kernel; the
payload says that asking makes sense (``kernel_lock``), and tells people who holds the lock.

After a machine crash the name of a lock can be there while its payload, which nobody flushed, is
not (`docs/adr/0016-crash-mark.md`). The sticky bit of the mode survives with the name, because both
are metadata of one journal; it has no other meaning for a regular file (Linux inode(7)). An empty
lock file that has it was ours, and its flock says whether its holder is alive.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from ._errors import age_text, system_error
from ._forks import Held
from ._lock_payload import CAP, host, parse, parse_json, parse_timestamp
from ._mounts import read_proc
from ._posix import LOCK_EX, LOCK_NB, LOCK_SH, kernel
from ._target import READ_FLAGS, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Alive

CRASH_MARK = stat.S_ISVTX
# A prober holds a shared flock for microseconds; a process that holds one longer pins the lock.
_PROBE_ROUNDS = 200
_LOCK_UN = 8
PINNED = (
    "another process holds a shared flock on its lock file, which keeps everybody from taking it "
    "over or removing it; end that process ('lslocks' shows which)"
)
_BOM = b"\xef\xbb\xbf"  # with which some editors begin a text
_REFUSED = (errno.EACCES, errno.EPERM)
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


class Found:
    """What stood at a lock's name at one instant: make it, `look`, `close` it.

    Attributes:
        exists: Whether anything was there.
        takeable: Whether it is a lock of this protocol whose holder the kernel says is dead.
        inode: Device and inode number.
        owner: User number of the file's owner, -1 when nothing was there.
        size: Its size in bytes.
        kind: What it is, when it is not a regular file; else empty.
        raw: Its bytes, at most 4097; None when they could not be read.
        fields: The payload, empty when there is none or it is not valid.
        alive: "yes", "no" or "unknown".
        corrupt: Whether it is there and readable, but is not a lock.
        trouble: Why it could not be examined, or None.
    """

    def __init__(self) -> None:
        self._handle = Held()
        self._forget()

    def _forget(self) -> None:
        self.exists = False
        self.takeable = False
        self.inode = (0, 0)
        self.owner = -1
        self.size = 0
        self.kind = ""
        self.raw: bytes | None = None
        self.fields: dict[str, object] = {}
        self.alive: Alive = "no"
        self.corrupt = False
        self.trouble: str | None = None

    @property
    def fd(self) -> int:
        """Descriptor of the lock file when it could be opened, else -1."""
        return self._handle.fd

    @property
    def token(self) -> str:
        """The token in its payload, empty when there is none."""
        token = self.fields.get("token")
        return token if isinstance(token, str) else ""

    def look(self, dir_fd: int, name: str) -> None:
        """Examine what stands at the name; never follows, waits for, or writes to anything.

        Raises:
            OSError: It cannot be examined, for another reason than that it may not be read.
        """
        self.close()
        self._forget()
        try:
            self._open(dir_fd, name)
        except FileNotFoundError:
            self._forget()
        except system_error() as error:
            if error.errno not in _REFUSED or not self.exists:
                raise
            # The directory may be shared with somebody whose files we may not read: no reason to
            # call their lock damaged, and none to call them dead.
            self.trouble = error.strerror or str(error)
            self.alive = "unknown"

    def look_to_tell(self, dir_fd: int, name: str) -> None:
        """Examine it as `look` does, for a report on the holder.

        A holder who lives may release the lock while it is being looked at, and looks dead then:
        the flock is free, and the name is gone already. A second look tells.
        """
        self.look(dir_fd, name)
        if self.takeable:
            self.look(dir_fd, name)

    def close(self) -> None:
        """Close the descriptor."""
        self._handle.close()

    def age_s(self) -> float | None:
        """Return the seconds since the recorded time, None when there is none; never negative."""
        stamp = parse_timestamp(self.fields.get("timestamp"))
        return None if stamp is None else max(0.0, time.time() - stamp)

    def is_pinned(self, *, gently: bool = False) -> bool:
        """Tell whether a dead holder's lock stays because somebody keeps a shared flock on it.

        Args:
            gently: Look into ``/proc/locks`` (proc(5)) first. What proves it is an exclusive flock,
                for an instant in which a writer who comes takes us for the holder.
        """
        if not self.takeable or (gently and not _is_listed_as_shared(self.inode[1])):
            return False
        for _ in range(_PROBE_ROUNDS):  # another prober is none who keeps it
            try:
                kernel.flock(self.fd, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if not probe_free(self.fd):
                    return False  # somebody is taking it over
                time.sleep(0)
            except system_error():
                return False
            else:
                kernel.flock(self.fd, _LOCK_UN)
                return False
        return True

    def describe(self, *, sticky: bool = False) -> str:
        """Say who holds the lock, since when, and what to do.

        Args:
            sticky: Whether its directory is sticky.
        """
        if not self.exists:
            return "it keeps changing hands; try again (retries= and delay=)"
        if self.trouble is not None:
            return self._describe_closed(sticky)
        if self.corrupt:
            return self._describe_corrupt()
        age = self.age_s()
        since = "" if age is None else f" for {age_text(age)}"
        who = "unknown process"
        if self.fields:
            who = f"process {self.fields['pid']} on host {self.fields['hostname']!r}"
        if self.alive == "yes":
            return (
                f"held by {who}{since}; wait for it (retries= and delay=), or if it must go, "
                "force_release_lock() makes its write fail"
            )
        if self.alive == "no" and self.is_pinned():
            return f"left behind by {who}{since}, which is dead, but {PINNED}"
        if self.alive == "no":
            return (
                f"left behind by {who}{since}, which is dead; remove it with release_stale_lock() "
                "or 'safeatomic unlock --stale'"
            )
        return (
            f"held{since} by {who}, and whether that process is running could not be determined "
            "from here; if you know it is dead, release_stale_lock(max_age_s=…) or "
            "force_release_lock()"
        )

    def _describe_closed(self, sticky: bool) -> str:
        """Say whose lock file it is that could not be examined."""
        whose = f"its lock file belongs to user {self.owner}"
        if sticky:
            return (
                f"{whose} in a sticky directory, where only that user, the directory's owner and "
                f"root can examine or remove it ({self.trouble}); files that several users write "
                "belong in a directory of their group that is not sticky"
            )
        return f"{whose} and cannot be examined ({self.trouble}), so its holder may be alive"

    def _describe_corrupt(self) -> str:
        """Say what stands at the lock's name instead of a lock of this library."""
        unlike = unlike_a_lock(self)
        if unlike is not None:
            return (
                f"{unlike} has the name of its lock, which counts as held; if that is not the "
                "lock of another program, move it away"
            )
        if not self.size:
            return (
                "its lock file is empty, as flock(1), filelock and portalocker leave theirs; "
                "if none of them is using it, remove it with force_release_lock() or "
                "'safeatomic unlock --force'"
            )
        return (
            "its lock file is not a lock of this library (damaged or another tool's); "
            "inspect it, and if it is not needed, remove it with force_release_lock() or "
            "'safeatomic unlock --force'"
        )

    def _open(self, dir_fd: int, name: str) -> None:
        status = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        self._recognise(status)
        if not stat.S_ISREG(status.st_mode):
            return
        try:
            fd = self._handle.open(kernel.open, name, READ_FLAGS, dir_fd=dir_fd)
        except system_error() as error:
            # A link or a socket has taken the name meanwhile (open(2)).
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EMLINK):
                raise
            self._recognise(kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False))
            self.corrupt, self.alive = True, "unknown"
            return
        status = kernel.fstat(fd)
        self._handle.shows(status)
        self._recognise(status)
        if not stat.S_ISREG(status.st_mode):
            return
        self.raw = kernel.pread(fd, CAP + 1, 0)
        self._conclude(status.st_mode)

    def _recognise(self, status: os.stat_result) -> None:
        """Take note of what stands there, and conclude from it what can be concluded."""
        self.exists = True
        self.inode = identity(status)
        self.owner = status.st_uid
        self.size = status.st_size
        self.kind = ""
        if not stat.S_ISREG(status.st_mode):
            self.kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
            self.corrupt, self.alive = True, "unknown"

    def _conclude(self, mode: int) -> None:
        """Settle what a readable lock file means."""
        raw = self.raw or b""
        fields = parse(raw)
        lost_payload = not raw.strip(b"\0") and bool(mode & CRASH_MARK)
        if fields is None and not lost_payload:
            self.corrupt, self.alive = True, "unknown"
            return
        self.fields = fields or {}
        if lost_payload or self.fields.get("kernel_lock") == "flock":
            try:
                free = probe_free(self.fd)
            except system_error() as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
                    raise
                # EBADF: a descriptor that is open for reading only, on NFS (flock(2)).
                self.trouble = error.strerror or str(error)
                self.alive = "unknown"
                return
            self.alive = "no" if free else "yes"
            self.takeable = free
        elif "kernel_lock" in self.fields:
            self.alive = "unknown"  # some other kernel lock, which we cannot ask for
        else:
            self.alive = _alive_by_pid(self.fields)


def unlike_a_lock(found: Found) -> str | None:
    """Say what stands at a lock's name if it does not look like a lock of any tool; else None.

    Like a lock is a regular file of at most 4096 bytes that is empty, all NULs or one line, and not
    a JSON object or array without a ``pid``: ``Pipfile.lock`` and its like are documents.
    """
    if found.kind:
        return found.kind
    if found.size > CAP:
        return f"a file of more than {CAP} bytes"
    raw = found.raw
    if raw is None:
        return None
    if not raw.strip(b"\0"):
        return None
    if b"\n" in raw.rstrip(b"\0").removesuffix(b"\n"):
        return "a text of several lines"
    value = parse_json(raw.removeprefix(_BOM))
    if isinstance(value, list) and value:
        return "a JSON document"
    if isinstance(value, dict) and value and "pid" not in value:
        return "a JSON document"
    return None


def probe_free(fd: int) -> bool:
    """Tell whether nobody holds the exclusive flock of a lock file.

    A shared flock, for an instant: two probes at once do not see each other as the holder.
    """
    try:
        kernel.flock(fd, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return False
    kernel.flock(fd, _LOCK_UN)
    return True


def flock_stale(fd: int) -> bool:
    """Take the exclusive flock of a dead lock, waiting out probers but nobody else."""
    for _ in range(_PROBE_ROUNDS):
        try:
            kernel.flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            # A shared flock succeeds beside probers only: then nobody owns it, and we continue.
            if not probe_free(fd):
                return False
            time.sleep(0)
        except system_error() as error:
            if error.errno != errno.EBADF:
                raise
            return False  # open for reading only, on NFS (flock(2)): nothing is proven
        else:
            return True
    return False


def _is_listed_as_shared(inode: int) -> bool:
    """Tell whether a process that can be seen from here holds a shared flock of such an inode."""
    try:
        lines = read_proc("/proc/locks").splitlines()
    except system_error():
        return False
    end = b":%d 0 EOF" % inode
    return any(b" FLOCK " in line and b" READ " in line and line.endswith(end) for line in lines)


def _alive_by_pid(fields: dict[str, object]) -> Alive:
    """Judge a foreign lock by its PID, which means something on this host only."""
    pid = fields["pid"]
    if fields["hostname"] != host() or not isinstance(pid, int):
        return "unknown"
    try:
        kernel.kill(pid, 0)
    except ProcessLookupError:
        return "no"
    except system_error():
        return "yes"  # EPERM: it lives, and belongs to somebody else
    return "no" if _has_ended(pid) else "yes"


def _has_ended(pid: int) -> bool:
    """Tell whether a number is a zombie's, or a thread's: its process has ended (proc(5))."""
    try:
        if kernel.readlink("/proc/self") != str(os.getpid()):  # of another PID namespace
            return False
        status = read_proc(f"/proc/{pid}/status")
    except system_error():
        return False
    facts = {key: value.split() for key, _, value in map(_at_colon, status.splitlines())}
    if facts.get(b"Tgid") != [str(pid).encode()]:
        return True
    # The first thread may have ended before the others do.
    return facts.get(b"State", [])[:1] == [b"Z"] and facts.get(b"Threads") == [b"1"]


def _at_colon(line: bytes) -> tuple[bytes, bytes, bytes]:
    return line.partition(b":")
