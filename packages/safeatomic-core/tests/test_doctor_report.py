"""The doctor's report: as a dictionary, as text, in colour."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest

from safeatomic_core import DoctorCheck, doctor
from safeatomic_core._doctor import wants_colour


@pytest.mark.usefixtures("ext4")
def test_the_dictionary_is_json_and_has_the_documented_fields(target: Path) -> None:
    report = doctor(target, require=["AtomicVisibility"])
    found = json.loads(json.dumps(report.to_dict()))
    assert list(found) == ["schema", "path", "ok", "environment", "guarantees", "checks"]
    assert found["schema"] == 1
    assert list(found["environment"]) == [
        "platform",
        "filesystem",
        "filesystem_class",
        "supports_fsync_file",
        "supports_fsync_dir",
        "supports_atomic_replace",
        "symlink_policy",
        "mount_point",
        "source",
        "device",
        "mount_options",
        "durability_findings",
    ]
    assert found["guarantees"] == dict(report.guarantees)
    assert list(found["checks"][0]) == ["name", "status", "detail"]
    assert len(found["checks"]) == len(report.checks)


@pytest.mark.usefixtures("ext4")
def test_the_summary_says_everything_within_80_columns(target: Path) -> None:
    report = doctor(target.with_name("a-rather-long-name-" * 12), destructive=True)
    text = report.summary()
    assert str(report) == text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\033" not in text
    assert "result  ok" in text
    for check in report.checks:
        assert f"  {check.status:<8}{check.name}: " in text
    for name, level in report.guarantees.items():
        assert f"  {level:<12} {name}" in text


@pytest.mark.usefixtures("ext4")
def test_colours_change_nothing_but_the_colours(target: Path) -> None:
    report = doctor(target, require=["nothing"])
    painted = report.summary(colour=True)
    plain = painted
    for code in ("\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[0m"):
        plain = plain.replace(code, "")
    assert plain == report.summary()
    assert "\033[31mNOT OK\033[0m" in painted
    assert "\033[31mfail\033[0m" in painted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_whose_user_did_not_decline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # no-color.org: set, and not empty
    assert wants_colour(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())


@pytest.mark.usefixtures("ext4")
def test_a_report_is_immutable_and_pickles(target: Path) -> None:
    report = doctor(target)
    assert pickle.loads(pickle.dumps(report)) == report
    with pytest.raises(AttributeError, match="immutable"):
        report.ok = False  # type: ignore[misc]


def test_a_check_reads_as_a_line() -> None:
    assert str(DoctorCheck("lock", "pass", "not locked")) == "pass: lock: not locked"
