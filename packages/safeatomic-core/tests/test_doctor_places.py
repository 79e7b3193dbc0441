"""Whatever is wrong with a place is in the report, and nothing is raised."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safeatomic_core import (
    DoctorReport,
    doctor,
)
from safeatomic_core._doctor import examination as module
from safeatomic_core._doctor import probes as probes
from safeatomic_core._posix import intercept


def status_of(report: DoctorReport, name: str) -> str:
    return next(check.status for check in report.checks if check.name == name)


def detail_of(report: DoctorReport, name: str) -> str:
    return next(check.detail for check in report.checks if check.name == name)


def assert_readable(summary: str) -> None:
    """A line is longer than 80 columns only where one word of it, or what is quoted, is."""
    for line in summary.splitlines():
        words = re.sub(r"'[^']+'", lambda found: found.group().replace(" ", "_"), line).split()
        assert len(line) <= 80 or len(words) <= 2 or line.startswith(("doctor", "  skipped")), line


@pytest.mark.parametrize("destructive", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        "missing/f",
        "file/f",
        "x" * 300,
        "x" * 300 + "/f",
        "dangling",
        "dangling/f",
        "loop",
        "loop/f",
        "fifo",
        "a" * 5000,
        "un\udcffreadable",
        "new\nline",
        "..",
        "dir/",
    ],
)
def test_a_bad_place_is_a_report_never_an_exception(
    tmp_path: Path, path: str, destructive: bool
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "f")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    before = sorted(os.listdir(tmp_path))
    report = doctor(f"{tmp_path}/{path}", destructive=destructive)
    json.dumps(report.to_dict())
    assert report.summary().isprintable() or "\n" in report.summary()
    assert_readable(report.summary())
    assert sorted(os.listdir(tmp_path)) == before


def test_without_permission_on_the_parent_there_is_a_report(tmp_path: Path) -> None:
    def refuse(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def denied(*_args: Any, **_options: Any) -> Any:
            raise PermissionError(errno.EACCES, "Permission denied")

        return denied if name in ("open", "stat") else call

    with intercept(refuse):
        report = doctor(tmp_path / "f", destructive=True)
    assert status_of(report, "lock") == "unknown"
    assert status_of(report, "probe_replace") == "unknown"


def test_a_directory_that_cannot_be_opened_fails_and_skips_the_rest(tmp_path: Path) -> None:
    report = doctor(tmp_path / "missing" / "f", destructive=True)
    assert not report.ok
    assert status_of(report, "parent_exists") == "fail"
    assert status_of(report, "checksum") == "unknown"
    assert detail_of(report, "probe_lock") == "skipped: nothing can be written there"


def test_probes_are_skipped_on_a_read_only_mount(on: Callable[[str], None], target: Path) -> None:
    on("ext4 /dev/sda1 ro")
    report = doctor(target, destructive=True)
    assert status_of(report, "parent_writable") == "fail"
    assert status_of(report, "probe_replace") == "unknown"


def test_a_shortage_of_descriptors_is_a_report(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_path: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module, "inspect_guarantees", exhausted)
    report = doctor(target)
    assert status_of(report, "inspection") == "unknown"
    assert "ulimit -n" in detail_of(report, "inspection")
    assert report.environment.filesystem == "unknown"
    assert not report.ok


def test_a_shortage_of_memory_is_a_report(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "inspect_guarantees", exhausted)
    assert "no memory is left" in detail_of(doctor(target), "inspection")
    monkeypatch.setattr("safeatomic_core._doctor.inspect_guarantees", exhausted)
    monkeypatch.delitem(sys.modules, module.__name__)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=exhausted)])
    report = doctor(target)
    assert not report.ok
    assert report.environment.filesystem == "unknown"
    assert [check.name for check in report.checks] == ["inspection"]
    assert "no memory is left" in detail_of(report, "inspection")


@pytest.mark.usefixtures("guaranteed_place")
@pytest.mark.parametrize("filesystem", ["ext4", "unknown"])
def test_checks_that_cannot_be_loaded_are_a_report(
    target: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    def exhausted(_path: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setitem(sys.modules, module.__name__, None)
    if filesystem == "unknown":
        monkeypatch.setattr("safeatomic_core._doctor.inspect_guarantees", exhausted)
    report = doctor(target)
    assert not report.ok
    assert report.environment.filesystem == filesystem
    assert [check.name for check in report.checks] == ["inspection"]
    assert status_of(report, "inspection") == "fail"
    assert "call doctor() once before" in detail_of(report, "inspection")


@pytest.mark.parametrize(
    ("line", "ok"),
    [
        ("ext4 /dev/sda1 rw", True),
        ("tmpfs tmpfs rw", True),
        ("overlay overlay rw", True),
        ("ext4 /dev/sda1 rw,nobarrier", False),
        ("nfs4 filer:/x rw", False),
    ],
)
def test_ok_means_that_nothing_failed(
    on: Callable[[str], None], target: Path, line: str, ok: bool
) -> None:
    on(line)
    assert doctor(target).ok is ok
