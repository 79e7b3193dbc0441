"""Verdicts where there is no mount table."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _verdicts as verdicts
from safeatomic_core import inspect_guarantees
from safeatomic_core._types import CRASH_DURABILITY
from safeatomic_core._verdicts import verdict_on


@pytest.fixture
def darwin(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A Mac, as far as this library looks: every directory on APFS."""
    asked: list[int] = []

    def mount_of_statfs(fd: int) -> environment.Mount:
        asked.append(fd)
        return environment.Mount(-1, "", "/", ("local",), "apfs", "/dev/disk3s5")

    monkeypatch.setattr(environment, "PLATFORM", "darwin")
    monkeypatch.setattr(environment, "_process_findings", tuple)
    monkeypatch.setattr(environment, "mount_of_statfs", mount_of_statfs)
    monkeypatch.setattr(verdicts, "_by_statfs", {})
    monkeypatch.setattr(verdicts, "_idle", [])
    return asked


def test_apfs_is_asked_for_every_time_and_graded_once(tmp_path: Path, darwin: list[int]) -> None:
    first = inspect_guarantees(tmp_path)
    assert first.environment.filesystem == "apfs"
    assert first.is_guaranteed(CRASH_DURABILITY)
    assert inspect_guarantees(tmp_path) is first
    assert len(darwin) == 2


def test_a_device_without_a_descriptor_is_asked_by_path(tmp_path: Path, darwin: list[int]) -> None:
    assert verdict_on(1, None, str(tmp_path)).environment.filesystem == "apfs"
    assert verdict_on(1).environment.filesystem == "unknown"
    assert verdict_on(1, None, str(tmp_path / "no")).environment.filesystem == "unknown"
    assert len(darwin) == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
@pytest.mark.usefixtures("darwin")
@pytest.mark.parametrize("code", [None, errno.EIO, errno.ENFILE])
def test_a_directory_that_was_opened_to_be_asked_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    """Whatever the system answers; that there is no descriptor left says nothing of the place."""

    def fail(_fd: int) -> None:
        if code is not None:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(environment, "mount_of_statfs", fail)
    gc.collect()  # what earlier tests dropped
    before = os.listdir("/proc/self/fd")
    if code == errno.ENFILE:
        with pytest.raises(OSError, match="Too many open files"):
            verdict_on(1, None, str(tmp_path))
    else:
        assert verdict_on(1, None, str(tmp_path)).filesystem == "unknown"
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_grades_are_not_remembered_without_end(
    tmp_path: Path, darwin: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_MOST_BY_STATFS", 0)
    assert inspect_guarantees(tmp_path).environment.filesystem == "apfs"
    assert verdicts._by_statfs == {}
