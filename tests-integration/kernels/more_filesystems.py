"""Filesystems for the long run, which the machine's own kernel may not have."""

from __future__ import annotations

import os
import shutil
import stat

from crash.crashlab import filesystems, payload, workloads
from crash.crashlab.filesystems import Filesystem

_MIB = 1 << 20
_NOISES = ("none", "file")

F2FS = Filesystem("f2fs", 128 * _MIB, ("mkfs.f2fs", "-q", "-f"), "", _NOISES)
NILFS2 = Filesystem("nilfs2", 160 * _MIB, ("mkfs.nilfs2", "-q", "-f", "-B", "16"), "", _NOISES)
JFS = Filesystem("jfs", 32 * _MIB, ("mkfs.jfs", "-q"), "", _NOISES, ("fsck.jfs", "-a"))
ALL = {filesystem.name: filesystem for filesystem in (F2FS, NILFS2, JFS)}


def register() -> None:
    """Make them known to crashlab."""
    filesystems.KNOWN.update(ALL)


def missing() -> list[str]:
    """Return the mkfs programs that this machine lacks."""
    return [kind.make[0] for kind in ALL.values() if shutil.which(kind.make[0]) is None]


_real = payload.meta_of, payload.set_meta


def adapt_to(filesystem: str) -> None:
    """Leave out of the workloads, in this process, what a filesystem does not have.

    nilfs2 keeps no extended attributes: mode and owner are all that is compared there.
    """
    if filesystem != NILFS2.name:
        return
    full = {meta.rpartition(" ")[0]: meta for meta in (workloads.ONE, workloads.OTHER)}

    def meta_of(path: str) -> str:
        status = os.stat(path)
        seen = f"{stat.S_IMODE(status.st_mode):o} {status.st_uid}:{status.st_gid}"
        return full.get(seen, f"{seen} -")

    def set_meta(path: str, meta: str) -> None:
        _real[1](path, f"{meta.rpartition(' ')[0]} -")

    payload.meta_of, payload.set_meta = meta_of, set_meta


def restore() -> None:
    """Compare everything again."""
    payload.meta_of, payload.set_meta = _real
