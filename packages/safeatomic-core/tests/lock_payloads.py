"""The locks that the tests place: their paths and payloads."""

from __future__ import annotations

from pathlib import Path

from safeatomic_core._lock_payload import payload as line

TOKEN = "0123456789abcdef"
GOOD: dict[str, object] = {
    "version": 1,
    "pid": 4242,
    "hostname": "elsewhere",
    "session_hash": None,
    "timestamp": "2026-01-02T03:04:05.000006Z",
}


def payload(session: str | None, token: str = TOKEN) -> bytes:
    return line(session, token)


def lock_of(data: Path) -> Path:
    return data.with_name(data.name + ".lock")


def dead_lock(data: Path) -> None:
    """Leave the lock of a holder that died."""
    lock_of(data).write_bytes(payload(None))
