"""The machine a run took place on, without anything that names it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rows import Folders

from safeatomic_core import inspect_guarantees
from safeatomic_core._environment import has_journal

sys.path.append(str(Path(__file__).resolve().parents[1]))
from mounted import leave_mount_namespace, mount, unmount

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def describe(folders: Folders) -> dict[str, object]:
    """Return processor, memory, kernel, interpreter and filesystems; no host name, no path."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "ext4": _filesystem(folders.ext4),
        "tmpfs": _filesystem(folders.tmpfs),
        "virtual": "hypervisor" in (_first("/proc/cpuinfo", "flags") or ""),
        "load": round(os.getloadavg()[0], 1),
        "real_time": os.sched_getscheduler(0) in {os.SCHED_RR, os.SCHED_FIFO},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the command line say where to measure."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--ext4", metavar="DIR", help="a directory on ext4")
    where.add_argument("--image", metavar="DIR", help="make an ext4 in a file in DIR (root)")
    parser.add_argument("--tmpfs", metavar="DIR", default="/dev/shm", help="a directory on tmpfs")


@contextlib.contextmanager
def workspace(options: argparse.Namespace) -> Iterator[Folders]:
    """Yield a fresh directory on each filesystem, and remove them at the end."""
    with contextlib.ExitStack() as stack:
        ext4 = stack.enter_context(image(options.image)) if options.image else options.ext4
        parents = (_find_ext4(ext4), options.tmpfs)
        yield Folders(*(stack.enter_context(_fresh_directory(parent)) for parent in parents))


@contextlib.contextmanager
def _fresh_directory(parent: str | None) -> Iterator[str | None]:
    if parent is None:
        yield None
        return
    made = tempfile.mkdtemp(prefix=".safeatomic-bench-", dir=parent)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _find_ext4(asked: str | None) -> str | None:
    """Return a directory on ext4: the one asked for, this checkout, or ``/var/tmp``."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (asked,) if asked else (os.getcwd(), here, "/var/tmp"):
        report = inspect_guarantees(folder).environment
        if report.filesystem == "ext4" and os.access(folder, os.W_OK):
            return folder
    if asked:
        sys.exit(f"{asked} is not a writable directory on ext4")
    return None


@contextlib.contextmanager
def image(parent: str) -> Iterator[str]:
    """Yield a directory on a fresh ext4 as mkfs makes it by default, in a file on some disk.

    For a machine whose own disk is another filesystem, or an ext4 without a journal. The loop
    device reads and writes the file directly, so that a flush costs what one of the disk costs.
    Needs root; the mount is seen by this process alone, and all of it goes with the process.

    Args:
        parent: A directory on the disk, with some GiB of space.
    """
    leave_mount_namespace()
    place = tempfile.mkdtemp(prefix=".safeatomic-bench-", dir=parent)
    file = f"{place}/image"
    try:
        with open(file, "wb") as made:
            made.truncate(_IMAGE_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", file], check=True)
        losetup = ["losetup", "--find", "--show", "--direct-io=on", file]
        device = subprocess.check_output(losetup, text=True).strip()
        mount(device, Path(place), "ext4")
        subprocess.run(["losetup", "--detach", device], check=True)  # when it is unmounted
        try:
            yield place
        finally:
            unmount(Path(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


_IMAGE_SIZE = 16 << 30  # bytes, sparse


def _filesystem(folder: str | None) -> dict[str, object] | None:
    if folder is None:
        return None
    environment = inspect_guarantees(folder).environment
    facts: dict[str, object] = {
        "filesystem": environment.filesystem,
        "options": list(environment.mount_options),
        "device": _device(environment.source),
    }
    if environment.filesystem == "ext4":
        facts["journal"] = has_journal(environment)
    return facts


def _device(source: str) -> str:
    """Say what kind of disk a filesystem is on."""
    for part, kind in (("/vd", "a virtio disk"), ("/nvme", "an NVMe disk"), ("/loop", "a file")):
        if part in source:
            return kind
    return "another disk"


def _first(path: str, key: str) -> str | None:
    """Return the first value of a key in a ``key : value`` file of /proc."""
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return None
