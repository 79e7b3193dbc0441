"""The recording device sees every write and flush in order, and fails what it is told to."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest

from .conftest import require_devices
from .crashlab import filesystems, isolation, loop
from .crashlab.device import Kind, Record, RecordingDevice, load, save
from .crashlab.payload import content, version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_T = TypeVar("_T")

pytestmark = pytest.mark.root


def in_namespace(scratch: Path, work: Callable[[str, RecordingDevice], _T]) -> _T:
    """Do something on an ext4 on a recording device, in a process whose mounts end with it."""
    require_devices()
    scratch.mkdir()

    def alone(_: int) -> _T:
        isolation.enter_private_namespace(str(scratch))
        with (
            RecordingDevice(str(scratch), filesystems.EXT4.size) as device,
            loop.attached(device.path, f"device-test-{os.getpid()}") as block_device,
        ):
            filesystems.make(filesystems.EXT4, block_device)
            with isolation.mounted(block_device, f"{scratch}/fs", "ext4") as root:
                return work(root, device)

    return isolation.in_children(alone, 1, str(scratch.parent))[0]


def write_and_flush(path: str, data: bytes) -> str | None:
    """Write a file and fsync it; return the name of the error, None if there was none."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.close(fd)
    return None


def test_an_fsync_is_recorded_as_writes_and_a_flush_between_its_marks(tmp_path: Path) -> None:
    def work(root: str, device: RecordingDevice) -> tuple[str | None, list[Record]]:
        isolation.syncfs(root)
        device.mark({"begin": 1})
        error = write_and_flush(f"{root}/f", content(1, 5000))
        device.mark({"ack": 1})
        return error, device.records()

    error, records = in_namespace(tmp_path / "s", work)
    assert error is None
    marks = [i for i, record in enumerate(records) if record.kind == "mark"]
    assert [json.loads(records[i].data) for i in marks] == [{"begin": 1}, {"ack": 1}]
    between = [record.kind for record in records[marks[0] + 1 : marks[1]]]
    assert between[-1] == "flush"
    assert "write" in between
    written = b"".join(record.data for record in records[marks[0] : marks[1]])
    assert content(1, 5000)[:200] in written


@pytest.mark.parametrize("operation", ["write", "flush"])
def test_a_request_that_is_to_fail_is_answered_with_eio_and_not_recorded(
    tmp_path: Path, operation: Literal["write", "flush"]
) -> None:
    def work(root: str, device: RecordingDevice) -> tuple[str | None, list[Kind]]:
        isolation.syncfs(root)
        before = len(device.records())
        device.fail(operation, nth=1, times=None)
        error = write_and_flush(f"{root}/f", content(1, 5000))
        device.heal()
        kinds = [record.kind for record in device.records()[before:]]
        return error, kinds

    error, kinds = in_namespace(tmp_path / "s", work)
    assert error == "EIO"
    assert operation not in kinds  # what failed is not in the log


def test_requests_before_the_nth_and_after_the_last_go_through(tmp_path: Path) -> None:
    def work(_root: str, device: RecordingDevice) -> list[int | None]:
        fd = os.open(device.path, os.O_WRONLY)
        outcomes: list[int | None] = []
        try:
            device.fail("flush", nth=2, times=2)
            for _ in range(5):
                try:
                    os.fsync(fd)
                except OSError as error:
                    outcomes.append(error.errno)
                else:
                    outcomes.append(0)
        finally:
            os.close(fd)
        return outcomes

    assert in_namespace(tmp_path / "s", work) == [0, errno.EIO, errno.EIO, 0, 0]


@pytest.mark.parametrize("name", ["plain", "with blanks\t\\ and more"])
def test_a_mount_that_was_left_behind_is_found(tmp_path: Path, name: str) -> None:
    require_devices()
    place = tmp_path / name
    (place / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)

    def work(_: int) -> list[str]:
        isolation.enter_private_namespace(str(place / "below"))
        found = isolation.wait_until_gone("no such tag", str(place), [], patience_s=0)
        return [*found, *isolation.mounts_under(str(tmp_path / "link"))]

    through_name, through_link = isolation.in_children(work, 1, str(tmp_path))[0]
    assert through_name == f"mount {through_link}"
    assert through_link.endswith("/below")


def test_content_that_was_damaged_anywhere_is_recognised() -> None:
    good = content(7, 5000)
    assert version_of(good) == 7
    assert len(good) == 5000
    for damaged in (b"", bytes(5000), good[:-1], good[:4096] + bytes(904), b"x" + good, good[90:]):
        assert str(version_of(damaged)).startswith("torn")


def test_a_saved_log_loads_as_it_was(tmp_path: Path) -> None:
    records = [
        Record("write", 4096, 5, b"12345"),
        Record("zero", 1 << 40, 8192),
        Record("flush"),
        Record("mark", 0, 11, b'{"begin":1}'),
    ]
    save(records, str(tmp_path / "log"))
    assert load(str(tmp_path / "log")) == records
