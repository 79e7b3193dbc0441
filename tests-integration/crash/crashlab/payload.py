"""The data of the workloads: contents that reveal a single wrong byte, and special metadata."""

from __future__ import annotations

import hashlib
import os
import stat

NEW_FILE = "644 0:0 -"  # what open(path, "w") gives under the umask the workloads set
UMASK = 0o022
_ATTRIBUTE = "user.origin"
_HEADER = 84  # bytes: version, length and digest, in fixed columns


def content(version: int, size: int) -> bytes:
    """Return bytes of a length that name their version and verify themselves."""
    body = (b"%08d|" % version) * (max(0, size - _HEADER) // 9 + 1)
    body = body[: max(0, size - _HEADER)]
    digest = hashlib.sha256(body).hexdigest().encode()
    return b"v%08d %08d %s\n" % (version, len(body), digest) + body


def version_of(data: bytes) -> int | str:
    """Return the version that complete content names, or what is wrong with it."""
    head, newline, body = data.partition(b"\n")
    fields = head.split(b" ")
    if not data:
        return "torn: empty"
    if not data.strip(b"\0"):
        return f"torn: {len(data)} NULs"
    if not newline or len(fields) != 3 or not fields[0].startswith(b"v"):
        return f"torn: {len(data)} bytes beginning with {data[:16]!r}"
    if len(body) != int(fields[1]) or hashlib.sha256(body).hexdigest().encode() != fields[2]:
        return f"torn: body of {fields[0].decode()} is damaged ({len(body)} bytes)"
    return int(fields[0][1:])


def meta_of(path: str) -> str:
    """Print mode, owner and our attribute of a file, in the form that `set_meta` takes."""
    status = os.stat(path)
    try:
        tag = os.getxattr(path, _ATTRIBUTE).decode()
    except OSError:
        tag = "-"
    return f"{stat.S_IMODE(status.st_mode):o} {status.st_uid}:{status.st_gid} {tag}"


def set_meta(path: str, meta: str) -> None:
    """Give a file the metadata that a text describes."""
    mode, owner, tag = meta.split(" ")
    uid, gid = owner.split(":")
    os.chown(path, int(uid), int(gid))
    os.chmod(path, int(mode, 8))
    if tag != "-":
        os.setxattr(path, _ATTRIBUTE, tag.encode())
