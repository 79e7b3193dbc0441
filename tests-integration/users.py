"""Other users, as real processes: fork and change the ids.

This needs root. The directories above pytest's belong to root alone, so test directories are made
in a place that every user may enter.
"""

from __future__ import annotations

import ctypes
import hashlib  # noqa: F401 - other users cannot read the interpreter's folder; so all is loaded
import json  # noqa: F401 - as above
import os
import pickle
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

T = TypeVar("T")

ALICE, BOB, CAROL = 21001, 21002, 21003  # no user of any machine
GROUP = 24242


@contextmanager
def common_place() -> Iterator[Path]:
    """Make a directory that every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="safeatomic-users-", dir="/var/tmp"))
    try:
        place.chmod(0o755)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def become(uid: int, groups: Sequence[int] = ()) -> None:
    """Be another user from now on, with a group of the same number."""
    os.setgroups(list(groups))
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def as_user(uid: int, function: Callable[[], T], groups: Sequence[int] = ()) -> T:
    """Return what a function returns, or raise what it raises, as another user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer: tuple[bool, object]
        try:
            os.close(reader)
            become(uid, groups)
            answer = (True, function())
        except BaseException as error:
            answer = (False, error)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    returned, value = pickle.loads(data)
    if not returned:
        raise cast(BaseException, value)
    return cast(T, value)


# Numbers of capabilities (linux/capability.h).
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER = 0, 1, 2, 3
_CAPABILITY_VERSION = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


def without_capabilities(*numbers: int) -> Callable[[], None]:
    """Return a function that gives capabilities up for the rest of a process's life."""

    def give_up() -> None:
        header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
        sets = ctypes.create_string_buffer(24)
        _must(_LIBC.capget(header, sets))
        low = list(struct.unpack("6I", sets.raw))
        for number in numbers:
            for at in range(3):  # effective, permitted, inheritable; the high halves follow
                low[at] &= ~(1 << number)
        _must(_LIBC.capset(header, struct.pack("6I", *low)))

    return give_up


def answer_system_call(number: int, code: int) -> None:
    """Let a filter answer a system call with an errno from now on (seccomp(2))."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000
    program = b"".join(
        struct.pack("HBBI", *line)
        for line in (
            (load, 0, 0, 0),
            (jump_if_equal, 0, 1, number),
            (give, 0, 0, refuse | code),
            (give, 0, 0, allow),
        )
    )
    held = ctypes.create_string_buffer(program)
    given = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(held))
    no_new_privileges, set_filter, mode_filter = 38, 22, 2
    _must(_LIBC.prctl(no_new_privileges, 1, 0, 0, 0))
    _must(_LIBC.prctl(set_filter, mode_filter, ctypes.c_char_p(given), 0, 0))


def in_container(uid: int, function: Callable[[], T]) -> T:
    """Return what a function returns as root of a user namespace that knows one user only."""
    ready, mapped = os.pipe(), os.pipe()

    def enter() -> T:
        new_user_namespace = 0x10000000
        _must(_LIBC.prctl(4, 1, 0, 0, 0))  # PR_SET_DUMPABLE: the parent is to write the maps
        _must(_LIBC.unshare(new_user_namespace))
        os.write(ready[1], b"%d" % os.getpid())
        os.read(mapped[0], 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        return function()

    helper = os.fork()
    if helper == 0:
        pid = int(os.read(ready[0], 20))
        for table in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{table}").write_text(f"0 {uid} 1\n")
        os.write(mapped[1], b"x")
        os._exit(0)
    try:
        return as_user(uid, enter)
    finally:
        for end in (*ready, *mapped):
            os.close(end)
        os.waitpid(helper, 0)


def _must(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
