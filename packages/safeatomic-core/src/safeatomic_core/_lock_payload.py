"""What a lock file says: one line of JSON, of a fixed form where it is ours.

Our own form is written and read without any import, so that a lock can be taken and understood
where imports no longer work, after a chroot for example.
"""

from __future__ import annotations

import os
import time

from ._digests import hash_bytes
from ._errors import system_error
from ._hashes import unloadable

VERSION = 1
CAP = 4096  # bytes; ours are about 250, and a file that is longer is not a lock of ours
_PID_MAX = 2**31 - 1
_OWN_LENGTH, _OWN_MARKS = 27, "--T::.Z"  # of 2026-01-31T23:59:59.000000Z, without its digits
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of each month
_DEEPEST = 64  # levels of brackets; more of them is not a payload, and would use the stack up


def payload(session: str | None, token: str) -> bytes:
    """Return the line that a lock taken now by this process holds.

    Args:
        session: Text whose SHA-256 goes into it, or None.
        token: 16 hexadecimal digits.
    """
    digest = "null"
    if session is not None:
        digest = f'"{hash_bytes(session.encode("utf-8", "surrogatepass"), "sha256")}"'
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    known, hostname, now = _this_second
    if known != seconds:
        hostname, now = _look_around(seconds)
    return (
        f'{{"version":{VERSION},"pid":{os.getpid()},"hostname":"{hostname}",'
        f'"session_hash":{digest},"timestamp":"{now}.{nanoseconds // 1000:06d}Z",'
        f'"kernel_lock":"flock","token":"{token}"}}\n'
    ).encode()


_this_second = (-1, "", "")  # the second, the host's name and the time, kept for a whole second


def _look_around(seconds: int) -> tuple[str, str]:
    """Return the host's name and the time, and keep them for the rest of the second."""
    global _this_second
    hostname = _escaped(host())
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    _this_second = (seconds, hostname, now)
    return hostname, now


def host() -> str:
    """Return this host's name, ``"?"`` where a sandbox refuses it: a lock goes without."""
    try:
        return os.uname().nodename
    except system_error():
        return "?"


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
    without_escapes = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(without_escapes.split(b'"')[::2])  # of strings
    if outside.count(b"[") + outside.count(b"{") > _DEEPEST:
        return None
    try:
        import json  # slow to import; what this library writes is read without it
    except unloadable():
        # Nobody's document is to be taken for a damaged lock, which may be removed.
        document = raw.lstrip()[:1] in (b"{", b"[") and b'"pid"' not in raw
        return {"unread": raw} if document else None
    try:
        return json.loads(raw.decode("utf-8"))
    except ValueError:
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
    if rest or not pid.isdecimal():
        return None
    quoted = digest[:1] == digest[-1:] == '"' != digest
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
    marks = "".join(char for char in text if not ("0" <= char <= "9"))
    if len(text) == _OWN_LENGTH and marks == _OWN_MARKS:
        return _parse_own_timestamp(text)
    try:
        from datetime import datetime  # slow to import; our own form is read without it

        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None
    except unloadable():
        return None


def _parse_own_timestamp(text: str) -> float | None:
    """Return the time of ``2026-01-31T23:59:59.000000Z``, None if there is no such time."""
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
        micro = int(text[20:26])
    except ValueError:
        return None
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1] + (leap and month == 2):
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    # Days since 1970-01-01, counting years from March, so that the leap day is the last.
    years = year - (month < 3)
    days = 365 * years + years // 4 - years // 100 + years // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return days * 86400.0 + hour * 3600 + minute * 60 + second + micro / 1e6
