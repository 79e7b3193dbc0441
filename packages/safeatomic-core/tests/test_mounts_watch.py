"""The watch on the mount table: what it notices, and when its descriptor is not believed."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from held_descriptors import take_number
from mount_tables import ATTEMPTS, needs_mountinfo
from safeatomic_core import _mounts as mounts
from safeatomic_core._mounts import MountWatch

pytestmark = needs_mountinfo


def in_child(body: Callable[[], bool]) -> bool:
    """Answer a question in a forked child."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if body() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1)
    return code == 0


@pytest.mark.usefixtures("watch")
def test_nothing_changes_by_looking() -> None:
    for _ in range(ATTEMPTS):
        watch = MountWatch()
        before, _ = watch.read()
        same = before == mounts.read_proc("/proc/self/mountinfo")
        if same and watch.unchanged() and watch.read() == (before, True) and watch.unchanged():
            break
    else:
        pytest.fail("reading the table counts as a change of it")
    assert watch.same_namespace()


def test_a_long_table_is_read_up_to_the_mount_that_is_looked_for(
    watch: MountWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, ended = watch.read()
    assert ended
    lines = whole.splitlines(keepends=True)
    numbers = [int(line.split(b" ")[0]) for line in lines]
    assert watch.read(numbers[0]) == (whole, True)  # not long
    monkeypatch.setattr(mounts, "_LONG_TABLE", 1)
    monkeypatch.setattr(mounts, "_CHUNK", len(lines[0]))
    for number, line in zip(numbers, lines, strict=True):
        table, _ = watch.read(number)
        assert line in table
        assert whole.startswith(table)
    assert watch.read(numbers[0]) == (lines[0], False)
    assert watch.read(2**31) == (whole, True)  # not listed


def test_looking_costs_no_writing_of_a_long_table(watch: MountWatch) -> None:
    # The kernel writes every line before a position that it is sent to (traverse, fs/seq_file.c).
    assert 0 < watch._cookie < 1024


def test_a_file_of_the_programs_at_our_position_is_not_closed(
    watch: MountWatch, tmp_path: Path
) -> None:
    number = watch._fd
    file = tmp_path / "file"
    file.write_bytes(bytes(2000))
    fd = os.open(file, os.O_RDONLY)
    os.lseek(fd, watch._cookie, os.SEEK_SET)
    os.dup2(fd, number)
    os.close(fd)
    try:
        assert not watch.unchanged()
        watch.close()
        os.fstat(number)
    finally:
        os.close(number)


def test_a_descriptor_that_the_program_closed_is_no_watch(watch: MountWatch) -> None:
    os.close(watch._fd)
    assert not watch.unchanged()
    watch.close()


@pytest.mark.parametrize("other", ["/proc/self/mountinfo", "/dev/null", __file__])
def test_a_reused_number_is_neither_believed_nor_closed(watch: MountWatch, other: str) -> None:
    number = watch._fd
    take_number(number, other)
    try:
        assert not watch.unchanged()
        watch.close()
        os.fstat(number)
    finally:
        os.close(number)


def test_a_reused_number_that_cannot_seek_is_not_believed(watch: MountWatch) -> None:
    reader, writer = os.pipe()
    number = watch._fd
    os.dup2(reader, number)
    os.write(writer, b"readable, as the mount table is")
    try:
        assert not watch.unchanged()
        watch.close()
        os.fstat(number)
    finally:
        for fd in (reader, writer, number):
            os.close(fd)


def test_a_forked_child_does_not_trust_its_parents_watch(watch: MountWatch) -> None:
    assert in_child(lambda: not watch.unchanged())
    watch._born += 1  # the same without a fork
    assert not watch.unchanged()


def test_a_child_with_its_parents_number_does_not_trust_its_parents_watch(
    watch: MountWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = os.getpid()  # as the first process of a PID namespace that makes another one

    def body() -> bool:
        monkeypatch.setattr(os, "getpid", lambda: number)
        return not watch.unchanged()

    assert in_child(body)


def test_a_watch_closes_its_descriptor_once(watch: MountWatch) -> None:
    number = watch._fd
    watch.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    watch.close()
    assert not watch.unchanged()


def test_the_descriptor_is_not_inherited_by_other_programs(watch: MountWatch) -> None:
    assert not os.get_inheritable(watch._fd)


def test_a_table_that_cannot_be_polled_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_text("27 1 254:0 / / rw - ext4 /dev/vda rw\n")
    watch = MountWatch(str(file))  # a regular file is always readable and writable
    assert not watch.unchanged()
    assert watch.read() == (file.read_bytes(), True)


def test_a_table_without_positions_is_not_trusted() -> None:
    reader, writer = os.pipe()
    try:
        watch = MountWatch(f"/proc/self/fd/{reader}")
        number = watch._fd
        assert not watch.unchanged()
        watch.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    finally:
        os.close(reader)
        os.close(writer)


def test_an_unreadable_namespace_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> os.stat_result:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "stat", refuse)
    assert mounts._namespace() == 0


NEWNS, NEWUSER = 0x20000, 0x10000000


LIBC = ctypes.CDLL(None, use_errno=True)


def mounting_is_possible() -> bool:
    """Tell whether a child may have mounts of its own, as root or in a user namespace."""

    def attempt() -> bool:
        return leave_namespace()

    return in_child(attempt)


def leave_namespace() -> bool:
    flags = NEWNS if os.geteuid() == 0 else NEWNS | NEWUSER
    if LIBC.unshare(flags) != 0:
        return False
    return mount(b"none", b"/", b"none", 0x4000 | 0x40000)


def mount(source: bytes, point: bytes, fstype: bytes, flags: int, options: bytes = b"") -> bool:
    return LIBC.mount(source, point, fstype, ctypes.c_ulong(flags), options) == 0  # type: ignore[no-any-return]


def test_every_kind_of_change_is_noticed(tmp_path: Path) -> None:
    if not mounting_is_possible():
        pytest.skip("this user may not mount anything, not even in a user namespace")
    point = os.fsencode(tmp_path)

    def body() -> bool:
        old = MountWatch()
        assert leave_namespace()
        assert not old.same_namespace()
        for change in (
            lambda: mount(b"none", point, b"tmpfs", 0, b"size=64k"),
            lambda: mount(b"none", point, b"tmpfs", 0x20 | 1, b"size=64k"),
            lambda: mount(b"none", point, b"tmpfs", 0x20, b"size=128k"),
            lambda: LIBC.umount(point) == 0,
        ):
            watch = MountWatch()
            assert watch.unchanged()
            assert change()
            assert not watch.unchanged()
        return True

    assert in_child(body)


def test_threads_do_not_share_a_change(tmp_path: Path) -> None:
    # One watch reports a change once; two watches report it each, which is why nobody shares one.
    if not mounting_is_possible():
        pytest.skip("this user may not mount anything, not even in a user namespace")

    def body() -> bool:
        assert leave_namespace()
        watches = [MountWatch() for _ in range(4)]
        assert mount(b"none", os.fsencode(tmp_path), b"tmpfs", 0)
        seen: list[bool] = []
        threads = [
            threading.Thread(target=lambda watch=watch: seen.append(watch.unchanged()))
            for watch in watches
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen == [False] * 4

    assert in_child(body)
