"""Every filesystem that can be mounted here, for real."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

import mounted
import safeatomic_core
from mounted import KINDS, ODD_NAME, Kind, NotPossibleError
from mounting import MARKS, on, privately
from safeatomic_core import (
    UnsupportedEnvironmentWarning,
    _temp_file,
    doctor,
    inspect_guarantees,
    read_atomic_bytes,
    write_atomic_bytes,
)
from safeatomic_core._doctor.subject import shown

ROOT = Path(__file__).parent.parent

pytestmark = MARKS


def load_generator() -> ModuleType:
    path = ROOT / "docs" / "generate_supported_environments.py"
    spec = importlib.util.spec_from_file_location("generate_supported_environments", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generator = load_generator()


# ------------------------------------------------------------------------------- the whole table

LOCAL, MEMORY = "local_posix_persistent", "local_posix_memory"
YES, SOME, NOT, NO = "Guaranteed", "BestEffort", "NonTarget", "Unsupported"
ALL = (YES, YES, YES, YES)
EXPECTED = {
    "ext4": ("ext4", LOCAL, ALL, "works"),
    "ext4, nobarrier": ("ext4", LOCAL, (YES, NO, YES, SOME), "refused: CrashDurability"),
    "ext4, data=journal": ("ext4", LOCAL, ALL, "works"),
    "ext4, data=writeback": ("ext4", LOCAL, ALL, "works"),
    "ext4, no journal": ("ext4", LOCAL, (YES, SOME, YES, SOME), "works"),
    "ext4, read-only": ("ext4", LOCAL, ALL, "fails: Read-only file system"),
    "ext4, bind mount": ("ext4", LOCAL, ALL, "works"),
    "ext4, odd name": ("ext4", LOCAL, ALL, "works"),
    "ext3": ("ext3", LOCAL, (SOME,) * 4, "works"),
    "ext2": ("ext2", LOCAL, (SOME,) * 4, "works"),
    "xfs": ("xfs", LOCAL, ALL, "works"),
    "btrfs": ("btrfs", LOCAL, ALL, "works"),
    "btrfs, nobarrier": ("btrfs", LOCAL, (YES, NO, YES, SOME), "refused: CrashDurability"),
    "btrfs, subvolume": ("btrfs", LOCAL, ALL, "works"),
    "tmpfs": ("tmpfs", MEMORY, (YES, SOME, YES, YES), "works"),
    "ramfs": ("ramfs", MEMORY, (SOME,) * 4, "works"),
    "overlay": ("overlay", LOCAL, (SOME,) * 4, "works"),
    "overlay, volatile": ("overlay", LOCAL, (SOME, NO, SOME, SOME), "refused: CrashDurability"),
    "fuse, no known server": ("fuse.memory", "unknown", (NOT,) * 4, "refused: AtomicVisibility"),
    "fuse, sshfs": ("fuse.sshfs", "network", (NOT,) * 4, "refused: AtomicVisibility"),
    "fuse, s3fs": ("fuse.s3fs", "object_store", (NO,) * 4, "refused: AtomicVisibility"),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_filesystem_is_what_the_table_says(kind: Kind, tmp_path: Path) -> None:
    try:
        found = generator.measure_kind(kind)
    except NotPossibleError as reason:
        pytest.skip(str(reason))
    filesystem, filesystem_class, levels, strict = EXPECTED[kind.name]
    assert found.filesystem == filesystem
    assert found.filesystem_class == filesystem_class
    assert found.levels == levels
    assert found.strict == strict
    assert bool(found.findings) == ("nobarrier" in kind.name or "volatile" in kind.name)
    # A filesystem that is refused can still be good: the probes say what it does.
    status = "unknown" if "read-only" in kind.name else "pass"
    assert {name: status for name, _ in found.probes} == dict(found.probes)
    assert len(found.probes) == 8
    assert set(found.left) <= {"file", "file.sha256"}
    assert bool(found.left) == (strict == "works")
    page = generator.PAGE.read_text("utf-8")
    assert generator.row_of(page, kind.name) == generator.row(found)


def test_every_kind_is_expected_and_in_the_page() -> None:
    page = generator.PAGE.read_text("utf-8")
    assert set(EXPECTED) == {kind.name for kind in KINDS}
    assert all(generator.row_of(page, kind.name) for kind in KINDS)


def test_the_samples_of_the_page_are_current() -> None:
    page = generator.PAGE.read_text("utf-8")
    assert generator.replaced(page, "samples", generator.sample_rows()) == page


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_every_guarantee_holds_on_tier_1_but_surviving_the_machine_in_memory(
    name: str, tmp_path: Path
) -> None:
    def body(place: Path) -> tuple[str, ...]:
        return inspect_guarantees(place).degraded()

    expected = ("CrashDurability",) if name == "tmpfs" else ()
    assert on(name, tmp_path, body) == expected


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_an_orphan_that_came_after_the_directory_was_opened_is_swept(
    name: str, tmp_path: Path
) -> None:
    def body(place: Path) -> list[tuple[str, int, int]]:
        fd = os.open(place, os.O_RDONLY)
        (place / ".safeatomic-tmp-0123456789abcdef.tmp").write_bytes(b"left")
        try:
            return _temp_file.orphans(fd, remove=True)
        finally:
            os.close(fd)

    assert on(name, tmp_path, body) == [(".safeatomic-tmp-0123456789abcdef.tmp", 4, os.geteuid())]


# -------------------------------------------------------------------------------- what is reported


def test_a_mount_point_is_reported_as_it_is_spelled(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[str | None, str, str]:
        report = doctor(place / "f")
        summary = report.summary()
        return (
            report.environment.mount_point,
            summary,
            report.path,
        )

    point, summary, path = on("ext4, odd name", tmp_path, body)
    assert point is not None
    assert point == str(tmp_path / ODD_NAME)
    assert "\t" not in summary
    assert shown(point) in summary  # on one line, however long it is
    assert shown(path) in summary


def test_a_bind_mount_and_its_origin_are_told_apart(tmp_path: Path) -> None:
    def body(place: Path) -> list[str | None]:
        origin = place.parent / "mnt"
        return [
            inspect_guarantees(path).environment.mount_point
            for path in (place, origin, place, origin)
        ]

    bound, origin = str(tmp_path / "bind"), str(tmp_path / "mnt")
    assert on("ext4, bind mount", tmp_path, body) == [bound, origin, bound, origin]


def test_a_subvolume_has_a_number_that_no_mount_has(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[bool, bool, str]:
        environment = inspect_guarantees(place).environment
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        listed = f" {environment.device} " in table
        again = inspect_guarantees(place / "new").environment
        return listed, again == environment, environment.filesystem

    assert on("btrfs, subvolume", tmp_path, body) == (False, True, "btrfs")


def test_the_write_cache_of_a_loop_device_is_found_with_its_file(tmp_path: Path) -> None:
    def body(place: Path) -> list[str]:
        return [check.detail for check in doctor(place).checks if check.name == "write_cache"]

    for name in ("ext4", "btrfs"):  # by the device number, and by the name of the source
        (detail,) = on(name, tmp_path, body)
        assert "loop" in detail
        assert str(tmp_path / "image") in detail


def test_the_upper_mount_of_two_on_one_point_counts(tmp_path: Path) -> None:
    def body(place: Path) -> list[str]:
        found = [inspect_guarantees(place).environment.filesystem]
        mounted.mount("over", place, "ramfs")
        found.append(inspect_guarantees(place).environment.filesystem)
        mounted.unmount(place)
        found.append(inspect_guarantees(place).environment.filesystem)
        return found

    assert on("tmpfs", tmp_path, body) == ["tmpfs", "ramfs", "tmpfs"]


# ---------------------------------------------------------------------------- warn and best effort


def test_warn_and_best_effort_go_on_where_strict_refuses(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[list[str], bytes]:
        target = place / "f"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_atomic_bytes(target, b"warned", write_checksum=True, safety="warn")
            seen = [
                f"{os.path.basename(found.filename)} {found.category.__name__}" for found in caught
            ]
            write_atomic_bytes(target, b"silent", write_checksum=True, safety="best_effort")
            assert len(caught) == len(seen)
        return seen, read_atomic_bytes(target, check_checksum=True, safety="best_effort")

    for name in ("fuse, no known server", "ext4, nobarrier", "overlay, volatile"):
        seen, content = on(name, tmp_path, body)
        assert seen == [f"{Path(__file__).name} {UnsupportedEnvironmentWarning.__name__}"], name
        assert content == b"silent"


# ------------------------------------------------------------------------------ space and quota


def test_a_full_filesystem_is_reported_before_a_write_fails(tmp_path: Path) -> None:
    def body(work: Path) -> list[tuple[str, str]]:
        results: list[tuple[str, str]] = []
        for options in ("size=512k", "nr_inodes=3"):
            point = work / options
            point.mkdir()
            mounted.mount("small", point, "tmpfs", options)
            (point / "f").write_bytes(bytes(100_000))
            if options.startswith("nr"):
                (point / "last").touch()
            else:
                (point / "other").write_bytes(bytes(360_000))
            checks = {check.name: check for check in doctor(point / "f", destructive=True).checks}
            results += [
                (name, checks[name].status) for name in ("free_space", "free_inodes", "probe_lock")
            ]
            assert sorted(path.name for path in point.iterdir())[0] == "f"
            assert len(list(point.iterdir())) == 2
        return results

    assert privately(tmp_path, body) == [
        ("free_space", "warn"),
        ("free_inodes", "pass"),
        ("probe_lock", "pass"),
        ("free_space", "pass"),
        ("free_inodes", "fail"),
        ("probe_lock", "fail"),
    ]


def test_a_quota_that_is_used_up_is_reported_and_its_error_says_what_to_do(tmp_path: Path) -> None:
    def body(work: Path) -> tuple[str, str, str, int]:
        place = mounted.quota_ext4(work, user=65534, limit_kib=64)
        os.setegid(65534)
        os.seteuid(65534)
        target = place / "f"
        write_atomic_bytes(target, bytes(1000))
        before = _check(doctor(target), "quota")
        (place / "filler").write_bytes(bytes(40_000))
        try:
            write_atomic_bytes(target, bytes(60_000))
        except OSError as error:
            code, text = error.errno or 0, str(error)
        with (place / "rest").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                pass  # the quota is used up now
        return before, _check(doctor(target), "quota"), text, code

    before, after, text, code = privately(tmp_path, body)
    assert before.startswith("pass: user 65534")
    assert "limits 64.0 KiB" in before
    assert after.startswith("fail: user 65534")
    assert code == errno.EDQUOT
    assert "quota is used up" in text


def _check(report: safeatomic_core.DoctorReport, name: str) -> str:
    return next(f"{check.status}: {check.detail}" for check in report.checks if check.name == name)
