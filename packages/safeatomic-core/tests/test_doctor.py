"""The doctor as its users call it."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    DoctorReport,
    doctor,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._doctor import probes as probes
from safeatomic_core._doctor import process
from safeatomic_core._posix import intercept
from safeatomic_core._types import GUARANTEES

LOOKS = (
    "parent_exists",
    "parent_writable",
    "parent_trust",
    "parent_symlink",
    "process",
    "filesystem",
    "durability",
    "fsync_provider",
    "write_cache",
    "free_space",
    "free_inodes",
    "quota",
    "target",
    "name_length",
    "leftovers",
    "lock",
    "checksum",
)
PROBES = (
    "probe_exclusive_create",
    "probe_fsync_file",
    "probe_fsync_directory",
    "probe_replace",
    "probe_no_clobber",
    "probe_flock",
    "probe_lock",
    "probe_checksum",
)


def status_of(report: DoctorReport, name: str) -> str:
    return next(check.status for check in report.checks if check.name == name)


def detail_of(report: DoctorReport, name: str) -> str:
    return next(check.detail for check in report.checks if check.name == name)


def assert_readable(summary: str) -> None:
    """A line is longer than 80 columns only where one word of it, or what is quoted, is."""
    for line in summary.splitlines():
        words = re.sub(r"'[^']+'", lambda found: found.group().replace(" ", "_"), line).split()
        assert len(line) <= 80 or len(words) <= 2 or line.startswith(("doctor", "  skipped")), line


# ------------------------------------------------------------------------------------- what it does


@pytest.mark.usefixtures("ext4")
def test_looking_alone_skips_the_probes_and_writes_nothing(target: Path) -> None:
    before = sorted(os.listdir(target.parent)), target.parent.stat().st_mtime_ns
    report = doctor(target)
    assert tuple(check.name for check in report.checks) == LOOKS + PROBES
    assert {check.status for check in report.checks if check.name in PROBES} == {"unknown"}
    assert "destructive=True" in detail_of(report, "probe_replace")
    assert report.ok
    assert (sorted(os.listdir(target.parent)), target.parent.stat().st_mtime_ns) == before


@pytest.mark.usefixtures("ext4")
def test_probing_tries_everything_and_leaves_nothing(target: Path) -> None:
    before = target.stat()
    report = doctor(target, destructive=True)
    assert tuple(check.name for check in report.checks) == (*LOOKS, *PROBES, "probe_cleanup")
    assert {check.status for check in report.checks if check.name.startswith("probe")} == {"pass"}
    assert os.listdir(target.parent) == [target.name]
    after = target.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_atime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_atime_ns,
    )


@pytest.mark.usefixtures("ext4")
def test_a_directory_can_be_examined_as_such(tmp_path: Path) -> None:
    report = doctor(os.fsencode(tmp_path), destructive=True)
    assert report.ok
    assert report.path == str(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_probe_never_touches_the_target(target: Path) -> None:
    touched: list[str] = []
    effects = {"rename", "rename_noreplace", "link", "unlink", "ftruncate", "link_anonymous"}

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            writing = name == "open" and args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if name in effects or writing:
                touched.extend(
                    arg
                    for arg in args
                    if isinstance(arg, str) and os.path.basename(arg) == target.name
                )
            return call(*args, **options)

        return watched

    with intercept(wrap):
        doctor(target, destructive=True)
    assert touched == []
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("name", PROBES)
def test_an_interrupt_in_any_probe_leaves_nothing_behind(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method = name.removeprefix("probe_")
    real = getattr(probes.Probes, method)

    def interrupted(self: probes.Probes) -> None:
        real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(probes.Probes, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        doctor(target, destructive=True)
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError("odd")])
def test_a_probe_that_raises_fails_and_the_others_go_on(
    target: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(_self: probes.Probes) -> None:
        raise error

    monkeypatch.setattr(probes.Probes, "replace", broken)
    report = doctor(target, destructive=True)
    assert not report.ok
    assert status_of(report, "probe_replace") == "fail"
    assert status_of(report, "probe_checksum") == "pass"
    assert ("EIO" if isinstance(error, OSError) else "odd") in detail_of(report, "probe_replace")


@pytest.mark.usefixtures("ext4")
def test_a_look_that_raises_is_unknown_and_the_others_go_on(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise RuntimeError("odd")

    monkeypatch.setattr(process, "fsync_provider", broken)
    report = doctor(target)
    assert status_of(report, "fsync_provider") == "unknown"
    assert report.ok


def test_a_clean_up_that_fails_is_reported(target: Path) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: str, **options: Any) -> None:
            if path == "flock":
                raise OSError(errno.EPERM, "Operation not permitted")
            call(path, **options)

        return refuse if name == "unlink" else call

    with intercept(wrap):
        report = doctor(target, destructive=True)
    assert status_of(report, "probe_cleanup") == "fail"
    (left,) = (name for name in os.listdir(target.parent) if name != target.name)
    assert os.listdir(target.parent / left) == ["flock"]
    assert "EPERM" in detail_of(report, "probe_cleanup")


@pytest.mark.usefixtures("ext4")
def test_a_file_system_error_that_is_explained_already_is_not_explained_twice(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*args: Any, **options: Any) -> Any:
            if str(args[0]).startswith(".safeatomic-tmp-"):
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
            return call(*args, **options)

        return refuse if name == "open" else call

    with intercept(wrap):
        report = doctor(target, destructive=True)
    detail = detail_of(report, "probe_replace")
    assert status_of(report, "probe_replace") == "fail"
    assert detail.count("EDQUOT") == 1
    assert "quota is used up" in detail


def test_two_doctors_and_a_writer_do_not_disturb_each_other(target: Path) -> None:
    reports: list[DoctorReport] = []
    failures: list[BaseException] = []

    def examine() -> None:
        for _ in range(4):
            reports.append(doctor(target, destructive=True))  # noqa: PERF401 - one at a time

    def write() -> None:
        try:
            for number in range(12):
                write_atomic_bytes(
                    target, b"%d" % number, write_checksum=True, retries=1000, delay=0
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body) for body in (examine, examine, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(reports) == 8
    for report in reports:
        bad = [check for check in report.checks if check.status == "fail"]
        assert bad == []
    assert read_atomic_bytes(target, check_checksum=True) == b"11"
    assert sorted(os.listdir(target.parent)) == [target.name, target.name + ".sha256"]


def test_the_doctor_says_who_holds_the_lock(target: Path) -> None:
    assert try_acquire_lock(target)
    try:
        assert f"process {os.getpid()}" in detail_of(doctor(target, destructive=True), "lock")
    finally:
        assert release_lock(target)


# ------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 5}, TypeError, "path must be"),
        ({"path": ""}, ValueError, "path must not be empty"),
        ({"path": "a\0"}, ValueError, "NUL"),
        ({"path": "x", "destructive": "yes"}, TypeError, "destructive must be True or False"),
        ({"path": "x", "require": 5}, TypeError, "require must be names of guarantees"),
        ({"path": "x", "require": [5]}, TypeError, "require must contain only str, not int"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        doctor(**arguments)


# --------------------------------------------------------------------------------------- require


@pytest.mark.parametrize("name", ["CrashDurability", "crash_durability"])
def test_a_requirement_is_met_or_not(on: Callable[[str], None], target: Path, name: str) -> None:
    on("ext4 /dev/sda1 rw")
    report = doctor(target, require=[name])
    assert report.ok
    assert status_of(report, f"require_{name}") == "pass"
    on("tmpfs tmpfs rw")
    report = doctor(target, require=[name])
    assert not report.ok
    assert "CrashDurability is BestEffort" in detail_of(report, f"require_{name}")
    assert "'durability' says why" in detail_of(report, f"require_{name}")
    on("nfs4 filer:/x rw")
    report = doctor(target, require=["StaleRecovery"])
    assert "'filesystem' says why" in detail_of(report, "require_StaleRecovery")


@pytest.mark.usefixtures("ext4")
def test_every_guarantee_can_be_required_in_both_spellings(target: Path) -> None:
    snake = [
        "".join("_" + c.lower() if c.isupper() else c for c in name)[1:] for name in GUARANTEES
    ]
    report = doctor(target, require=[*GUARANTEES, *snake])
    assert report.ok
    assert len(report.checks) == len(LOOKS) + len(PROBES) + 16


@pytest.mark.usefixtures("ext4")
@pytest.mark.parametrize("name", ["Crash", "crashdurability", "CRASH_DURABILITY", "", "a\nb"])
def test_an_unknown_requirement_is_named_and_not_ok(target: Path, name: str) -> None:
    report = doctor(target, require=[name])
    assert not report.ok
    assert repr(name) in detail_of(report, f"require_{name}")
    assert "AtomicVisibility" in detail_of(report, f"require_{name}")
    assert_readable(report.summary())


@pytest.mark.usefixtures("ext4")
def test_one_requirement_may_be_a_plain_string_and_none_is_repeated(target: Path) -> None:
    assert (
        doctor(target, require="atomic_visibility").checks[-1].name == "require_atomic_visibility"
    )
    twice = doctor(target, require=iter(["AtomicVisibility", "AtomicVisibility"]))
    assert len(twice.checks) == len(LOOKS) + len(PROBES) + 1


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="elsewhere the stack is not counted in frames"
)
def test_near_the_end_of_the_stack_it_raises_what_every_call_does(
    target: Path,
) -> None:
    def below(frames: int) -> DoctorReport:
        return below(frames - 1) if frames else doctor(target)

    doctor(target)
    raised = set()
    limit = sys.getrecursionlimit()
    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    for left in range(2, 100):
        sys.setrecursionlimit(used + 400)
        try:
            below(400 - left)
        except Exception as error:
            raised.add(type(error))
        finally:
            sys.setrecursionlimit(limit)
    assert raised == {RecursionError}
