"""The kernels of Debian's releases: fetched and unpacked, never installed."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import debian

# A kernel that is old, one that is stable, and the newest. Each suite gives the series that it has.
SUITES = ("bookworm", "trixie", "forky")
_META_PACKAGE = "linux-image-amd64"
_PARTS = re.compile(r"linux-(image|binary|modules|base)-\d")
# Where a guest's modules are; the rest of a kernel's 300 MB is for hardware it does not have.
_WANTED = re.compile(r"/kernel/(arch/x86/crypto|crypto|lib|fs|net/9p|drivers/(block|virtio|char))/")


class Kernel(NamedTuple):
    """A kernel to boot.

    Attributes:
        release: What uname(1) prints there.
        image: The compressed kernel.
        modules: A folder of unpacked modules, by name.
    """

    release: str
    image: Path
    modules: Path


def obtain(suite: str) -> Kernel:
    """Return the kernel of a suite.

    Raises:
        debian.NotPossibleError: It cannot be had.
    """
    debian.require()
    folder = debian.kept(f"kernel-{suite}", lambda draft: _unpack(suite, draft))
    release = (folder / "release").read_text(encoding="utf-8")
    return Kernel(release, folder / "vmlinuz", folder / "modules")


def _unpack(suite: str, folder: Path) -> None:
    (folder / "modules").mkdir()
    with tempfile.TemporaryDirectory(prefix="safeatomic-kernel-") as work:
        archive = debian.Archive(suite, Path(work))
        for package in archive.download(_packages(archive)):
            _unpack_package(package, folder)
    if not (folder / "vmlinuz").exists():
        raise debian.NotPossibleError(f"no kernel in the packages of {suite}")


def _packages(archive: debian.Archive) -> list[str]:
    """Return the packages that a kernel is split into: one, or from 7.2 on several."""
    found: list[str] = []
    waiting = [_META_PACKAGE]
    while waiting:
        for name in archive.depends(waiting.pop()):
            if _PARTS.match(name) and name not in found:
                found.append(name)
                waiting.append(name)
    return found


def _unpack_package(package: Path, folder: Path) -> None:
    with (
        subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
        ) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as content,
    ):
        for member in content:
            file = content.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            path = PurePosixPath(member.name)
            if path.name.startswith("vmlinuz"):
                with (folder / "vmlinuz").open("wb") as image:
                    shutil.copyfileobj(file, image)
            elif ".ko" in path.suffixes and _WANTED.search(member.name):
                data = file.read()
                data = lzma.decompress(data) if path.suffix == ".xz" else data
                name = path.name.partition(".ko")[0].replace("-", "_")
                (folder / "modules" / f"{name}.ko").write_bytes(data)
                release = path.parts[path.parts.index("modules") + 1]
                (folder / "release").write_text(release, encoding="utf-8")
    if unpacking.returncode:
        raise debian.NotPossibleError(f"dpkg-deb could not unpack {package.name}")
