"""Loop devices by ioctl: they make a file a block device, and detach by themselves.

Autoclear is always on: the kernel detaches the device when its last user (our descriptor or the
mount) is gone, however we end. Each device has a tag in its ``lo_file_name``, which distinguishes
it from other programs' devices at the end of a run (loop(4), <linux/loop.h>).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CLR_FD = 0x4C01
_LOOP_GET_STATUS64 = 0x4C05
_FLAG_AUTOCLEAR = 4
_INFO_SIZE, _FLAGS_AT, _NAME_AT, _NAME_SIZE = 232, 52, 56, 64  # struct loop_info64
_LOOP_MAJOR = 7
_ATTEMPTS = 100


@contextlib.contextmanager
def attached(path: str, tag: str) -> Iterator[str]:
    """Attach a file to a free loop device for the length of a ``with`` block.

    Args:
        path: The file.
        tag: What marks the device as ours, at most 63 bytes.

    Yields:
        The device's path.
    """
    device, fd = _attach(path, tag)
    try:
        yield device
    finally:
        # With autoclear, the last close would also do this, only later.
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _LOOP_CLR_FD)
        os.close(fd)


def belongs_to(device: str, tag: str) -> bool:
    """Tell whether a loop device is attached and carries a tag."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        info = bytearray(_INFO_SIZE)
        fcntl.ioctl(fd, _LOOP_GET_STATUS64, info)
    except OSError:
        return False  # ENXIO: attached to nothing
    finally:
        os.close(fd)
    return bytes(info[_NAME_AT : _NAME_AT + _NAME_SIZE]).rstrip(b"\0") == tag.encode()


def all_devices() -> list[str]:
    """Return the paths of all loop devices there are, attached or not."""
    return [f"/dev/{name}" for name in os.listdir("/sys/block") if name.startswith("loop")]


def _attach(path: str, tag: str) -> tuple[str, int]:
    """Configure a free device; if another process takes it first, try the next one."""
    info = bytearray(_INFO_SIZE)
    struct.pack_into("<I", info, _FLAGS_AT, _FLAG_AUTOCLEAR)
    name = tag.encode()[: _NAME_SIZE - 1]
    info[_NAME_AT : _NAME_AT + len(name)] = name
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = f"/dev/loop{number}"
            if not os.path.exists(device):  # no devtmpfs, as in some containers
                os.mknod(device, 0o60600, os.makedev(_LOOP_MAJOR, number))
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                # struct loop_config: fd, block size (0: default), loop_info64, reserved
                fcntl.ioctl(fd, _LOOP_CONFIGURE, struct.pack("<II", backing, 0) + info + bytes(64))
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, fd
    finally:
        os.close(backing)
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device", path)
