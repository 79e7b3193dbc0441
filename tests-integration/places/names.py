"""Places that differ in what the path leads to, and in who may do what there."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import mounted

from .making import OTHER, STRANGER, become, chattr, target_in


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
