"""A row about a machine with thousands of mounts, on which others mount and unmount all the time.

Every change of the mount table empties what was remembered of the filesystems, so the next write
asks the kernel anew. A child with a mount namespace of its own does the work: ``python
rows_mounts.py FOLDER`` answers each word that it reads with a line.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rows import Folders, Plan, Row

_MOUNTS = 10_000
_NEW_NAMESPACE, _BIND, _PRIVATE_BELOW = 0x20000, 0x1000, 0x4000 | 0x40000


def rows() -> list[Row]:
    """Return the row."""
    from rows import Row

    what = f"a write after a change among {_MOUNTS:,} mounts"
    return [Row("mount-table", what, "over the change itself", "ms", 5.0, _prepare)]


def _prepare(folders: Folders) -> Iterator[Plan]:
    from opponents import Skipped
    from rows import Plan

    child = subprocess.Popen(
        [sys.executable, __file__, folders.any()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    stdin, stdout = child.stdin, child.stdout

    def ask(word: str) -> None:
        stdin.write(word + "\n")
        stdin.flush()
        stdout.readline()

    try:
        answer = stdout.readline().strip()
        if answer != "ready":
            raise Skipped(answer or "nothing can be mounted here")
        candidates: dict[str, Callable[[], object]] = {
            "change": lambda: ask("change"),
            "change, then write": lambda: ask("both"),
        }
        figure = "change, then write"
        yield Plan(candidates, lambda times: (times[figure] - times["change"]) * 1e3)
    finally:
        child.kill()
        child.wait()


def serve(folder: str) -> None:
    """Mount, then change the table or write, as often as asked."""
    from safeatomic_core import write_atomic_bytes

    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, point: str, fstype: str, flags: int) -> None:
        words = (word.encode() for word in (source, point, fstype))
        if libc.mount(*words, ctypes.c_ulong(flags), None) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), point)

    try:
        if libc.unshare(_NEW_NAMESPACE) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        mount("none", "/", "none", _PRIVATE_BELOW)
        points = os.path.join(folder, "points")
        os.mkdir(points)
        target = os.path.join(folder, "target")
        write_atomic_bytes(target, b"content", safety="best_effort")
        mount("points", points, "tmpfs", 0)
        for number in range(_MOUNTS):
            point = os.path.join(points, str(number))
            os.mkdir(point)
            mount(points, point, "none", _BIND)
    except OSError as error:
        print(f"nothing can be mounted here: {error.strerror}", flush=True)
        return
    print("ready", flush=True)

    for line in sys.stdin:
        libc.umount(point.encode())
        mount(points, point, "none", _BIND)
        if line == "both\n":
            write_atomic_bytes(target, b"content")
        print("done", flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
