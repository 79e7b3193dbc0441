"""The mount table: whether it can be watched, and one that a test writes instead."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Callable
from pathlib import Path

import pytest

needs_mountinfo = pytest.mark.skipif(
    not os.path.exists("/proc/self/mountinfo"), reason="no /proc/self/mountinfo here"
)
ATTEMPTS = 20  # another program on this machine may be mounting at the same time


def can_be_watched() -> bool:
    """Tell whether the table is read-only, like every table that reports its changes."""
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
        point = point.replace(" ", "\\040")
        numbers = f"{os.major(device)}:{os.minor(device)}"
        return f"27 1 {numbers} / {point} rw,relatime - {fstype} source {options}\n".encode()


def with_own_mounts(body: Callable[[Callable[..., bool]], None]) -> None:
    """Run in a child with its own mount namespace; skip if that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: object, point: object, fstype: str, flags: int = 0) -> bool:
        words = (os.fsencode(str(word)) for word in (source, point, fstype))
        return libc.mount(*words, ctypes.c_ulong(flags), None) == 0  # type: ignore[no-any-return]

    child = os.fork()
    if child == 0:
        code = 1
        try:
            if not _alone(libc):
                os._exit(77)
            if not mount("none", "/", "none", 0x4000 | 0x40000):
                os._exit(77)
            body(mount)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 77:
        pytest.skip("this user may not mount anything, not even in a user namespace")
    assert code == 0


def _alone(libc: ctypes.CDLL) -> bool:
    """Enter a new mount namespace, within a user namespace if this user is not root."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return bool(libc.unshare(0x20000) == 0)
    if libc.unshare(0x20000 | 0x10000000) != 0:
        return False
    try:  # a new tmpfs refuses files of a user who has no number here
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True
