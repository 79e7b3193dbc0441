"""The lock file: what it says, and what can be concluded from finding one.

The payload is one UTF-8 JSON line. Who is alive is not read from it but asked of the kernel; the
payload says that asking makes sense (``kernel_lock``), and tells people who holds the lock.

After a machine crash the name of a lock can be there while its payload, which nobody flushed, is
not (`docs/adr/0016-crash-mark.md`). The sticky bit of the mode survives with the name, because both
are metadata of one journal; it has no other meaning for a regular file (Linux inode(7)). An empty
lock file that bears it was ours, and its flock says whether its holder lives.
"""

from __future__ import annotations

import os
import stat
import time

from ._forks import close_held, open_held
from ._posix import (
    LOCK_NB,
    LOCK_SH,
    O_CLOEXEC,
    O_NOFOLLOW,
    O_NONBLOCK,
    kernel,
)
from ._target import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Alive

VERSION = 1
CRASH_MARK = stat.S_ISVTX
_CAP = 4096  # bytes; ours are about 250, and a file that is longer is no lock of ours
_PID_MAX = 2**31 - 1


class Found:
    """What stood at a lock's name at one instant. `close` it: it may hold a descriptor.

    Attributes:
        exists: Whether anything was there.
        takeable: Whether it is a lock of this protocol whose holder the kernel says is dead.
        inode: Device and inode number.
        fd: Descriptor of the lock file when it could be opened, else -1.
        raw: Its bytes, at most 4096; None when they could not be read.
        fields: The payload, empty when there is none or it is not valid.
        alive: "yes", "no" or "unknown".
        corrupt: Whether it is there and readable, but is no lock.
        trouble: Why it could not be examined, or None.
    """

    __slots__ = (
        "alive",
        "corrupt",
        "exists",
        "fd",
        "fields",
        "inode",
        "modified",
        "raw",
        "takeable",
        "trouble",
    )

    def __init__(self) -> None:
        self.exists = False
        self.takeable = False
        self.inode = (0, 0)
        self.modified = 0.0
        self.fd = -1
        self.raw: bytes | None = None
        self.fields: dict[str, object] = {}
        self.alive: Alive = "no"
        self.corrupt = False
        self.trouble: str | None = None

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            close_held(fd)

    def age_s(self) -> float | None:
        """Return the seconds since the recorded time, None when there is none; never negative."""
        stamp = parse_timestamp(self.fields.get("timestamp"))
        return None if stamp is None else max(0.0, time.time() - stamp)

    def describe(self) -> str:
        """Say who holds the lock, since when, and what to do."""
        if self.trouble is not None:
            return f"its lock file cannot be examined ({self.trouble}), so its holder may be alive"
        if self.corrupt:
            return (
                "its lock file is not a lock of this library (empty, damaged or foreign); look at "
                "it, and if nobody needs it clear it with force_release_lock() or "
                "'safeatomic unlock --force'"
            )
        age = self.age_s()
        since = "" if age is None else f" for {age:.1f} s"
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
            f"held{since} by {who}, and whether that lives cannot be told from here; "
            "if you know it is dead, release_stale_lock(max_age_s=…) or force_release_lock()"
        )


def payload(session: str | None) -> bytes:
    """Return the line that a lock taken now by this process holds."""
    global _prefix, _now
    pid = os.getpid()
    if _prefix[0] != pid:
        import json  # as slow to import as the rest of the lock; once a process

        host = json.dumps(os.uname().nodename)
        _prefix = (pid, f'{{"version":{VERSION},"pid":{pid},"hostname":{host},"session_hash":')
    digest = "null" if session is None else f'"{_session_hash(session)}"'
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    now = _now
    if now[0] != seconds:
        _now = now = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return (
        f'{_prefix[1]}{digest},"timestamp":"{now[1]}.{nanoseconds // 1000:06d}Z",'
        f'"kernel_lock":"flock","token":"{os.urandom(8).hex()}"}}\n'
    ).encode()


_prefix = (0, "")
_now = (0, "")  # the second that was last formatted


def _session_hash(session: str) -> str:
    import hashlib  # slow to import, and most locks name no session

    return hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()


def parse(raw: bytes) -> dict[str, object] | None:
    """Return the fields of a payload, None when the bytes are no lock.

    Anything may stand in a file: the answer to what is not exactly a lock of a known version is
    None, never an exception.
    """
    if len(raw) > _CAP:
        return None
    import json  # see payload()

    try:
        fields = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
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


def parse_timestamp(text: object) -> float | None:
    """Return an ISO 8601 time with a zone as seconds since the epoch, None for anything else."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    from datetime import datetime  # only looking at a lock needs it, taking one does not

    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def look(dir_fd: int, name: str) -> Found:
    """Examine what stands at a lock's name; never follows, waits for, or writes to anything.

    Raises:
        OSError: The directory itself cannot be searched.
    """
    found = Found()
    try:
        status = kernel.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return found
    found.exists = True
    found.inode = identity(status)
    found.modified = status.st_mtime
    if not stat.S_ISREG(status.st_mode):
        found.corrupt = True
        found.alive = "unknown"
        return found
    try:
        flags = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        found.fd = open_held(kernel.open, name, flags, dir_fd=dir_fd)
        status = kernel.fstat(found.fd)
        found.inode = identity(status)
        found.raw = kernel.pread(found.fd, _CAP + 1, 0)
    except FileNotFoundError:
        found.exists = False
        return found
    except OSError as error:
        # The directory may be shared with somebody whose files we may not read: no reason to
        # call their lock damaged, and none to call them dead.
        found.trouble = error.strerror or str(error)
        found.alive = "unknown"
        return found
    except BaseException:
        found.close()
        raise
    try:
        _conclude(found, status.st_mode)
    except BaseException:
        found.close()  # it may hold the probe's shared flock, which would pin a dead lock
        raise
    return found


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


_LOCK_UN = 8


def _conclude(found: Found, mode: int) -> None:
    """Settle what a readable lock file means."""
    raw = found.raw or b""
    fields = parse(raw)
    lost_payload = not raw.strip(b"\0") and bool(mode & CRASH_MARK)
    if fields is None and not lost_payload:
        found.corrupt = True
        found.alive = "unknown"
        return
    found.fields = fields or {}
    if lost_payload or found.fields.get("kernel_lock") == "flock":
        try:
            free = probe_free(found.fd)
        except OSError as error:
            found.trouble = error.strerror or str(error)
            found.alive = "unknown"
            return
        found.alive = "no" if free else "yes"
        found.takeable = free
    elif "kernel_lock" in found.fields:
        found.alive = "unknown"  # some other kernel lock, which we cannot ask for
    else:
        found.alive = _alive_by_pid(found.fields)


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
