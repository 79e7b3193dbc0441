"""`inspect_guarantees`: which guarantees hold for a file, and why."""

from __future__ import annotations

import errno
import os
import stat

from . import _environment, _mounts, _verdicts
from ._descriptor import Descriptor, closing
from ._errors import system_error
from ._posix import MOST_LINKS, kernel
from ._target import check_path
from ._types import GUARANTEES, Level, Record, StrPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._environment import Environment
    from ._verdicts import Verdict


_NO_REASONS: Mapping[str, str] = {}  # of a report that was made by hand


class GuaranteeReport(Record):
    """What holds for files in one place, and why.

    Attributes:
        environment: The place.
        guarantees: Level of each of the eight guarantees, by name.
        reasons: One sentence for each level, by the same names.
    """

    environment: Environment
    guarantees: Mapping[str, Level]
    reasons: Mapping[str, str] = _NO_REASONS

    def is_guaranteed(self, name: str) -> bool:
        """Tell whether a guarantee is ``Guaranteed``.

        Args:
            name: One of the eight names, for example ``"CrashDurability"``.

        Raises:
            ValueError: There is no such guarantee.
        """
        if name not in self.guarantees:
            raise ValueError(f"name {name!r} is not a guarantee; there are {', '.join(GUARANTEES)}")
        return self.guarantees[name] == "Guaranteed"

    def degraded(self) -> tuple[str, ...]:
        """Return the names of the guarantees that are less than ``Guaranteed``."""
        return tuple(name for name, level in self.guarantees.items() if level != "Guaranteed")

    def __str__(self) -> str:
        lines = [str(self.environment)]
        lines += [
            _environment.one_line(f"  {name:<21} {level:<12} {self.reasons.get(name, '')}".rstrip())
            for name, level in self.guarantees.items()
        ]
        return "\n".join(lines)


def inspect_guarantees(path: StrPath) -> GuaranteeReport:
    """Report which guarantees hold for a file, without writing anything.

    Args:
        path: A file or directory; if it does not exist, its nearest existing parent is judged.

    Returns:
        The environment and the level of each guarantee. A location that cannot be entered or
        queried is reported as ``unknown``. A file that is itself a mount point gets the report of
        its directory, with the guarantees that such a file loses marked ``Unsupported``.

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
    verdict, dev = _verdicts.recall(text)
    if verdict is None:
        try:
            verdict = _look_at(text)
        except system_error() as error:
            _environment.raise_shortage(error)
            verdict = _verdicts.judge(None, dev or 0, error.strerror or "")
    return _report_on(verdict)


def unknown_report() -> GuaranteeReport:
    """Return the report on a place that could not be examined."""
    return _report_on(_verdicts.judge(None, 0))


def _look_at(path: str) -> Verdict:
    """Look at the place of a file, or raise why it cannot be opened or asked."""
    opened = Descriptor()

    def look() -> Verdict:
        directory, name = _place_of(path)
        fd = opened.open(_mounts.open_directory, directory)
        verdict = _verdicts.look(kernel.fstat(fd).st_dev, fd, directory, whole=True)
        if name and _verdicts.is_mount_point(fd, name, verdict):
            return verdict.of_mount_point()
        return verdict

    return closing(opened, look)


def _place_of(path: str) -> tuple[str, str]:
    """Return the directory of a file and its name there, or the nearest directory and no name."""
    if _is_directory(path):
        return path, ""
    way = way_to(path)
    if way is not None and _is_directory(way[0]):
        return way
    return nearest_directory(path), ""


def _report_on(verdict: Verdict) -> GuaranteeReport:
    """Return the report on a verdict, the same one each time."""
    report = verdict.report
    if not isinstance(report, GuaranteeReport):
        report = verdict.report = GuaranteeReport(
            environment=verdict.environment,
            guarantees=verdict.guarantees,
            reasons=verdict.reasons,
        )
    return report


def way_to(path: str) -> tuple[str, str] | None:
    """Return the directory and the name to which a path leads in a write.

    Only links at its end are read, the kernel follows the others. An absolute path made of all
    their texts may lead elsewhere: after a link of ``/proc`` into another mount namespace
    (``/proc/PID/root``), and in a working directory that was mounted over.

    Returns:
        Both; None if the links form a loop, or lead to no name.
    """
    for _ in range(MOST_LINKS):
        try:
            leads = kernel.readlink(path)
        except system_error():  # it is not a link, or does not exist
            directory, name = os.path.split(path)
            return None if name in ("", os.curdir, os.pardir) else (directory or ".", name)
        path = os.path.join(os.path.dirname(path), leads)
    return None


def nearest_directory(path: str) -> str:
    """Return the directory of a file, or the nearest one above it that exists.

    Symbolic links are followed, dangling ones to where they point.

    Raises:
        OSError: A place on the way is there and cannot be entered or asked: a directory that is
            closed to this user, another user's mount, a file server that does not answer. What
            stands above it says nothing about it.
    """
    place = kernel.realpath(path)
    while not _is_directory(place):
        above = os.path.dirname(place)
        if above == place:
            break
        place = above
    return place


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(kernel.stat(path).st_mode)
    except system_error() as error:
        if error.errno not in _NOT_THERE:
            raise
        return False


# Nothing can be there under such a name; a loop of links stands in its own directory.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
