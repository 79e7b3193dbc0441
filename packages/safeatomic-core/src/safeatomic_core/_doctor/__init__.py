"""`doctor`: examine the location of a file, report problems, and say how to fix them.

`inspect_guarantees` reports the promises of a filesystem; `doctor` reports what it finds there. It
changes nothing; with ``destructive=True`` it also tests each promise on test files. A problem of
the environment is a result, never an exception.
"""

from __future__ import annotations

import os
from _collections_abc import Iterable  # noqa: TC003 - at run time; .abc is slow to import

from .._errors import system_error
from .._guarantees import inspect_guarantees, unknown_report
from .._hashes import unloadable
from .._options import check_flag
from .._stack import require_stack
from .._target import check_path
from .._types import CheckStatus, Level, Record, StrPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from .._environment import Environment

SCHEMA = 1  # of DoctorReport.to_dict(); a field that is removed or changes its meaning raises it


class DoctorCheck(Record):
    """One line of a report.

    Attributes:
        name: What was checked, in snake_case; the documentation's page on the doctor lists them.
        status: ``"pass"``, ``"warn"``, ``"fail"`` or ``"unknown"`` (skipped, or not determined).
        detail: What was found and, unless the check passed, what to do.
    """

    name: str
    status: CheckStatus
    detail: str

    def __str__(self) -> str:
        return f"{self.status}: {self.name}: {self.detail}"


class DoctorReport(Record):
    """What `doctor` found.

    Attributes:
        path: The path that was examined, as text.
        environment: The location of that path.
        guarantees: Level of each guarantee there, by name.
        checks: Every check, in a fixed order.
        ok: Whether no check failed.
    """

    path: str
    environment: Environment
    guarantees: Mapping[str, Level]
    checks: tuple[DoctorCheck, ...]
    ok: bool

    def __str__(self) -> str:
        return self.summary()

    def summary(self, *, colour: bool = False) -> str:
        """Return the report as text: first what failed, then the warnings, and last the verdict.

        Lines have at most 80 columns, unless a path or a command is longer: these are not broken.
        The details of the checks that passed are in `checks`.

        Args:
            colour: Colour each status for a terminal, whatever `NO_COLOR` says.
        """
        try:
            from .layout import lines  # textwrap and re, slower to import than this package
        except unloadable():
            return "\n".join(map(str, self.checks))
        return "\n".join(lines(self, colour=colour))

    def to_dict(self) -> dict[str, object]:
        """Return the report as values that `json.dumps` takes.

        The documentation's page on the doctor has the schema.
        """
        environment: dict[str, object] = {}
        for name in type(self.environment).__annotations__:
            value = getattr(self.environment, name)
            environment[name] = list(value) if isinstance(value, tuple) else value
        return {
            "schema": SCHEMA,
            "path": self.path,
            "ok": self.ok,
            "environment": environment,
            "guarantees": dict(self.guarantees),
            "checks": [
                {"name": check.name, "status": check.status, "detail": check.detail}
                for check in self.checks
            ],
        }


def doctor(
    path: StrPath, *, destructive: bool = False, require: Iterable[str] | str | None = None
) -> DoctorReport:
    """Examine the location of a file, existing or planned.

    Args:
        path: A file, which need not exist, or a directory.
        destructive: Also try out how to create, flush, replace, lock and check files, with test
            files beside yours. They are removed again, and your file is never touched.
        require: Names of guarantees, in PascalCase or snake_case. The report is ``ok`` only if each
            is ``Guaranteed``. You may give one name as a plain string.

    Returns:
        The report. Problems of the environment are in it, and are not raised.

    Raises:
        TypeError: An argument of the wrong type. Nothing was touched.
        ValueError: ``path`` is empty or holds a NUL. Nothing was touched.

    Example:
        >>> doctor("/nonexistent/file").ok
        False
    """
    text = check_path(path)
    check_flag(destructive, "destructive")
    required = _check_require(require)
    require_stack()  # otherwise ctypes turns the RecursionError into an error of its own
    try:
        from .examination import examine  # a third of the package, which few programs need
    except MemoryError as error:
        return _unexamined(text, error)
    except unloadable() as error:
        return _unexamined(text, error)
    report, lines = examine(text, required, destructive=destructive)
    return DoctorReport(
        path=text,
        environment=report.environment,
        guarantees=dict(report.guarantees),
        checks=tuple(DoctorCheck(*line) for line in lines),
        ok=all(status != "fail" for _, status, _ in lines),
    )


def _unexamined(path: str, error: Exception) -> DoctorReport:
    """Return the report for a process that can no longer import the examination."""
    try:
        report = inspect_guarantees(path)
    except (system_error(), MemoryError):
        report = unknown_report()
    detail = (
        f"the checks cannot be loaded ({str(error) or 'no memory is left'}); call doctor() once "
        "before the process enters a chroot, gives up the right to read its installation, or runs "
        "short of memory"
    )
    check = DoctorCheck("inspection", "fail", detail)
    return DoctorReport(path, report.environment, dict(report.guarantees), (check,), ok=False)


def wants_colour(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal and `NO_COLOR` is not set (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _check_require(require: object) -> tuple[str, ...]:
    """Return the required names, each once; they may be unknown."""
    if require is None:
        return ()
    if isinstance(require, str):
        return (require,)
    try:
        names: tuple[object, ...] = tuple(require)  # type: ignore[arg-type]
    except TypeError:
        kind = type(require).__name__
        raise TypeError(f"require must be names of guarantees or None, not {kind}") from None
    checked = []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"require must contain only str, not {type(name).__name__}")
        checked.append(name)
    return tuple(dict.fromkeys(checked))
