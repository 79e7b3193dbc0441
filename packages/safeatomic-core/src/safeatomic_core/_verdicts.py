"""What a filesystem can promise, found out once and remembered for as long as it stays mounted.

A verdict belongs to a filesystem, and a filesystem to a device number for as long as it stays
mounted. So verdicts are kept by device number beside a watch on the mount table, and nothing is
answered from the cache before the watch was asked whether the table changed: one system call for
that, and one to check that the watch is still ours.
"""

from __future__ import annotations

import os
import stat

from . import _environment, _filesystems, _mounts
from ._descriptor import Descriptor
from ._errors import system_error
from ._posix import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._environment import Environment
    from ._types import Level


class Verdict:
    """What a filesystem promises, and the answers that Gate needs, worked out in advance.

    Attributes:
        environment: The place.
        guarantees: Level of each guarantee, by name.
        reasons: One sentence for each level, by the same names.
        filesystem: The filesystem's name.
        degraded: Names of the guarantees that are less than ``Guaranteed``.
        refused: Names of those that are ``NonTarget`` or ``Unsupported``.
        shared: Several mounts have this device number, with options of their own.
        holds_for_files: A file's own device number tells as much as its directory's.
        mounted_names: The last components of all mount points; None where the table was not read
            to its end, or does not list the mount.
        advice: What gives back what is missing, as a sentence without its full stop.
        report: The public report that was made of it, if one was asked for.
    """

    __slots__ = (
        "advice",
        "degraded",
        "environment",
        "filesystem",
        "guarantees",
        "holds_for_files",
        "mounted_names",
        "reasons",
        "refused",
        "report",
        "shared",
    )

    def __init__(
        self, environment: Environment, guarantees: Mapping[str, Level], reasons: Mapping[str, str]
    ) -> None:
        self.environment = environment
        self.guarantees = guarantees
        self.reasons = reasons
        self.filesystem = environment.filesystem
        self.degraded = frozenset(n for n, level in guarantees.items() if level != "Guaranteed")
        self.refused = frozenset(
            n for n, level in guarantees.items() if level in ("NonTarget", "Unsupported")
        )
        self.shared = False
        self.holds_for_files = False
        self.mounted_names: frozenset[str] | None = None
        self.advice = _filesystems.advice(
            environment.filesystem,
            environment.filesystem_class,
            environment.durability_findings,
        )
        self.report: object = None

    def of_mount_point(self) -> Verdict:
        """Return the verdict on a file of this filesystem that is itself a mount point."""
        fields = {name: getattr(self.environment, name) for name in _FIELDS}
        verdict = Verdict(
            _environment.Environment(**{**fields, "supports_atomic_replace": False}),
            {**self.guarantees, **dict.fromkeys(_filesystems.MOUNT_POINT, "Unsupported")},
            {**self.reasons, **_filesystems.MOUNT_POINT},
        )
        verdict.advice = _filesystems.MOUNT_POINT_ADVICE
        return verdict


_FIELDS = tuple(_environment.Environment.__annotations__)


def is_mount_point(dir_fd: int, name: str, verdict: Verdict | None = None) -> bool:
    """Tell whether something is mounted on a file, so that no rename can replace it (EBUSY).

    An equal device number proves nothing: the same filesystem may be mounted there. The number of
    the mount does (proc(5), ``mnt_id``).

    Args:
        dir_fd: The file's directory, open.
        name: The file's name in it; it need not exist.
        verdict: What is known of the directory's filesystem. Where the mount table that it comes
            from shows no mount of that name, it answers, and the kernel is not asked.

    Raises:
        OSError: The process or the machine is out of descriptors or memory.
    """
    shown = None if verdict is None else verdict.mounted_names
    if shown is not None and name not in shown:
        return False
    if not _environment.PLATFORM.startswith("linux"):
        return False  # nowhere else can a file be mounted over
    try:
        return _mounts.mount_id_at(dir_fd, name) != _mounts.mount_id(dir_fd)
    except system_error() as error:
        _environment.raise_shortage(error)
        return False


def verdict_on(dev: int, dir_fd: int | None = None, path: str = "") -> Verdict:
    """Return the verdict on a device, from the cache where possible.

    Args:
        dev: ``st_dev`` of the directory.
        dir_fd: The directory, open. Without it the device is looked up in the mount table by its
            number, and failing that by ``path``.
        path: Absolute path of the directory.

    Raises:
        OSError: The process or the machine is out of descriptors or memory.
    """
    return remembered(dev) or look(dev, dir_fd, path)


def forget() -> None:
    """Forget every verdict.

    A filesystem can be remounted in another mount namespace, with other options, and no watch on
    ours sees that (mount_namespaces(7)).
    """
    while _idle:
        _idle.pop().close()
    _mounts.close_lost()


# Idle watches, each with the verdicts reached under it. A caller takes one out and puts it
# back, so that no two threads (nor a signal handler and what it interrupted) ask one watch at a
# time: a change is reported once per watch, and the second asker would never hear of it.
_idle: list[_mounts.MountWatch] = []
_MOST_IDLE = 8


def remembered(dev: int) -> Verdict | None:
    """Return the verdict on a device if it is known and the mount table did not change since."""
    try:
        watch = _idle.pop()
    except IndexError:
        return None
    current = False
    try:
        current = watch.unchanged()
        return watch.entries.get(dev) if current else None  # type: ignore[return-value]
    finally:
        if current:
            _idle.append(watch)
        else:
            watch.close()


def recall(path: str) -> tuple[Verdict | None, int | None]:
    """Return what is remembered of a path's filesystem, or None; and its device number if known."""
    try:
        found = kernel.stat(path)
        dev: int | None = found.st_dev
        if not stat.S_ISDIR(found.st_mode):
            verdict = remembered(found.st_dev)
            if verdict is not None and verdict.holds_for_files:
                return verdict, dev
            # They differ behind a symbolic link, and for a single file that is mounted over.
            if kernel.stat(os.path.dirname(path) or ".").st_dev != dev:
                return None, None
    except FileNotFoundError:
        dev = _device_of_parent(path)
    except system_error():
        return None, None
    verdict = None if dev is None else remembered(dev)
    return None if verdict is None or verdict.shared else verdict, dev


def look(dev: int, dir_fd: int | None, path: str, *, whole: bool = False) -> Verdict:
    """Find out what a device is, and remember it where a change would be noticed.

    Args:
        dev: The device number.
        dir_fd: A directory on it, open, or None.
        path: The directory's path, a hint.
        whole: Read a long table to its end, to know whether other mounts share the device.
    """
    if not _environment.PLATFORM.startswith("linux"):
        return _look_without_table(dev, dir_fd, path)
    if dir_fd is not None:
        dev = kernel.fstat(dir_fd).st_dev  # remembered under no other number than its own
    verdict = None
    number = _environment.mount_number(dir_fd)
    for _attempt in range(_ATTEMPTS):
        kept = False
        watch: _mounts.MountWatch | None = None
        try:
            try:
                watch = _take_watch()
                table, ended = watch.read(None if whole else number)
            except system_error() as error:
                _environment.raise_shortage(error)
                break
            mount = _environment.find_mount(table, dev, dir_fd, path, number)
            verdict = _judge_in(table, mount, dev, ended=ended)
            # Asked only now: a change while the table was being read makes the verdict a guess.
            if watch.unchanged():
                # Nobody notices the end of a mount outside the table, and an automount point
                # changes when it is used.
                if mount is not None and mount.number >= 0 and mount.fstype != "autofs":
                    watch.entries[dev] = verdict
                _put_back(watch)
                kept = True
                break
        finally:
            if watch is not None and not kept:
                watch.close()
    return verdict or judge(None, dev)


_ATTEMPTS = 4  # a table that keeps changing is believed as it was last read, and not remembered


def _take_watch() -> _mounts.MountWatch:
    """Take an idle watch on the process's present mount namespace, or start one."""
    try:
        watch = _idle.pop()
    except IndexError:
        return _mounts.MountWatch()
    current = False
    try:
        current = watch.unchanged() and watch.same_namespace()
    finally:
        if not current:
            watch.close()
    return watch if current else _mounts.MountWatch()


def _judge_in(table: bytes, mount: _environment.Mount | None, dev: int, *, ended: bool) -> Verdict:
    """Grade a mount, and note what else the mount table says, which may have been read in part."""
    verdict = judge(mount, dev)
    verdict.shared = not ended or _environment.count_mounts(table, mount) > 1
    if ended and (mount is None or mount.number >= 0):  # else the table is another namespace's
        verdict.mounted_names = _environment.names_of_mounts(table)
    # A file has another number than its directory where it is mounted over, which is a
    # second mount of that number; and on an overlay it may have that of a filesystem
    # underneath (Documentation/filesystems/overlayfs.rst).
    verdict.holds_for_files = not verdict.shared and b" - overlay " not in table
    return verdict


def _put_back(watch: _mounts.MountWatch) -> None:
    if len(_idle) < _MOST_IDLE:
        _idle.append(watch)
    else:
        watch.close()


def _look_without_table(dev: int, dir_fd: int | None, path: str) -> Verdict:
    """Ask ``statfs`` every time: it is one call, and there is no table to watch."""
    mount = None
    if dir_fd is not None:
        mount = _environment.mount_of_statfs(dir_fd)
    elif path:
        opened = Descriptor()
        try:
            fd = opened.open(_mounts.open_directory, path)
            mount = _environment.mount_of_statfs(fd)
        except system_error() as error:
            _environment.raise_shortage(error)
        finally:
            opened.close()
    key = None if mount is None else (mount.fstype, mount.point, mount.source, mount.options, dev)
    verdict = _by_statfs.get(key)
    if verdict is None:
        verdict = judge(mount, dev)
        if key is not None and len(_by_statfs) < _MOST_BY_STATFS:
            _by_statfs[key] = verdict
    return verdict


_by_statfs: dict[object, Verdict] = {}
_MOST_BY_STATFS = 64


def judge(mount: _environment.Mount | None, dev: int, trouble: str = "") -> Verdict:
    """Grade a mount; without one, ``trouble`` may say why."""
    environment = _environment.describe(mount, dev)
    guarantees, reasons = _filesystems.levels(
        environment.platform,
        environment.filesystem,
        environment.filesystem_class,
        environment.durability_findings,
        in_memory=_environment.lives_in_memory(environment),
        options_seen=mount is not None and mount.point is not None,
        journal=_environment.has_journal(environment),
        trouble=trouble,
    )
    return Verdict(environment, guarantees, reasons)


def _device_of_parent(path: str) -> int | None:
    """Return the device of the directory in which a file is missing; None for a dangling link."""
    try:
        kernel.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        pass
    except system_error():
        return None
    else:
        return None
    try:
        return kernel.stat(os.path.dirname(path) or ".").st_dev
    except system_error():
        return None
