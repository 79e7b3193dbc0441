"""The lines that checksum tools print: ``sha256sum``, ``cksum``, ``openssl dgst``, BSD's ``md5``.

Untagged, ``DIGEST  NAME``: the length of the digest names the algorithm. Tagged,
``SHA3-256 (NAME) = DIGEST``. A name with a backslash, newline or carriage return is escaped and its
line begins with a backslash (coreutils manual, "md5sum invocation").
"""

from __future__ import annotations

from ._digests import HEXADECIMAL, digest_length

# By the length of the digest ``sha256sum --check`` and its like recognise the algorithm.
BY_LENGTH = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
UNTAGGED = frozenset(BY_LENGTH.values())

# As cksum (coreutils 9) prints them, else openssl (3.0); other names are hashlib's, in upper case.
_TAGS = {
    "blake2b": "BLAKE2b",
    "blake2s": "BLAKE2S-256",
    "ripemd160": "RIPEMD-160",
    "sha3_224": "SHA3-224",
    "sha3_256": "SHA3-256",
    "sha3_384": "SHA3-384",
    "sha3_512": "SHA3-512",
    "sha512_224": "SHA2-512/224",
    "sha512_256": "SHA2-512/256",
}
_ALGORITHMS = {tag.lower(): algo for algo, tag in _TAGS.items()} | {
    "sha2-224": "sha224",
    "sha2-256": "sha256",
    "sha2-384": "sha384",
    "sha2-512": "sha512",
    "sha512-224": "sha512_224",
    "sha512-256": "sha512_256",
    "sha512/224": "sha512_224",  # perl's shasum
    "sha512/256": "sha512_256",
    "blake2b-512": "blake2b",
    "blake2b512": "blake2b",
    "blake2s256": "blake2s",
    "rmd160": "ripemd160",
}
_SHORTEST = min(BY_LENGTH)  # digits; a shorter hexadecimal word is not a digest of a file
_ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))
_UNESCAPED = {ord("\\"): b"\\", ord("n"): b"\n", ord("r"): b"\r"}


class Line:
    """What one line says.

    Attributes:
        algo: The algorithm of a tagged line; empty where the digest's length names it.
        digest: The digest, lower-case hexadecimal.
        name: The name, None if the line has none.
    """

    __slots__ = ("algo", "digest", "name")

    def __init__(self, algo: str, digest: str, name: bytes | None) -> None:
        self.algo = algo
        self.digest = digest
        self.name = name

    def digests(self, hint: str) -> tuple[tuple[str, str], ...]:
        """Return algorithm and digest, once more for an untagged one that `hint` may have made.

        ``b2sum`` prints untagged lines as long as those of ``sha512sum``.
        """
        if self.algo:
            return ((self.algo, self.digest),)
        length = len(self.digest)
        algos = [BY_LENGTH.get(length), hint if digest_length(hint) == length else None]
        return tuple((algo, self.digest) for algo in dict.fromkeys(algos) if algo is not None)


def format_line(name: bytes, algo: str, digest: str) -> bytes:
    """Return the line that the algorithm's own tool prints for a file."""
    escaped = escape(name)
    mark = b"\\" if escaped != name else b""
    if algo in UNTAGGED:
        return b"%s%s  %s\n" % (mark, digest.encode(), escaped)
    tag = _TAGS.get(algo, algo.upper())
    return b"%s%s (%s) = %s\n" % (mark, tag.encode(), escaped, digest.encode())


def parse_line(line: bytes) -> Line | None:
    """Return what a line without its newline says; None if it is not a checksum line."""
    text = line.removesuffix(b"\r").lstrip(b" \t")
    escaped = text.startswith(b"\\")
    if escaped:
        text = text[1:]
    found = _parse_untagged(text) or _parse_tagged(text)
    if found is None or found.name is None or not escaped:
        return found
    found.name = _unescape(found.name)
    return None if found.name is None else found


def escape(name: bytes) -> bytes:
    """Return a name as coreutils prints it."""
    for byte, escaped in _ESCAPES:
        name = name.replace(byte, escaped)
    return name


def _parse_untagged(text: bytes) -> Line | None:
    blank = b"\t" if b"\t" in text.partition(b" ")[0] else b" "  # as sha256sum reads either
    word, space, name = text.partition(blank)
    digest = parse_digest(word)
    if digest is None:
        return None
    # A second blank, or the star of binary mode; the BSDs' reversed lines have a single blank.
    if name[:1] in (b" ", b"*"):
        name = name[1:]
    return Line("", digest, name if space and name else None)


def _parse_tagged(text: bytes) -> Line | None:
    head, bracket, rest = text.partition(b"(")
    name, equals, word = rest.rpartition(b"= ")  # openssl prints "(NAME)= ", the others " = "
    name = name.removesuffix(b" ")
    digest = parse_digest(word)
    tag = head.rstrip(b" ").decode("ascii", "replace").lower()  # rhash aligns "MD5   (NAME)"
    named = bracket and equals and len(name) > 1 and name.endswith(b")")
    if not named or digest is None or not is_algorithm(tag):
        return None
    algo = _ALGORITHMS.get(tag, tag)
    if (digest_length(algo) or len(digest)) != len(digest):
        return None
    return Line(algo, digest, name[:-1])


def parse_digest(word: bytes) -> str | None:
    """Return a digest in lower case; None if the word is not one."""
    given = word.decode("ascii", "replace")
    digest = given.lower()
    # Some tools write all of it in upper case; mixed case comes from a flipped bit.
    if given not in (digest, given.upper()) or not HEXADECIMAL.issuperset(digest):
        return None
    return digest if len(digest) >= _SHORTEST else None


def is_algorithm(name: str) -> bool:
    """Tell whether a text may be the name of an algorithm."""
    plain = name
    for sign in "-_/":
        plain = plain.replace(sign, "")
    return plain.isascii() and plain.isalnum()


def _unescape(name: bytes) -> bytes | None:
    parts = name.split(b"\\")
    result = parts[0]
    rest = iter(parts[1:])
    for part in rest:
        if part:
            known = _UNESCAPED.get(part[0])
            if known is None:
                return None
            result += known + part[1:]
        else:  # two backslashes in a row
            following = next(rest, None)
            if following is None:
                return None
            result += b"\\" + following
    return result
