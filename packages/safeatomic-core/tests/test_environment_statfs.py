"""Where no mount table tells: statfs of macOS and the BSDs, and magic numbers."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from failing_calls import raising
from safeatomic_core import _environment as environment
from safeatomic_core import _mounts as mounts
from safeatomic_core._environment import describe, find_mount

TABLE = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:28 /@home /home rw,relatime shared:15 - btrfs /dev/vdb rw,subvolid=257,subvol=/@home
40 27 8:1 / /srv rw,relatime - xfs /dev/sda1 rw
41 27 8:1 /deep /srv/a/b rw,relatime - xfs /dev/sda1 rw
42 40 0:50 / /srv rw,relatime - tmpfs tmpfs rw
this line is not of that form
"""


def dev(text: str) -> int:
    return os.makedev(*map(int, text.split(":")))


@pytest.fixture
def no_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_process_findings", tuple)


def magic(number: int) -> Callable[[int], bytes]:
    return lambda _fd: struct.pack("@l", number) + bytes(4000)


@pytest.fixture
def hidden_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: 99)
    monkeypatch.setattr(mounts, "directory_of", lambda _fd: "/")


@pytest.mark.usefixtures("hidden_mount")
@pytest.mark.parametrize(
    ("number", "name"),
    [  # of <linux/magic.h>, or of the filesystem's own source
        *((0xEF53, "ext4"), (0x58465342, "xfs"), (0x9123683E, "btrfs"), (0x2FC12FC1, "zfs")),
        *((0xF2F52010, "f2fs"), (0xCA451A4E, "bcachefs"), (0x794C7630, "overlay")),
        *((0x1021994, "tmpfs"), (0x858458F6, "ramfs"), (0x6969, "nfs"), (0xFF534D42, "cifs")),
        *((0xFE534D42, "smb3"), (0x1021997, "9p"), (0xC36400, "ceph"), (0x65735546, "fuse")),
        *((0x4D44, "vfat"), (0x2011BAB0, "exfat"), (0x5346544E, "ntfs"), (0x7366746E, "ntfs3")),
    ],
)
def test_a_mount_outside_the_chroot_is_known_by_its_magic_number(
    monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    monkeypatch.setattr(mounts, "statfs", magic(number))
    mount = find_mount(TABLE, dev("8:7"), 5, "/")
    assert mount is not None
    assert (mount.fstype, mount.point, mount.number) == (name, None, -1)


HEADER = Path("/usr/include/linux/magic.h")
DEFINED = {
    "EXT4_SUPER_MAGIC": "ext4",
    "XFS_SUPER_MAGIC": "xfs",
    "BTRFS_SUPER_MAGIC": "btrfs",
    "F2FS_SUPER_MAGIC": "f2fs",
    "OVERLAYFS_SUPER_MAGIC": "overlay",
    "TMPFS_MAGIC": "tmpfs",
    "RAMFS_MAGIC": "ramfs",
    "NFS_SUPER_MAGIC": "nfs",
    "CIFS_SUPER_MAGIC": "cifs",
    "SMB2_SUPER_MAGIC": "smb3",
    "V9FS_MAGIC": "9p",
    "CEPH_SUPER_MAGIC": "ceph",
    "FUSE_SUPER_MAGIC": "fuse",
    "MSDOS_SUPER_MAGIC": "vfat",
    "EXFAT_SUPER_MAGIC": "exfat",
}


@pytest.mark.skipif(not HEADER.exists(), reason=f"no {HEADER} to compare with")
def test_magic_numbers_are_those_of_the_system_s_header() -> None:
    defined = dict(re.findall(r"#define\s+(\w+)\s+(0x\w+)", HEADER.read_text(encoding="utf-8")))
    known = DEFINED.keys() & defined.keys()  # an older header has fewer
    assert len(known) > len(DEFINED) / 2
    for name in known:
        assert environment._MAGIC[int(defined[name], 16)] == DEFINED[name], name


@pytest.mark.usefixtures("hidden_mount")
def test_an_unlisted_magic_number_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "statfs", magic(0x12345))
    assert find_mount(TABLE, dev("8:7"), 5, "/") is None


@pytest.mark.usefixtures("hidden_mount")
def test_a_statfs_that_fails_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "statfs", raising(errno.ENOSYS))
    assert find_mount(TABLE, dev("8:7"), 5, "/") is None


@pytest.mark.usefixtures("hidden_mount")
def test_a_shortage_while_statfs_is_asked_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "statfs", raising(errno.ENFILE))
    with pytest.raises(OSError, match="Too many open files in system"):
        find_mount(TABLE, dev("8:7"), 5, "/")


def darwin_statfs(fstype: str, point: str, source: str, flags: int) -> bytes:
    """Lay a struct statfs out as <sys/mount.h> of macOS does with 64-bit inodes."""
    head = struct.pack("<Ii5Q2iIIII", 4096, 1 << 20, 9, 8, 7, 6, 5, 1, 2, 0, 0x1A, flags, 0)
    assert len(head) == 72
    return head + struct.pack(
        "<16s1024s1024s8I", fstype.encode(), point.encode(), source.encode(), *[0] * 8
    )


def freebsd_statfs(fstype: str, point: str, source: str, flags: int) -> bytes:
    """Lay a struct statfs out as <sys/mount.h> of FreeBSD 12 and later does."""
    head = struct.pack("<IIQ", 0x20140518, 0x35, flags)
    head += bytes(8 * 11) + bytes(80) + struct.pack("<IIii", 255, 0, 1, 2) + bytes(80)
    assert len(head) == 280
    return head + struct.pack("<16s1024s1024s", fstype.encode(), source.encode(), point.encode())


@pytest.mark.usefixtures("no_findings")
@pytest.mark.parametrize(
    ("platform", "raw", "name", "kind", "options", "mounted"),
    [
        (
            "darwin",
            darwin_statfs("apfs", "/System/Volumes/Data", "/dev/disk3s5", 0x4801000),
            "apfs",
            "local_posix_persistent",
            ("local",),
            ("/System/Volumes/Data", "/dev/disk3s5"),
        ),
        (
            "darwin",
            darwin_statfs("hfs", "/Volumes/old", "/dev/disk4s2", 0x1001),
            "hfs",
            "local_posix_persistent",
            ("ro", "local"),
            ("/Volumes/old", "/dev/disk4s2"),
        ),
        (
            "darwin",
            darwin_statfs("smbfs", "/Volumes/share", "//u@filer/share", 1),
            "smbfs",
            "network",
            ("ro",),
            ("/Volumes/share", "//u@filer/share"),
        ),
        (
            "darwin",
            darwin_statfs("msdos", "/Volumes/STICK", "/dev/disk5s1", 0x1000),
            "msdos",
            "windows",
            ("local",),
            ("/Volumes/STICK", "/dev/disk5s1"),
        ),
        (
            "freebsd14",
            freebsd_statfs("ufs", "/", "/dev/ada0p2", 0x1000),
            "ufs",
            "local_posix_persistent",
            ("local",),
            ("/", "/dev/ada0p2"),
        ),
        (
            "freebsd14",
            freebsd_statfs("zfs", "/home", "zroot/home", 0x1000),
            "zfs",
            "local_posix_persistent",
            ("local",),
            ("/home", "zroot/home"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_statfs_is_read_where_there_is_no_mount_table(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    raw: bytes,
    name: str,
    kind: str,
    options: tuple[str, ...],
    mounted: tuple[str, str],
) -> None:
    monkeypatch.setattr(environment, "PLATFORM", platform)
    monkeypatch.setattr(mounts, "statfs", lambda _fd: raw.ljust(4096, b"\0"))
    mount = environment.mount_of_statfs(5)
    assert mount is not None
    assert mount.number == -1  # it has none
    found = describe(mount, 0)
    assert (found.filesystem, found.filesystem_class, found.mount_options) == (name, kind, options)
    assert (found.mount_point, found.source) == mounted
    assert found.platform == platform
    assert found.durability_findings == ()


@pytest.mark.usefixtures("no_findings")
def test_an_asynchronous_mount_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "freebsd14")
    raw = freebsd_statfs("ufs", "/fast", "/dev/ada0p3", 0x1040)
    monkeypatch.setattr(mounts, "statfs", lambda _fd: raw)
    found = describe(environment.mount_of_statfs(5), 0)
    assert "async" in found.durability_findings[0]
    assert not found.supports_fsync_file


def test_other_systems_are_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "openbsd7")
    assert environment.mount_of_statfs(0) is None


def test_a_failing_statfs_leaves_the_mount_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "darwin")
    monkeypatch.setattr(mounts, "statfs", raising(errno.EIO))
    assert environment.mount_of_statfs(0) is None
    monkeypatch.setattr(mounts, "statfs", raising(errno.ENFILE))
    with pytest.raises(OSError, match="Too many open files in system"):
        environment.mount_of_statfs(0)
