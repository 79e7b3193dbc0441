"""Other users, as real processes: fork and change the ids.

Needs root; the directories above pytest's are root's alone, so places are made where every user may
enter.
"""

from __future__ import annotations

import os
import pickle
import shutil
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
