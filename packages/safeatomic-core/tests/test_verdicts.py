"""What is known of a filesystem and for how long, and of a file that is a mount point."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _filesystems as filesystems
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core import inspect_guarantees
from safeatomic_core._forks import generation
from safeatomic_core._gate import gate
from safeatomic_core._guarantees import GuaranteeReport
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._types import ATOMIC_VISIBILITY, CRASH_DURABILITY
from safeatomic_core._verdicts import is_mount_point, verdict_on

NEEDED = (ATOMIC_VISIBILITY, CRASH_DURABILITY)


def raising(code: int) -> Callable[..., object]:
    def fail(*_args: object, **_options: object) -> object:
        raise OSError(code, os.strerror(code))

    return fail


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


def test_a_table_that_keeps_changing_is_read_a_few_times_and_not_remembered(
    tmp_path: Path, fake: Any
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    fake.changing = True
    assert inspect_guarantees(tmp_path).environment.filesystem == "ext4"
    assert fake.reads == verdicts._ATTEMPTS
    assert fake.open_now == 0
    assert verdicts._idle == []


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


@pytest.mark.parametrize("interrupted", [1, 2])
def test_a_watch_that_is_interrupted_is_closed(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    inspect_guarantees(tmp_path)
    asked: list[object] = []

    def unchanged(watch: object) -> bool:
        asked.append(watch)
        if len(asked) == interrupted:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(fake, "unchanged", unchanged)
    with pytest.raises(KeyboardInterrupt):
        verdict_on(os.makedev(250, 77))
    assert fake.open_now == 0
    assert verdicts._idle == []


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


def test_a_process_that_left_its_mount_namespace_starts_a_new_watch(
    tmp_path: Path, fake: Any
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    inspect_guarantees(tmp_path)
    verdicts._idle[0].namespace = 2  # type: ignore[attr-defined]
    verdict_on(os.makedev(250, 77))  # unknown so far: the table of which namespace is asked?
    assert fake.made == 2
    assert fake.open_now == 1


def test_a_stale_idle_watch_is_replaced_before_reading(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    verdicts._idle.append(mounts.MountWatch())
    fake.table += fake.mounted(os.makedev(250, 77), "xfs", point="/new")
    verdicts._put_back(verdicts._take_watch())
    assert (fake.made, fake.open_now) == (2, 1)


def test_only_a_few_watches_are_kept(fake: Any) -> None:
    watches = [verdicts._take_watch() for _ in range(verdicts._MOST_IDLE + 3)]
    for watch in watches:
        verdicts._put_back(watch)
    assert fake.open_now == verdicts._MOST_IDLE


def test_threads_at_once_get_the_same_answer(tmp_path: Path) -> None:
    verdicts.forget()  # what other tests made the library believe
    answers: list[GuaranteeReport] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        answers.extend(inspect_guarantees(tmp_path) for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 1200
    assert len(set(answers)) == 1
    assert len(verdicts._idle) <= verdicts._MOST_IDLE


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


def test_a_forked_child_asks_for_itself(tmp_path: Path) -> None:
    inspect_guarantees(tmp_path)
    if not verdicts._idle:
        pytest.skip("this /proc cannot be watched")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            inspect_guarantees(tmp_path)
            code = 0 if verdicts._idle[-1]._born == generation() else 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_remount_without_barriers_is_noticed_by_the_next_write(tmp_path: Path) -> None:
    """The whole chain on the real kernel, with a tmpfs that becomes read-only."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(point: bytes, fstype: bytes, flags: int) -> bool:
        return libc.mount(b"none", point, fstype, ctypes.c_ulong(flags), None) == 0  # type: ignore[no-any-return]

    child = os.fork()
    if child == 0:
        code = 1
        try:
            if libc.unshare(0x20000 | (0 if os.geteuid() == 0 else 0x10000000)) != 0:
                os._exit(77)
            mount(b"/", b"none", 0x4000 | 0x40000)
            place = os.fsencode(tmp_path)
            if not mount(place, b"tmpfs", 0):
                os._exit(77)
            device = os.stat(place).st_dev
            assert "ro" not in verdict_on(device).environment.mount_options
            assert "ro" not in verdict_on(device).environment.mount_options
            assert mount(place, b"tmpfs", 0x20 | 1)
            assert "ro" in verdict_on(device).environment.mount_options
            assert libc.umount(place) == 0
            assert verdict_on(device).environment.filesystem == "unknown"
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 77:
        pytest.skip("this user may not mount anything, not even in a user namespace")
    assert code == 0


# ------------------------------------------------------------- a file that is itself a mount point


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


def with_own_mounts(body: Callable[[Callable[..., bool]], None]) -> None:
    """Run in a child that has a mount namespace of its own; skip where there can be none."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: object, point: object, fstype: str, flags: int = 0) -> bool:
        words = (os.fsencode(str(word)) for word in (source, point, fstype))
        return libc.mount(*words, ctypes.c_ulong(flags), None) == 0  # type: ignore[no-any-return]

    child = os.fork()
    if child == 0:
        code = 1
        try:
            if not _alone(libc):
                os._exit(77)
            if not mount("none", "/", "none", 0x4000 | 0x40000):
                os._exit(77)
            body(mount)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 77:
        pytest.skip("this user may not mount anything, not even in a user namespace")
    assert code == 0


def _alone(libc: ctypes.CDLL) -> bool:
    """Enter a mount namespace; one within a user namespace, if this user is not root."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return bool(libc.unshare(0x20000) == 0)
    if libc.unshare(0x20000 | 0x10000000) != 0:
        return False
    try:  # a new tmpfs takes no file of a user who has no number here
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


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


def test_a_mount_table_that_cannot_be_opened_is_asked_for_once(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def refuse() -> None:
        tries.append(1)
        raise PermissionError(errno.EACCES, "no /proc")

    monkeypatch.setattr(verdicts, "_take_watch", refuse)
    inspect_guarantees(tmp_path)
    assert len(tries) == 1
