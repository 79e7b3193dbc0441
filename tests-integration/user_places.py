"""Users and directories of several kinds, for what each user may do in each of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import safeatomic_core as sa
from users import ALICE, BOB, CAROL, GROUP, as_user


class Who(NamedTuple):
    """A user, and what groups there are beside the own one."""

    uid: int
    groups: tuple[int, ...] = ()


class Place(NamedTuple):
    """A directory."""

    mode: int
    uid: int
    gid: int


WHO = {
    "alice": Who(ALICE, (GROUP,)),
    "bob": Who(BOB, (GROUP,)),
    "carol": Who(CAROL),
    "root": Who(0),
}
PLACES = {
    "her own": Place(0o755, ALICE, ALICE),
    "hers, to be searched only": Place(0o711, ALICE, ALICE),
    "a group's, setgid": Place(0o2775, 0, GROUP),
    "a group's, not setgid": Place(0o775, 0, GROUP),
    "a group's, sticky": Place(0o3775, 0, GROUP),
    "everybody's": Place(0o777, 0, 0),
    "everybody's, sticky": Place(0o1777, 0, 0),
    "a colleague's, open to the group": Place(0o2775, BOB, GROUP),
}
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


def make(common: Path, place: Place) -> Path:
    folder = common / "d"
    folder.mkdir()
    os.chown(folder, place.uid, place.gid)
    folder.chmod(place.mode)
    return folder


def give(path: Path, uid: int, gid: int, mode: int, content: bytes = b"old") -> Path:
    path.write_bytes(content)
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def outcome(work: Callable[[], object]) -> Callable[[], str]:
    """Return a function that says how a call ended."""

    def run() -> str:
        try:
            work()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        except sa.SafeAtomicError as error:
            return type(error).__name__
        return "done"

    return run


def is_done(who: Who, work: Callable[[], object]) -> bool:
    return as_user(who.uid, outcome(work), who.groups) == "done"
