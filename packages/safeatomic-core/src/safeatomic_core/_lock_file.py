"""The lock file: what it says, and what can be concluded from finding one.

The payload is one UTF-8 JSON line. Who is alive is not read from it but asked of the kernel; the
payload says that asking makes sense (``kernel_lock``), and tells people who holds the lock.

After a machine crash the name of a lock can be there while its payload, which nobody flushed, is
not (`docs/adr/0016-crash-mark.md`). The sticky bit of the mode survives with the name, because both
are metadata of one journal; it has no other meaning for a regular file (Linux inode(7)). An empty
lock file that bears it was ours, and its flock says whether its holder lives.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from ._digests import hash_bytes
from ._errors import age_text
from ._forks import Held
from ._posix import LOCK_NB, LOCK_SH, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, kernel
from ._target import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Alive

VERSION = 1
CRASH_MARK = stat.S_ISVTX
CAP = 4096  # bytes; ours are about 250, and a file that is longer is not a lock of ours
_LOCK_UN = 8
_PID_MAX = 2**31 - 1
_DAYS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of each month
_DEEPEST = 64  # levels of brackets; more of them is not a payload, and would use the stack up
_OPEN = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
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
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            # The directory may be shared with somebody whose files we may not read: no reason to
            # call their lock damaged, and none to call them dead.
            self.trouble = error.strerror or str(error)
            self.alive = "unknown"

    def close(self) -> None:
        """Close the descriptor."""
        self._handle.close()

    def age_s(self) -> float | None:
        """Return the seconds since the recorded time, None when there is none; never negative."""
        stamp = parse_timestamp(self.fields.get("timestamp"))
        return None if stamp is None else max(0.0, time.time() - stamp)

    def describe(self, *, sticky: bool = False) -> str:
        """Say who holds the lock, since when, and what to do.

        Args:
            sticky: Whether its directory is sticky.
        """
        if not self.exists:
            return "it changes hands all the time; try again (retries= and delay=)"
        if self.trouble is not None:
            return self._describe_closed(sticky)
        if self.corrupt:
            unlike = unlike_a_lock(self)
            if unlike is not None:
                return (
                    f"{unlike} stands at its lock's name, which means held; if that is not the "
                    "lock of another program, move it away"
                )
            return (
                "its lock file is not a lock of this library (empty, damaged or another tool's); "
                "look at it, and if nobody needs it clear it with force_release_lock() or "
                "'safeatomic unlock --force'"
            )
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
        if self.alive == "no":
            return (
                f"left behind by {who}{since}, which is dead; clear it with release_stale_lock() "
                "or 'safeatomic unlock --stale'"
            )
        return (
            f"held{since} by {who}, and whether that lives could not be determined from here; "
            "if you know it is dead, release_stale_lock(max_age_s=…) or force_release_lock()"
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

    def _open(self, dir_fd: int, name: str) -> None:
        status = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        self._recognise(status)
        if not stat.S_ISREG(status.st_mode):
            return
        try:
            fd = self._handle.open(kernel.open, name, _OPEN, dir_fd=dir_fd)
        except OSError as error:
            # A link or a socket has taken the name meanwhile (open(2)).
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EMLINK):
                raise
            self._recognise(kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False))
            self.corrupt, self.alive = True, "unknown"
            return
        status = kernel.fstat(fd)
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
            except OSError as error:
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


def payload(session: str | None, token: str) -> bytes:
    """Return the line that a lock taken now by this process holds.

    Its form is fixed, so that it can be written and read where nothing can be imported any more,
    after a chroot for example.

    Args:
        session: Text whose SHA-256 goes into it, or None.
        token: 16 hexadecimal digits.
    """
    global _now
    digest = "null"
    if session is not None:
        digest = f'"{hash_bytes(session.encode("utf-8", "surrogatepass"), "sha256")}"'
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    now = _now
    if now[0] != seconds:
        _now = now = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return (
        f'{{"version":{VERSION},"pid":{os.getpid()},"hostname":"{_escaped(os.uname().nodename)}",'
        f'"session_hash":{digest},"timestamp":"{now[1]}.{nanoseconds // 1000:06d}Z",'
        f'"kernel_lock":"flock","token":"{token}"}}\n'
    ).encode()


_now = (0, "")  # the second that was last formatted


def _escaped(text: str) -> str:
    """Return a host name as JSON spells it, in ASCII."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def parse(raw: bytes) -> dict[str, object] | None:
    """Return the fields of a payload, None when the bytes are not a lock.

    Anything may stand in a file: the answer to what is not exactly a lock of a known version is
    None, never an exception.
    """
    if len(raw) > CAP:
        return None
    fields: object = _parse_own(raw)
    if fields is None:
        fields = parse_json(raw)
    if not isinstance(fields, dict) or fields.get("version") != VERSION:
        return None
    pid = fields.get("pid")
    digest = fields.get("session_hash")
    sound = (
        type(fields["version"]) is int
        and type(pid) is int
        and 0 < pid <= _PID_MAX
        and isinstance(fields.get("hostname"), str)
        and (digest is None or isinstance(digest, str))
        and parse_timestamp(fields.get("timestamp")) is not None
        and isinstance(fields.get("kernel_lock", ""), str)
    )
    return fields if sound else None


def parse_json(raw: bytes) -> object:
    """Return what a short JSON text says; None when it is not one.

    Raises:
        RecursionError: The stack is nearly used up. That says nothing of the file.
    """
    if raw.count(b"[") + raw.count(b"{") > _DEEPEST:
        return None
    try:
        import json  # slow to import; what this library writes is read without it

        return json.loads(raw.decode("utf-8"))
    except (ValueError, ImportError):
        return None


_PARTS = (
    '{"version":1,"pid":',
    ',"hostname":"',
    '","session_hash":',
    ',"timestamp":"',
    '","kernel_lock":"flock","token":"',
    '"}\n',
)


def _parse_own(raw: bytes) -> dict[str, object] | None:
    """Return the fields of a payload in the form that `payload` gives it; None for another."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return None
    values = []
    if not text.startswith(_PARTS[0]):
        return None
    rest = text[len(_PARTS[0]) :]
    for part in _PARTS[1:]:
        value, found, rest = rest.partition(part)
        if not found:
            return None
        values.append(value)
    pid, hostname, digest, timestamp, token = values
    if rest or not pid.isdecimal() or len(pid) > 10:
        return None
    quoted = digest[:1] == digest[-1:] == '"' and len(digest) > 1
    plain = hostname + timestamp + token + (digest[1:-1] if quoted else "")
    if '"' in plain or "\\" in plain or not plain.isprintable() or not (quoted or digest == "null"):
        return None
    return {
        "version": VERSION,
        "pid": int(pid),
        "hostname": hostname,
        "session_hash": digest[1:-1] if quoted else None,
        "timestamp": timestamp,
        "kernel_lock": "flock",
        "token": token,
    }


def parse_timestamp(text: object) -> float | None:
    """Return an ISO 8601 time with a zone as seconds since the epoch, None for anything else."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    own = _parse_own_timestamp(text)
    if own is not None:
        return own
    try:
        from datetime import datetime  # slow to import; our own form is read without it

        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError, ImportError):
        return None


def _parse_own_timestamp(text: str) -> float | None:
    """Return the time of ``2026-01-31T23:59:59.000000Z``, None for any other form."""
    marks = "".join(char for char in text if not ("0" <= char <= "9"))
    if len(text) != 27 or marks != "--T::.Z":
        return None
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
        micro = int(text[20:26])
    except ValueError:
        return None
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= _DAYS[month] + (leap and month == 2):
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    # Days since 1970-01-01, counting years from March, so that the leap day is the last.
    years = year - (month < 3)
    days = 365 * years + years // 4 - years // 100 + years // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return days * 86400.0 + hour * 3600 + minute * 60 + second + micro / 1e6


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
    if b"\n" in raw.rstrip(b"\0").rstrip(b"\r\n"):
        return "a text of several lines"
    value = parse_json(raw)
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


def _alive_by_pid(fields: dict[str, object]) -> Alive:
    """Judge a foreign lock by its PID, which means something on this host only."""
    pid = fields["pid"]
    if fields["hostname"] != os.uname().nodename or not isinstance(pid, int):
        return "unknown"
    try:
        kernel.kill(pid, 0)
    except ProcessLookupError:
        return "no"
    except OSError:
        return "yes"  # EPERM: it lives, and belongs to somebody else
    return "yes"
