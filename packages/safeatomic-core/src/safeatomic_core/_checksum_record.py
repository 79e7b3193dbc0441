"""A checksum record: the form that sidecars of ours have, between Announce and Seal and after.

Sealed, it is byte for byte the one line that ``sha256sum NAME`` prints (or the algorithm's own
tool). Between Announce and Seal ``# previous=`` lines follow, so that old and new content both
agree with it.
"""

from __future__ import annotations

import os

from ._checksum_lines import Line, format_line, is_algorithm, parse_digest, parse_line
from ._digests import digest_length
from ._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._digests import Digest

CAP = 65536  # bytes; a longer file is not a record, and most records have a hundred
_MOST_PREVIOUS = 100  # digests carried along when writers die over corrupt data again and again


class MalformedError(ValueError):
    """The bytes are not a sidecar of ours; the message says why."""


class Checksum:
    """What a sidecar says.

    Attributes:
        algo: Algorithm of `digest`.
        digest: The recorded digest, lower-case hexadecimal.
        previous: Digests that are valid too until the record is sealed.
        alias: The algorithm that may have made an untagged digest just as well, or None.
    """

    __slots__ = ("algo", "alias", "digest", "previous")

    def __init__(
        self, algo: str, digest: str, previous: tuple[Digest, ...] = (), alias: str | None = None
    ) -> None:
        self.algo = algo
        self.digest = digest
        self.previous = previous
        self.alias = alias

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Every digest that agrees with the record, the newest first."""
        if self.alias is None:
            return ((self.algo, self.digest), *self.previous)
        return ((self.algo, self.digest), (self.alias, self.digest), *self.previous)


def format_record(name: str, record: Checksum) -> tuple[bytes, int]:
    """Return a sidecar's bytes, and how many of them remain when it is sealed."""
    shown = "./-" if name == "-" else name  # tools take "-" for the standard input
    sealed = format_line(os.fsencode(shown), record.algo, record.digest)
    lines = [f"# previous={algo}:{digest}\n" for algo, digest in record.previous]
    return sealed + "".join(lines).encode(), len(sealed)


def parse_record(
    raw: bytes, hint: str, is_ours: Callable[[bytes], bool] = lambda _name: True
) -> Checksum:
    """Return what a sidecar of ours says.

    Args:
        raw: Its bytes.
        hint: An algorithm that may have made an untagged digest of its length.
        is_ours: Tells whether the name in the line is one of the target.

    Raises:
        MalformedError: It is not a record of ours. No input raises anything else.
    """
    if len(raw) > CAP:
        raise MalformedError(f"is longer than {CAP} bytes")
    # A truncation zeroes first: after a crash during Seal, or in a read at the same time, there can
    # be NULs in place of the previous digests. What stands before the NULs is the sealed record.
    body, nul, _ = raw.partition(b"\0")
    if nul:
        body = body[: body.rfind(b"\n") + 1]
    first, _, rest = body.partition(b"\n")
    line = parse_line(first)
    if line is None:
        raise MalformedError("does not start with a checksum line")
    if line.name not in (None, b"-") and not is_ours(line.name):
        if rest and parse_line(rest.partition(b"\n")[0]) is not None:
            raise MalformedError("lists other files")
        shown = os.fsdecode(line.name)
        raise MalformedError(
            f"describes another file, {shown!r} (as after renaming a file and its sidecar by hand)"
        )
    algo, previous = _parse_keys(rest)
    return checksum_of(line, algo, tuple(previous), hint)


def has_record_form(fd: int) -> bool:
    """Tell whether a file holds a record, of whatever file, or nothing at all."""
    raw = kernel.pread(fd, CAP + 1, 0)
    if not raw.strip(b"\0"):
        return len(raw) <= CAP
    try:
        parse_record(raw, "sha256")
    except MalformedError:
        return False
    return True


def agreeing(record: Checksum, digest_of: Callable[[str], str]) -> Digest | None:
    """Return the recorded digest that a content has, None if it has none of them."""
    for algo, digest in record.digests:
        if digest_length(algo) is not None and digest_of(algo) == digest:
            return algo, digest
    return None


def carried(digests: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """Return digests without repetition, and no more than a sidecar can hold."""
    return tuple(dict.fromkeys(digests))[:_MOST_PREVIOUS]


def checksum_of(line: Line, algo: str | None, previous: tuple[Digest, ...], hint: str) -> Checksum:
    """Return what a line says, with an algorithm that was recorded beside it."""
    if algo is not None and not line.algo:
        if (digest_length(algo) or len(line.digest)) != len(line.digest):
            raise MalformedError(f"gives {len(line.digest)} digits, not as many as {algo} has")
        return Checksum(algo, line.digest, previous)
    found = line.digests(hint)
    if not found:
        raise MalformedError(f"gives {len(line.digest)} digits, a length that no algorithm has")
    return Checksum(*found[0], previous, found[1][0] if len(found) > 1 else None)


def _parse_keys(rest: bytes) -> tuple[str | None, list[Digest]]:
    """Return the algorithm and the previous digests of a record's further lines.

    The release 2.0.3 of another project writes ``algo=`` and ``timestamp=`` as well, with or
    without the ``#``.
    """
    algo: str | None = None
    previous: list[Digest] = []
    lines = rest.decode("ascii", "replace").split("\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        key, equals, value = line.removesuffix("\r").removeprefix("#").strip().partition("=")
        if key == "algo" and is_algorithm(value):
            algo = value.lower()
        elif key == "previous":
            previous.append(_parse_previous(value))
        elif not (equals and key == "timestamp"):
            raise MalformedError("holds more than one checksum line, or lines that no record has")
    return algo, previous


def _parse_previous(value: str) -> Digest:
    algo, _, word = value.partition(":")
    digest = parse_digest(word.encode("ascii", "replace"))
    if digest is None or not is_algorithm(algo) or digest_length(algo) not in (None, len(digest)):
        raise MalformedError("holds a damaged line of previous digests")
    return algo, digest
