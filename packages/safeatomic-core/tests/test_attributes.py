"""What statx(2) says of a name or of an open directory, on a C library of the test's own."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from safeatomic_core import _posix
from safeatomic_core._mounts import APPEND_ONLY, IMMUTABLE, attributes

AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = 0x1000, 0x100  # <linux/fcntl.h>


class Libc:
    """Fills a struct statx (<linux/stat.h>): attributes at byte 8, those that are known at 56."""

    def __init__(self, found: int, known: int, result: int = 0) -> None:
        self._numbers = {8: found, 56: known}
        self._result = result
        self.asked: tuple[int, bytes, int] | None = None

    def statx(self, dir_fd: int, name: bytes, flags: int, mask: int, buffer: object) -> int:
        assert mask == 0  # the attributes come with whatever is asked for
        self.asked = dir_fd, name, flags
        assert ctypes.sizeof(buffer) == 256  # type: ignore[arg-type]
        ctypes.memset(buffer, 0xFF, 256)  # type: ignore[arg-type]
        for offset, number in self._numbers.items():
            raw = number.to_bytes(8, sys.byteorder)
            ctypes.memmove(ctypes.addressof(buffer) + offset, raw, 8)  # type: ignore[arg-type]
        return self._result


@pytest.mark.parametrize(
    ("libc", "answer"),
    [
        (Libc(0, IMMUTABLE | APPEND_ONLY), 0),
        (Libc(IMMUTABLE, IMMUTABLE), 0x10),
        (Libc(APPEND_ONLY, IMMUTABLE | APPEND_ONLY), 0x20),
        (Libc(0, 0), None),  # a filesystem that has no such attributes
        (Libc(0, APPEND_ONLY), None),
        (Libc(IMMUTABLE, IMMUTABLE, result=-1), None),
        (object(), None),  # an old C library
    ],
)
@pytest.mark.parametrize("name", ["", "file"])
def test_attributes_are_those_that_the_filesystem_knows(
    monkeypatch: pytest.MonkeyPatch, libc: object, answer: int | None, name: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name, **_options: libc)
    assert attributes(7, name) == answer
    if isinstance(libc, Libc):
        flags = AT_SYMLINK_NOFOLLOW if name else AT_EMPTY_PATH
        assert libc.asked == (7, os.fsencode(name), flags)


@pytest.mark.parametrize("late", [TimeoutError, OSError, ConnectionError])
def test_a_time_out_while_the_c_library_is_loaded_arrives(
    monkeypatch: pytest.MonkeyPatch, late: type[OSError]
) -> None:
    """It is a signal handler's."""

    def interrupted(*_args: object, **_options: object) -> None:
        raise late("the program's")

    monkeypatch.setattr(ctypes, "CDLL", interrupted)
    for call in (lambda: attributes(7), _posix._find_renameat2):
        with pytest.raises(late, match="the program's"):
            call()
