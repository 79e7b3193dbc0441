"""The read-only half of the seam, on the kernel itself."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core._mounts import MountWatch

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/mountinfo"), reason="no /proc/self/mountinfo here"
)


ATTEMPTS = 20  # somebody else on this machine may be mounting things at this very moment


def can_be_watched() -> bool:
    """Tell whether the table is readable only, as one is that reports its changes."""
    with open("/proc/self/mountinfo", "rb") as table:
        poll = select.poll()
        poll.register(table, select.POLLIN | select.POLLOUT)
        return poll.poll(0) == [(table.fileno(), select.POLLIN)]


@pytest.fixture
def watch() -> Iterator[MountWatch]:
    if not can_be_watched():
        pytest.skip("this /proc cannot be watched")
    for _ in range(ATTEMPTS):
        made = MountWatch()
        if made.unchanged():
            yield made
            made.close()
            return
        made.close()
    pytest.fail("a table that nobody changes counts as changed")


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


def test_a_proc_file_is_read_to_its_end() -> None:
    table = mounts.read_proc("/proc/self/mountinfo")
    assert table.endswith(b"\n")
    assert b" / " in table


def test_a_missing_proc_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        mounts.read_proc("/proc/self/no-such-file")


def test_an_open_directory_tells_its_path_and_its_mount(tmp_path: Path) -> None:
    fd = mounts.open_directory(str(tmp_path))
    try:
        assert mounts.directory_of(fd) == os.path.realpath(tmp_path)
        number = mounts.mount_id(fd)
        assert number is not None
        lines = mounts.read_proc("/proc/self/mountinfo").splitlines()
        if not any(line.split(b" ")[4] == b"/" for line in lines):
            pytest.skip("this root is a chroot: the table does not show its mount")
        assert any(line.startswith(b"%d " % number) for line in lines)
    finally:
        os.close(fd)


def test_a_file_is_no_directory(target: Path) -> None:
    with pytest.raises(NotADirectoryError):
        mounts.open_directory(str(target))


def test_an_old_kernel_tells_no_mount_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_proc", lambda _path: b"pos:\t0\nflags:\t02\n")
    assert mounts.mount_id(0) is None


def test_fsync_is_not_ignored_here() -> None:
    assert not mounts.fsync_is_ignored()


def test_an_fsync_that_accepts_anything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "fsync", asked.append)
    assert mounts.fsync_is_ignored()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(asked[0])


def test_statfs_fills_in_the_filesystems_number(tmp_path: Path) -> None:
    fd = mounts.open_directory(str(tmp_path))
    try:
        first, second = mounts.statfs(fd), mounts.statfs(fd)
    finally:
        os.close(fd)
    assert any(first[:8])
    assert first[:8] == second[:8]


def test_statfs_without_ctypes_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_fstatfs", None)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    with pytest.raises(OSError, match="no ctypes"):
        mounts.statfs(0)


def test_statfs_of_a_bad_descriptor_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_fstatfs", None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        mounts.statfs(2**31 - 1)


# -------------------------------------------------------------------------------------- the watch


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


def test_a_name_in_a_directory_tells_its_mount(target: Path) -> None:
    fd = mounts.open_directory(str(target.parent))
    try:
        assert mounts.mount_id_at(fd, target.name) == mounts.mount_id(fd)
        with pytest.raises(FileNotFoundError):
            mounts.mount_id_at(fd, "missing")
    finally:
        os.close(fd)


def test_a_descriptor_that_the_program_closed_is_no_watch(watch: MountWatch) -> None:
    os.close(watch._fd)
    assert not watch.unchanged()
    watch.close()


@pytest.mark.parametrize("other", ["/proc/self/mountinfo", "/dev/null", __file__])
def test_a_reused_number_is_neither_believed_nor_closed(watch: MountWatch, other: str) -> None:
    number = watch._fd
    fd = os.open(other, os.O_RDONLY)
    os.dup2(fd, number)
    os.close(fd)
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


def test_what_a_lost_watch_had_open_is_closed_by_the_next(watch: MountWatch) -> None:
    gc.collect()
    verdicts.forget()  # what other tests left
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        MountWatch()
    last = MountWatch()
    gc.collect()
    verdicts.forget()  # or by this
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    last.close()
    assert watch.unchanged()


def test_the_next_watch_closes_what_a_lost_one_had_open() -> None:
    gc.collect()
    mounts.close_lost()
    before = len(os.listdir("/proc/self/fd"))
    MountWatch()
    gc.collect()
    last = MountWatch()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    last.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_watch_is_remembered_nowhere() -> None:
    before = len(mounts._tables)
    MountWatch().close()
    assert len(mounts._tables) == before


def test_what_a_lost_watch_had_open_is_closed_when_verdicts_are_forgotten() -> None:
    number = MountWatch()._fd
    gc.collect()
    verdicts.forget()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_number_that_a_lost_watch_had_is_not_closed_under_another_file(tmp_path: Path) -> None:
    watch = MountWatch()
    number = watch._fd
    other = os.open(tmp_path, os.O_RDONLY)
    os.dup2(other, number)
    del watch
    gc.collect()
    mounts.close_lost()
    os.fstat(number)
    os.close(number)
    os.close(other)


def test_only_one_of_two_threads_closes_what_a_lost_watch_had_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watch = MountWatch()
    number = watch._fd
    (table,) = [one for one in mounts._tables if one.fd == number]
    really = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = really(fd)
        monkeypatch.undo()
        table.close()  # the other thread, meanwhile
        assert os.open(tmp_path, os.O_RDONLY) == number  # and a third
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    table.close()
    os.fstat(number)
    os.close(number)


@pytest.mark.parametrize("call", ["lseek", "fstat"])
def test_a_watch_that_is_interrupted_while_it_is_closed_is_closed_by_the_next(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    watch = MountWatch()
    number = watch._fd
    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            watch.close()
    os.fstat(number)
    del watch
    gc.collect()
    mounts.close_lost()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("moment", ["opened", "begun", "read"])
def test_an_interrupted_look_leaves_no_descriptor(
    watch: MountWatch, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    watch.close()
    verdicts.forget()
    if moment == "opened":
        monkeypatch.setattr(os, "lseek", interrupt)
    elif moment == "begun":
        monkeypatch.setattr(select, "poll", interrupt)
    else:
        monkeypatch.setattr(environment, "find_mount", interrupt)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        verdicts.look(os.stat("/").st_dev, None, "/")
    assert len(os.listdir("/proc/self/fd")) == len(before)


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


def test_the_interpreter_ends_quietly_with_a_watch_left_open(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-c",
            "from safeatomic_core import inspect_guarantees; inspect_guarantees('/')",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(mounts.__file__).parents[1])},
        cwd=tmp_path,
    )
    assert done.stderr == ""


def test_a_file_that_the_machine_swaps_to(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = target.rename(target.with_name("swap file"))
    escaped = os.fsencode(odd).replace(b" ", b"\\040")
    table = b"Filename Type Size Used Priority\n/gone\\040away file 1 0 -2\n%b file 1 0 -3\n"
    other = odd.with_name("other")
    other.touch()
    fd = os.open(odd.parent, os.O_RDONLY)
    try:
        monkeypatch.setattr(mounts, "read_proc", lambda _path: table % escaped)
        assert mounts.is_swap_file(fd, odd.name)
        assert not mounts.is_swap_file(fd, other.name)
        title, _, line = table.splitlines(keepends=True)
        monkeypatch.setattr(mounts, "read_proc", lambda _path: title + line % escaped)
        assert mounts.is_swap_file(fd, odd.name)
        assert not mounts.is_swap_file(fd, "missing")
        odd.with_name("link").symlink_to(odd.name)
        assert not mounts.is_swap_file(fd, "link")
    finally:
        os.close(fd)


def test_attributes_of_what_has_none(target: Path) -> None:
    fd = os.open(target.parent, os.O_RDONLY)
    try:
        wanted = mounts.IMMUTABLE | mounts.APPEND_ONLY
        for found in (mounts.attributes(fd), mounts.attributes(fd, target.name)):
            assert not (found or 0) & wanted
        assert mounts.attributes(fd, "missing") is None
    finally:
        os.close(fd)


def test_a_c_library_without_statx_knows_no_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name, **_options: object())
    assert mounts.attributes(-1) is None


def test_without_a_c_library_no_attributes_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: object, **_options: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert mounts.attributes(-1) is None


def test_a_name_is_on_its_mount_whatever_it_leads_to_and_whoever_waits(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "elsewhere").symlink_to("/proc/self/status")
    os.mkfifo(tmp_path / "pipe")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        here = mounts.mount_id(directory)
        for name in ("dangling", "elsewhere", "pipe"):
            assert mounts.mount_id_at(directory, name) == here
    finally:
        os.close(directory)
