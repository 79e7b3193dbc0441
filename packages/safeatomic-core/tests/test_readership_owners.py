"""Owners and groups of records that are another user's, and what a broken device says to that."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import write_checksum_file

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def test_an_owner_that_a_broken_device_does_not_take_is_an_error(target: Path, faults: Any) -> None:
    os.chown(target, 4001, os.getgid())
    faults.fail("fchown", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        write_checksum_file(target)


def test_an_acl_that_a_broken_device_does_not_take_is_an_error(target: Path, faults: Any) -> None:
    os.chown(target, 4001, 4002)
    faults.fail("fchown", errno.EPERM)
    faults.fail("setxattr", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        write_checksum_file(target)


def test_an_owner_with_the_number_of_the_directory_s_group_gets_the_record(target: Path) -> None:
    os.chown(target.parent, -1, 4003)
    target.parent.chmod(0o2755)
    os.chown(target, 4003, 4002)
    write_checksum_file(target)
    side = target.with_name("data.bin.sha256")
    assert (side.stat().st_uid, side.stat().st_gid) == (4003, 4002)
