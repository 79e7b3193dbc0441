"""The tables: what is concluded from a mount, for every filesystem that could be recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from safeatomic_core import _filesystems as filesystems
from safeatomic_core._environment import describe, lives_in_memory, parse_mount
from safeatomic_core._types import GUARANTEES, LEVELS


class Sample(NamedTuple):
    name: str
    filesystem: str
    kind: str
    durability: str
    line: bytes


def read_samples() -> list[Sample]:
    found = []
    head: list[str] = []
    for line in (Path(__file__).parent / "samples" / "mounts.txt").read_text("utf-8").split("\n"):
        if line.startswith("= "):
            head = [field.strip() for field in line[2:].split("|")]
        elif line and not line.startswith("#"):
            name, filesystem, kind, durability, origin = head
            assert origin in ("recorded", "composed")
            found.append(Sample(name, filesystem, kind, durability, line.encode()))
    return found


SAMPLES = read_samples()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_mount_is_classed_and_graded_as_the_sample_says(sample: Sample) -> None:
    mount = parse_mount(sample.line)
    assert mount is not None
    environment = describe(mount, os.makedev(*map(int, mount.device.split(":"))))
    assert environment.filesystem == sample.filesystem
    assert environment.filesystem_class == sample.kind
    levels, reasons = filesystems.levels(
        "linux",
        environment.filesystem,
        environment.filesystem_class,
        environment.durability_findings,
        in_memory=lives_in_memory(environment),
    )
    assert levels["CrashDurability"] == sample.durability
    assert set(levels) == set(reasons) == set(GUARANTEES)
    assert set(levels.values()) <= set(LEVELS)
    assert all(reasons.values())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_strict_needs_a_local_posix_filesystem(sample: Sample) -> None:
    levels, _ = filesystems.levels("linux", sample.filesystem, sample.kind, ())
    refused = levels["AtomicVisibility"] in ("NonTarget", "Unsupported")
    assert refused == (not sample.kind.startswith("local_posix"))


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs"])
def test_tier_1_guarantees_everything(name: str) -> None:
    levels, _ = filesystems.levels("linux", name, filesystems.PERSISTENT, ())
    assert set(levels.values()) == {"Guaranteed"}


def test_tmpfs_guarantees_everything_but_surviving_the_machine() -> None:
    levels, reasons = filesystems.levels("linux", "tmpfs", filesystems.MEMORY, ())
    assert levels.pop("CrashDurability") == "BestEffort"
    assert set(levels.values()) == {"Guaranteed"}
    assert "not the machine" in reasons["CrashDurability"]


def test_what_removes_durability_is_named_in_the_reason() -> None:
    found = filesystems.hazards("ext4", ("rw", "barrier=0"))
    levels, reasons = filesystems.levels("linux", "ext4", filesystems.PERSISTENT, found)
    assert levels["CrashDurability"] == "Unsupported"
    assert "barrier=0" in reasons["CrashDurability"]
    assert levels["IntegrityDetection"] == "BestEffort"
    assert levels["AtomicVisibility"] == "Guaranteed"


def test_a_filesystem_that_sends_no_flush_promises_no_durability() -> None:
    found = filesystems.hazards("jfs", ("rw",))
    levels, reasons = filesystems.levels("linux", "jfs", filesystems.PERSISTENT, found)
    assert levels["CrashDurability"] == "Unsupported"
    assert "no flush" in reasons["CrashDurability"]
    assert filesystems.advice("jfs", filesystems.PERSISTENT, found) == "Use ext4, xfs or btrfs"


@pytest.mark.parametrize(
    ("name", "recorded"), [("overlay", True), ("zfs", False), ("f2fs", False), ("nilfs2", False)]
)
def test_a_filesystem_whose_flushes_nobody_recorded_says_so(name: str, recorded: bool) -> None:
    levels, reasons = filesystems.levels("linux", name, filesystems.PERSISTENT, ())
    assert levels["CrashDurability"] == "BestEffort"
    assert ("never recorded" in reasons["CrashDurability"]) != recorded


@pytest.mark.parametrize(
    ("name", "kind", "findings", "word"),
    [
        ("ext4", filesystems.PERSISTENT, ("write barriers are off",), "Remount with barriers on"),
        ("overlay", filesystems.PERSISTENT, ("volatile",), "remove 'work/incompat/volatile'"),
        ("ext4", filesystems.PERSISTENT, (), "local filesystem"),
        ("nfs4", filesystems.NETWORK, ("write barriers are off",), "local filesystem"),
    ],
)
def test_the_advice_fits_what_is_missing(
    name: str, kind: str, findings: tuple[str, ...], word: str
) -> None:
    assert word in filesystems.advice(name, kind, findings)


def test_memory_stays_best_effort_when_fsync_is_ignored_as_well() -> None:
    levels, _ = filesystems.levels("linux", "tmpfs", filesystems.MEMORY, ("fsync is ignored",))
    assert levels["CrashDurability"] == "BestEffort"


def test_a_network_filesystem_without_fsync_is_unsupported_for_durability() -> None:
    levels, reasons = filesystems.levels("linux", "nfs4", filesystems.NETWORK, ("no fsync",))
    assert levels["CrashDurability"] == "Unsupported"
    assert reasons["CrashDurability"] == "no fsync"


@pytest.mark.parametrize(
    ("name", "journal", "reason"),
    [
        ("ext4", False, "this ext4 has no journal (tune2fs -j adds one), or is mounted without"),
        ("ext4", None, "cannot be seen from here"),
        ("ext2", True, "this ext2 has no journal"),  # none ever has
    ],
)
def test_without_a_journal_nothing_survives_a_crash_for_certain(
    name: str, journal: bool | None, reason: str
) -> None:
    levels, reasons = filesystems.levels("linux", name, filesystems.PERSISTENT, (), journal=journal)
    assert levels["CrashDurability"] == levels["IntegrityDetection"] == "BestEffort"
    assert reason in reasons["CrashDurability"]
    assert reason in reasons["IntegrityDetection"]
    whole = "Guaranteed" if name == "ext4" else "BestEffort"
    assert levels["AtomicVisibility"] == whole


def test_barriers_that_are_off_weigh_more_than_a_missing_journal() -> None:
    found = filesystems.hazards("ext4", ("rw", "nobarrier"))
    levels, _ = filesystems.levels("linux", "ext4", filesystems.PERSISTENT, found, journal=False)
    assert levels["CrashDurability"] == "Unsupported"


@pytest.mark.parametrize(("journal", "reason"), [(True, "chroot"), (False, "no journal")])
def test_hidden_mount_options_leave_durability_open(journal: bool, reason: str) -> None:
    levels, reasons = filesystems.levels(
        "linux", "ext4", filesystems.PERSISTENT, (), options_seen=False, journal=journal
    )
    assert levels["CrashDurability"] == levels["IntegrityDetection"] == "BestEffort"
    assert reason in reasons["CrashDurability"]
    assert reason in reasons["IntegrityDetection"]


def test_zfs_says_that_its_sync_property_cannot_be_seen() -> None:
    _, reasons = filesystems.levels("linux", "zfs", filesystems.PERSISTENT, ())
    assert "sync=disabled" in reasons["CrashDurability"]


def test_apfs_guarantees_everything_but_extended_attributes() -> None:
    levels, _ = filesystems.levels("darwin", "apfs", filesystems.PERSISTENT, ())
    assert levels.pop("MetadataPreservation") == "BestEffort"
    assert set(levels.values()) == {"Guaranteed"}


def test_a_filesystem_tested_on_one_platform_is_not_thereby_tested_on_another() -> None:
    levels, _ = filesystems.levels("freebsd14", "ext4", filesystems.PERSISTENT, ())
    assert levels["AtomicVisibility"] == "BestEffort"


@pytest.mark.parametrize(
    ("options", "stolen"),
    [
        (("barrier=1",), False),
        (("barrier=none",), True),
        (("barriers=off",), True),
        (("mnt_async",), True),
        (("volatile",), False),  # an overlay's word; anywhere else it means something else
        (("nolazytime", "async", "nodiratime"), False),
        (("journal_flush_disabled",), False),
    ],
)
def test_options_that_remove_durability(options: tuple[str, ...], stolen: bool) -> None:
    assert bool(filesystems.hazards("ext4", options)) == stolen


def test_a_journal_flush_that_is_not_disabled_is_no_finding() -> None:
    assert filesystems.hazards("bcachefs", ("journal_flush_disabled=0",)) == ()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("ext4", filesystems.PERSISTENT, (True, True, True)),
        ("nfs4", filesystems.NETWORK, (True, True, True)),
        ("ntfs3", filesystems.WINDOWS, (True, False, True)),
        ("vfat", filesystems.WINDOWS, (True, False, False)),
        ("fuse.s3fs", filesystems.OBJECT_STORE, (False, False, False)),
        ("unknown", filesystems.UNKNOWN, (False, False, False)),
    ],
)
def test_what_is_supported_follows_from_the_class(
    name: str, kind: str, expected: tuple[bool, bool, bool]
) -> None:
    assert filesystems.support(name, kind) == expected


def test_no_name_is_listed_in_two_classes() -> None:
    names = [name for members in filesystems._MEMBERS.values() for name in members.split()]
    assert len(names) == len(set(names))


def test_cross_device_safety_is_the_librarys_own_doing() -> None:
    for kind in (filesystems.NETWORK, filesystems.OBJECT_STORE, filesystems.UNKNOWN):
        levels, _ = filesystems.levels("linux", "x", kind, ())
        assert levels["CrossDeviceSafety"] == "Guaranteed"
    levels, _ = filesystems.levels("win32", "x", filesystems.WINDOWS, ())
    assert levels["CrossDeviceSafety"] == "NonTarget"
