"""Find out what filesystem a directory is on, without writing anything.

On Linux the mount table (``/proc/self/mountinfo``) answers: the kernel says on which mount a
descriptor was opened, and the table says what that mount is. macOS and FreeBSD answer ``statfs``.
Where neither is available the filesystem is ``unknown``, which is an answer, not a failure.
"""

from __future__ import annotations

import errno
import os
import sys

from . import _filesystems, _mounts
from ._errors import system_error
from ._types import Record

PLATFORM: str = sys.platform  # a variable, so that the tests can see every platform's branch

_LONG = 8 if sys.maxsize > 2**32 else 4  # bytes in a C long on Linux

# Not an answer about the filesystem: the process or the machine is out of something.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Environment(Record):
    """The location of a file, as far as the guarantees depend on it.

    Attributes:
        platform: `sys.platform`.
        filesystem: The type in lower case (``"ext4"``, ``"fuse.sshfs"``), or ``"unknown"``.
        filesystem_class: ``local_posix_persistent``, ``local_posix_memory``, ``network``,
            ``object_store``, ``windows`` or ``unknown``.
        supports_fsync_file: A file can be flushed.
        supports_fsync_dir: A directory can be flushed.
        supports_atomic_replace: A rename over an existing file happens in one step.
        symlink_policy: Always ``"unspecified"``: links are followed, outside the contract.
        mount_point: Where the filesystem is mounted, None if unknown.
        source: What is mounted there (a device, an export), empty if unknown.
        device: Its device number as ``"major:minor"``.
        mount_options: The options of the mount and of the filesystem.
        durability_findings: What silently removes durability here, one sentence each.
    """

    platform: str
    filesystem: str
    filesystem_class: str
    supports_fsync_file: bool = True
    supports_fsync_dir: bool = True
    supports_atomic_replace: bool = True
    symlink_policy: str = "unspecified"
    mount_point: str | None = None
    source: str = ""
    device: str = "0:0"
    mount_options: tuple[str, ...] = ()
    durability_findings: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "" if self.mount_point is None else f" at {self.mount_point}"
        text = f"{self.filesystem} ({self.filesystem_class}){where}, device {self.device}"
        if self.durability_findings:
            text += "; " + "; ".join(self.durability_findings)
        return one_line(text)


def one_line(text: str) -> str:
    """Return a text without line ends and escapes: anybody who mounts chooses the names in it."""
    return text if text.isprintable() else repr(text)[1:-1]


class Mount:
    """One line of the mount table."""

    __slots__ = ("device", "fstype", "number", "options", "point", "source")

    def __init__(
        self,
        number: int,
        device: str,
        point: str | None,
        options: tuple[str, ...],
        fstype: str,
        source: str,
    ) -> None:
        self.number = number
        self.device = device
        self.point = point
        self.options = options
        self.fstype = fstype
        self.source = source


def describe(mount: Mount | None, dev: int) -> Environment:
    """Build the environment of a mount; without one it is unknown."""
    if PLATFORM == "win32":
        return _build("unknown", _filesystems.WINDOWS, None, dev)
    if mount is None:
        return _build("unknown", _filesystems.UNKNOWN, None, dev)
    name, kind = _filesystems.identify(mount.fstype, mount.source, mount.options)
    return _build(name, kind, mount, dev)


def _build(filesystem: str, kind: str, mount: Mount | None, dev: int) -> Environment:
    options = () if mount is None else mount.options
    findings = _process_findings() + _filesystems.hazards(filesystem, options)
    fsync_file, fsync_dir, replace = _filesystems.support(filesystem, kind)
    return Environment(
        platform=PLATFORM,
        filesystem=filesystem,
        filesystem_class=kind,
        supports_fsync_file=fsync_file and not findings,
        supports_fsync_dir=fsync_dir and not findings,
        supports_atomic_replace=replace,
        symlink_policy="unspecified",
        mount_point=None if mount is None else mount.point,
        source="" if mount is None else mount.source,
        device=device_text(dev),
        mount_options=options,
        durability_findings=findings,
    )


def device_text(dev: int) -> str:
    """Write a device number as the mount table does."""
    if not hasattr(os, "major"):  # Windows: a volume serial number without parts
        return str(dev)
    return f"{os.major(dev)}:{os.minor(dev)}"


def lives_in_memory(environment: Environment) -> bool:
    """Tell whether a persistent filesystem sits on a RAM disk: brd has major 1, zram any.

    A btrfs has a device number of its own.
    """
    return environment.source.startswith(("/dev/zram", "/dev/ram")) or (
        environment.platform == "linux" and environment.device.startswith("1:")
    )


def has_journal(environment: Environment) -> bool | None:
    """Tell whether an ext4 has a journal, None where that cannot be seen; True for all others.

    It can be made, or tuned, to have none (``mkfs.ext4 -O ^has_journal``), as disks of virtual
    machines are. Nothing in the mount table tells; of the options in force ``data=`` is missing
    then (fs/ext4/super.c).
    """
    if environment.platform != "linux" or environment.filesystem != "ext4":
        return True
    try:
        options = _mounts.ext4_options(environment.device)
    except (system_error(), ValueError) as error:
        if isinstance(error, OSError):
            raise_shortage(error)
        return None
    return any(option.startswith("data=") for option in options)


# ------------------------------------------------------------------ what the process itself removes

_IGNORED = (
    "fsync succeeds without being carried out (a preloaded library, or a seccomp filter such as "
    "systemd's --suppress-sync)"
)
_SUPPRESSORS = ("eatmydata", "nosync", "nofsync", "no-fsync", "no_fsync", "fakefsync", "skipfsync")


def _process_findings() -> tuple[str, ...]:
    """Name what stands between this process and the kernel's fsync."""
    if PLATFORM == "win32":
        return ()
    library = _preloaded_suppressor()
    if library:
        return (f"the preloaded library {library} ignores fsync",)
    if _mounts.fsync_is_ignored():
        return (_IGNORED,)
    return ()


def _preloaded_suppressor() -> str:
    """Return the name of a loaded fsync suppressor, a library known for ignoring it, or nothing.

    Looked for once: only a library that was there before the first call can stand in its way.
    """
    global _suppressor
    if _suppressor is None:
        _suppressor = _find_suppressor()
    return _suppressor


_suppressor: str | None = None


def _find_suppressor() -> str:
    try:
        loaded = _mounts.read_proc("/proc/self/maps")
    except system_error() as error:
        raise_shortage(error)
        loaded = os.fsencode(os.environ.get("LD_PRELOAD", "")).replace(b":", b" ")
    for word in loaded.split():
        name = os.fsdecode(word.rpartition(b"/")[2])
        if ".so" in name and any(word in name.lower() for word in _SUPPRESSORS):
            return name
    return ""


# ---------------------------------------------------------------------------------- the mount table


def mount_number(dir_fd: int | None) -> int | None:
    """Return the number of an open directory's mount; None where the kernel does not tell it."""
    if dir_fd is None:
        return None
    try:
        return _mounts.mount_id(dir_fd)
    except system_error() as error:
        raise_shortage(error)
        return None


def find_mount(
    table: bytes, dev: int, dir_fd: int | None, path: str, number: int | None = None
) -> Mount | None:
    """Find the mount of an open directory, or failing that of a path, in a mount table.

    Args:
        table: The content of ``mountinfo``.
        dev: Device number of the directory.
        dir_fd: The directory, open.
        path: The directory's path, for a kernel that does not tell mount numbers.
        number: The directory's mount number, which is exact; asked for if it is not given.
    """
    if dir_fd is not None:
        number = mount_number(dir_fd) if number is None else number
        if number is not None:
            line = _line_of(table, number)
            return _mount_by_magic(dir_fd) if line is None else parse_mount(line)
        try:
            path = _mounts.directory_of(dir_fd)
        except system_error() as error:
            raise_shortage(error)
    mounts = [mount for mount in map(parse_mount, table.splitlines()) if mount is not None]
    same_device = [mount for mount in mounts if mount.device == device_text(dev)]
    if same_device:
        return _deepest(same_device, path) or same_device[-1]
    return _deepest(mounts, path)


def _line_of(table: bytes, number: int) -> bytes | None:
    """Return the line of a mount; only that one is cut out of a table of perhaps thousands."""
    wanted = b"%d " % number
    start = 0 if table.startswith(wanted) else table.find(b"\n" + wanted) + 1
    if start == 0 and not table.startswith(wanted):
        return None
    return table[start:].partition(b"\n")[0]


def names_of_mounts(table: bytes) -> frozenset[str]:
    """Return the last component of every mount point in a table."""
    fields = (line.split(b" ", 5) for line in table.splitlines())
    return frozenset(
        _mounts.unescaped(field[4].rpartition(b"/")[2]) for field in fields if len(field) > 5
    )


def count_mounts(table: bytes, mount: Mount | None) -> int:
    """Count the mounts that share a mount's device number (bind mounts do)."""
    return 0 if mount is None else table.count(b" %b " % os.fsencode(mount.device))


def raise_shortage(error: OSError) -> None:
    """Raise an error that says nothing about the filesystem, swallow one that does."""
    if error.errno in _SHORTAGES:
        raise error


def parse_mount(line: bytes) -> Mount | None:
    """Read one line of ``mountinfo`` (proc(5)); None for one that is not of that form.

    The optional fields in the middle end with a lone hyphen. Spaces and the like inside a field are
    written as octal escapes, and a field may be empty.
    """
    fields = line.split(b" ")
    try:
        end = fields.index(b"-", 6)
        fstype, source, fs_options = fields[end + 1 : end + 4]
        number = int(fields[0])
    except ValueError:
        return None
    options = dict.fromkeys(_mounts.unescaped(fields[5]).split(","))
    options.update(dict.fromkeys(_mounts.unescaped(fs_options).split(",")))
    return Mount(
        number,
        os.fsdecode(fields[2]),
        _mounts.unescaped(fields[4]),
        tuple(options),
        _mounts.unescaped(fstype),
        _mounts.unescaped(source),
    )


def _deepest(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that holds a path; of two on one point the later hides the earlier."""

    def holds(mount: Mount) -> bool:
        point = mount.point or "/"
        return path == point or path.startswith(point.rstrip("/") + "/")

    found = filter(holds, reversed(mounts))  # the first of the longest is what max() returns
    return max(found, key=lambda mount: len(mount.point or "/"), default=None)


# The table leaves out a mount that lies outside this chroot or is already detached. statfs still
# says what kind it is (statfs(2), <linux/magic.h>), but not its options. ext2, ext3 and ext4 share
# a number, and one driver serves all three.
_MAGIC = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
    0x794C7630: "overlay",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb3",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x65735546: "fuse",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
    0x5346544E: "ntfs",
    0x7366746E: "ntfs3",
}


def _mount_by_magic(dir_fd: int) -> Mount | None:
    """Make up a mount from what ``statfs`` says of a directory that the mount table leaves out."""
    try:
        raw = _mounts.statfs(dir_fd)
    except system_error() as error:
        raise_shortage(error)
        return None
    magic = int.from_bytes(raw[:_LONG], sys.byteorder) & 0xFFFFFFFF
    if magic not in _MAGIC:
        return None
    return Mount(-1, "", None, (), _MAGIC[magic], "")


# ------------------------------------------------------------------------------------ macOS and BSD

# Where the fields of struct statfs are: flags, type name, mount point, source (<sys/mount.h>,
# macOS with 64-bit inodes; FreeBSD 12 and later). Offsets in bytes; a text ends with a NUL.
_STATFS_LAYOUTS = {"darwin": (64, 72, 88, 1112), "freebsd": (8, 280, 1320, 296)}
_STATFS_FLAGS = ((0x1, "ro"), (0x2, "sync"), (0x40, "mnt_async"), (0x1000, "local"))


def mount_of_statfs(dir_fd: int) -> Mount | None:
    """Describe the mount of an open directory on a system without a mount table."""
    layout = _STATFS_LAYOUTS.get(PLATFORM.rstrip("0123456789"))
    if layout is None:
        return None
    try:
        raw = _mounts.statfs(dir_fd)
    except system_error() as error:
        raise_shortage(error)
        return None
    flags, *texts = (raw[offset:] for offset in layout)
    fstype, point, source = (os.fsdecode(text.partition(b"\0")[0]) for text in texts)
    bits = int.from_bytes(flags, "little")  # the first word's; only its low bits are looked at
    options = tuple(word for bit, word in _STATFS_FLAGS if bits & bit)
    return Mount(-1, "", point, options, fstype, source)
