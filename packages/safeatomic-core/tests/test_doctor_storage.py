"""What the doctor sees of the filesystem, without writing: guarantees, caches, room, quotas."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _guarantees as guarantees
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core._doctor import block_device, permissions, process, storage
from safeatomic_core._doctor import checks as look
from safeatomic_core._doctor.subject import Place
from safeatomic_core._guarantees import GuaranteeReport
from safeatomic_core._posix import intercept

At = Callable[..., Place]
ReportOn = Callable[[str], GuaranteeReport]


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("ext4 /dev/sda1 rw", "pass", ["ext4 (local_posix_persistent)"]),
        ("zfs tank/data rw", "warn", ["BestEffort for AtomicVisibility", "zfs"]),
        ("nfs4 filer:/x rw", "fail", ["NonTarget", "network filesystem", "safety='warn'"]),
        ("fuse.s3fs s3fs rw", "fail", ["Unsupported", "objects"]),
        ("whatfs x rw", "fail", ["not known to this library"]),
    ],
)
def test_the_filesystem_is_judged_by_its_guarantees(
    at: At, report_on: ReportOn, tmp_path: Path, line: str, status: str, words: list[str]
) -> None:
    report = report_on(f"1 1 8:1 / / rw - {line}")
    found = storage.filesystem(at(tmp_path / "f", report), report)
    assert found[0] == status
    assert all(word in found[1] for word in words)


def test_options_that_cannot_be_seen_leave_durability_open(at: At, tmp_path: Path) -> None:
    mount = environment.Mount(1, "8:1", None, (), "ext4", "/dev/sda1")
    report = guarantees._report_on(verdicts.judge(mount, os.makedev(8, 1)))
    place = at(tmp_path / "f", report)
    assert storage.durability(place, report)[0] == "warn"
    status, detail = storage.filesystem(place, report)
    assert status == "warn"
    assert "BestEffort for IntegrityDetection: the mount options cannot be seen" in detail


def test_an_undetermined_filesystem_says_to_mount_proc(at: At, tmp_path: Path) -> None:
    report = guarantees.unknown_report()
    status, detail = storage.filesystem(at(tmp_path / "f", report), report)
    assert status == "fail"
    assert "mount /proc" in detail


def test_a_file_that_is_a_mount_point_is_not_told_to_move_to_a_local_filesystem(
    at: At, report_on: ReportOn, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on one: mounting its directory brings the guarantees back."""
    whole = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw")
    verdict = verdicts.Verdict(whole.environment, whole.guarantees, whole.reasons)
    report = guarantees._report_on(verdict.of_mount_point())
    place = at(target, report)
    monkeypatch.setattr(look, "is_mount_point", lambda _fd, _name: True)
    found = (storage.filesystem(place, report), storage.durability(place, report))
    for status, detail in (*found, look.target(place)):
        assert status == "fail"
        assert "ount the directory that holds" in detail
        assert "local filesystem" not in detail


def test_a_filesystem_that_is_not_known_is_one_that_was_determined(
    at: At, report_on: ReportOn, tmp_path: Path
) -> None:
    report = report_on("1 1 8:1 / / rw - newfs /dev/sda1 rw")
    status, detail = storage.filesystem(at(tmp_path / "f", report), report)
    assert status == "fail"
    assert "newfs" in detail
    assert "mount /proc" not in detail


@pytest.mark.parametrize(
    ("line", "status", "word"),
    [
        ("ext4 /dev/sda1 rw", "pass", "nothing was found"),
        ("ext4 /dev/sda1 rw,nobarrier", "fail", "Remount with barriers on"),
        ("overlay overlay rw,volatile", "fail", "volatile"),
        ("tmpfs tmpfs rw", "warn", "keep what matters on a disk"),
        ("ext4 /dev/zram0 rw", "warn", "RAM disk"),
        ("vfat /dev/sda1 rw", "fail", "use a local filesystem"),
        ("zfs tank/data rw", "warn", "given under 'filesystem'"),
        ("nfs4 filer:/x rw", "fail", "given under 'filesystem'"),
    ],
)
def test_durability_is_judged_with_its_reason(
    at: At, report_on: ReportOn, tmp_path: Path, line: str, status: str, word: str
) -> None:
    report = report_on(f"1 1 8:1 / / rw - {line}")
    found = storage.durability(at(tmp_path / "f", report), report)
    assert found[0] == status
    assert word in found[1]


@pytest.mark.parametrize(
    ("library", "status"),
    [
        ("/lib/x86_64-linux-gnu/libc.so.6", "pass"),
        ("/lib/ld-musl-x86_64.so.1", "pass"),
        ("/usr/lib/system/libsystem_kernel.dylib", "pass"),
        ("/usr/local/bin/static-python", "pass"),
        ("/usr/lib/libclever.so", "warn"),
    ],
)
def test_the_provider_of_fsync_is_named(
    at: At,
    report_on: ReportOn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    status: str,
) -> None:
    monkeypatch.setattr(process, "fsync_provider", lambda: library)
    report = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw")
    found = storage.fsync_provider(at(tmp_path / "f", report), report)
    assert found[0] == status
    assert library in found[1]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("8:1 / / rw - ext4 /dev/sda1 rw", "fail"),
        ("0:9 / / rw - tmpfs tmpfs rw", "warn"),
        ("1:0 / / rw - ext4 /dev/ram0 rw", "warn"),
    ],
)
def test_an_fsync_that_is_ignored_fails_where_strict_refuses(
    at: At,
    report_on: ReportOn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    status: str,
) -> None:
    monkeypatch.setattr(mounts, "fsync_is_ignored", lambda: True)
    report = report_on(f"1 1 {line}")
    assert storage.fsync_provider(at(tmp_path / "f", report), report)[0] == status


def test_what_else_takes_durability_away_is_not_blamed_on_fsync(
    at: At, report_on: ReportOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "fsync_provider", lambda: "/lib/libc.so.6")
    report = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw,nobarrier")
    assert report.environment.durability_findings
    assert storage.fsync_provider(at(tmp_path / "f", report), report)[0] == "pass"


def test_write_caches_are_looked_for_under_disks_only(
    at: At, report_on: ReportOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ("pass", "asked")
    monkeypatch.setattr(block_device, "write_cache", lambda _environment: answer)
    for line in ("tmpfs tmpfs rw", "nfs4 filer:/x rw"):
        report = report_on(f"1 1 0:50 / / rw - {line}")
        assert storage.write_cache(at(tmp_path / "f", report))[0] == "unknown"
    for line in ("ext4 /dev/sda1 rw", "ntfs3 /dev/sda1 rw"):
        report = report_on(f"1 1 8:1 / / rw - {line}")
        assert storage.write_cache(at(tmp_path / "f", report)) == answer


class Statvfs:
    """Free space as a test wants it."""

    def __init__(self, **values: int) -> None:
        self.f_frsize = 4096
        self.f_blocks = self.f_bavail = self.f_bfree = 1000
        self.f_files = self.f_favail = self.f_ffree = 1000
        self.f_namemax = 255
        vars(self).update(values)


def with_statvfs(**values: int) -> intercept:
    return intercept(
        lambda name, call: (lambda _fd: Statvfs(**values)) if name == "fstatvfs" else call
    )


def test_twice_the_file_and_a_little_more_is_room_enough(at: At, target: Path) -> None:
    os.truncate(target, 100 << 20)  # bytes
    enough = (201 << 20) // 4096
    for blocks, status in ((enough - 1, "warn"), (enough, "pass")):
        with with_statvfs(f_bavail=blocks, f_bfree=blocks, f_blocks=blocks):
            assert storage.free_space(at(target))[0] == status


@pytest.mark.parametrize(
    ("blocks", "size", "status", "word"),
    [
        (1000, 0, "pass", "3.9 MiB free"),
        (1000, 5000, "pass", "the file has 4.9 KiB"),
        (300, 100_000, "warn", "tight"),
        (25, 25 * 4096, "warn", "tight"),
        (25, 25 * 4096 + 1, "warn", "do not fit at once"),
        (10, 100_000, "warn", "do not fit at once"),
        (1, 0, "fail", "free some space"),
        (0, 0, "fail", "0 bytes free"),
    ],
)
def test_free_space_is_held_against_the_file(
    at: At, target: Path, blocks: int, size: int, status: str, word: str
) -> None:
    os.truncate(target, size)
    with with_statvfs(f_bavail=blocks, f_bfree=blocks):
        found = storage.free_space(at(target))
    assert found[0] == status
    assert word in found[1]


@pytest.mark.parametrize(("reserve", "status"), [(True, "pass"), (False, "fail")])
def test_blocks_that_are_kept_for_root_are_free_for_root_only(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, reserve: bool, status: str
) -> None:
    monkeypatch.setattr(permissions, "may_use_reserve", lambda: reserve)
    monkeypatch.setattr(block_device, "reserved_by_ext4", lambda _environment: 0)
    with with_statvfs(f_bavail=1, f_bfree=1000):
        assert storage.free_space(at(target))[0] == status


@pytest.mark.parametrize("name", ["", "missing"])
def test_free_space_is_held_against_a_file_only(at: At, tmp_path: Path, name: str) -> None:
    with with_statvfs():
        assert storage.free_space(at(tmp_path / name)) == ("pass", "3.9 MiB free")


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not use the reserve")
@pytest.mark.parametrize(("free", "status"), [(655, "fail"), (656, "fail"), (657, "warn")])
def test_what_ext4_keeps_for_itself_is_not_free(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    monkeypatch.setattr(block_device, "reserved_by_ext4", lambda _environment: 655)
    with with_statvfs(f_bavail=0, f_bfree=free):
        assert storage.free_space(at(target))[0] == status


def test_a_filesystem_without_a_size_is_unknown(at: At, tmp_path: Path) -> None:
    with with_statvfs(f_blocks=0):
        assert storage.free_space(at(tmp_path / "f"))[0] == "unknown"


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [
        (0, 0, "pass"),
        *((100, 0, "fail"), (100, 1, "fail")),
        *((100, 2, "warn"), (100, 15, "warn")),
        *((100, 16, "pass"), (100, 50, "pass")),
    ],
)
def test_free_inodes(at: At, tmp_path: Path, total: int, free: int, status: str) -> None:
    with with_statvfs(f_files=total, f_favail=free, f_ffree=free):
        assert storage.free_inodes(at(tmp_path / "f"))[0] == status


@pytest.mark.parametrize(("reserve", "status"), [(True, "pass"), (False, "fail")])
def test_inodes_that_are_kept_for_root_are_free_for_root_only(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve: bool, status: str
) -> None:
    monkeypatch.setattr(permissions, "may_use_reserve", lambda: reserve)
    with with_statvfs(f_files=100, f_favail=0, f_ffree=50):
        assert storage.free_inodes(at(tmp_path / "f"))[0] == status


NOTHING = (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("user", "group", "status", "word"),
    [
        (NOTHING, None, "pass", "0 bytes, 0 inodes in use"),
        ((10240, 0, 4096, 0, 0, 3), NOTHING, "pass", "limits 10.0 KiB and 0 inodes"),
        ((0, 8192, 4096, 0, 0, 3), NOTHING, "pass", "limits 8.0 KiB and 0 inodes"),
        ((0, 0, 4096, 7, 5, 3), NOTHING, "pass", "limits 0 bytes and 7 inodes"),
        ((0, 0, 4096, 7, 0, 3), NOTHING, "pass", "limits 0 bytes and 7 inodes"),
        ((10240, 8192, 4096, 0, 0, 3), NOTHING, "pass", "limits 10.0 KiB and 0 inodes"),
        ((0, 0, 4096, 0, 5, 3), NOTHING, "pass", "limits 0 bytes and 5 inodes"),
        ((10240, 8192, 10240, 0, 0, 3), None, "fail", "EDQUOT"),
        ((0, 0, 0, 3, 0, 3), None, "fail", "EDQUOT"),
        ((10240, 8192, 9000, 0, 0, 3), None, "warn", "soft limit"),
        ((10240, 8192, 8192, 0, 3, 3), None, "pass", "limits 10.0 KiB and 3 inodes"),
        ((0, 0, 0, 0, 2, 3), None, "warn", "soft limit"),
        (None, (0, 0, 0, 0, 2, 3), "warn", "group"),
        (None, None, "pass", "no quota"),
    ],
)
def test_a_quota_is_held_against_what_is_used(
    at: At,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: tuple[int, ...] | None,
    group: tuple[int, ...] | None,
    status: str,
    word: str,
) -> None:
    def quota(_device: str, kind: int, _number: int) -> tuple[int, ...]:
        limits = (user, group)[kind]
        if limits is None:
            raise ProcessLookupError(errno.ESRCH, "No such process")
        return limits

    monkeypatch.setattr(process, "quota", quota)
    found = storage.quota(at(tmp_path / "f"))
    assert found[0] == status
    assert word in found[1]


def test_a_quota_that_may_not_be_asked_for_is_unknown(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> tuple[int, ...]:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(process, "quota", refuse)
    assert storage.quota(at(tmp_path / "f"))[0] == "unknown"


@pytest.mark.parametrize(
    ("length", "status", "word"),
    [
        (10, "pass", "sidecars fit"),
        (248, "pass", "sidecars fit"),
        (249, "warn", "no room for a checksum"),
        (250, "warn", "no room for a checksum"),
        (251, "fail", "a lock and a checksum"),
        (252, "fail", "a checksum"),
        (255, "fail", "concurrency='none'"),
        (256, "fail", "255 are allowed"),
    ],
)
def test_names_are_measured_with_their_sidecars(
    at: At, tmp_path: Path, length: int, status: str, word: str
) -> None:
    with with_statvfs():
        found = look.name_length(at(tmp_path / ("n" * length)))
    assert found[0] == status
    assert word in found[1]


def test_a_directory_has_no_name_to_measure(at: At, tmp_path: Path) -> None:
    assert look.name_length(at(tmp_path))[0] == "pass"
