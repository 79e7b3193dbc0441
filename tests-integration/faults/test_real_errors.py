"""Errors that the kernel itself returns: full, over quota, read-only, broken, somebody else's.

Each filesystem is made in a mount namespace of its own (`mounted`), so that nothing is left behind.
Every error must say what to do, and the target must be what the error says it is.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import logging
import os
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

import mounted
import safeatomic_core as sa
from crash.conftest import require_devices
from crash.crashlab import filesystems, isolation, loop
from crash.crashlab.device import RecordingDevice
from mounted import NotPossibleError, in_private_namespace

from .judging import claim, locks, pair_flaw, take, temps

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from typing import Literal

_T = TypeVar("_T")

OLD, NEW = b"old content", b"new content" * 5000

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, namespaces, other users"),
]


def privately(tmp_path: Path, body: Callable[[Path], _T]) -> _T:
    work = tmp_path / "work"
    work.mkdir()
    try:
        return in_private_namespace(work, body)
    except NotPossibleError as reason:
        pytest.skip(str(reason))


def _writes(target: Path, content: bytes) -> dict[str, Callable[[], None]]:
    def stream() -> None:
        with sa.AtomicWriter(target, write_checksum=True) as file:
            file.write(content)

    return {
        "plain": lambda: sa.write_atomic_bytes(target, content),
        "checked": lambda: sa.write_atomic_bytes(target, content, write_checksum=True),
        "unlocked": lambda: sa.write_atomic_bytes(target, content, concurrency="none"),
        "stream": stream,
    }


def _refused(action: Callable[[], None]) -> Exception:
    try:
        action()
    except (OSError, sa.SafeAtomicError) as error:
        return error
    raise AssertionError("it worked")


def _unchanged(directory: Path, before: object) -> None:
    """Hold that a directory is what it was: data, sidecars, and nothing besides."""
    assert take(str(directory)) == before


def test_a_full_filesystem_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        point = work / "small"
        point.mkdir()
        mounted.mount("small", point, "tmpfs", "size=200k")
        target = point / "f"
        sa.write_atomic_bytes(target, OLD, write_checksum=True)
        (point / "filler").write_bytes(bytes(150_000))
        before = take(str(point))
        for name, write in _writes(target, NEW).items():
            error = _refused(write)
            assert isinstance(error, OSError), name
            assert error.errno == errno.ENOSPC
            assert error.filename == str(target)
            assert "df -h" in str(error)
            assert claim(error) == "the target is unchanged"
            _unchanged(point, before)
        with (point / "rest").open("wb", buffering=0) as rest:
            try:
                while rest.write(bytes(4096)):
                    pass
            except OSError as full:
                assert full.errno == errno.ENOSPC
        before = take(str(point))
        error = _refused(lambda: sa.write_atomic_bytes(target, b"x"))
        assert isinstance(error, OSError), error
        assert "full" in str(error)
        _unchanged(point, before)
        assert sa.verify_checksum(target)
        (point / "filler").unlink()
        sa.write_atomic_bytes(target, NEW, write_checksum=True)
        assert sa.read_atomic_bytes(target, check_checksum=True) == NEW

    privately(tmp_path, body)


def test_a_filesystem_without_inodes_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        point = mounted._ext(work, "-N", "16")
        target = point / "f"
        sa.write_atomic_bytes(target, OLD)
        fillers: list[Path] = []
        try:
            while True:
                fillers.append(point / f"filler-{len(fillers)}")
                fillers[-1].touch()
        except OSError as full:
            assert full.errno == errno.ENOSPC
        before = take(str(point))
        for name, write in _writes(target, NEW).items():
            error = _refused(write)
            assert "df -i" in str(error), name
            _unchanged(point, before)
        # One inode is enough for a lock, two for a write, three for a checked one.
        for free in (1, 2):
            fillers[free].unlink()
            before = take(str(point))
            error = _refused(_writes(target, NEW)["checked"])
            assert "df -i" in str(error)
            _unchanged(point, before)
        sa.write_atomic_bytes(target, NEW)
        assert target.read_bytes() == NEW

    privately(tmp_path, body)


@pytest.mark.parametrize("filesystem", ["ext4", "btrfs"])
def test_a_quota_that_is_used_up_leaves_the_target_as_it_was(
    tmp_path: Path, filesystem: str
) -> None:
    def body(work: Path) -> None:
        if filesystem == "ext4":
            place, size = mounted.quota_ext4(work, user=65534, limit_kib=64), 90_000
            os.setegid(65534)
            os.seteuid(65534)
        else:
            place, size = mounted.quota_btrfs(work, limit_kib=1024), 4_000_000
        target = place / "f"
        sa.write_atomic_bytes(target, OLD, write_checksum=True)
        before = take(str(place))
        for name, write in _writes(target, bytes(size)).items():
            error = _refused(write)
            assert isinstance(error, OSError), name
            assert error.errno == errno.EDQUOT
            assert "quota" in str(error)
            _unchanged(place, before)

    privately(tmp_path, body)


def test_a_filesystem_that_goes_read_only_under_a_writer(tmp_path: Path) -> None:
    def body(work: Path) -> str:
        point = mounted._ext(work, options="errors=remount-ro")
        target = point / "f"
        sa.write_atomic_bytes(target, OLD, write_checksum=True)
        device = os.stat(point).st_dev
        name = os.path.basename(
            os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
        )
        trigger = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
        writer = sa.AtomicWriter(target, write_checksum=True)
        writer.write(NEW)
        try:
            trigger.write_text("the disk is failing")
        except OSError as error:
            raise NotPossibleError(f"no filesystem error on demand: {error}") from error
        failure = _refused(writer.commit)
        assert isinstance(failure, OSError)
        assert failure.errno in (errno.EROFS, errno.EIO)
        assert claim(failure) == "the target is unchanged"
        assert sa.read_atomic_bytes(target, check_checksum=True) == OLD
        refused = _refused(lambda: sa.write_atomic_bytes(target, NEW))
        # What could not be removed is a dead lock and an orphan: the next writer clears them.
        image = work / "image"
        mounted.unmount(point)
        subprocess.run(["e2fsck", "-fy", image], capture_output=True, check=False)
        subprocess.run(["mount", "-o", "loop", image, point], check=True)
        assert sa.read_atomic_bytes(target, check_checksum=True) == OLD
        sa.write_atomic_bytes(target, NEW, write_checksum=True)
        left = take(str(point))
        assert not temps(left)
        assert not locks(left)
        return str(refused)

    assert "read-only" in privately(tmp_path, body).lower()


def test_a_single_bind_mounted_file_is_refused_under_strict(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        source, target = work / "source", work / "d" / "f"
        target.parent.mkdir()
        source.write_bytes(OLD)
        target.touch()
        mounted.mount(str(source), target, "none", flags=0x1000)
        before = take(str(target.parent))
        for name, write in _writes(target, NEW).items():
            error = _refused(write)
            assert isinstance(error, sa.UnsupportedEnvironmentError), name
            assert error.guarantee == "AtomicVisibility"
            assert "mount the directory" in str(error).lower()
            _unchanged(target.parent, before)

    privately(tmp_path, body)


def test_a_move_to_another_mount_is_refused_with_both_unchanged(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        (work / "here").mkdir()
        (work / "other").mkdir()
        (work / "same").mkdir()
        mounted.mount("other", work / "other", "tmpfs")
        mounted.mount(str(work / "here"), work / "same", "none", flags=0x1000)
        source = work / "here" / "f"
        sa.write_atomic_bytes(source, OLD, write_checksum=True)
        for name, from_kernel in (("other", False), ("same", True)):
            before = take(str(work))
            error = _refused(lambda: sa.move_atomic(source, work / name / "g"))  # noqa: B023
            assert isinstance(error, sa.CrossDeviceAtomicityError)
            cause = error.__cause__
            if from_kernel:  # one filesystem, two mounts: only the kernel can tell (rename(2))
                assert isinstance(cause, OSError)
                assert cause.errno == errno.EXDEV
            _unchanged(work, before)

    privately(tmp_path, body)


@pytest.mark.parametrize("operation", ["write", "flush"])
def test_a_device_that_fails_is_reported_and_nothing_is_torn(
    operation: Literal["write", "flush"], tmp_path: Path, tally: Counter[str]
) -> None:
    require_devices()

    def alone(nth: int, _: int) -> str:
        scratch = f"{tmp_path}/{nth}"
        os.mkdir(scratch)
        isolation.enter_private_namespace(scratch)
        with (
            RecordingDevice(scratch, filesystems.EXT4.size) as device,
            loop.attached(device.path, f"faults-{os.getpid()}") as block_device,
        ):
            filesystems.make(filesystems.EXT4, block_device)
            with isolation.mounted(block_device, f"{scratch}/fs", "ext4") as root:
                target = Path(root) / "f"
                sa.write_atomic_bytes(target, OLD, write_checksum=True)
                isolation.syncfs(root)
                device.fail(operation, nth=nth + 1, times=None)
                error: Exception | None = None
                try:
                    sa.write_atomic_bytes(target, NEW, write_checksum=True)
                except (OSError, sa.SafeAtomicError) as caught:
                    error = caught
                now = take(root)
                content = now["f"].content
                assert pair_flaw(now, "f") is None
                assert content in (OLD, NEW)
                if error is None:
                    assert content == NEW
                    said = "returned"
                else:
                    assert isinstance(error, OSError)
                    assert error.errno in (errno.EIO, errno.EROFS)
                    said = claim(error) or ""
                    assert (said == "the target is unchanged") is (content == OLD), said
                device.heal()
            with isolation.mounted(block_device, f"{scratch}/again", "ext4") as root:
                target = Path(root) / "f"
                content = target.read_bytes()
                assert content in (OLD, NEW)
                assert content == NEW or said != "returned", "an acknowledged write is gone"
                assert sa.verify_checksum(target)
                sa.write_atomic_bytes(target, b"next", write_checksum=True)
                left = take(root)
                assert not locks(left)
        return said

    said: list[str] = []
    for nth in range(4):
        said += isolation.in_children(functools.partial(alone, nth), 1, str(tmp_path))
    assert said[0] == "the target is unchanged"
    tally["failing block devices"] += len(said)


def test_what_belongs_to_somebody_else_is_kept_as_far_as_allowed(tmp_path: Path) -> None:
    def body(work: Path) -> list[str]:
        place = work / "shared"
        place.mkdir()
        os.chmod(place, 0o777)
        target = place / "f"
        target.write_bytes(OLD)
        os.chmod(target, 0o6777)
        messages: list[str] = []
        logger = logging.getLogger("safeatomic")
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        os.chdir(place)  # the directories above it are root's alone
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        sa.write_atomic_bytes("f", NEW)
        status = os.stat("f")
        assert (status.st_uid, status.st_gid) == (65534, 65534)
        assert status.st_mode & 0o7777 == 0o777, "a set-id bit now lends somebody else's rights"
        assert sa.read_atomic_bytes("f") == NEW
        return messages

    messages = privately(tmp_path, body)
    assert len(messages) == 1
    for word in ("owner 0", "group 0", "set-user-ID", "set-group-ID"):
        assert word in messages[0]


def test_immutable_files_and_directories_say_so(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        point = mounted._ext(work)
        target = point / "d" / "f"
        target.parent.mkdir()
        target.write_bytes(OLD)
        for protected in (target, target.parent):
            before = take(str(point))
            _set_flags(protected, 0x10)  # FS_IMMUTABLE_FL
            for name, write in _writes(target, NEW).items():
                error = _refused(write)
                assert "immutable" in str(error), (name, error)
                _unchanged(point, before)
            _set_flags(protected, 0)

    privately(tmp_path, body)


def _set_flags(path: Path, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", flags))  # FS_IOC_SETFLAGS
    finally:
        os.close(fd)
