"""The doctor's report: as a dictionary, as text, in colour."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import DoctorCheck, DoctorReport, Environment, doctor
from safeatomic_core._advice import command
from safeatomic_core._doctor import layout, wants_colour
from safeatomic_core._types import GUARANTEES


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


def made(*checks: tuple[str, str, str], path: str = "f", point: str = "/") -> DoctorReport:
    """A report of chosen findings."""
    return DoctorReport(
        path=path,
        environment=Environment("linux", "ext4", "local_posix_persistent", mount_point=point),
        guarantees=dict.fromkeys(GUARANTEES, "Guaranteed"),
        checks=tuple(DoctorCheck(*check) for check in checks),  # type: ignore[arg-type]
        ok=all(status != "fail" for _, status, _ in checks),
    )


def test_what_failed_comes_first_and_the_verdict_last() -> None:
    report = made(
        ("one", "pass", "well"),
        ("two", "unknown", "skipped: nobody asked"),
        ("three", "warn", "look at it"),
        ("four", "fail", "broken"),
        ("five", "unknown", "it does not say"),
        ("six", "unknown", "skipped: nobody asked"),
        ("seven", "pass", "well"),
    )
    assert report.summary().splitlines() == [
        "doctor  f",
        "on      ext4 (local_posix_persistent) at /, device 0:0",
        "  Guaranteed   AtomicVisibility, CrashDurability, WriterExclusion,",
        "               IntegrityDetection, ReaderConsistency, StaleRecovery,",
        "               MetadataPreservation, CrossDeviceSafety",
        "  fail    four: broken",
        "  warn    three: look at it",
        "  unknown five: it does not say",
        "  pass    one, seven",
        "  skipped 2 (nobody asked)",
        "result  NOT OK (2 pass, 1 warn, 1 fail, 3 unknown)",
    ]
    assert str(report) == report.summary()


@pytest.mark.usefixtures("ext4")
def test_an_ordinary_report_fits_on_a_screen(target: Path) -> None:
    report = doctor(target.with_name("a-rather-long-name-" * 12), destructive=True)
    lines = report.summary().splitlines()
    assert len(lines) <= 24
    assert lines[-1].startswith("result  ok (")
    assert "\033" not in report.summary()
    for check in report.checks:
        assert check.name in report.summary()
    for name in report.guarantees:
        assert report.summary().count(name) == 1


@pytest.mark.parametrize(
    "kept",
    ["/srv/with blanks/" * 6 + "file", "safeatomic clean /srv/" + "deep/" * 20, "ab-cd-" * 20],
)
def test_no_path_and_no_command_is_broken_over_lines(kept: str) -> None:
    detail = f"the words before it are several, and then '{kept}' is what there is to say"
    for report in (made(("one", "fail", detail)), made(point=kept), made(path=kept)):
        assert any(kept in line for line in report.summary().splitlines())


@pytest.mark.parametrize("path", ["/srv/my own data/" * 6, "/srv/it's the user's/" * 6])
def test_a_command_with_a_quoted_path_is_not_broken_either(path: str) -> None:
    text = command("safeatomic clean", path)
    report = made(("one", "fail", f"several words before: run {text}, and several words after it"))
    assert any(text in line for line in report.summary().splitlines())
    assert any(path in line for line in made(path=path).summary().splitlines())


def test_nothing_is_warned_of_twice(report_on: Any, on: Any, target: Path) -> None:
    for line in ("overlay overlay rw", "nfs4 filer:/x rw", "ext4 /dev/sda1 rw,nobarrier"):
        on(line)
        report = doctor(target)
        for check in report.checks:
            if check.status in ("warn", "fail"):
                others = [other for other in report.checks if other is not check]
                sentences = [part for part in check.detail.split(": ") if len(part) > 40]
                assert not any(s in other.detail for s in sentences for other in others), line


@pytest.mark.usefixtures("ext4")
def test_every_guarantee_is_in_the_summary(target: Path) -> None:
    words = doctor(target).summary().replace(",", " ").split()
    assert set(GUARANTEES) <= set(words)


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


def test_only_the_status_is_coloured() -> None:
    report = made(("fail", "fail", "it may fail"), ("pass", "pass", ""))
    lines = report.summary(colour=True).splitlines()
    assert "  \033[31mfail\033[0m    fail: it may fail" in lines
    assert "  \033[32mpass\033[0m    pass" in lines


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


def test_a_report_whose_layout_cannot_be_loaded_is_its_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = made(("one", "pass", "well"), ("two", "fail", "broken"))
    monkeypatch.setitem(sys.modules, layout.__name__, None)
    assert str(report) == "pass: one: well\nfail: two: broken"


def test_a_check_reads_as_a_line() -> None:
    assert str(DoctorCheck("lock", "pass", "not locked")) == "pass: lock: not locked"


@pytest.mark.parametrize(
    ("detail", "shown"),
    [("it's 'so'", "it's 'so'"), ("a\nb\x1b[2J", "a\\nb\\x1b[2J"), ("naïve", "naïve")],
)
def test_a_detail_cannot_move_the_cursor(detail: str, shown: str) -> None:
    assert f"  fail    one: {shown}" in made(("one", "fail", detail)).summary().splitlines()
