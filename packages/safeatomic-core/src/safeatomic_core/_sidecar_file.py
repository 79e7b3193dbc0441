"""The checksum sidecar: its format, and how it was found.

The sidecar ``<target>.sha256`` starts with the line that ``sha256sum`` prints; what else it says
stands in ``#`` comments, which that tool skips. Between Announce and Seal the record also names the
``previous`` digest, so that old and new content both agree with it; Seal cuts that line off.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from ._digests import HEXADECIMAL, digest_length
from ._errors import SafeAtomicError
from ._posix import O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, close_quietly, kernel
from ._target import SIDECAR_SUFFIX, identity, still_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._digests import Digest
    from ._target import Target

_CAP = 65536  # bytes of a sidecar that are read; ours have a few hundred
_MOST_PREVIOUS = 100  # digests carried along when writers die over corrupt data again and again

# A sidecar made by another tool names no algorithm; the length then decides, unless the algorithm
# the caller works with has it as well.
_BY_LENGTH = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}


class MalformedError(ValueError):
    """The bytes are no sidecar; the message says why."""


class Checksum:
    """What a sidecar says.

    Attributes:
        algo: Algorithm of `digest`.
        digest: The recorded digest, lower-case hexadecimal.
        previous: Digests that are valid too until the record is sealed.
        timestamp: When it was written, ISO 8601 in UTC, or None.
    """

    __slots__ = ("algo", "digest", "previous", "timestamp")

    def __init__(
        self, algo: str, digest: str, previous: tuple[Digest, ...], timestamp: str | None
    ) -> None:
        self.algo = algo
        self.digest = digest
        self.previous = previous
        self.timestamp = timestamp

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Every digest that agrees with the record, the newest first."""
        return ((self.algo, self.digest), *self.previous)


def timestamp_now() -> str:
    """Return the current time as the sidecar writes it."""
    global _now  # formatted once a second
    seconds = int(time.time())
    now = _now
    if now[0] != seconds:
        _now = now = (seconds, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)))
    return now[1]


_now = (0, "")


def format_record(name: str, record: Checksum) -> tuple[bytes, int]:
    """Return a sidecar's bytes, and how many of them remain when it is sealed."""
    metadata = f"# algo={record.algo}\n# timestamp={record.timestamp}\n"
    sealed = _format_line(os.fsencode(name), record.digest) + metadata.encode()
    lines = [f"# previous={algo}:{digest}\n" for algo, digest in record.previous]
    return sealed + "".join(lines).encode(), len(sealed)


def parse_record(raw: bytes, hint: str) -> Checksum:
    """Return what a sidecar says.

    Args:
        raw: Its bytes, at most one more than is allowed.
        hint: Algorithm to assume when none is recorded and the digest has its length.

    Raises:
        MalformedError: The bytes are no sidecar. No input raises anything else.
    """
    if len(raw) > _CAP:
        raise MalformedError(f"longer than {_CAP} bytes")
    # Seal truncates by zeroing: a crash inside it, or a read beside it, can meet NULs where a line
    # of previous digests is being cut off. What stands before them is the sealed record.
    body, nul, _ = raw.partition(b"\0")
    if nul:
        body = body[: body.rfind(b"\n") + 1]
    first, _, rest = body.partition(b"\n")
    digest = _parse_line(first)
    fields, previous = _parse_metadata(rest)
    algo = fields.get("algo")
    if algo is None:
        algo = _guess(digest, hint)
    if not algo.isascii() or not algo.replace("-", "").replace("_", "").isalnum():
        raise MalformedError("the recorded algorithm is no name")
    algo = algo.lower()
    expected = digest_length(algo)
    if expected is not None and len(digest) != expected:
        raise MalformedError(f"the digest has {len(digest)} digits, {algo} has {expected}")
    return Checksum(algo, digest, tuple(previous), fields.get("timestamp"))


class Sidecar:
    """A sidecar as it was found: absent, a record, or malformed. `close` it.

    Attributes:
        inode: Device and inode number, None when there was none.
        raw: Its bytes.
        record: What it says, None when absent or malformed.
        flaw: Why it is malformed, None otherwise.
    """

    __slots__ = ("_fd", "flaw", "inode", "raw", "record")

    def __init__(self, target: Target, hint: str) -> None:
        self._fd = -1
        self.inode: tuple[int, int] | None = None
        self.raw = b""
        self.record: Checksum | None = None
        self.flaw: str | None = None
        flags = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        try:
            self._fd = kernel.open(target.name + SIDECAR_SUFFIX, flags, dir_fd=target.dir_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise unreadable(target, error) from error
            self.flaw = "it is a symbolic link"
            return
        try:
            self._read(hint)
        except OSError as error:
            self.close()
            raise unreadable(target, error) from error
        except BaseException:
            self.close()
            raise

    @property
    def exists(self) -> bool:
        """Whether anything stands at the sidecar's name."""
        return self.inode is not None or self.flaw is not None

    def still_there(self, target: Target) -> bool:
        """Tell whether the name still points to what was read, or still to nothing."""
        name = target.name + SIDECAR_SUFFIX
        if self.inode is not None:
            return still_named(target.dir_fd, name, self.inode)
        if self.flaw is not None:
            return True
        return not kernel.exists_at(name, target.dir_fd)

    def close(self) -> None:
        """Close the file; until then its inode number means nothing else."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            close_quietly(fd)

    def _read(self, hint: str) -> None:
        status = kernel.fstat(self._fd)
        self.inode = identity(status)
        if not stat.S_ISREG(status.st_mode):
            self.flaw = "it is not a regular file"
            return
        self.raw = kernel.pread(self._fd, _CAP + 1, 0)
        try:
            self.record = parse_record(self.raw, hint)
        except MalformedError as flaw:
            self.flaw = str(flaw)


def agreeing(record: Checksum, digest_of: Callable[[str], str]) -> Digest | None:
    """Return the recorded digest that a content has, None if it has none of them."""
    for algo, digest in record.digests:
        if digest_length(algo) is not None and digest_of(algo) == digest:
            return algo, digest
    return None


def carried(digests: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """Return digests without repetition, and no more than a sidecar can hold."""
    return tuple(dict.fromkeys(digests))[:_MOST_PREVIOUS]


def malformed(target: Target, flaw: str) -> SafeAtomicError:
    """Return the error for a sidecar that is none."""
    return SafeAtomicError(
        f"malformed checksum sidecar {target.path + SIDECAR_SUFFIX!r}: {flaw}; the content was not "
        "checked. Look at the content, then write a new checksum with write_checksum_file()"
    )


def unreadable(target: Target, error: OSError) -> OSError:
    """Return the error for a sidecar that cannot be read, which says nothing about the content."""
    code = error.errno or errno.EIO
    return OSError(
        code,
        f"cannot read the checksum sidecar ({error.strerror}); the content was not checked",
        target.path + SIDECAR_SUFFIX,
    )


def _format_line(name: bytes, digest: str) -> bytes:
    """Return a line as coreutils prints it: odd names are escaped, and marked by a backslash."""
    escaped = name
    for byte, escape in _ESCAPES:
        escaped = escaped.replace(byte, escape)
    mark = b"\\" if escaped != name else b""
    return mark + digest.encode() + b"  " + escaped + b"\n"


_ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))


def _parse_line(line: bytes) -> str:
    """Return the digest of a line like those that ``sha256sum`` prints."""
    text = line.removeprefix(b"\\")
    hexa, space, name = text.partition(b" ")
    given = hexa.decode("ascii", "replace")
    digest = given.lower()
    # All upper case is some tools' way; mixed case is a flipped bit.
    if given not in (digest, given.upper()) or not HEXADECIMAL.issuperset(digest) or not digest:
        raise MalformedError("the first line does not start with a digest")
    if space and name[:1] not in (b" ", b"*"):
        raise MalformedError("the first line is not of the form that sha256sum prints")
    return digest


def _parse_metadata(rest: bytes) -> tuple[dict[str, str], list[Digest]]:
    """Return the ``key=value`` lines, commented or bare, and the previous digests."""
    fields: dict[str, str] = {}
    previous: list[Digest] = []
    for line in rest.decode("utf-8", "replace").split("\n"):
        key, equals, value = line.removeprefix("#").strip().partition("=")
        if not equals:
            continue
        if key != "previous":
            fields.setdefault(key, value)
            continue
        algo, _, digest = value.partition(":")
        length = digest_length(algo)
        if (
            not digest
            or not HEXADECIMAL.issuperset(digest)
            or (length or len(digest)) != len(digest)
        ):
            raise MalformedError("a previous digest is damaged")
        previous.append((algo, digest))
    return fields, previous


def _guess(digest: str, hint: str) -> str:
    if digest_length(hint) == len(digest):
        return hint
    try:
        return _BY_LENGTH[len(digest)]
    except KeyError:
        raise MalformedError(f"no algorithm has {len(digest)} digits") from None
