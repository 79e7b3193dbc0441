"""The report on a place, and which place it is."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failing_calls import raising
from mount_tables import with_own_mounts
from safeatomic_core import _guarantees as guarantees
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core import doctor, inspect_guarantees
from safeatomic_core._posix import kernel
from safeatomic_core._types import ATOMIC_VISIBILITY, CRASH_DURABILITY, GUARANTEES

NEEDED = (ATOMIC_VISIBILITY, CRASH_DURABILITY)


# ----------------------------------------------------------------------------------------- reports


def test_a_report_lists_every_guarantee_with_its_reason(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "tmpfs")
    report = inspect_guarantees(tmp_path)
    assert tuple(report.guarantees) == tuple(report.reasons) == GUARANTEES
    assert report.degraded() == (CRASH_DURABILITY,)
    assert report.is_guaranteed(ATOMIC_VISIBILITY)
    assert not report.is_guaranteed(CRASH_DURABILITY)
    text = str(report)
    assert "tmpfs (local_posix_memory)" in text
    assert all(name in text and report.reasons[name] in text for name in GUARANTEES)


def test_names_that_somebody_chose_put_no_line_into_a_report(tmp_path: Path, fake: Any) -> None:
    """Any user may mount a FUSE filesystem, at a directory of any name."""
    point, subtype = r"/a\012\040\040CrashDurability\040Guaranteed", "fuse.x\x1b[31m"
    fake.table = fake.mounted(tmp_path.stat().st_dev, subtype, point=point)
    report = inspect_guarantees(tmp_path)
    assert report.environment.mount_point == "/a\n  CrashDurability Guaranteed"
    assert len(str(report).splitlines()) == 1 + len(GUARANTEES)
    assert str(report).replace("\n", "").isprintable()
    assert str(report.environment).isprintable()


def test_an_unknown_guarantee_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'crash' is not a guarantee; there are AtomicVisibility"):
        inspect_guarantees(tmp_path).is_guaranteed("crash")


def test_a_report_is_immutable_and_pickles(tmp_path: Path) -> None:
    report = inspect_guarantees(tmp_path)
    assert pickle.loads(pickle.dumps(report)) == report
    with pytest.raises(TypeError):
        report.guarantees[CRASH_DURABILITY] = "Guaranteed"  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (5, TypeError, "path must be"),
        (None, TypeError, "path must be"),
        ("", ValueError, "path must not be empty"),
        ("a\0b", ValueError, "NUL"),
    ],
)
def test_what_is_no_path_is_refused(path: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        inspect_guarantees(path)  # type: ignore[arg-type]


def test_a_file_its_directory_and_what_does_not_exist_yet_agree(target: Path, fake: Any) -> None:
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    reports = {
        str(inspect_guarantees(path))
        for path in (
            target,
            os.fsencode(target),
            target.parent,
            target.parent / "new",
            target.parent / "new" / "deeper" / "file",
            target / "below a file",
            target.parent / ("x" * 300),
        )
    }
    assert len(reports) == 1
    assert "ext4" in reports.pop()


def test_a_relative_path_is_judged_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "xfs")
    monkeypatch.chdir(tmp_path)
    assert inspect_guarantees("new").environment.filesystem == "xfs"


def test_links_are_followed_dangling_ones_and_loops_too(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "xfs")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("dangling", "loop"):
        assert inspect_guarantees(tmp_path / name).environment.filesystem == "xfs"


def test_a_directory_that_cannot_be_opened_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any
) -> None:
    monkeypatch.setattr(mounts, "open_directory", raising(errno.EACCES))
    assert inspect_guarantees(tmp_path).environment.filesystem == "unknown"
    monkeypatch.setattr(mounts, "open_directory", raising(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        inspect_guarantees(tmp_path)


def test_a_system_that_tells_nothing_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any, faults: Any
) -> None:
    faults.fail("stat", errno.EACCES)
    monkeypatch.setattr(mounts, "open_directory", raising(errno.EACCES))
    unknown = inspect_guarantees(tmp_path).environment
    assert (unknown.filesystem, unknown.device) == ("unknown", "0:0")


def test_a_file_that_vanishes_or_cannot_be_seen_meanwhile_does_no_harm(
    target: Path, fake: Any, faults: Any
) -> None:
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    faults.fail("stat", errno.ENOENT, at=1)  # gone, and back for the second look: a link's, perhaps
    assert inspect_guarantees(target).environment.filesystem == "ext4"
    faults.rules.clear()
    faults.fail("stat", errno.EACCES, at=2)
    assert inspect_guarantees(target.parent / "new").environment.filesystem == "ext4"


def test_a_lost_descriptor_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any
) -> None:
    monkeypatch.setattr(verdicts, "look", raising(errno.EIO))
    assert inspect_guarantees(tmp_path).environment.filesystem == "unknown"


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EPERM])
def test_without_proc_the_filesystem_is_unknown(tmp_path: Path, fake: Any, code: int) -> None:
    fake.failure = OSError(code, os.strerror(code))
    report = inspect_guarantees(tmp_path)
    assert report.environment.filesystem_class == "unknown"
    assert report.guarantees[CRASH_DURABILITY] == "NonTarget"
    assert "could not be determined" in report.reasons[CRASH_DURABILITY]


def test_a_shortage_of_descriptors_is_raised_as_what_it_is(tmp_path: Path, fake: Any) -> None:
    fake.failure = OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(OSError, match="Too many open files"):
        inspect_guarantees(tmp_path)


@pytest.mark.parametrize(
    ("look", "name"),
    [(inspect_guarantees, "missing/below"), (doctor, "missing/below"), (doctor, ".")],
)
def test_a_time_out_among_the_links_of_a_path_arrives(
    look: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake: Any,
    name: str,
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")  # nothing is remembered of it

    def late(_path: object) -> os.stat_result:
        raise TimeoutError

    monkeypatch.setattr(os, "lstat", late)
    with pytest.raises(TimeoutError):
        look(tmp_path / name)


def test_inspection_writes_nothing(tmp_path: Path, target: Path) -> None:
    before = sorted(os.listdir(tmp_path)), tmp_path.stat().st_mtime_ns, target.stat()
    inspect_guarantees(target)
    inspect_guarantees(tmp_path / "new")
    after = sorted(os.listdir(tmp_path)), tmp_path.stat().st_mtime_ns, target.stat()
    assert after[:2] == before[:2]
    assert after[2].st_mtime_ns == before[2].st_mtime_ns


def test_the_unknown_report_promises_nothing() -> None:
    report = guarantees.unknown_report()
    assert report.environment.filesystem_class == "unknown"
    assert report.environment.device == "0:0"
    assert not report.is_guaranteed(ATOMIC_VISIBILITY)


def test_this_machine_is_not_unknown(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/mountinfo"):
        pytest.skip("no /proc/self/mountinfo here")
    assert inspect_guarantees(tmp_path).environment.filesystem != "unknown"


# ---------------------------------------------------------------- places that cannot be looked at


@pytest.mark.parametrize(
    "code",
    [errno.EACCES, errno.EPERM, errno.ENOTCONN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT],
    ids=lambda code: errno.errorcode[code],
)
def test_a_place_that_cannot_be_entered_is_not_judged_by_the_one_above(
    tmp_path: Path, fake: Any, faults: Any, code: int
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    closed = str(tmp_path / "closed")
    faults.fail("stat", code, when=lambda path, **_options: str(path).startswith(closed))
    for path in (closed, f"{closed}/file"):
        report = inspect_guarantees(path)
        assert report.environment.filesystem == "unknown"
        assert os.strerror(code) in report.reasons[ATOMIC_VISIBILITY]
    assert inspect_guarantees(tmp_path).environment.filesystem == "ext4"


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR])
def test_what_is_not_there_is_judged_by_the_one_above(
    tmp_path: Path, fake: Any, faults: Any, code: int
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    missing = str(tmp_path / "missing")
    faults.fail("stat", code, when=lambda path, **_options: str(path).startswith(missing))
    assert inspect_guarantees(f"{missing}/file").environment.filesystem == "ext4"


def test_where_not_even_the_root_can_be_seen_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any, faults: Any
) -> None:
    faults.fail("stat", errno.ENOENT)
    monkeypatch.setattr(mounts, "open_directory", raising(errno.ENOENT))
    assert guarantees.nearest_directory(str(tmp_path)) == "/"
    assert inspect_guarantees(tmp_path).environment.filesystem == "unknown"


def test_a_relative_path_is_judged_below_a_directory_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Any
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "tmpfs")
    really = kernel.stat

    def stat_of(path: Any, **options: Any) -> os.stat_result:
        if os.path.isabs(path) and str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really(path, **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel, "stat", stat_of, raising=False)
    for path in ("new", "./new", "."):
        assert inspect_guarantees(path).environment.filesystem == "tmpfs", path
    assert inspect_guarantees(tmp_path / "new").environment.filesystem == "unknown"


def test_a_path_is_judged_where_a_write_goes_not_where_its_text_leads(tmp_path: Path) -> None:
    """The working directory is mounted over, and a link of /proc leads out of this namespace."""
    device = inspect_guarantees(tmp_path).environment.device
    outside = Path(f"/proc/{os.getpid()}/root{tmp_path}")

    def body(mount: Callable[..., bool]) -> None:
        os.chdir(tmp_path)
        assert mount("none", tmp_path, "tmpfs")
        (tmp_path / "link").symlink_to(tmp_path / "f")
        paths: list[str | Path] = ["f", "./f", "."]
        if os.access(outside, os.X_OK):  # root's
            paths += [outside, outside / "f"]
        for path in paths:
            for report in (inspect_guarantees(path), doctor(path)):
                assert report.environment.device == device, path
        for path in (tmp_path, tmp_path / "f", tmp_path / "link", tmp_path / "missing" / "f"):
            for report in (inspect_guarantees(path), doctor(path)):
                assert report.environment.device != device, path

    with_own_mounts(body)
