"""A place, as the doctor's checks find it opened, and what they share."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mount_tables import with_own_mounts
from safeatomic_core import DoctorReport, _verdicts, doctor, write_atomic
from safeatomic_core._doctor.subject import Place, SkippedError, need_directory, shown, size_text
from safeatomic_core._posix import kernel

At = Callable[..., Place]


def failing(report: DoctorReport) -> set[str]:
    """Return which checks fail, but for those of the machine's filesystem."""
    failed = {check.name for check in report.checks if check.status == "fail"}
    return failed - {"filesystem", "durability"}


def test_a_file_s_own_status_is_that_of_a_link(at: At, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")  # which no path is resolved through
    place = at(tmp_path / "loop")
    for status in (place.target, place.link):
        assert status is not None
        assert stat.S_ISLNK(status.st_mode)


def test_a_link_that_takes_the_directory_s_place_is_not_followed(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    real = Place._resolve

    def resolve(self: Place) -> None:
        real(self)
        place.rename(tmp_path / "elsewhere")
        place.symlink_to("elsewhere")

    monkeypatch.setattr(Place, "_resolve", resolve)
    opened = at(place / "f")
    assert opened.dir_fd == -1
    assert isinstance(opened.trouble, NotADirectoryError)


def test_a_directory_is_not_kept_under_the_number_of_a_standard_stream(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program without a standard input gets it for its first file."""
    found, closed = tmp_path.stat(), list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "open", lambda *_args: 0, raising=False)
        patch.setattr(kernel, "dupfd", lambda *_args: 7, raising=False)
        patch.setattr(kernel, "fstat", lambda _fd: found, raising=False)
        patch.setattr(kernel, "close", closed.append, raising=False)
        place = at(tmp_path)
        assert need_directory(place) is found
        place.close()
    assert closed == [0, 7]


def test_a_directory_that_nothing_is_known_of_is_none_to_check(
    at: At, tmp_path: Path, faults: Any
) -> None:
    faults.fail("fstat", errno.EIO)
    place = at(tmp_path / "f")
    assert place.dir_fd >= 0
    assert place.trouble is not None
    with pytest.raises(SkippedError, match="cannot be opened"):
        need_directory(place)


def test_closing_a_place_twice_is_harmless(at: At, tmp_path: Path) -> None:
    place = at(tmp_path)
    place.close()
    place.close()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("two words ä", "'two words ä'"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, safe: str) -> None:
    assert shown(text) == safe


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (2 << 30, "2.0 GiB"),
    ],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 40, "1.0 TiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_sizes_are_in_units_that_people_read(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_relative_path_is_examined_as_a_write_goes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is another one by now than the one that has its name."""
    away, here = tmp_path / "away", tmp_path / "here"
    here.mkdir()
    (here / "f").write_bytes(b"content")
    (here / "below").mkdir()
    (here / "link").symlink_to("below/../f")
    (here / "loop").symlink_to("loop")
    monkeypatch.chdir(here)
    here.rename(away)
    for name in ("below", "f"):  # what has the names now
        (here / name).mkdir(parents=True)
    monkeypatch.setattr(os, "getcwd", lambda: str(here))
    for path, name in (
        ("f", "f"),
        ("link", "f"),
        (".", ""),
        ("below/new", "new"),
        ("loop", "loop"),
    ):
        report = doctor(path, destructive=True)
        checks = {check.name: check for check in report.checks}
        assert failing(report) == ({"target"} if path == "loop" else set())
        found = str(away / "below") if name == "new" else str(here if name == "loop" else away)
        assert checks["parent_exists"].detail == f"{shown(found)} is a directory"
    place = Place("link", report.environment)
    place.open()
    assert place.astray
    assert (place.name, place.reach("f"), place.join("f")) == ("f", "below/../f", f"{away}/f")
    place.close()


def test_a_working_directory_whose_path_is_too_long_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(30):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    write_atomic("f", "content", write_checksum=True)
    report = doctor("f", destructive=True)
    checks = {check.name: check for check in report.checks}
    assert failing(report) == set()
    assert checks["parent_exists"].detail == ". is a directory"
    assert checks["checksum"].status == "pass"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_working_directory_below_a_closed_one_is_examined(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target.parent)
    os.chown(target.parent, 65534, 65534)
    os.chown(target, 65534, 65534)
    closed = target.parent.parent
    mode = stat.S_IMODE(closed.stat().st_mode)
    closed.chmod(0o700)
    os.seteuid(65534)
    try:
        write_atomic(target.name, "content")
        report = doctor(target.name, destructive=True)
    finally:
        os.seteuid(0)
        closed.chmod(mode)
    assert report.environment.filesystem != "unknown"
    assert failing(report) == set()


def test_a_file_that_is_a_mount_point_is_one_below_a_strange_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").touch()
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "elsewhere"))
    monkeypatch.setattr(_verdicts, "is_mount_point", lambda _fd, name, _verdict: name == "f")
    report = doctor("f")
    assert report.guarantees["AtomicVisibility"] == "Unsupported"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the other namespace")
def test_a_directory_of_another_mount_namespace_is_shown_as_it_was_given(tmp_path: Path) -> None:
    outside = Path(f"/proc/{os.getpid()}/root{tmp_path}")
    (tmp_path / "f").write_bytes(b"content")
    tmp_path.chmod(0o777)

    def body(mount: Callable[..., bool]) -> None:
        assert mount("none", tmp_path, "tmpfs")
        checks = {check.name: check for check in doctor(outside / "f", destructive=True).checks}
        assert checks["parent_exists"].detail == f"{outside} is a directory"
        assert f"'chmod o-w {outside}'" in checks["parent_trust"].detail
        assert checks["target"].detail == "a regular file of 7 bytes"
        assert checks["probe_replace"].status == "pass"

    with_own_mounts(body)
