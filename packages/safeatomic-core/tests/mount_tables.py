"""The mount table: where it can be watched, and one that a test writes instead."""

from __future__ import annotations

import os
import select

import pytest

needs_mountinfo = pytest.mark.skipif(
    not os.path.exists("/proc/self/mountinfo"), reason="no /proc/self/mountinfo here"
)
ATTEMPTS = 20  # somebody else on this machine may be mounting things at this very moment


def can_be_watched() -> bool:
    """Tell whether the table is readable only, as one is that reports its changes."""
    with open("/proc/self/mountinfo", "rb") as table:
        poll = select.poll()
        poll.register(table, select.POLLIN | select.POLLOUT)
        return poll.poll(0) == [(table.fileno(), select.POLLIN)]


class FakeWatch:
    """A mount table that a test writes."""

    table = b""
    made = 0
    reads = 0
    open_now = 0
    changing = False
    long = False
    failure: OSError | None = None

    def __init__(self) -> None:
        if FakeWatch.failure is not None:
            raise FakeWatch.failure
        self.entries: dict[int, object] = {}
        self._seen = FakeWatch.table
        self.namespace = 1
        FakeWatch.made += 1
        FakeWatch.open_now += 1

    def unchanged(self) -> bool:
        return self._seen == FakeWatch.table and not FakeWatch.changing

    def same_namespace(self) -> bool:
        return self.namespace == 1

    def read(self, _number: int | None = None) -> tuple[bytes, bool]:
        FakeWatch.reads += 1
        return FakeWatch.table, not FakeWatch.long

    def close(self) -> None:
        FakeWatch.open_now -= 1

    @staticmethod
    def mounted(device: int, fstype: str, options: str = "rw", point: str = "/") -> bytes:
        numbers = f"{os.major(device)}:{os.minor(device)}"
        return f"27 1 {numbers} / {point} rw,relatime - {fstype} source {options}\n".encode()
