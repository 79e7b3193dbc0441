"""Which guarantees hold where: the report, its cache, and the gate every write passes.

A report belongs to a filesystem, and a filesystem to a device number for as long as it stays
mounted. So reports are kept by device number beside a watch on the mount table, and nothing is
answered from the cache before the watch was asked whether the table changed: one system call for
that, and one to see that the watch is still ours.
"""

from __future__ import annotations

import os
import stat

from . import _environment, _filesystems, _mounts
from ._posix import close_quietly, kernel
from ._target import check_path
from ._types import GUARANTEES, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._environment import Environment
    from ._types import Level, StrPath


class GuaranteeReport(Record):
    """What holds for files in one place, and why.

    Attributes:
        environment: The place.
        guarantees: Level of each of the eight guarantees, by name.
        reasons: One sentence for each level, by the same names.
    """

    environment: Environment
    guarantees: Mapping[str, Level]
    reasons: Mapping[str, str]

    def is_guaranteed(self, name: str) -> bool:
        """Tell whether a guarantee is ``Guaranteed``.

        Args:
            name: One of the eight names, for example ``"CrashDurability"``.

        Raises:
            ValueError: There is no such guarantee.
        """
        if name not in self.guarantees:
            raise ValueError(f"name {name!r} is no guarantee; there are {', '.join(GUARANTEES)}")
        return self.guarantees[name] == "Guaranteed"

    def degraded(self) -> tuple[str, ...]:
        """Return the names of the guarantees that are less than ``Guaranteed``."""
        return tuple(name for name, level in self.guarantees.items() if level != "Guaranteed")

    def __str__(self) -> str:
        lines = [str(self.environment)]
        lines += [
            f"  {name:<21} {level:<12} {self.reasons[name]}"
            for name, level in self.guarantees.items()
        ]
        return "\n".join(lines)


class _Verdict:
    """A report with what the gate asks of it worked out beforehand."""

    __slots__ = ("degraded", "filesystem", "holds_for_files", "refused", "report", "shared")

    def __init__(self, report: GuaranteeReport) -> None:
        self.report = report
        self.filesystem = report.environment.filesystem
        self.degraded = frozenset(report.degraded())
        self.refused = frozenset(
            name
            for name, level in report.guarantees.items()
            if level in ("NonTarget", "Unsupported")
        )
        self.shared = False  # several mounts have this device number, with options of their own
        self.holds_for_files = False  # a file's own device number tells as much as its directory's


def inspect_guarantees(path: StrPath) -> GuaranteeReport:
    """Report which guarantees hold for a file, without writing anything.

    Args:
        path: A file or directory; where it does not exist, its nearest existing parent is judged.

    Returns:
        The environment and the level of each guarantee. An environment that cannot be identified
        is reported as ``unknown``.

    Raises:
        TypeError: ``path`` is not a path.
        ValueError: ``path`` is empty or holds a NUL.
        OSError: The process or the machine is out of descriptors or memory.

    Example:
        >>> report = inspect_guarantees("/")
        >>> report.environment.symlink_policy
        'unspecified'
    """
    text = check_path(path)
    verdict, dev = _recall(text)
    if verdict is not None:
        return verdict.report
    directory = nearest_directory(text)
    try:
        fd = _mounts.open_directory(directory)
    except OSError as error:
        _environment.raise_shortage(error)
        return _judge(None, dev or 0).report
    try:
        return _look(kernel.fstat(fd).st_dev, fd, directory).report
    except OSError as error:
        _environment.raise_shortage(error)
        return _judge(None, dev or 0).report
    finally:
        close_quietly(fd)


def unknown_report() -> GuaranteeReport:
    """Return the report on a place that could not be looked at."""
    return _judge(None, 0).report


def report_for_device(dev: int, dir_fd: int | None = None, path: str = "") -> GuaranteeReport:
    """Report which guarantees hold on a device, from the cache where possible.

    Args:
        dev: ``st_dev`` of the directory.
        dir_fd: The directory, open. Without it the device is looked up in the mount table by its
            number, and failing that by ``path``.
        path: Absolute path of the directory.

    Raises:
        OSError: The process or the machine is out of descriptors or memory.
    """
    verdict = _remembered(dev)
    return (verdict or _look(dev, dir_fd, path)).report


def verdict_on(dev: int, dir_fd: int | None) -> _Verdict:
    """Return the verdict on a device, remembered where the mount table did not change since.

    Args:
        dev: ``st_dev`` of a directory on it.
        dir_fd: That directory, open.
    """
    return _remembered(dev) or _look(dev, dir_fd, "")


# ---------------------------------------------------------------------------------------- the cache

# Idle watches, each with the verdicts reached under it. Whoever asks takes one out and puts it
# back, so that no two threads (nor a signal handler and what it interrupted) ask one watch at a
# time: a change is reported once per watch, and the second asker would never hear of it.
_idle: list[_mounts.MountWatch] = []
_MOST_IDLE = 8


def _remembered(dev: int) -> _Verdict | None:
    """Return the verdict on a device if it is known and the mount table did not change since."""
    try:
        watch = _idle.pop()
    except IndexError:
        return None
    if not watch.unchanged():
        watch.close()
        return None
    verdict = watch.entries.get(dev)
    _idle.append(watch)
    return verdict  # type: ignore[return-value]


def _recall(path: str) -> tuple[_Verdict | None, int | None]:
    """Return the verdict on a path, or None, without opening anything; and its device if known."""
    try:
        found = kernel.stat(path)
        dev: int | None = found.st_dev
        if not stat.S_ISDIR(found.st_mode):
            verdict = _remembered(found.st_dev)
            if verdict is not None and verdict.holds_for_files:
                return verdict, dev
            # They differ behind a symbolic link, and for a single file that is mounted over.
            if kernel.stat(os.path.dirname(path) or ".").st_dev != dev:
                return None, None
    except FileNotFoundError:
        dev = _device_of_parent(path)
    except OSError:
        return None, None
    verdict = None if dev is None else _remembered(dev)
    return None if verdict is None or verdict.shared else verdict, dev


def _look(dev: int, dir_fd: int | None, path: str) -> _Verdict:
    """Find out what a device is, and remember it where a change would be noticed.

    Args:
        dev: The device number.
        dir_fd: A directory on it, open, or None.
        path: The directory's path, a hint.
    """
    if not _environment.PLATFORM.startswith("linux"):
        return _look_without_table(dev, dir_fd, path)
    if dir_fd is not None:
        dev = kernel.fstat(dir_fd).st_dev  # remembered under no other number than its own
    verdict = None
    for _attempt in range(_ATTEMPTS):
        try:
            watch = _take_watch()
            table = watch.read()
        except OSError as error:
            _environment.raise_shortage(error)
            break
        mount = _environment.find_mount(table, dev, dir_fd, path)
        verdict = _judge(mount, dev)
        verdict.shared = _environment.count_mounts(table, mount) > 1
        # A file has another number than its directory where it is mounted over, which is a second
        # mount of that number; and on an overlay it may have that of a filesystem underneath
        # (Documentation/filesystems/overlayfs.rst).
        verdict.holds_for_files = not verdict.shared and b" - overlay " not in table
        # Asked only now: a change while the table was being read makes the verdict a guess.
        if watch.unchanged():
            # A mount outside the table ends unseen, and an automount point changes by being used.
            if mount is not None and mount.number >= 0 and mount.fstype != "autofs":
                watch.entries[dev] = verdict
            _put_back(watch)
            break
        watch.close()
    return verdict or _judge(None, dev)


_ATTEMPTS = 4  # a table that keeps changing is believed as it was last read, and not remembered


def _take_watch() -> _mounts.MountWatch:
    """Take an idle watch on the process's present mount namespace, or start one."""
    try:
        watch = _idle.pop()
    except IndexError:
        return _mounts.MountWatch()
    if watch.unchanged() and watch.same_namespace():
        return watch
    watch.close()
    return _mounts.MountWatch()


def _put_back(watch: _mounts.MountWatch) -> None:
    if len(_idle) < _MOST_IDLE:
        _idle.append(watch)
    else:
        watch.close()


def _look_without_table(dev: int, dir_fd: int | None, path: str) -> _Verdict:
    """Ask ``statfs`` every time: it is one call, and there is no table to watch."""
    mount = None
    if dir_fd is not None:
        mount = _environment.mount_of_statfs(dir_fd)
    elif path:
        try:
            fd = _mounts.open_directory(path)
        except OSError as error:
            _environment.raise_shortage(error)
        else:
            try:
                mount = _environment.mount_of_statfs(fd)
            finally:
                close_quietly(fd)
    key = None if mount is None else (mount.fstype, mount.point, mount.source, mount.options, dev)
    verdict = _by_statfs.get(key)
    if verdict is None:
        verdict = _judge(mount, dev)
        if key is not None and len(_by_statfs) < _MOST_BY_STATFS:
            _by_statfs[key] = verdict
    return verdict


_by_statfs: dict[object, _Verdict] = {}
_MOST_BY_STATFS = 64


def _judge(mount: _environment.Mount | None, dev: int) -> _Verdict:
    """Grade a mount."""
    environment = _environment.describe(mount, dev)
    guarantees, reasons = _filesystems.levels(
        environment.platform,
        environment.filesystem,
        environment.filesystem_class,
        environment.durability_findings,
        in_memory=_environment.lives_in_memory(environment),
        options_seen=mount is not None and mount.point is not None,
        journal=_environment.has_journal(environment),
    )
    report = GuaranteeReport(environment=environment, guarantees=guarantees, reasons=reasons)
    return _Verdict(report)


# ------------------------------------------------------------------------------------------ paths


def _device_of_parent(path: str) -> int | None:
    """Return the device of the directory in which a file is missing; None for a dangling link."""
    try:
        kernel.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        pass
    except OSError:
        return None
    else:
        return None
    try:
        return kernel.stat(os.path.dirname(path) or ".").st_dev
    except OSError:
        return None


def nearest_directory(path: str) -> str:
    """Return the directory a file lives in, or the nearest one above it that exists.

    Symbolic links are followed, dangling ones to where they point.
    """
    place = os.path.realpath(path)
    while True:
        try:
            if stat.S_ISDIR(kernel.stat(place).st_mode):
                return place
        except OSError:
            pass  # not there, or not for us to see: the next one up decides
        above = os.path.dirname(place)
        if above == place:
            return place
        place = above
