"""What the library raises, and how a system error becomes one a user can act on.

Errors of the operating system keep their class (`PermissionError`, `FileNotFoundError`, …), their
``errno`` and their ``filename``; `explain` adds what was being done, what became of the target and
what to do about it. The classes here are for what no ``errno`` expresses. All of them pickle.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Level


class SafeAtomicError(Exception):
    """Base of the library's own errors; raised itself when none of the others fits."""


class UnsupportedEnvironmentError(SafeAtomicError):
    """A filesystem or platform does not give what ``safety="strict"`` asks for.

    Attributes:
        path: The target, as a string.
        filesystem: The filesystem's name, for example ``"nfs4"``, or ``"unknown"``.
        guarantee: The first guarantee that is missing.
        level: Its level here, ``"NonTarget"`` or ``"Unsupported"``.
        reason: Why, in one sentence.
        advice: What gives the guarantee back.
    """

    def __init__(
        self,
        path: str,
        filesystem: str,
        guarantee: str,
        level: Level,
        reason: str,
        advice: str = "Use a local filesystem",
    ) -> None:
        super().__init__(path, filesystem, guarantee, level, reason, advice)
        self.path = path
        self.filesystem = filesystem
        self.guarantee = guarantee
        self.level = level
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return (
            f"{self.path!r} is on {self.filesystem}, where {self.guarantee} is {self.level}: "
            f"{self.reason}. Nothing was touched. {self.advice}, or pass "
            "safety='warn' (or 'best_effort') to go on without this guarantee"
        )


class UnsupportedEnvironmentWarning(UserWarning):
    """A guarantee is not ``Guaranteed`` here, and ``safety="warn"`` asked to continue."""


class ChecksumMismatchError(SafeAtomicError):
    """The bytes on disk are not the bytes that were written. The target is unchanged.

    Attributes:
        path: The file that was read, as a string.
        expected: The recorded digest, in hexadecimal.
        actual: The digest of the bytes found, in hexadecimal.
    """

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(path, expected, actual)
        self.path = path
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return (
            f"{self.path!r} does not match its checksum: recorded {self.expected}, found "
            f"{self.actual}. The content changed outside safeatomic or is damaged: restore it "
            "from a good copy, or, if the change was meant, write a new checksum with "
            "write_checksum_file()"
        )


class CrossDeviceAtomicityError(SafeAtomicError):
    """Source and destination are on different devices, where no rename can be atomic.

    Both are unchanged. An EXDEV from the kernel is chained as ``__cause__``.

    Attributes:
        src: The source, as a string.
        dst: The destination, as a string.
    """

    def __init__(self, src: str, dst: str) -> None:
        super().__init__(src, dst)
        self.src = src
        self.dst = dst

    def __str__(self) -> str:
        return (
            f"cannot move {self.src!r} to {self.dst!r} atomically: they are on different devices "
            "or mounts. Both are unchanged. Read the one and write the other with "
            "write_atomic_bytes(), then delete the source"
        )


class LockError(SafeAtomicError):
    """The lock could not be taken or was lost. The target is unchanged.

    Attributes:
        path: The file the lock is for, as a string; empty in an error that was made by hand.
        reason: What happened and what to do, in a sentence or two.
        pid: The process that holds the lock, None where that is not known.
        hostname: The host it runs on, None where that is not known.
        age_s: Seconds since the lock was taken, None where that is not known.
    """

    def __init__(
        self,
        path: str,
        reason: str | None = None,
        pid: int | None = None,
        hostname: str | None = None,
        age_s: float | None = None,
    ) -> None:
        """Make one from a file and a reason, or from a text alone."""
        if reason is None:
            super().__init__(path)
            path, reason = "", path
        else:
            super().__init__(path, reason, pid, hostname, age_s)
        self.path = path
        self.reason = reason
        self.pid = pid
        self.hostname = hostname
        self.age_s = age_s

    def __str__(self) -> str:
        return f"cannot lock {self.path!r}: {self.reason}" if self.path else self.reason


# What became of the target, in the words every note uses.
UNCHANGED = "the target is unchanged"
NEW_UNCONFIRMED = "the new content is visible, its durability is not confirmed"
NEW = "the new content is visible and durable"


class _NothingError(OSError):
    """What nobody raises."""


def system_error() -> type[OSError]:
    """Return what an ``except`` clause is to catch: an error of a system call, OSError.

    A program's time-out is often a TimeoutError that its signal handler raises, and that is an
    OSError as well. It is to arrive, and no system call has failed. Only those have an ``errno``.
    The clause is evaluated when something was raised, and so this costs nothing before that.
    """
    return OSError if getattr(sys.exception(), "errno", None) is not None else _NothingError


CANNOT = "cannot "  # how a message of our own begins that says itself what failed


def explain(
    error: OSError, doing: str, path: str, outcome: str, advice: str | None = None
) -> OSError:
    """Return an error of the same class and errno that says what was done and what to do.

    Args:
        error: What the system call raised.
        doing: What failed, as "cannot …" would go on, for example ``"fsync the temporary file"``.
        path: The path the caller gave.
        outcome: What became of the target; one of this module's constants.
        advice: What to do about it, as sentences without the last full stop; what is true of every
            object where None.
    """
    code = error.errno if error.errno is not None else errno.EIO
    name = errno.errorcode.get(code, str(code))
    reason = error.strerror or os.strerror(code)
    if not reason.startswith(CANNOT):
        reason = f"{CANNOT}{doing}: {reason}"
    text = f"{reason} ({name}); {outcome}"
    if advice is None:
        advice = general_advice(code)
    if advice:
        text = f"{text}. {advice}"
    return OSError(code, text, path)


def general_advice(code: int) -> str:
    """Return what to do about an error whatever object it hit, empty where that depends on it."""
    return _GENERAL.get(code, "")


_GENERAL = {
    errno.ENOTDIR: "A part of the path is a file, not a directory",
    errno.EROFS: "The filesystem is mounted read-only; write elsewhere or remount it",
    errno.ENOSPC: "The filesystem is full ('df -h' and 'df -i' show space and inodes); free some",
    errno.EDQUOT: (
        "The disk quota is used up ('quota', or 'btrfs qgroup show' on btrfs, shows it); free some "
        "space"
    ),
    errno.EFBIG: "The file is larger than the limit of this process ('ulimit -f') or filesystem",
    errno.ENAMETOOLONG: (
        "The name, with the suffix of its sidecar where one is needed, is longer than the "
        "filesystem allows; use a shorter one"
    ),
    errno.EMFILE: "This process has too many open files ('ulimit -n' shows the limit)",
    errno.ENFILE: "The system has too many open files",
    errno.EIO: "The device reports an error; check the kernel log, and do not trust this disk",
    errno.ENOLCK: (
        "On NFS, the lock service of the client or of the server does not answer; elsewhere, the "
        "system has no memory for another lock"
    ),
    errno.ENOSYS: "The filesystem, or a sandbox (seccomp), does not have this call",
    errno.ELOOP: (
        "The path contains a loop of symbolic links, or its filesystem is mounted nosymfollow"
    ),
    errno.ENOTCONN: "The file server is dead; unmount it ('umount -l') and mount it again",
    errno.ESTALE: "The file server no longer knows the file; mount it again",
}


def age_text(seconds: float) -> str:
    """Return a span of time as people say it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
