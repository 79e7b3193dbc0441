"""Writes with one step left out or moved, for the traces that the model must reject."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeatomic_core._posix import kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from safeatomic_core._protocol import Write


def without_fsync(*, directories: bool) -> Callable[..., Any]:
    """Make a wrapper for `intercept` that leaves out the fsync of directories, or of files."""

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def fsync(fd: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{fd}") != directories:
                call(fd)

        return fsync if name == "fsync" else call

    return wrap


def without_rename(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out the rename."""
    return (lambda *_args, **_kwargs: None) if name == "rename" else call


def publish_before_harden(write: Write) -> None:
    write.publish()
    write.harden()
    write.settle()


def settle_before_publish(write: Write) -> None:
    write.harden()
    write.settle()
    write.publish()


def write_after_harden(write: Write) -> None:
    write.harden()
    kernel.write(write.temp.fd, b"and one more")
    write.publish()
    write.settle()


def return_after_harden(write: Write) -> None:
    write.harden()


def return_after_publish(write: Write) -> None:
    write.harden()
    write.publish()


def do_nothing(write: Write) -> None:
    """Leave out the whole step."""


SEAM_DEFECTS = {
    "no fsync of the temp": without_fsync(directories=False),
    "no fsync of the directory": without_fsync(directories=True),
    "no rename": without_rename,
}
CODE_DEFECTS: dict[str, tuple[str, Callable[[Write], None]]] = {
    "published before hardened": ("commit", publish_before_harden),
    "settled before published": ("commit", settle_before_publish),
    "written after hardened": ("commit", write_after_harden),
    "never published": ("commit", return_after_harden),
    "never settled": ("commit", return_after_publish),
    "lock not taken": ("acquire_lock", do_nothing),
}
