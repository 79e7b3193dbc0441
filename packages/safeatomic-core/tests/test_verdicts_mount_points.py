"""A file that is a mount point, or that shows another number than its directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failing_calls import raising
from mount_tables import with_own_mounts
from safeatomic_core import _environment as environment
from safeatomic_core import _filesystems as filesystems
from safeatomic_core import _mounts as mounts
from safeatomic_core import inspect_guarantees
from safeatomic_core._posix import intercept
from safeatomic_core._verdicts import is_mount_point, verdict_on


def test_a_file_mounted_over_is_judged_by_its_directory(target: Path, fake: Any) -> None:
    device = target.stat().st_dev
    fake.table = fake.mounted(device, "ext4") + fake.mounted(ELSEWHERE, "tmpfs", point="/x")
    with intercept(showing_device(target, ELSEWHERE)):
        assert inspect_guarantees(target).environment.filesystem == "ext4"


@pytest.mark.parametrize(
    ("fstype", "mounts_of_the_other"),
    [("overlay", ["/lower"]), ("ext4", ["/x", "/place/of/the/file"])],
    ids=["overlay", "mounted over"],
)
def test_a_file_with_a_known_number_that_is_not_its_directory_s(
    target: Path, fake: Any, fstype: str, mounts_of_the_other: list[str]
) -> None:
    fake.table = fake.mounted(target.stat().st_dev, fstype) + b"".join(
        fake.mounted(ELSEWHERE, "xfs", point=point) for point in mounts_of_the_other
    )
    assert verdict_on(ELSEWHERE).environment.filesystem == "xfs"
    for _ in range(3):
        with intercept(showing_device(target, ELSEWHERE)):
            assert inspect_guarantees(target).environment.filesystem == fstype


ELSEWHERE = os.makedev(250, 77)


def showing_device(target: Path, device: int) -> Callable[..., Any]:
    """Return what makes one file show another device number than its directory's."""

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def other(path: str, **options: Any) -> os.stat_result:
            found = list(call(path, **options))
            found[2] = device
            return os.stat_result(found)

        if name != "stat":
            return call
        return lambda path, **options: (other if path == str(target) else call)(path, **options)

    return wrap


def test_a_name_that_nothing_is_mounted_on_costs_no_system_call(
    target: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    verdict = verdict_on(target.stat().st_dev)
    monkeypatch.setattr(mounts, "mount_id_at", raising(errno.EIO))
    assert verdict.mounted_names == frozenset({""})
    assert not is_mount_point(-1, target.name, verdict)


def test_the_kernel_decides_over_a_name_that_something_is_mounted_on(
    target: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = f"/elsewhere/{target.name}"
    fake.table = fake.mounted(target.stat().st_dev, "ext4") + fake.mounted(
        ELSEWHERE, "tmpfs", point=point
    )
    verdict = verdict_on(target.stat().st_dev)
    for number, expected in ((7, True), (6, False)):
        monkeypatch.setattr(mounts, "mount_id", lambda _fd: 6)
        monkeypatch.setattr(mounts, "mount_id_at", lambda _fd, _name, number=number: number)
        assert is_mount_point(-1, target.name, verdict) is expected


def test_the_kernel_decides_where_the_table_does_not_list_the_mount(
    target: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table lists no mount of another namespace, which ``/proc/PID/root`` leads to."""
    magic = environment.Mount(-1, "", None, (), "ext4", "")
    fake.table = fake.mounted(target.stat().st_dev, "tmpfs")
    monkeypatch.setattr(environment, "find_mount", lambda *_args: magic)
    monkeypatch.setattr(mounts, "mount_id_at", lambda _fd, _name: 7)
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: 6)
    assert inspect_guarantees(target).guarantees["AtomicVisibility"] == "Unsupported"


def test_a_file_beside_others_on_one_mount_is_no_mount_point(target: Path) -> None:
    fd = mounts.open_directory(str(target.parent))
    try:
        assert not is_mount_point(fd, target.name)
        assert not is_mount_point(fd, "missing")
    finally:
        os.close(fd)


def test_where_nothing_can_be_mounted_on_a_file_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "darwin")
    monkeypatch.setattr(mounts, "mount_id_at", raising(errno.EIO))
    assert not is_mount_point(-1, "file")


def test_a_shortage_of_descriptors_says_nothing_of_a_mount_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "linux")
    monkeypatch.setattr(mounts, "mount_id_at", raising(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        is_mount_point(-1, "file")


def test_a_mounted_file_promises_nothing_that_takes_a_rename_or_a_sidecar(
    target: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.table = fake.mounted(target.stat().st_dev, "ext4") + fake.mounted(
        target.stat().st_dev, "ext4", point=str(target)
    )
    monkeypatch.setattr(mounts, "mount_id_at", lambda _fd, _name: 7)
    (target.parent / "link").symlink_to(target.name)
    for path in (target, target.parent / "link"):
        report = inspect_guarantees(path)
        unsupported = {name for name, level in report.guarantees.items() if level == "Unsupported"}
        assert unsupported == set(filesystems.MOUNT_POINT)
        assert all("is itself a mount point" in report.reasons[name] for name in unsupported)
        assert not report.environment.supports_atomic_replace
    assert inspect_guarantees(target.parent).degraded() == ()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same filesystem", "another one"])
def test_a_file_that_is_really_mounted_over_is_seen(tmp_path: Path, elsewhere: bool) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_bytes(b"below")
    (tmp_path / "beside").write_bytes(b"beside")

    def body(mount: Callable[..., bool]) -> None:
        if elsewhere:
            assert mount("none", tmp_path / "other", "tmpfs")
        source = tmp_path / "other" / "source"
        source.write_bytes(b"above")
        assert "AtomicVisibility" not in _unsupported(tmp_path / "file")
        assert mount(source, tmp_path / "file", "none", 0x1000)
        assert set(filesystems.MOUNT_POINT) <= set(_unsupported(tmp_path / "file"))
        for name in ("beside", "new", "."):
            assert "AtomicVisibility" not in _unsupported(tmp_path / name)

    with_own_mounts(body)


def _unsupported(path: Path) -> list[str]:
    levels = inspect_guarantees(path).guarantees
    return [name for name, level in levels.items() if level == "Unsupported"]
