"""The few files with which a guest boots, until it stands on the host's own root.

BusyBox, the modules for virtio, 9p and the filesystems, and a script. The script mounts the host's
``/`` read-only by 9p and starts a job there, so that the guest has the very Python, mkfs programs
and checkout of the host, and no disk image has to be made.
"""

from __future__ import annotations

import gzip
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import debian

if TYPE_CHECKING:
    from collections.abc import Iterable

OUT = "/run/out"  # in the guest: the one folder of the host that it can write to
_ALWAYS = ("virtio_pci", "virtio_blk", "virtio_rng", "9pnet_virtio", "9p")
# What filesystems load by an alias, which takes modprobe and its tables: crc32c and the like.
_ALGORITHMS = (
    *("crc32c_generic", "crc32_generic", "xxhash_generic", "sha256_generic", "blake2b_generic"),
    *("crc32c_cryptoapi", "crc32c", "nls_utf8"),
)

_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module" 2>/dev/null; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /root
for place in dev proc sys; do mount -o move /$place /root/$place; done
for place in run mnt var/tmp dev/shm; do
    [ -d /root/$place ] || mkdir /root/$place
    mount -t tmpfs tmpfs /root/$place
done
mkdir -p /root/run/tmp /root{OUT}
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 out /root{OUT}
exec switch_root /root /bin/sh {OUT}/job.sh
"""


def build(modules: Path, names: Iterable[str]) -> bytes:
    """Return an initramfs.

    Args:
        modules: The folder of a kernel's modules.
        names: Modules that the job needs; one that is not there is built in or not offered.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise debian.NotPossibleError("this machine lacks busybox")
    archive = _Archive()
    for folder in ("bin", "modules", "proc", "sys", "dev", "root"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, Path(busybox).read_bytes())
    for library in _libraries(busybox):
        archive.add_parents(library)
        archive.add(library.lstrip("/"), stat.S_IFREG | 0o755, Path(library).read_bytes())
    order: dict[str, None] = {}
    for name in (*_ALWAYS, *_ALGORITHMS, *names):
        _require(modules, name, order)
    for number, name in enumerate(order):
        content = (modules / f"{name}.ko").read_bytes()
        archive.add(f"modules/{number:02}-{name}.ko", stat.S_IFREG | 0o644, content)
    archive.add("init", stat.S_IFREG | 0o755, _INIT.encode())
    return gzip.compress(archive.finish(), 1)


def _require(modules: Path, name: str, order: dict[str, None]) -> None:
    """Put a module into the order of loading, behind what it depends on."""
    file = modules / f"{name}.ko"
    if name in order or not file.exists():
        return
    found = re.search(rb"\0depends=([^\0]*)\0", file.read_bytes())
    for needed in found[1].decode().split(",") if found else []:
        _require(modules, needed.replace("-", "_"), order)
    order[name] = None


def _libraries(program: str) -> list[str]:
    """Return the libraries that a program is linked with; none if it is static."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return re.findall(r"(?:=> )?(/\S+) \(0x", done.stdout)


class _Archive:
    """A cpio archive in the "newc" format, as the kernel's initramfs-buffer-format.rst has it."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._folders: set[str] = set()
        self._count = 0

    def add(
        self, name: str, mode: int, data: bytes = b"", *, device: tuple[int, int] = (0, 0)
    ) -> None:
        self._count += 1
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        self._content += b"070701" + b"".join(b"%08x" % field for field in fields)
        self._content += name.encode() + b"\0"
        self._pad()
        self._content += data
        self._pad()

    def add_parents(self, path: str) -> None:
        for parent in reversed(Path(path.lstrip("/")).parents):
            if str(parent) not in (".", *self._folders):
                self._folders.add(str(parent))
                self.add(str(parent), stat.S_IFDIR | 0o755)

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._content)

    def _pad(self) -> None:
        self._content += bytes(-len(self._content) % 4)
