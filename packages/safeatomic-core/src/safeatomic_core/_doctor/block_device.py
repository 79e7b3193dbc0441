"""The block device under a filesystem: does it have a write cache, and do flushes reach it?

The filesystem turns an fsync into a flush. This does not help if a layer on the way (a device
mapper, a RAID, a setting in ``/sys``) drops the flush while the drive below keeps data in a
volatile cache. The kernel's view of each layer is in ``/sys/dev/block`` (queue/write_cache, see
block/writeback_cache_control in the kernel's documentation).
"""

from __future__ import annotations

import os
import stat

from .. import _mounts
from .._errors import system_error
from .._filesystems import MEMORY
from .._guarantees import inspect_guarantees
from .._posix import kernel
from .._types import CRASH_DURABILITY
from .subject import failed, passed, shown, unknown, warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._environment import Environment
    from .subject import Finding

SYSFS = "/sys"  # a variable, so that the tests can imitate a machine with other disks

_BACK = "write back"


class Layer:
    """One block device of a stack.

    Attributes:
        name: The kernel's name for it (``sda``, ``dm-0``).
        cache: The setting of its queue: ``"write back"``, ``"write through"``, empty if unknown.
        drive_cache: The report of a SCSI or ATA drive itself, empty if there is none.
        backing_file: The file behind a loop device, empty for others.
        below: The layers it stands on.
    """

    __slots__ = ("backing_file", "below", "cache", "drive_cache", "name")

    def __init__(self, directory: str, depth: int = 8) -> None:
        self.name = os.path.basename(directory).replace("!", "/")
        self.cache = _read(f"{directory}/queue/write_cache")
        self.drive_cache = _drive_cache(directory)
        self.backing_file = _read(f"{directory}/loop/backing_file")
        slaves = f"{directory}/slaves"
        self.below = tuple(
            Layer(os.path.realpath(f"{slaves}/{name}"), depth - 1)
            for name in (_list(slaves) if depth else ())
        )

    def all(self) -> list[Layer]:
        """Return this layer and all below it, from the top."""
        return [self, *(layer for below in self.below for layer in below.all())]


def write_cache(environment: Environment) -> Finding:
    """Report whether flushes reach the device under a filesystem."""
    top = find(environment)
    if top is None:
        return unknown("no block device is known to be under this filesystem")
    layers = top.all()
    names = " on ".join(layer.name for layer in layers)
    dropping = _dropping_over_caching(top)
    if dropping is not None:
        upper, lower = dropping
        return failed(
            f"{lower} has a volatile write cache, but {upper} above it passes no flushes on: a "
            f"power cut loses acknowledged data. Set {upper} to 'write back' in "
            f"/sys/block/{upper}/queue/write_cache, or switch the drive's cache off",
        )
    hidden = next(
        (x for x in layers if x.drive_cache == _BACK and x.cache not in ("", _BACK)), None
    )
    if hidden is not None:
        return failed(
            f"the drive {hidden.name} reports a volatile write cache, but the kernel is told there "
            "is none and sends no flushes: a power cut loses acknowledged data. Write 'write back' "
            f"to /sys/block/{hidden.name}/queue/write_cache",
        )
    files = [layer.backing_file for layer in layers if layer.backing_file]
    for file in files:
        weakness = _weakness(file)
        if weakness:
            return warned(
                f"{names} keeps its data in the file {shown(file)}, and {weakness}: what is "
                "written here lasts no longer than that file"
            )
    loop = f"; the loop device passes flushes to the file {shown(files[0])}" if files else ""
    if any(not layer.cache for layer in layers):
        return unknown(f"the kernel does not say whether {names} has a write cache{loop}")
    if top.cache == _BACK:
        return passed(f"{names}: a volatile write cache, and flushes are sent to it{loop}")
    return passed(
        f"{names}: no volatile write cache is reported, so no flush is needed (true unless "
        f"somebody set 'write through' by hand over a drive that has one){loop}",
    )


def _weakness(file: str) -> str:
    """Return why the file behind a loop device does not last, empty where nothing says so."""
    try:
        kernel.stat(file)  # its path may be another mount namespace's
        report = inspect_guarantees(file)
    except system_error():
        return ""
    there = report.environment
    if there.filesystem_class == MEMORY or there.durability_findings:
        return report.reasons[CRASH_DURABILITY]
    return ""


def find(environment: Environment) -> Layer | None:
    """Find the block device under a filesystem: by its number, else by the name of its source."""
    number = environment.device
    if not os.path.isdir(f"{SYSFS}/dev/block/{number}"):
        # btrfs and others have device numbers of their own; the source is the disk.
        try:
            status = kernel.stat(environment.source)
        except (system_error(), ValueError):
            return None
        if not stat.S_ISBLK(status.st_mode):
            return None
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    directory = os.path.realpath(f"{SYSFS}/dev/block/{number}")
    if os.path.exists(f"{directory}/partition"):
        directory = os.path.dirname(directory)  # the queue is the whole disk's
    return Layer(directory) if os.path.isdir(directory) else None


def reserved_by_ext4(environment: Environment) -> int:
    """Return how many clusters (blocks, mostly) an ext4 keeps for itself; 0 if it does not say."""
    if environment.filesystem != "ext4":
        return 0
    name = os.path.basename(os.path.realpath(f"{SYSFS}/dev/block/{environment.device}"))
    number = _read(f"{SYSFS}/fs/ext4/{name}/reserved_clusters")
    return int(number) if number.isdecimal() else 0


def _dropping_over_caching(layer: Layer) -> tuple[str, str] | None:
    """Return a layer that sends no flushes and one below it that needs them."""
    for below in layer.below:
        if layer.cache not in ("", _BACK) and below.cache == _BACK:
            return layer.name, below.name
        deeper = _dropping_over_caching(below)
        if deeper is not None:
            return deeper
    return None


def _drive_cache(directory: str) -> str:
    """Return a SCSI disk's report on its own cache, without the word for a temporary setting."""
    for name in _list(f"{directory}/device/scsi_disk"):
        text = _read(f"{directory}/device/scsi_disk/{name}/cache_type")
        return _BACK if text.startswith(_BACK) else text
    return ""


def _read(path: str) -> str:
    try:
        return os.fsdecode(_mounts.read_proc(path)).strip("\n")
    except system_error():
        return ""


def _list(path: str) -> list[str]:
    try:
        return sorted(kernel.listdir(path))
    except system_error():
        return []
