"""No write is acknowledged while the flush that makes its rename durable is still under way.

btrfs lets an ``fsync`` of a directory return at once, although another process's ``fsync`` of it,
which carries the changes, still waits for the disk: if in between an unrelated flush has completed
the log that was open when the directory changed. That instant is made here step by step, and the
device stands still in it, so that whoever returns has nothing to rest on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest

import safeatomic_core
from safeatomic_core import _posix, _settle
from safeatomic_core._temp_file import SUM_PREFIX

from .conftest import require_devices
from .crashlab import filesystems, isolation, loop
from .crashlab.device import RecordingDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.root

_PATIENCE_S = 10.0
_QUIET_S = 0.5  # a flush that waits for nobody returns within a millisecond


@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_a_write_waits_for_the_flush_that_carries_its_rename(
    tmp_path: Path, *, checked: bool
) -> None:
    def write(root: str) -> None:
        with _stopping_after("rename", "f", root):
            safeatomic_core.write_atomic_bytes(f"{root}/d/f", b"new", write_checksum=checked)

    assert not _returns_from_a_device_that_stands_still(tmp_path, write)


def test_a_move_waits_for_the_flush_that_carries_its_rename(tmp_path: Path) -> None:
    def move(root: str) -> None:
        with _stopping_after("rename", "f", root):
            safeatomic_core.move_atomic(f"{root}/d/g", f"{root}/d/f", force=True)

    assert not _returns_from_a_device_that_stands_still(tmp_path, move)


def test_a_move_by_a_hard_link_waits_for_the_flush_that_carries_the_unlink(tmp_path: Path) -> None:
    def move(root: str) -> None:
        os.link(f"{root}/e/g", f"{root}/d/link")
        with _stopping_after("unlink", "g", root):
            safeatomic_core.move_atomic(f"{root}/e/g", f"{root}/d/link", force=True)

    assert not _returns_from_a_device_that_stands_still(tmp_path, move, "e")


def test_a_move_waits_for_the_flush_that_carries_the_end_of_the_source_s_sidecar(
    tmp_path: Path,
) -> None:
    def move(root: str) -> None:
        safeatomic_core.write_checksum_file(f"{root}/d/g")
        # It was renamed to a temp's name before; the end of that one is the last change there.
        with _stopping_after("unlink", f"{SUM_PREFIX}*", root):
            safeatomic_core.move_atomic(f"{root}/d/g", f"{root}/d/h")

    assert not _returns_from_a_device_that_stands_still(tmp_path, move)


def test_a_new_sidecar_waits_for_the_flush_that_carries_its_rename(tmp_path: Path) -> None:
    def record(root: str) -> None:
        with _stopping_after("rename_noreplace", "f.sha256", root):
            safeatomic_core.write_checksum_file(f"{root}/d/f")

    assert not _returns_from_a_device_that_stands_still(tmp_path, record)


def test_the_flush_of_the_directory_alone_would_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel that has learnt to wait, the tests above cannot fail."""
    monkeypatch.setattr(_settle, "OVERTAKEN", frozenset())

    def write(root: str) -> None:
        with _stopping_after("rename", "f", root):
            safeatomic_core.write_atomic_bytes(f"{root}/d/f", b"new")

    if not _returns_from_a_device_that_stands_still(tmp_path, write):
        pytest.skip("this kernel's btrfs waits for a flush that is under way")


def _returns_from_a_device_that_stands_still(
    tmp_path: Path, work: Callable[[str], None], flushed: str = "d"
) -> bool:
    """Tell whether work returns while another process's flush of the directory waits.

    Args:
        tmp_path: Where to make the device.
        work: Gets the root of a btrfs with ``d/f``, ``d/g`` and ``e/g``; stops its process at the
            instant.
        flushed: The directory that another process flushes.
    """
    require_devices()
    scratch = str(tmp_path / "scratch")
    os.mkdir(scratch)

    def alone(_: int) -> bool:
        isolation.enter_private_namespace(scratch)
        with (
            RecordingDevice(scratch, filesystems.BTRFS.size) as device,
            loop.attached(device.path, f"flush-test-{os.getpid()}") as block_device,
        ):
            filesystems.make(filesystems.BTRFS, block_device)
            with isolation.mounted(block_device, f"{scratch}/fs", "btrfs") as root:
                return _race(root, device, work, flushed)

    return isolation.in_children(alone, 1, str(tmp_path))[0]


def _race(root: str, device: RecordingDevice, work: Callable[[str], None], flushed: str) -> bool:
    for directory in ("d", "e", "noise"):
        os.mkdir(f"{root}/{directory}")
    for name in ("d/f", "d/g", "e/g"):
        safeatomic_core.write_atomic_bytes(f"{root}/{name}", b"old")
    isolation.syncfs(root)
    ready, tell = os.pipe()

    def work_and_tell() -> None:
        work(root)
        os.write(tell, b"returned")  # the process itself cannot end, as it has the device open

    worker = _fork(work_and_tell)
    assert os.WIFSTOPPED(os.waitpid(worker, os.WUNTRACED)[1])
    with device.paused():
        other = _fork(lambda: _flush_directory(f"{root}/{flushed}"))
        _wait_until_blocked(other)
        os.kill(worker, signal.SIGCONT)
        returned = bool(select.select([ready], [], [], _QUIET_S)[0])
    for process in (worker, other):
        assert os.waitpid(process, 0)[1] == 0
    os.close(ready)
    os.close(tell)
    return returned


@contextlib.contextmanager
def _stopping_after(call_name: str, name: str, root: str) -> Iterator[None]:
    """Make the instant: stop this process after a rename to or from a name, or the unlink of one.

    The transaction is committed before, so that nothing of the new file is in the log and the
    change is not either; and a log is open at the change, and complete right after it.

    Args:
        call_name: The entry of the seam.
        name: The name that is changed, or a pattern of it.
        root: Root of the filesystem.
    """

    def wrap(entry: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if entry != call_name:
            return call

        def change(*args: Any, **kwargs: Any) -> None:
            if not any(isinstance(one, str) and fnmatchcase(one, name) for one in args):
                call(*args, **kwargs)
                return
            isolation.syncfs(root)
            _flush_unrelated(f"{root}/noise/1")
            call(*args, **kwargs)
            _flush_unrelated(f"{root}/noise/2")
            os.kill(os.getpid(), signal.SIGSTOP)

        return change

    with _posix.intercept(wrap):
        yield


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            isolation.die_with_parent()
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def _flush_unrelated(path: str) -> None:
    with open(path, "wb") as file:
        os.fsync(file.fileno())


def _flush_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def _wait_until_blocked(process: int) -> None:
    """Wait until a process waits for the disk (state D, proc_pid_stat(5))."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            if file.read().rpartition(")")[2].split()[0] == "D":
                return
        time.sleep(0.001)
    pytest.fail("the flush of the directory does not wait for the device")
