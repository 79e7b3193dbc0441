"""The doctor's verdict and a real write agree, and its probes stay where they belong.

Each place is made for real, in a mount namespace of its own, and asked twice: is the doctor's
report ``ok``, and does a plain write go through? The two answers are the same, and neither raises
anything that is not an error of the system or of this library.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import shutil
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mounted
from mounting import MARKS, privately
from safeatomic_core import (
    SafeAtomicError,
    _mounts,
    doctor,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._doctor import subject

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        shutil.which("setpriv") is None or shutil.which("mkfs.ext4") is None,
        reason="setpriv and mkfs.ext4 are needed",
    ),
]
OTHER, STRANGER = 3001, 3002


def become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def chattr(flag: str, path: Path) -> None:
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise mounted.NotPossibleError(f"no attributes here: {done.stderr}")


def target_in(place: Path, *, mode: int = 0o755, owner: int = 0, content: bytes = b"old") -> Path:
    """Make a directory with a file in it; ``mode`` is the directory's, ``owner`` the file's."""
    place.mkdir()
    target = place / "f"
    target.write_bytes(content)
    target.chmod(0o666)
    os.chown(target, owner, owner)
    place.chmod(mode)
    return target


# ------------------------------------------------------------------------------------- the places


def ordinary(work: Path) -> Path:
    return target_in(work / "d")


def absent(work: Path) -> Path:
    return target_in(work / "d").with_name("new")


def missing_directory(work: Path) -> Path:
    return work / "no" / "f"


def below_a_file(work: Path) -> Path:
    return target_in(work / "d") / "f"


def a_fifo(work: Path) -> Path:
    os.mkfifo(work / "fifo")
    return work / "fifo"


def a_dangling_link(work: Path) -> Path:
    (work / "link").symlink_to("nowhere")
    return work / "link"


def a_loop_of_links(work: Path) -> Path:
    (work / "loop").symlink_to("loop")
    return work / "loop"


def only_a_directory_by_its_name(work: Path) -> Path:
    return Path(f"{work}/new/")


def a_name_without_room_for_its_lock(work: Path) -> Path:
    return work / ("n" * 252)


def a_name_without_room_for_a_checksum(work: Path) -> Path:
    return work / ("n" * 249)


def immutable_file(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+i", target)
    return target


def append_only_file(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+a", target)
    return target


def immutable_directory(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+i", target.parent)
    return target


def append_only_directory(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+a", target.parent)
    return target


def a_file_that_is_mounted(work: Path) -> Path:
    target = target_in(work / "d")
    (work / "source").write_bytes(b"above")
    mounted.mount(str(work / "source"), target, "none", flags=0x1000)
    return target


def beside_a_file_that_is_mounted(work: Path) -> Path:
    return a_file_that_is_mounted(work).with_name("beside")


def read_only_mount(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    mounted.mount("none", point, "tmpfs")
    (point / "f").write_bytes(b"old")
    mounted.remount(point, "", readonly=True)
    return point / "f"


def without_an_inode(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    mounted.mount("none", point, "tmpfs", "nr_inodes=2")
    (point / "f").write_bytes(b"old")
    return point / "f"


def full(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    mounted.mount("none", point, "tmpfs", "size=64k")
    (point / "f").write_bytes(bytes(65536))
    return point / "f"


def somebody_elses_file_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777, owner=OTHER)
    become(STRANGER)
    return target


def own_file_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777, owner=OTHER)
    become(OTHER)
    return target


def in_a_directory_that_may_not_be_written(work: Path) -> Path:
    target = target_in(work / "d")
    become(STRANGER)
    return target


def in_a_directory_that_may_not_be_read(work: Path) -> Path:
    target = target_in(work / "d", mode=0o733)
    become(STRANGER)
    return target


def in_a_directory_that_may_not_be_entered(work: Path) -> Path:
    target = target_in(work / "d", mode=0o700)
    become(STRANGER)
    return target


def in_a_group_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o2775, owner=OTHER)
    os.chown(target.parent, 0, STRANGER)
    become(STRANGER)
    return target


def a_file_that_may_not_be_written(work: Path) -> Path:
    target = target_in(work / "d", mode=0o777)
    target.chmod(0o644)
    become(STRANGER)
    return target


def in_proc(_work: Path) -> Path:
    return Path("/proc/foo")


def in_sys(_work: Path) -> Path:
    return Path("/sys/foo")


def in_a_removed_working_directory(work: Path) -> Path:
    (work / "gone").mkdir()
    os.chdir(work / "gone")
    (work / "gone").rmdir()
    return Path("f")


def a_lock_of_another_tool(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.lock").mkdir()
    return target


def another_programs_list_at_the_sidecars_name(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.sha256").write_text(f"{'0' * 64}  another\n{'1' * 64}  one\n")
    return target


def a_directory_at_the_sidecars_name(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.sha256").mkdir()
    return target


def a_socket(work: Path) -> Path:
    os.chdir(work)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    return work / "socket"


def a_device(work: Path) -> Path:
    os.mknod(work / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return work / "device"


def through_proc_to_a_file_without_a_name(work: Path) -> Path:
    fd = os.open(work / "gone", os.O_RDWR | os.O_CREAT, 0o666)
    os.unlink(work / "gone")
    return Path(f"/dev/fd/{fd}")


def through_proc_to_an_open_file(work: Path) -> Path:
    return Path(f"/dev/fd/{os.open(target_in(work / 'd'), os.O_RDWR)}")


def a_link_to_a_place_that_is_read_only(work: Path) -> Path:
    (work / "link").symlink_to(read_only_mount(work))
    return work / "link"


def a_link_into_a_missing_directory(work: Path) -> Path:
    (work / "link").symlink_to("no/f")
    return work / "link"


def somebody_elses_link_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777)
    link = target.with_name("link")
    link.symlink_to("f")
    os.lchown(link, OTHER, OTHER)
    return link


def below_a_dead_file_server(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR)
    mounted.mount("dead", point, "fuse", f"fd={server},rootmode=40000,user_id=0,group_id=0")
    os.close(server)
    return point / "a" / "f"


def on_an_overlay(work: Path, layers: str = "lowerdir=lower,upperdir=upper,workdir=work") -> Path:
    os.chdir(work)
    for name in ("lower", "upper", "work", "m"):
        (work / name).mkdir()
    (work / "lower" / "f").write_bytes(b"old")
    mounted.mount("overlay", work / "m", "overlay", layers)
    return work / "m" / "f"


def on_an_overlay_without_an_upper_layer(work: Path) -> Path:
    return on_an_overlay(work, "lowerdir=lower:upper")


def bound_read_only(work: Path) -> Path:
    target = target_in(work / "d")
    point = work / "m"
    point.mkdir()
    mounted.mount(str(target.parent), point, "none", flags=0x1000)
    mounted.mount("none", point, "none", flags=0x1000 | 0x20 | 0x1)  # bind, remount, read-only
    return point / "f"


def a_snapshot_that_is_read_only(work: Path) -> Path:
    place = mounted._btrfs_subvolume(work)
    (place / "f").write_bytes(b"old")
    subprocess.run(["btrfs", "property", "set", place, "ro", "true"], check=True)
    return place / "f"


def fill(place: Path, blocks: int = 1) -> None:
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1024 * blocks)):
            pass


def full_ext4(work: Path) -> Path:
    point = mounted._ext(work)
    (point / "f").write_bytes(b"old")
    fill(point)
    return point / "f"


def full_for_everybody_but_root(work: Path) -> Path:
    point = mounted._ext(work, "-m", "50")
    target = target_in(point / "d", mode=0o777)
    if os.fork() == 0:
        become(STRANGER)
        fill(target.parent)
        os._exit(0)
    os.wait()
    return target


def full_but_for_roots_reserve(work: Path) -> Path:
    target = full_for_everybody_but_root(work)
    become(STRANGER)
    return target


def with_one_inode_left(work: Path) -> Path:
    point = mounted._ext(work, "-N", "16")
    with contextlib.suppress(OSError):
        for number in range(100):
            (point / f"f{number}").touch()
    (point / "f1").unlink()
    return point / "f0"


def with_a_limit_on_the_size_of_files(work: Path, most: int = 10) -> Path:
    target = target_in(work / "d")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    return target


def with_a_limit_that_is_large_enough(work: Path) -> Path:
    return with_a_limit_on_the_size_of_files(work, 4096)


def without_descriptors(work: Path) -> Path:
    target = target_in(work / "d")
    most = 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(OSError):
        while True:
            os.dup(2)
    os.close(most - 1)
    return target


def filtered(work: Path, call: str, code: int) -> Path:
    """Let a filter answer one system call with an error, as sandboxes do (seccomp(2))."""
    target = target_in(work / "d")
    number = CALLS.get(platform.machine(), {}).get(call)
    if number is None:
        raise mounted.NotPossibleError("the numbers of the system calls are not listed")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    instructions = [  # load the number; if it is this one, return the error; allow the rest
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x50000 | code),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *one) for one in instructions)
    )
    pointer = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(program))
    header = ctypes.create_string_buffer(pointer)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.addressof(header), 0, 0) != 0:
        raise mounted.NotPossibleError("no seccomp here")
    return target


CALLS = {
    "x86_64": {"linkat": 265, "flock": 73, "fsync": 74, "renameat": 264, "renameat2": 316,
               "fchmod": 91, "faccessat2": 439, "statx": 332, "fstatfs": 138, "ioctl": 16,
               "unlinkat": 263, "quotactl": 179},
    "aarch64": {"linkat": 37, "flock": 32, "fsync": 82, "renameat2": 276, "fchmod": 52,
                "faccessat2": 439, "statx": 291, "fstatfs": 44, "ioctl": 29, "unlinkat": 35,
                "quotactl": 60},
}  # fmt: skip


def without_links(work: Path) -> Path:
    return filtered(work, "linkat", errno.EPERM)


def without_flock(work: Path) -> Path:
    return filtered(work, "flock", errno.ENOSYS)


def without_flushes(work: Path) -> Path:
    return filtered(work, "fsync", errno.EACCES)


def without_modes(work: Path) -> Path:
    return filtered(work, "fchmod", errno.EPERM)


def without_the_exchange_of_names(work: Path) -> Path:
    return filtered(work, "renameat2", errno.EPERM)


def without_the_newer_access(work: Path) -> Path:
    return filtered(work, "faccessat2", errno.EPERM)


def without_statx(work: Path) -> Path:
    return filtered(work, "statx", errno.EPERM)


def without_attributes(work: Path) -> Path:
    return filtered(work, "ioctl", errno.EPERM)


def without_statfs(work: Path) -> Path:
    return filtered(work, "fstatfs", errno.EPERM)


def without_quotactl(work: Path) -> Path:
    return filtered(work, "quotactl", errno.EPERM)


def a_lock_that_is_a_fifo(work: Path) -> Path:
    target = target_in(work / "d")
    os.mkfifo(f"{target}.lock")
    return target


def an_empty_lock(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.lock").touch()
    return target


def a_lock_of_another_host(work: Path) -> Path:
    target = target_in(work / "d")
    fields = {"pid": 1, "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    Path(f"{target}.lock").write_text(json.dumps({"version": 1, "session_hash": None, **fields}))
    return target


def die_holding(target: Path, user: int = 0) -> None:
    if os.fork() == 0:
        become(user)
        try_acquire_lock(target)
        os._exit(0)
    os.wait()


def a_dead_lock(work: Path) -> Path:
    target = target_in(work / "d")
    die_holding(target)
    return target


def a_dead_lock_that_is_immutable(work: Path) -> Path:
    target = a_dead_lock(work)
    chattr("+i", Path(f"{target}.lock"))
    return target


def another_users_dead_lock_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777).with_name("new")
    die_holding(target, OTHER)
    become(STRANGER)
    return target


def recorded(work: Path, *, mode: int = 0o755) -> Path:
    target = target_in(work / "d", mode=mode, owner=STRANGER)
    write_checksum_file(target)
    return target


def a_checksum_that_is_immutable(work: Path) -> Path:
    target = recorded(work)
    chattr("+i", Path(f"{target}.sha256"))
    return target


def a_checksum_that_is_mounted(work: Path) -> Path:
    target = recorded(work)
    shutil.copy(f"{target}.sha256", work / "source")
    mounted.mount(str(work / "source"), Path(f"{target}.sha256"), "none", flags=0x1000)
    return target


def somebody_elses_checksum_in_a_sticky_directory(work: Path) -> Path:
    target = recorded(work, mode=0o1777)
    os.chown(f"{target}.sha256", OTHER, OTHER)
    os.chmod(f"{target}.sha256", 0o644)
    become(STRANGER)
    return target


def somebody_elses_checksum_that_may_not_be_read(work: Path) -> Path:
    target = recorded(work, mode=0o777)
    os.chown(f"{target}.sha256", OTHER, OTHER)
    os.chmod(f"{target}.sha256", 0o600)
    become(STRANGER)
    return target


GOOD = [
    ordinary,
    through_proc_to_an_open_file,
    on_an_overlay,
    full_for_everybody_but_root,
    with_a_limit_that_is_large_enough,
    without_the_exchange_of_names,
    without_the_newer_access,
    without_statx,
    without_attributes,
    without_statfs,
    without_quotactl,
    a_dead_lock,
    somebody_elses_checksum_that_may_not_be_read,
    another_programs_list_at_the_sidecars_name,
    a_directory_at_the_sidecars_name,
    absent,
    a_dangling_link,
    a_name_without_room_for_a_checksum,
    beside_a_file_that_is_mounted,
    own_file_in_a_sticky_directory,
    in_a_group_directory,
]
BAD = [
    missing_directory,
    below_a_file,
    a_fifo,
    a_loop_of_links,
    only_a_directory_by_its_name,
    a_name_without_room_for_its_lock,
    immutable_file,
    append_only_file,
    immutable_directory,
    append_only_directory,
    a_file_that_is_mounted,
    read_only_mount,
    without_an_inode,
    full,
    somebody_elses_file_in_a_sticky_directory,
    in_a_directory_that_may_not_be_written,
    in_a_directory_that_may_not_be_read,
    in_a_directory_that_may_not_be_entered,
    a_file_that_may_not_be_written,
    in_proc,
    in_sys,
    in_a_removed_working_directory,
    a_lock_of_another_tool,
    a_socket,
    a_device,
    through_proc_to_a_file_without_a_name,
    a_link_to_a_place_that_is_read_only,
    a_link_into_a_missing_directory,
    somebody_elses_link_in_a_sticky_directory,
    below_a_dead_file_server,
    bound_read_only,
    on_an_overlay_without_an_upper_layer,
    a_snapshot_that_is_read_only,
    full_ext4,
    full_but_for_roots_reserve,
    with_one_inode_left,
    with_a_limit_on_the_size_of_files,
    without_descriptors,
    without_links,
    without_flock,
    without_flushes,
    without_modes,
    a_lock_that_is_a_fifo,
    an_empty_lock,
    a_lock_of_another_host,
    a_dead_lock_that_is_immutable,
    another_users_dead_lock_in_a_sticky_directory,
    a_checksum_that_is_immutable,
    a_checksum_that_is_mounted,
    somebody_elses_checksum_in_a_sticky_directory,
]


@pytest.mark.parametrize("make", [*GOOD, *BAD], ids=lambda make: make.__name__)
def test_the_doctor_and_a_write_agree(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    def body(work: Path) -> tuple[bool, str, list[str]]:
        root = work / "ext4"
        root.mkdir()
        if "tmpfs" not in make.__name__:
            mounted.mount("none", root, "tmpfs")  # whatever the test directory is on
            disk = root / "disk"
            with disk.open("wb") as file:
                file.truncate(32 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
            root = root / "m"
            root.mkdir()
            subprocess.run(["mount", "-o", "loop", disk, root], check=True)
        target = make(root)
        text = os.fspath(target) + ("/" if make is only_a_directory_by_its_name else "")
        report = doctor(text)
        failures = [str(check) for check in report.checks if check.status == "fail"]
        try:
            write_atomic_bytes(text, b"new")
        except (OSError, SafeAtomicError) as error:
            return report.ok, f"{type(error).__name__}: {error}", failures
        return report.ok, "", failures

    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(above.stat().st_mode | 0o111)
    ok, refused, failures = privately(tmp_path, body)
    assert ok == (not refused), (refused, failures)
    assert ok == (make in GOOD), (refused, failures)


# ------------------------------------------------------------------------ probes by a stronger user


def test_probes_by_root_in_somebodys_directory_write_nothing_outside_it(tmp_path: Path) -> None:
    """Whoever owns the directory puts links in the place of everything that appears in it."""
    yard, outside = tmp_path / "yard", tmp_path / "outside"
    yard.mkdir()
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    os.chown(yard, OTHER, OTHER)
    before = snapshot(outside)
    stop = threading.Event()
    swapped = 0

    def swap() -> None:
        nonlocal swapped
        while not stop.is_set():
            for name in os.listdir(yard):
                try:
                    os.rename(yard / name, tmp_path / f"taken-{swapped}")
                    os.symlink(outside, yard / name)
                    swapped += 1
                except OSError:
                    continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(20):
            doctor(yard / "f", destructive=True)
            for name in os.listdir(yard):
                with contextlib.suppress(OSError):
                    (yard / name).unlink()
    finally:
        stop.set()
        swapper.join()
    assert snapshot(outside) == before
    assert swapped > 0


def test_probes_follow_no_link_to_a_directory_that_was_swapped_in(tmp_path: Path) -> None:
    yard, outside = tmp_path / "yard", tmp_path / "outside"
    for place in (yard, outside):
        place.mkdir()
    before = snapshot(outside)

    def swap(_path: str) -> bool:  # asked between the resolution of the path and its opening
        yard.rename(tmp_path / "moved")
        yard.symlink_to(outside)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "_is_directory", swap)
        report = doctor(yard / "f", destructive=True)
    assert yard.is_symlink()
    assert not report.ok
    assert snapshot(outside) == before


def snapshot(place: Path) -> list[tuple[str, bytes, int]]:
    return [
        (path.name, path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in (place, *sorted(place.rglob("*")))
    ]


def test_attributes_are_seen_on_what_may_not_be_read(tmp_path: Path) -> None:
    def body(work: Path) -> int:
        target = target_in(work / "d")
        target.chmod(0o600)
        chattr("+a", target)
        fd = os.open(target.parent, os.O_RDONLY)
        try:
            become(STRANGER)
            return _mounts.attributes(fd, "f") or 0
        finally:
            os.close(fd)

    try:
        assert privately(tmp_path, body) & _mounts.APPEND_ONLY
    finally:
        subprocess.run(["chattr", "-R", "-f", "-a", tmp_path], check=False)
