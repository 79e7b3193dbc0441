"""The three filesystems: how they are made and mounted here, and the noise on them.

The images are as small as each mkfs allows, since every crash state is written out, mounted and
discarded. *Noise* is another program's activity between the library's system calls. Without noise a
filesystem has no reason to write anything between two flushes, so reordering never shows. With
noise a commit may hide a forgotten flush. So every workload runs with and without it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

_MIB = 1 << 20


class Filesystem(NamedTuple):
    """One kind of filesystem.

    Attributes:
        name: The type and, after a hyphen, the variant.
        size: Size of the device in bytes.
        make: The mkfs command, without the device.
        clone_options: Options for mounting a copy while the original may be mounted, too.
        noises: The kinds of noise that make a difference here.
        repair: The fsck command that comes before a mount after a crash, without the device.
    """

    name: str
    size: int
    make: tuple[str, ...]
    clone_options: str
    noises: tuple[str, ...]
    repair: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The type as mount(8) knows it."""
        return self.name.partition("-")[0]


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
# Not safe for data that must survive, and here to show that (docs/adr/0021-no-journal.md).
NO_JOURNAL = EXT4._replace(
    name="ext4-nojournal",
    make=(*EXT4.make[:5], "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"),
    repair=("e2fsck", "-f", "-y"),
)
KNOWN = {**ALL, NO_JOURNAL.name: NO_JOURNAL}


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


class Noise:
    """Disturbs a filesystem as another program would.

    It never calls sync(2), which would flush every filesystem of the machine, and with them the
    writes that must stay unflushed. The kinds are ``none``; ``file``, which creates and fsyncs an
    unrelated file in another directory (this commits the journal of ext4 and xfs, and writes the
    log tree of btrfs); ``commit``, with which btrfs commits its transaction; and ``mixed``, one of
    both or, half of the time, nothing, because one commit may hide what another one reveals.

    Args:
        kind: The kind that the scenario asks for.
        filesystem: The filesystem's name.
        root: Its mount point.
        random_source: Decides for ``mixed``.
    """

    def __init__(self, kind: str, filesystem: str, root: str, random_source: random.Random) -> None:
        self._kind = kind
        self._has_commit = filesystem == BTRFS.name
        self._root = root
        self._random = random_source
        self._count = 0
        os.mkdir(f"{root}/noise")

    def __call__(self, kind: str = "") -> None:
        """Disturb once, in the scenario's own way or another."""
        kind = kind or self._kind
        if kind == "mixed":
            kind = self._random.choice(("file", "commit", "none", "none"))
        if kind == "commit" and self._has_commit:
            _commit_btrfs(self._root)
        elif kind != "none":
            self._write_unrelated_file()

    def _write_unrelated_file(self) -> None:
        self._count += 1
        path = f"{self._root}/noise/{os.getpid()}-{self._count}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"noise")
            os.fsync(fd)
        finally:
            os.close(fd)


# BTRFS_IOC_START_SYNC and BTRFS_IOC_WAIT_SYNC, <linux/btrfs.h>
_START_SYNC, _WAIT_SYNC = 0x80089418, 0x40089416


def _commit_btrfs(root: str) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        transaction = bytearray(8)
        fcntl.ioctl(fd, _START_SYNC, transaction)
        fcntl.ioctl(fd, _WAIT_SYNC, bytes(transaction))
    finally:
        os.close(fd)
