"""Which guarantees hold where: `inspect_guarantees` and its report."""

from __future__ import annotations

import os
import stat

from . import _environment, _mounts, _verdicts
from ._posix import close_quietly, kernel
from ._target import check_path
from ._types import GUARANTEES, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._environment import Environment
    from ._types import Level, StrPath
    from ._verdicts import Verdict


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
    verdict, dev = _verdicts.recall(text)
    if verdict is None:
        verdict = _look_at(nearest_directory(text)) or _verdicts.judge(None, dev or 0)
    return _report_on(verdict)


def unknown_report() -> GuaranteeReport:
    """Return the report on a place that could not be looked at."""
    return _report_on(_verdicts.judge(None, 0))


def _look_at(directory: str) -> Verdict | None:
    """Look at a directory; None if it cannot be opened or asked."""
    try:
        fd = _mounts.open_directory(directory)
        try:
            return _verdicts.look(kernel.fstat(fd).st_dev, fd, directory)
        finally:
            close_quietly(fd)
    except OSError as error:
        _environment.raise_shortage(error)
        return None


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
