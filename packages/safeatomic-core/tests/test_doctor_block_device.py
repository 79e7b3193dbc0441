"""Block devices under a filesystem, on machines made of files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safeatomic_core import GuaranteeReport
from safeatomic_core._doctor import block_device as block
from safeatomic_core._environment import Environment, describe, parse_mount
from safeatomic_core._posix import intercept


class Machine:
    """A ``/sys`` with block devices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev" / "block").mkdir(parents=True)

    def device(
        self,
        name: str,
        number: str | None,
        cache: str | None,
        *,
        below: tuple[str, ...] = (),
        drive: str | None = None,
        backing: str | None = None,
        partition: str | None = None,
    ) -> None:
        directory = self.root / "devices" / name
        directory.mkdir(parents=True)
        numbered = directory
        if partition is not None:
            numbered = directory / partition
            numbered.mkdir()
            (numbered / "partition").write_text("1\n")
        if number is not None:
            (self.root / "dev" / "block" / number).symlink_to(numbered)
        if cache is not None:
            (directory / "queue").mkdir()
            (directory / "queue" / "write_cache").write_text(f"{cache}\n")
        (directory / "slaves").mkdir()
        for lower in below:
            (directory / "slaves" / lower).symlink_to(self.root / "devices" / lower)
        if drive is not None:
            disk = directory / "device" / "scsi_disk" / "0:0:0:0"
            disk.mkdir(parents=True)
            (disk / "cache_type").write_text(f"{drive}\n")
        if backing is not None:
            (directory / "loop").mkdir()
            (directory / "loop" / "backing_file").write_text(f"{backing}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(block, "SYSFS", str(tmp_path))
    return Machine(tmp_path)


def on(number: str, source: str = "/dev/none") -> Environment:
    mount = parse_mount(f"1 1 {number} / / rw - ext4 {source} rw".encode())
    return describe(mount, os.makedev(*map(int, number.split(":"))))


def test_a_cache_that_is_flushed_passes(machine: Machine) -> None:
    machine.device("sda", "8:0", "write back")
    status, detail = block.write_cache(on("8:0"))
    assert status == "pass"
    assert detail.startswith("sda: a volatile write cache, and flushes are sent")


def test_no_cache_passes_and_says_what_that_rests_on(machine: Machine) -> None:
    machine.device("nvme0n1", "259:0", "write through")
    status, detail = block.write_cache(on("259:0"))
    assert status == "pass"
    assert "unless somebody set 'write through' by hand" in detail


def test_a_partition_is_judged_by_its_disk(machine: Machine) -> None:
    machine.device("sda", "8:1", "write back", partition="sda1")
    assert block.write_cache(on("8:1"))[1].startswith("sda:")


def test_a_stack_is_named_from_the_top(machine: Machine) -> None:
    machine.device("sda", "8:0", "write back")
    machine.device("sdb", "8:16", "write back")
    machine.device("md0", "9:0", "write back", below=("sda", "sdb"))
    machine.device("dm-0", "253:0", "write back", below=("md0",))
    status, detail = block.write_cache(on("253:0"))
    assert status == "pass"
    assert detail.startswith("dm-0 on md0 on sda on sdb:")


def test_flushes_that_stop_at_the_top_layer_fail(machine: Machine) -> None:
    machine.device("sda", "8:0", "write back")
    machine.device("dm-0", "253:0", "write through", below=("sda",))
    status, detail = block.write_cache(on("253:0"))
    assert status == "fail"
    assert "sda has a volatile write cache, but dm-0 above it" in detail
    assert "/sys/block/dm-0/queue/write_cache" in detail


def test_flushes_that_stop_below_the_top_layer_fail_as_well(machine: Machine) -> None:
    machine.device("sda", "8:0", "write back")
    machine.device("md0", "9:0", "write through", below=("sda",))
    machine.device("dm-0", "253:0", "write back", below=("md0",))
    status, detail = block.write_cache(on("253:0"))
    assert status == "fail"
    assert "md0 above it" in detail


def test_a_cache_that_the_kernel_was_told_to_forget_fails(machine: Machine) -> None:
    machine.device("sda", "8:0", "write through", drive="write back, no read (daft)")
    status, detail = block.write_cache(on("8:0"))
    assert status == "fail"
    assert "the drive sda reports a volatile write cache" in detail


def test_a_drive_that_agrees_with_the_kernel_passes(machine: Machine) -> None:
    machine.device("sda", "8:0", "write through", drive="write through")
    assert block.write_cache(on("8:0"))[0] == "pass"


def test_a_loop_device_names_its_file(machine: Machine) -> None:
    machine.device("loop0", "7:0", "write back", backing="/srv/disk\x1b.img")
    status, detail = block.write_cache(on("7:0"))
    assert status == "pass"
    assert "passes flushes to the file /srv/disk\\x1b.img" in detail


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("tmpfs tmpfs rw", "warn", "tmpfs lives in memory"),
        ("ext4 /dev/sda1 rw,nobarrier", "warn", "write barriers are off (nobarrier)"),
        ("ext4 /dev/sda1 rw", "pass", "passes flushes to the file"),
    ],
)
def test_a_loop_device_lasts_no_longer_than_its_file(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    report_on: Callable[[str], GuaranteeReport],
    line: str,
    status: str,
    said: str,
) -> None:
    image = machine.root / "disk.img"
    machine.device("loop0", "7:0", "write back", backing=str(image))
    report = report_on(f"1 1 8:1 / / rw - {line}")
    monkeypatch.setattr(block, "inspect_guarantees", lambda _path: report)
    assert block.write_cache(on("7:0"))[0] == "pass"  # the file cannot be seen from here
    image.touch()
    found = block.write_cache(on("7:0"))
    assert found[0] == status
    assert said in found[1]


def test_a_kernel_that_does_not_say_is_unknown(machine: Machine) -> None:
    machine.device("mmcblk0", "179:0", None)
    status, detail = block.write_cache(on("179:0"))
    assert status == "unknown"
    assert "mmcblk0" in detail


def test_a_slash_in_a_name_is_written_as_the_kernel_writes_it(machine: Machine) -> None:
    machine.device("cciss!c0d0", "104:0", "write back")
    assert block.write_cache(on("104:0"))[1].startswith("cciss/c0d0:")


def test_a_device_that_nobody_knows_is_unknown(machine: Machine) -> None:
    assert block.write_cache(on("0:40"))[0] == "unknown"
    assert block.write_cache(on("0:40", "/dev/null"))[0] == "unknown"
    assert block.write_cache(on("0:40", "a\\000b"))[0] == "unknown"


def test_the_source_is_asked_where_the_number_is_the_filesystems_own(machine: Machine) -> None:
    machine.device("sdb", "8:16", "write back")

    def with_block_device(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def found(path: str, **options: Any) -> Any:
            if path != "/dev/sdb":
                return call(path, **options)
            return SimpleNamespace(st_mode=stat.S_IFBLK | 0o600, st_rdev=os.makedev(8, 16))

        return found if name == "stat" else call

    with intercept(with_block_device):
        assert block.write_cache(on("0:41", "/dev/sdb"))[0] == "pass"


def test_a_device_without_a_directory_is_unknown(machine: Machine) -> None:
    (machine.root / "dev" / "block" / "8:0").mkdir()
    (machine.root / "dev" / "block" / "8:0" / "partition").write_text("1\n")
    assert block.write_cache(on("8:0"))[0] == "unknown"
    (machine.root / "dev" / "block" / "8:1").symlink_to(machine.root / "gone")
    assert block.write_cache(on("8:1"))[0] == "unknown"


def test_a_stack_may_have_many_layers(machine: Machine) -> None:
    machine.device("sda", "8:0", "write back")
    lower = "sda"
    for number in range(7):
        name = f"dm-{number}"
        machine.device(name, f"253:{number}", "write back", below=(lower,))
        lower = name
    assert block.write_cache(on("253:6"))[1].split(":")[0].split(" on ")[-1] == "sda"


def test_a_stack_that_stands_on_itself_ends(machine: Machine) -> None:
    machine.device("dm-0", "253:0", "write back", below=("dm-0",))
    assert block.write_cache(on("253:0"))[0] == "pass"


def test_this_machine_has_an_answer(tmp_path: Path) -> None:
    environment = on(f"{os.major(tmp_path.stat().st_dev)}:{os.minor(tmp_path.stat().st_dev)}")
    status, detail = block.write_cache(environment)
    assert status in ("pass", "fail", "unknown")
    assert detail


@pytest.mark.parametrize(
    ("filesystem", "said", "reserved"),
    [("ext4", "655\n", 655), ("ext4", "odd", 0), ("ext4", None, 0), ("xfs", "655", 0)],
)
def test_what_ext4_keeps_for_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    filesystem: str,
    said: str | None,
    reserved: int,
) -> None:
    monkeypatch.setattr(block, "SYSFS", str(tmp_path))
    Machine(tmp_path).device("loop0", "7:0", "write through")
    if said is not None:
        place = tmp_path / "fs" / "ext4" / "loop0"
        place.mkdir(parents=True)
        (place / "reserved_clusters").write_text(said)
    mount = parse_mount(f"1 1 7:0 / /mnt rw - {filesystem} /dev/loop0 rw".encode())
    assert block.reserved_by_ext4(describe(mount, os.makedev(7, 0))) == reserved
