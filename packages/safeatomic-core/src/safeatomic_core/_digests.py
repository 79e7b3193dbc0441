"""Digests of bytes and of open files."""

from __future__ import annotations

from ._options import check_algorithm
from ._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from typing import TypeAlias

    Digest: TypeAlias = tuple[str, str]  # algorithm and hexadecimal digest

HEXADECIMAL = frozenset("0123456789abcdef")
_CHUNK = 262144  # bytes hashed at a time


def new_hash(algo: str) -> _Hash:
    """Return a fresh hash object of a checked algorithm."""
    import hashlib  # a quarter of the package's import time, and not every program hashes

    if algo == "sha256":  # the default, without the search through OpenSSL's tables
        return hashlib.sha256(usedforsecurity=False)
    return hashlib.new(algo, usedforsecurity=False)


def hash_bytes(data: bytes | memoryview, algo: str) -> str:
    """Return the hexadecimal digest of bytes in memory."""
    digest = new_hash(algo)
    digest.update(data)
    return digest.hexdigest()


def hash_fd(fd: int, algo: str, on_hashed: Callable[[int], None] | None = None) -> str:
    """Return the hexadecimal digest of an open file, from its start, in constant memory.

    Args:
        fd: The file; its position is not used.
        algo: A checked algorithm.
        on_hashed: Called with the size of each chunk in bytes, for a progress bar.
    """
    digest = new_hash(algo)
    offset = 0
    while chunk := kernel.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
        if on_hashed is not None:
            on_hashed(len(chunk))
    return digest.hexdigest()


def memoized(fd: int, on_hashed: Callable[[int], None] | None = None) -> Callable[[str], str]:
    """Return a function that gives an open file's digest, hashing once for each algorithm."""
    known: dict[str, str] = {}

    def digest_of(algo: str) -> str:
        if algo not in known:
            known[algo] = hash_fd(fd, algo, on_hashed)
        return known[algo]

    return digest_of


def digest_length(algo: str) -> int | None:
    """Return the hexadecimal digits of an algorithm, None for one that this Python has not."""
    try:
        return _lengths[algo]
    except KeyError:
        pass
    try:
        length = new_hash(check_algorithm(algo)).digest_size * 2
    except ValueError:
        return None
    _lengths[algo] = length
    return length


_lengths: dict[str, int] = {}
