"""A private mount namespace, whose mounts end with the processes that use it.

A crash test mounts thousands of filesystems. If one of them stayed behind after an interrupt or a
bug, it would pin its loop device and its memory until a reboot. So every scenario runs in a process
with a private mount namespace and a private tmpfs for its files, and the kernel kills each of its
processes with its parent. When the last one has ended, the kernel drops the mounts and with them
the loop devices, which are attached with autoclear. `wait_until_gone` checks that.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pickle
import re
import signal
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    _T = TypeVar("_T")

TAG_VARIABLE = "SAFEATOMIC_CRASH_TAG"

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, fstype: str, flags: int = 0, options: str = "") -> None:
    """Mount a filesystem (mount(2)).

    Raises:
        OSError: What the kernel says, with source, type and options in the message.
    """
    code = _libc.mount(
        source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), options.encode()
    )
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (mount -t {fstype} -o {options} {source})")


def unmount(target: str, *, patience_s: float = 0.0) -> None:
    """Unmount (umount2(2)).

    Args:
        target: The mount point.
        patience_s: Seconds to wait out EBUSY (a loop device is cleared with a delay); after that
            the mount is detached lazily.
    """
    deadline = time.monotonic() + patience_s
    while _libc.umount2(target.encode(), 0) != 0:
        number = ctypes.get_errno()
        if number != errno.EBUSY or not patience_s:
            raise OSError(number, os.strerror(number), target)
        if time.monotonic() > deadline:
            _libc.umount2(target.encode(), _MNT_DETACH)
            return
        time.sleep(0.002)


def syncfs(directory: str) -> None:
    """Flush the one filesystem that a directory is on (syncfs(2))."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", directory)
    finally:
        os.close(fd)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends (prctl(2)); call it right after a fork."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def enter_private_namespace(scratch: str) -> None:
    """Leave the shared mount namespace for good and mount a private tmpfs on a directory.

    Args:
        scratch: An existing empty directory; what this process and its children put there is
            visible to nobody else and is gone with them.
    """
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS) failed")
    mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    mount("tmpfs", scratch, "tmpfs", options="size=4g,mode=700")


@contextlib.contextmanager
def mounted(source: str, target: str, fstype: str, options: str = "") -> Iterator[str]:
    """Mount for the length of a ``with`` block, making the mount point if needed."""
    os.makedirs(target, exist_ok=True)
    mount(source, target, fstype, options=options)
    try:
        yield target
    finally:
        unmount(target, patience_s=5.0)


def in_children(work: Callable[[int], _T], count: int, scratch: str) -> list[_T]:
    """Do work in several forked children and return their results in order.

    Args:
        work: Called with the number of the child, from 0.
        count: How many children.
        scratch: A directory for the results.

    Raises:
        RuntimeError: A child failed; it has printed why.
    """
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                die_with_parent()
                with open(f"{scratch}/result{number}", "wb") as file:
                    pickle.dump(work(number), file)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    if failed:
        raise RuntimeError(f"{len(failed)} of {count} children failed")
    results = []
    for number in range(count):
        with open(f"{scratch}/result{number}", "rb") as file:
            results.append(pickle.load(file))
    return results


def processes_tagged(tag: str) -> list[int]:
    """Return the processes, other than this one, whose environment carries our tag."""
    wanted = f"{TAG_VARIABLE}={tag}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(entry))
        except OSError:
            continue  # it ended while we were looking
    return found


def mounts_under(directory: str) -> list[str]:
    """Return the mount points of this namespace at or below a directory."""
    # Blanks and backslashes in a path are octal escapes there, and links are followed.
    top = re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", os.path.realpath(directory))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[4] for line in file]
    return [point for point in points if point == top or point.startswith(top + "/")]


def wait_until_gone(tag: str, scratch: str, loops: list[str], *, patience_s: float) -> list[str]:
    """Say what is still there of a run after a while; empty when everything is gone.

    Args:
        tag: The tag that the run's processes carry.
        scratch: The run's scratch directory.
        loops: Loop devices that the run has attached.
        patience_s: Seconds to wait; the kernel clears mounts and loop devices asynchronously.
    """
    from .loop import belongs_to

    deadline = time.monotonic() + patience_s
    while True:
        left = [f"process {pid}" for pid in processes_tagged(tag)]
        left += [f"mount {point}" for point in mounts_under(scratch)]
        left += [f"loop device {device}" for device in loops if belongs_to(device, tag)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
