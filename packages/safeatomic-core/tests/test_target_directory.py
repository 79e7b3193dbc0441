"""The open directory of a target: how it is opened, examined, given away and closed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core._posix import O_CLOEXEC, O_DIRECTORY, O_PATH
from safeatomic_core._target import DIRECTORY_FLAGS, Target, identity, still_named


@pytest.mark.skipif(not O_PATH, reason="no descriptors that only look names up")
def test_a_directory_that_may_only_be_searched_is_opened_as_a_directory(
    target: Path, faults: Any, locate: Callable[[str | Path], Target]
) -> None:
    flags: list[int] = []

    def for_reading(_path: str, given: int, **_options: Any) -> bool:
        flags.append(given)
        return not given & O_PATH

    faults.fail("open", errno.EACCES, when=for_reading)
    assert locate(target).status is not None
    refused, allowed = flags
    assert refused == DIRECTORY_FLAGS == os.O_RDONLY | O_DIRECTORY | O_CLOEXEC
    assert allowed == O_PATH | O_DIRECTORY | O_CLOEXEC


@pytest.mark.parametrize("lasting", [False, True])
def test_only_what_is_open_while_the_program_runs_is_examined_before_it_is_closed(
    target: Path, faults: Any, locate: Callable[[str | Path], Target], lasting: bool
) -> None:
    place = locate(target)
    place.directory()
    if lasting:
        place.lasting = True
    faults.calls.clear()
    place.close()
    assert faults.calls == [*(["fstat"] if lasting else []), "close"]


def test_a_directory_that_was_given_away_is_nobody_s_descriptor(target: Path) -> None:
    place = Target(str(target))
    place.open()
    fd = place.handle.fd
    place.hand_over()
    assert place.dir_fd == -1
    place.close()
    os.close(fd)  # it is still open


def test_a_borrowed_name_is_no_link(target: Path) -> None:
    assert not Target.borrowed(str(target), target.name, -1, None).linked


def test_a_link_to_a_file_is_not_its_name(
    target: Path, locate: Callable[[str | Path], Target]
) -> None:
    place = locate(target)
    inode = identity(target.stat())
    target.with_name("link").symlink_to(target.name)
    assert still_named(place.dir_fd, target.name, inode)
    assert not still_named(place.dir_fd, "link", inode)
    assert not still_named(place.dir_fd, "missing", inode)
