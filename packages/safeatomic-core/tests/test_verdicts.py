"""What is known of a filesystem, how it is found out, and for how long it is remembered."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core import inspect_guarantees
from safeatomic_core._gate import gate
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._types import ATOMIC_VISIBILITY, CRASH_DURABILITY
from safeatomic_core._verdicts import verdict_on

NEEDED = (ATOMIC_VISIBILITY, CRASH_DURABILITY)


def test_a_second_look_reads_no_table(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    first = inspect_guarantees(tmp_path)
    assert inspect_guarantees(tmp_path / "new") is first
    assert fake.reads == 1


def test_a_mount_may_have_the_number_0(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4").replace(b"27 ", b"0 ")
    for _ in range(2):
        assert inspect_guarantees(tmp_path).environment.filesystem == "ext4"
    assert fake.reads == 1


def test_a_change_of_the_mount_table_empties_the_cache(tmp_path: Path, fake: Any) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    assert inspect_guarantees(tmp_path).environment.filesystem == "ext4"
    fake.table = fake.mounted(device, "nfs4")  # unmounted, and the number given to another
    assert inspect_guarantees(tmp_path).environment.filesystem == "nfs4"
    assert fake.open_now == 1


def test_two_devices_are_remembered_side_by_side(tmp_path: Path, fake: Any) -> None:
    here = tmp_path.stat().st_dev
    other = os.makedev(250, 77)
    fake.table = fake.mounted(here, "ext4") + fake.mounted(other, "xfs", point="/elsewhere")
    for _ in range(3):
        assert verdict_on(here).environment.filesystem == "ext4"
        assert verdict_on(other).environment.filesystem == "xfs"
    assert fake.reads == 2


def test_a_device_mounted_twice_is_looked_at_each_time_by_path(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4") + fake.mounted(device, "ext4", point="/bound")
    for place in ("/", "/bound"):
        monkeypatch.setattr(mounts, "directory_of", lambda _fd, place=place: place)
        assert inspect_guarantees(tmp_path).environment.mount_point == place
    # ... while a write, for which the mount point means nothing, asks the cache.
    directory = -1  # not asked
    reads = fake.reads
    gate(device, "strict", "x", NEEDED, directory)
    assert fake.reads == reads


def test_an_automount_point_is_not_remembered(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "autofs")
    inspect_guarantees(tmp_path)
    inspect_guarantees(tmp_path)
    assert fake.reads == 2


def test_an_unlisted_mount_is_not_remembered(tmp_path: Path, fake: Any) -> None:
    inspect_guarantees(tmp_path)
    inspect_guarantees(tmp_path)
    assert fake.reads == 2


def test_a_mount_outside_the_table_is_not_remembered(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: 999)
    monkeypatch.setattr(
        mounts, "statfs", lambda _fd: (0xEF53).to_bytes(8, sys.byteorder) + bytes(9)
    )
    for _ in range(2):
        report = inspect_guarantees(tmp_path)
        assert report.environment.filesystem == "ext4"
        assert report.guarantees[CRASH_DURABILITY] == "BestEffort"
        assert "chroot" in report.reasons[CRASH_DURABILITY]
    assert fake.reads == 2


def test_a_device_is_remembered_under_its_own_number_only(tmp_path: Path, fake: Any) -> None:
    # A file can show another device number than its directory (an overlay, a file mounted over).
    device = tmp_path.stat().st_dev
    other = os.makedev(250, 77)
    fake.table = fake.mounted(device, "ext4") + fake.mounted(other, "nfs4", point="/net")
    fd = mounts.open_directory(str(tmp_path))
    try:
        assert verdict_on(other, fd).environment.filesystem == "ext4"
    finally:
        os.close(fd)
    assert verdict_on(other).environment.filesystem == "nfs4"


def test_a_path_helps_where_the_device_number_is_not_listed(fake: Any) -> None:
    fake.table = fake.mounted(os.makedev(0, 28), "btrfs", point="/home")
    report = verdict_on(os.makedev(0, 99), None, "/home/user")
    assert report.environment.filesystem == "btrfs"


def test_a_file_on_the_one_mount_of_its_number_is_looked_at_once(target: Path, fake: Any) -> None:
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    assert inspect_guarantees(target).environment.filesystem == "ext4"
    calls = []

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return call(*args, **kwargs)

        return counted

    with intercept(counting):
        assert inspect_guarantees(target).environment.filesystem == "ext4"
    assert calls == ["stat"]


def test_what_is_forgotten_is_looked_at_anew(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    inspect_guarantees(tmp_path)
    verdicts.forget()
    assert fake.open_now == 0
    inspect_guarantees(tmp_path)
    assert fake.reads == 2


def test_a_missing_file_is_where_its_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    really, asked = kernel.stat, list[str]()

    def noted(path: str, **options: Any) -> os.stat_result:
        asked.append(path)
        return really(path, **options)

    monkeypatch.setattr(kernel, "stat", noted, raising=False)
    assert verdicts._device_of_parent("f") == tmp_path.stat().st_dev
    assert verdicts._device_of_parent("sub/f") == tmp_path.stat().st_dev
    assert asked == ["f", ".", "sub/f", "sub"]
    assert verdicts._device_of_parent("dangling") is None
    assert verdicts._device_of_parent("missing/f") is None


def test_a_file_that_is_not_remembered_is_where_its_directory_is(
    target: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target.parent)
    really, asked = kernel.stat, list[str]()

    def noted(path: str, **options: Any) -> os.stat_result:
        asked.append(path)
        return really(path, **options)

    monkeypatch.setattr(kernel, "stat", noted, raising=False)
    for path in (str(target), target.name):
        assert verdicts.recall(path) == (None, target.stat().st_dev)
    assert asked == [str(target), str(target.parent), target.name, "."]


# -------------------------------------------------------------------------------------- long tables


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = mounts.open_directory(str(tmp_path))
    yield fd
    os.close(fd)


def test_of_a_long_table_the_beginning_is_enough_for_a_write(
    tmp_path: Path, directory: int, fake: Any
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    fake.long = True
    for _ in range(2):
        gate(device, "strict", "x", NEEDED, directory)
    assert fake.reads == 1
    assert verdict_on(device).mounted_names is None  # so that the kernel is asked


def test_what_was_remembered_of_half_a_table_is_no_report(
    tmp_path: Path, directory: int, fake: Any
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    fake.long = True
    gate(device, "strict", "x", NEEDED, directory)
    fake.long = False
    first = inspect_guarantees(tmp_path)
    assert fake.reads == 2
    assert inspect_guarantees(tmp_path) is first


def test_a_long_table_is_read_to_its_end_only_for_a_report(
    tmp_path: Path, directory: int, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    looked_for: list[int | None] = []

    def read(_watch: object, number: int | None = None) -> tuple[bytes, bool]:
        looked_for.append(number)
        return fake.table, True

    monkeypatch.setattr(fake, "read", read)
    monkeypatch.setattr(environment, "mount_number", lambda _fd: 27)
    verdicts.look(device, directory, "")
    verdicts.look(device, directory, "", whole=True)
    verdicts.forget()
    inspect_guarantees(tmp_path)
    assert looked_for == [27, None, None]
