"""How the three filesystems are made and mounted here, and what disturbs them.

The images are as small as each mkfs allows, since every crash state is written out, mounted and
thrown away. *Noise* is another program's activity between the library's system calls: without it a
filesystem has no reason to write anything between two flushes, and reordering never shows; with it
a commit may hide that a flush was forgotten. So every workload runs with and without.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_MIB = 1 << 20


class Filesystem(NamedTuple):
    """One kind of filesystem.

    Attributes:
        name: The type, as mount(8) knows it.
        size: Size of the device in bytes.
        make: The mkfs command, without the device.
        clone_options: Options for mounting a copy while the original may be mounted, too.
        noises: The kinds of noise that make a difference here.
    """

    name: str
    size: int
    make: tuple[str, ...]
    clone_options: str
    noises: tuple[str, ...]


EXT4 = Filesystem(
    "ext4",
    32 * _MIB,
    # No lazy initialisation: a kernel thread would write to the device at times of its own.
    (
        *("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4"),
        *("-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
    ),
    "",
    ("none", "file", "mixed"),
)
XFS = Filesystem(
    "xfs",
    32 * _MIB,
    # xfsprogs refuses filesystems this small without --unsupported; the kernel does not mind.
    ("mkfs.xfs", "-q", "-f", "-K", "--unsupported", "-d", "agcount=1"),
    "nouuid",
    ("none", "file", "mixed"),
)
BTRFS = Filesystem(
    "btrfs",
    128 * _MIB,
    ("mkfs.btrfs", "-q", "-f", "-K"),
    "",
    ("none", "file", "commit", "mixed"),
)
ALL = {filesystem.name: filesystem for filesystem in (EXT4, XFS, BTRFS)}


def make(filesystem: Filesystem, device: str) -> None:
    """Make a filesystem on a device."""
    subprocess.run([*filesystem.make, device], check=True, capture_output=True)


def missing() -> list[str]:
    """Say what this machine lacks for crash images; empty if nothing."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("root")
    lacks += [
        f"access to {node}"
        for node in ("/dev/fuse", "/dev/loop-control")
        if not os.access(node, os.R_OK | os.W_OK)
    ]
    lacks += [kind.make[0] for kind in ALL.values() if shutil.which(kind.make[0]) is None]
    return lacks


# BTRFS_IOC_START_SYNC and BTRFS_IOC_WAIT_SYNC, <linux/btrfs.h>
_START_SYNC, _WAIT_SYNC = 0x80089418, 0x40089416


def noise(
    kind: str, filesystem: str, root: str, random_source: random.Random
) -> Callable[[], None]:
    """Return a function that disturbs the filesystem once.

    Never sync(2): that would flush every filesystem of the machine and, with them, what we want to
    see unflushed.

    Args:
        kind: ``none``; ``file`` creates and fsyncs an unrelated file in another directory, which
            commits the journal of ext4 and xfs and writes the log tree of btrfs; ``commit`` has
            btrfs commit its transaction; ``mixed`` does one or the other or, half of the times,
            nothing, because what one commit reveals another may hide.
        filesystem: The filesystem's name.
        root: Its mount point.
        random_source: Decides for ``mixed``.
    """
    if kind == "none":
        return lambda: None
    if kind == "commit":
        return lambda: _commit_btrfs(root)
    directory = f"{root}/noise"
    os.makedirs(directory, exist_ok=True)
    count = 0

    def unrelated_file() -> None:
        nonlocal count
        count += 1
        path = f"{directory}/{os.getpid()}-{count}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"noise")
            os.fsync(fd)
        finally:
            os.close(fd)

    if kind == "file":
        return unrelated_file

    def mixed() -> None:
        choice = random_source.randrange(4)
        if choice == 0 and filesystem == BTRFS.name:
            _commit_btrfs(root)
        elif choice <= 1:
            unrelated_file()

    return mixed


def _commit_btrfs(root: str) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        transaction = bytearray(8)
        fcntl.ioctl(fd, _START_SYNC, transaction)
        fcntl.ioctl(fd, _WAIT_SYNC, bytes(transaction))
    finally:
        os.close(fd)
