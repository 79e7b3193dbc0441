"""Readers that are let in one by one: owner, group, ACL."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core._acl import GROUP_OBJ, NOBODY, OTHER, USER_OBJ, pack, parse
from safeatomic_core._announcement import Announcement
from safeatomic_core._posix import kernel
from safeatomic_core._readership import Readers, admit, readers_at
from safeatomic_core._readership import _reading as reading
from safeatomic_core._target import Target
from safeatomic_core._temp_file import Temp


@pytest.mark.parametrize("entry", ["getxattr_at", "fchown"])
def test_readers_that_a_broken_device_does_not_tell_or_take_are_an_error(
    target: Path, faults: Any, locate: Callable[[str | Path], Target], entry: str
) -> None:
    place = locate(target)
    record = Temp(place.dir_fd)
    record.create(0o600)
    faults.fail(entry, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        if entry == "getxattr_at":
            readers_at(place, without_acl=False)
        else:
            admit(record, Readers(record.owner[0], record.owner[1] + 1, 0o640, None))
    record.discard()


def test_an_owner_is_given_whatever_number_the_group_has(
    target: Path, monkeypatch: pytest.MonkeyPatch, locate: Callable[[str | Path], Target]
) -> None:
    given: list[tuple[int, int]] = []
    record = Temp(locate(target).dir_fd)
    record.create(0o600)
    record.owner = (1, 4002)
    monkeypatch.setattr(kernel, "fchown", lambda _fd, *ids: given.append(ids), raising=False)
    admit(record, Readers(4002, 4002, 0o640, None))
    assert given == [(4002, -1)]
    assert record.owner == (4002, 4002)
    record.discard()


def test_an_acl_without_a_mask_permits_the_same_reading() -> None:
    user, group, others = ((tag, NOBODY) for tag in (USER_OBJ, GROUP_OBJ, OTHER))
    found = reading(pack({user: 7, group: 5, others: 4}))
    assert parse(found) == {user: 6, group: 4, others: 4}


def test_a_record_of_a_dead_creator_is_replaced_by_one_that_its_readers_may_read(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    """Its digest is in the new record, beside which there is no file yet."""
    side = tmp_path / "f.sha256"
    side.write_bytes(b"a" * 64 + b"  f\n")
    side.chmod(0o604)
    place = locate(tmp_path / "f")
    temp = Temp(place.dir_fd)
    temp.create(0o600)
    os.fchmod(temp.fd, 0o644)
    record = Announcement(place)
    record.draft("sha256", "b" * 64, lambda: None)
    record.harden(temp.fd, without_acl=True)
    record.announce(lambda: None)
    assert side.read_bytes() == b"b" * 64 + b"  f\n# previous=sha256:" + b"a" * 64 + b"\n"
    assert stat.S_IMODE(side.stat().st_mode) == 0o604
    record.seal()
    assert stat.S_IMODE(side.stat().st_mode) == 0o644
    record.discard()
    temp.discard()


def test_where_neither_group_nor_names_can_be_given_the_owner_alone_is_let_in(
    tmp_path: Path, locate: Callable[[str | Path], Target], faults: Any
) -> None:
    record = Temp(locate(tmp_path / "f").dir_fd)
    record.create(0o600)
    os.fchmod(record.fd, 0o644)
    faults.fail("fchown", errno.EPERM)
    faults.fail("setxattr", errno.ENOTSUP)
    admit(record, Readers(record.owner[0], record.owner[1] + 1, 0o640, None))
    assert stat.S_IMODE(os.fstat(record.fd).st_mode) == 0o600
    record.discard()
