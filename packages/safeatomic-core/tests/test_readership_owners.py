"""Records that cannot have the owner, the group or the ACL of the data, and broken devices."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import write_checksum_file
from safeatomic_core._acl import GROUP_OBJ, NOBODY, OTHER, USER_OBJ, pack
from safeatomic_core._posix import kernel
from safeatomic_core._readership import Readers, admit, readers_at, readers_of
from safeatomic_core._target import Target
from safeatomic_core._temp_file import SUM_PREFIX, Temp

MINIMAL = pack({(USER_OBJ, NOBODY): 6, (GROUP_OBJ, NOBODY): 4, (OTHER, NOBODY): 4})

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@needs_root
def test_an_owner_that_a_broken_device_does_not_take_is_an_error(target: Path, faults: Any) -> None:
    os.chown(target, 4001, os.getgid())
    faults.fail("fchown", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        write_checksum_file(target)


@needs_root
def test_an_acl_that_names_them_and_that_a_broken_device_does_not_take_is_an_error(
    target: Path, faults: Any
) -> None:
    os.chown(target, 4001, 4002)
    faults.fail("fchown", errno.EPERM)
    faults.fail("setxattr", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        write_checksum_file(target)


@needs_root
@pytest.mark.parametrize("group", [4002, 4003])
def test_an_owner_with_the_number_of_the_directory_s_group_gets_the_record(
    target: Path, group: int
) -> None:
    os.chown(target.parent, -1, 4003)
    target.parent.chmod(0o2755)
    os.chown(target, 4003, group)
    write_checksum_file(target)
    side = target.with_name("data.bin.sha256")
    assert (side.stat().st_uid, side.stat().st_gid) == (4003, group)


@pytest.fixture
def record(target: Path, locate: Callable[[str | Path], Target]) -> Iterator[Temp]:
    """A record that has the readers of former content."""
    made = Temp(locate(target).dir_fd, prefix=SUM_PREFIX)
    made.create(0o600)
    os.fchmod(made.fd, 0o640)
    yield made
    made.discard()


def test_a_record_that_cannot_have_the_group_of_the_data_is_read_by_no_group(
    record: Temp, faults: Any
) -> None:
    faults.fail("fchown", errno.EPERM)
    faults.fail("setxattr", errno.ENOTSUP)
    owner, group = record.owner
    admit(record, Readers(owner, group + 1, 0o640, None))
    assert stat.S_IMODE(os.fstat(record.fd).st_mode) == 0o600


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_acl_that_is_refused_leaves_the_owner_and_one_that_fails_is_an_error(
    record: Temp, faults: Any, code: int
) -> None:
    faults.fail("setxattr", code, at=1 if code == errno.EIO else None)
    readers = Readers(*record.owner, 0o640, MINIMAL)
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            admit(record, readers)
        return
    admit(record, readers)
    assert stat.S_IMODE(os.fstat(record.fd).st_mode) == 0o600


def test_an_acl_that_cannot_be_looked_at_is_an_error(
    target: Path, faults: Any, locate: Callable[[str | Path], Target]
) -> None:
    faults.fail("getxattr_at", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        readers_at(locate(target), without_acl=False)


def test_an_acl_without_a_mask_permits_what_it_says(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "getxattr", lambda *_args: MINIMAL)
    with target.open() as file:
        assert readers_of(file.fileno()).acl == MINIMAL
