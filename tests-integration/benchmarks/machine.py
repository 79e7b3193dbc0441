"""The machine a run took place on, without anything that names it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from rows import Folders

from safeatomic_core import inspect_guarantees

if TYPE_CHECKING:
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


def find_ext4(asked: str | None) -> str | None:
    """Return a directory on ext4: the one asked for, this checkout, or ``/var/tmp``."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (asked,) if asked else (os.getcwd(), here, "/var/tmp"):
        report = inspect_guarantees(folder).environment
        if report.filesystem == "ext4" and os.access(folder, os.W_OK):
            return folder
    if asked:
        sys.exit(f"{asked} is not a writable directory on ext4")
    return None


def workspace(ext4: str | None, tmpfs: str | None) -> Iterator[Folders]:
    """Yield a fresh directory on each filesystem, and remove them at the end."""
    made = [
        None if parent is None else tempfile.mkdtemp(prefix=".safeatomic-bench-", dir=parent)
        for parent in (ext4, tmpfs)
    ]
    try:
        yield Folders(*made)
    finally:
        for folder in made:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _filesystem(folder: str | None) -> dict[str, object] | None:
    if folder is None:
        return None
    environment = inspect_guarantees(folder).environment
    return {
        "filesystem": environment.filesystem,
        "options": list(environment.mount_options),
        "device": "virtio" if "/vd" in environment.source else "other",
    }


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
