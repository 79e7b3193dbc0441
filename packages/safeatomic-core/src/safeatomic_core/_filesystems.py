"""What is known about each filesystem: its class, its levels, and what takes durability away.

Pure tables and functions, no system call. A filesystem that is not listed is ``unknown``: better to
refuse a good one, with the way out in the message, than to vouch for one that nobody examined.
"""

from __future__ import annotations

from ._types import (
    ATOMIC_VISIBILITY,
    CRASH_DURABILITY,
    CROSS_DEVICE_SAFETY,
    GUARANTEES,
    INTEGRITY_DETECTION,
    METADATA_PRESERVATION,
    READER_CONSISTENCY,
    STALE_RECOVERY,
    WRITER_EXCLUSION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Level

PERSISTENT = "local_posix_persistent"
MEMORY = "local_posix_memory"
NETWORK = "network"
OBJECT_STORE = "object_store"
WINDOWS = "windows"
UNKNOWN = "unknown"
CLASSES = (PERSISTENT, MEMORY, NETWORK, OBJECT_STORE, WINDOWS, UNKNOWN)

# What this library is tested on (macOS by its documented behaviour); the rest of a local class is
# graded by what POSIX asks, which is less than a test.
TIER_1 = {
    "linux": frozenset({"ext4", "xfs", "btrfs", "tmpfs"}),
    "darwin": frozenset({"apfs"}),
}

# Whose flushes were recorded under a write, and reached the block device.
_RECORDED = frozenset({"ext4", "xfs", "btrfs", "overlay"})

_MEMBERS = {
    PERSISTENT: """
        ext2 ext3 ext4 xfs btrfs zfs bcachefs f2fs jfs nilfs2 reiserfs ubifs
        apfs hfs hfsplus ufs ufs2 ffs hammer2 overlay
    """,
    MEMORY: "tmpfs ramfs devtmpfs rootfs mfs",
    NETWORK: """
        nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs smbnetfs ncpfs afpfs webdav davfs davfs2 9p virtiofs
        ceph ceph-fuse glusterfs lustre beegfs beegfs-nodev gpfs ocfs2 gfs2 orangefs pvfs2 panfs afs
        openafs kafs coda moosefs mfsmount lizardfs seaweedfs sshfs curlftpfs hdfs fuse_dfs
        vboxsf vmhgfs vmhgfs-fuse prl_fs prl_fsd osxfs grpcfuse fakeowner
    """,
    OBJECT_STORE: """
        s3fs s3ql s3backer gcsfuse goofys rclone mount-s3 mountpoint-s3 blobfuse blobfuse2 riofs
        yas3fs ossfs cosfs obsfs geesefs tigrisfs juicefs alluxio alluxio-fuse
        google-drive-ocamlfuse onedriver
    """,
    WINDOWS: "ntfs ntfs3 ntfs-3g ntfsblk refs fat vfat msdos msdosfs exfat exfat-fuse drvfs",
}
_CLASS_OF = {name: kind for kind, names in _MEMBERS.items() for name in names.split()}

# In these the kernel shows itself; nobody creates a file there, whatever access(2) says.
PSEUDO = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs"})

# Renaming over a file commits nothing there: the directory entries are rewritten in place, and a
# crash between two sectors leaves neither name, or both.
_FAT_FAMILY = frozenset({"fat", "vfat", "msdos", "msdosfs", "exfat", "exfat-fuse"})


def identify(fstype: str, source: str = "", options: tuple[str, ...] = ()) -> tuple[str, str]:
    """Return the name and the class of a filesystem.

    Args:
        fstype: The type as the mount table or ``statfs`` gives it, in any case.
        source: What is mounted; plain ``fuse`` often names its server there only.
        options: The mount options; WSL 2 tells a Windows drive from other 9p mounts by them.
    """
    name = fstype.lower()
    if name in ("fuse", "fuseblk") or name.startswith(("fuse.", "fuseblk.")):
        return name, _fuse_class(name, source.lower())
    if name == "9p" and any("aname=drvfs" in option for option in options):
        return "drvfs", WINDOWS
    return name, _CLASS_OF.get(name, UNKNOWN)


def _fuse_class(name: str, source: str) -> str:
    """Class a user-space filesystem by its server; none of them is a *local* one.

    Whether fsync and rename mean anything is up to the server, so that a ``fuse.zfs`` or an
    unlisted one stays unknown.
    """
    kind, _, server = name.partition(".")
    if kind == "fuseblk" and not server:
        return WINDOWS  # ntfs-3g and exfat-fuse, the servers that mount a block device
    for candidate in (server, source.rpartition("/")[2].partition("#")[0]):
        found = _CLASS_OF.get(candidate, UNKNOWN)
        if found in (NETWORK, OBJECT_STORE, WINDOWS):
            return found
    return UNKNOWN


def support(filesystem: str, kind: str) -> tuple[bool, bool, bool]:
    """Say whether fsync of a file, fsync of a directory and an atomic replace exist there."""
    if kind in (PERSISTENT, MEMORY, NETWORK):
        return True, True, True
    if kind == WINDOWS:
        return True, False, filesystem not in _FAT_FAMILY
    return False, False, False


_FLUSHLESS = {
    "jfs": (
        "jfs sends the drive no flush when it is told to fsync (recorded on Linux 6.12 and 7.2): "
        "the data stays in the drive's cache"
    ),
}


def hazards(filesystem: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Name the durability hazards: what drops flushes without any call failing.

    Not among them is ext4's ``data=writeback``: it drops the order between a file's data and its
    metadata, and the temporary file is fsynced before it gets its name, whatever the mode.
    """
    found = []
    if filesystem in _FLUSHLESS:
        found.append(_FLUSHLESS[filesystem])
    for option in options:
        name, _, value = option.partition("=")
        if name == "nobarrier" or (
            name in ("barrier", "barriers") and value in ("0", "none", "off")
        ):
            found.append(
                f"write barriers are off ({option}): fsync leaves the data in the drive's cache"
            )
        elif filesystem == "f2fs" and option == "fsync_mode=nobarrier":
            found.append(f"fsync sends no flush ({option}): the data stays in the drive's cache")
        elif filesystem == "f2fs" and option.startswith("checkpoint=disable"):
            found.append(
                f"checkpoints are off ({option}): fsync does nothing, and a crash brings back the "
                "state from before"
            )
        elif filesystem == "overlay" and option in ("volatile", "fsync=volatile"):
            found.append(f"the overlay is mounted {option}: every fsync is skipped")
        elif filesystem == "bcachefs" and name == "journal_flush_disabled" and value != "0":
            found.append(f"journal flushes are off ({name}): fsync does not wait for the journal")
        elif option == "mnt_async":
            found.append(
                "the filesystem is mounted async: a crash may leave its directories inconsistent"
            )
    return tuple(found)


def levels(
    platform: str,
    filesystem: str,
    kind: str,
    findings: tuple[str, ...],
    *,
    in_memory: bool = False,
    options_seen: bool = True,
    journal: bool | None = True,
    trouble: str = "",
) -> tuple[dict[str, Level], dict[str, str]]:
    """Grade every guarantee, with one sentence of reason each.

    Args:
        platform: `sys.platform` of the machine.
        filesystem: The filesystem's name.
        kind: Its class, one of `CLASSES`.
        findings: What removes durability, as `hazards` and the environment name it.
        in_memory: The block device under a persistent filesystem is a RAM disk.
        options_seen: The mount options are known; in a chroot they may not be.
        journal: The filesystem has one if it can; None where that cannot be seen.
        trouble: Why the place could not be examined, if it could not.
    """
    graded: dict[str, tuple[Level, str]]
    if kind in (PERSISTENT, MEMORY):
        graded = _local(platform, filesystem)
        if kind == MEMORY or in_memory:
            where = filesystem if kind == MEMORY else "the RAM disk under it"
            graded[CRASH_DURABILITY] = (
                "BestEffort",
                f"{where} lives in memory: data survives the process, not the machine",
            )
        elif findings:
            graded[CRASH_DURABILITY] = ("Unsupported", "; ".join(findings))
            graded[INTEGRITY_DETECTION] = (
                "BestEffort",
                "the pair is checked, but a crash may separate data and checksum",
            )
        elif not journal or filesystem == "ext2":
            doubt = (
                f"whether this {filesystem} has a journal cannot be seen from here"
                if journal is None
                else f"this {filesystem} has no journal (tune2fs -j adds one), or is mounted "
                "without it (noload): a crash in the middle of a change may damage what is there "
                "already"
            )
            graded[CRASH_DURABILITY] = graded[INTEGRITY_DETECTION] = ("BestEffort", doubt)
        elif not options_seen:
            doubt = "the mount options cannot be seen from here (a chroot, or a detached mount)"
            graded[CRASH_DURABILITY] = graded[INTEGRITY_DETECTION] = ("BestEffort", doubt)
    else:
        graded = _foreign(filesystem, kind, trouble)
        if findings:
            graded[CRASH_DURABILITY] = ("Unsupported", "; ".join(findings))
    return (
        {name: graded[name][0] for name in GUARANTEES},
        {name: graded[name][1] for name in GUARANTEES},
    )


def _local(platform: str, filesystem: str) -> dict[str, tuple[Level, str]]:
    """Grade a local POSIX filesystem whose flushes reach the device."""
    level: Level = "Guaranteed"
    doubt = ""
    if filesystem == "overlay":
        level = "BestEffort"
        doubt = "it is as good as the filesystem of the upper layer, which cannot be seen from here"
    elif filesystem not in TIER_1.get(platform, ()):
        level = "BestEffort"
        doubt = f"POSIX asks it of {filesystem}, which is not among the tested filesystems"
        if filesystem not in _RECORDED:
            doubt += "; its flushes were never recorded"
    durable = "file and directory are flushed before the call returns"
    if filesystem == "zfs":
        doubt += "; the dataset's property sync=disabled cannot be seen from here"
    graded: dict[str, tuple[Level, str]] = {
        ATOMIC_VISIBILITY: (level, doubt or "rename replaces the old file in one step"),
        CRASH_DURABILITY: (level, doubt or durable),
        WRITER_EXCLUSION: (level, doubt or "one writer holds the lock, proved by flock"),
        INTEGRITY_DETECTION: (level, doubt or "data and checksum agree at every instant"),
        READER_CONSISTENCY: (level, doubt or "an open file stays the version it was opened as"),
        STALE_RECOVERY: (level, doubt or "the kernel frees a dead holder's flock"),
        METADATA_PRESERVATION: (
            level,
            doubt or "mode and extended attributes are kept, owner and group where permitted",
        ),
        CROSS_DEVICE_SAFETY: ("Guaranteed", _NEVER_COPIED),
    }
    if platform != "linux":
        graded[METADATA_PRESERVATION] = (
            "BestEffort",
            "the mode is kept, owner and group where permitted, extended attributes are not",
        )
    return graded


_NEVER_COPIED = "nothing is ever copied across devices; the attempt is refused"

_FOREIGN_REASONS = {
    NETWORK: "{fs} is a network filesystem: its server, protocol and caches decide",
    OBJECT_STORE: "{fs} keeps objects: replacing one is an upload, not a rename",
    WINDOWS: "{fs} follows the rules of Windows, which this library does not target",
    UNKNOWN: "the filesystem ({fs}) is not known to this library",
}


def _foreign(filesystem: str, kind: str, trouble: str) -> dict[str, tuple[Level, str]]:
    """Grade what is not a local POSIX filesystem: nothing of it is this library's target."""
    reason = _FOREIGN_REASONS[kind].format(fs=filesystem)
    if kind == UNKNOWN and filesystem == UNKNOWN:
        reason = "the filesystem could not be determined"
        if trouble:
            reason += f" ({trouble})"
    level: Level = "Unsupported" if kind == OBJECT_STORE else "NonTarget"
    graded: dict[str, tuple[Level, str]] = dict.fromkeys(GUARANTEES, (level, reason))
    if filesystem in _FAT_FAMILY:
        graded[CRASH_DURABILITY] = (
            "Unsupported",
            f"{filesystem} has no journal: a crash during a rename can lose both files",
        )
    if kind != WINDOWS:
        graded[CROSS_DEVICE_SAFETY] = ("Guaranteed", _NEVER_COPIED)
    return graded


_LOCAL = "Use a local filesystem"

# What takes the place of a good filesystem's levels for a file that is itself a mount point.
MOUNT_POINT: dict[str, str] = {
    ATOMIC_VISIBILITY: (
        "the file is itself a mount point, which no rename replaces: it can only be written in "
        "place, and readers may see a mixture meanwhile"
    ),
    CRASH_DURABILITY: (
        "the file is itself a mount point: a crash while it is written in place leaves a mixture"
    ),
    WRITER_EXCLUSION: (
        "the file is itself a mount point: its lock is beside it, where those who reach the file "
        "through another mount do not see it"
    ),
    INTEGRITY_DETECTION: (
        "the file is itself a mount point: its checksum is beside it, where those who reach the "
        "file through another mount do not see it"
    ),
}
MOUNT_POINT_ADVICE = "Mount the directory that holds the file, not the file"


def advice(filesystem: str, kind: str, findings: tuple[str, ...]) -> str:
    """Say what gives back what is missing on a filesystem."""
    if kind == PERSISTENT and findings and filesystem not in _FLUSHLESS:
        remount = "Remount with barriers on and without the option that is named"
        if filesystem == "overlay":  # no remount changes it (Documentation/filesystems/overlayfs)
            remount = (
                "If the overlay is volatile, unmount it, remove 'work/incompat/volatile' in its "
                "workdir (which says that a crash may have damaged it), and mount it without "
                "'volatile'"
            )
        return f"{remount}, or start the program without the library or filter that is named"
    if filesystem in _FLUSHLESS:
        return "Use ext4, xfs or btrfs"
    return _LOCAL
