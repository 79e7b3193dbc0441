"""The layout of a report: problems first, the verdict last, on one screen.

A terminal shows the end of the output, so the verdict is the last line, and the checks that passed
are listed without details. Paths and commands are not broken over two lines, so that users can copy
them.
"""

from __future__ import annotations

import re
import textwrap

from .._environment import one_line
from .subject import shown, where

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._types import CheckStatus, Level
    from . import DoctorCheck, DoctorReport

WIDTH = 80
_COLOURS = {"pass": "32", "warn": "33", "fail": "31", "unknown": "2"}
_STATUS_OF: dict[Level, CheckStatus] = {
    "Unsupported": "fail",
    "NonTarget": "fail",
    "BestEffort": "warn",
    "Guaranteed": "pass",
}
_SKIPPED = "skipped: "
_QUOTED = re.compile(r"`[^`]+`|\"[^\"]+\"|(?<![\w'])'[^']+'(?!\w)")
_KEPT = "\x1f"  # stands for a blank at which no line may be broken


def lines(report: DoctorReport, *, colour: bool) -> list[str]:
    """Return the lines of a report."""

    def paint(text: str, status: str) -> str:
        return f"\033[{_COLOURS[status]}m{text}\033[0m" if colour else text

    found = [f"doctor  {shown(report.path)}", *_wrapped(where(report.environment), "on      ")]
    found += _guarantees(report, paint)
    by_status = {
        status: [check for check in report.checks if check.status == status] for status in _COLOURS
    }
    skipped = [check for check in by_status["unknown"] if check.detail.startswith(_SKIPPED)]
    told = [check for check in by_status["unknown"] if check not in skipped]
    for check in (*by_status["fail"], *by_status["warn"], *told):
        body = _wrapped(f"{check.name}: {one_line(check.detail)}", f"  {check.status:<8}")
        found += [body[0].replace(check.status, paint(check.status, check.status), 1), *body[1:]]
    if by_status["pass"]:
        names = ", ".join(check.name for check in by_status["pass"])
        body = _wrapped(names, "  pass    ")
        found += [body[0].replace("pass", paint("pass", "pass"), 1), *body[1:]]
    if skipped:
        found.append(f"  {paint('skipped', 'unknown')} {_reasons(skipped)}")
    verdict = paint("ok", "pass") if report.ok else paint("NOT OK", "fail")
    counts = ", ".join(f"{len(by_status[status])} {status}" for status in _COLOURS)
    return [*found, f"result  {verdict} ({counts})"]


def _guarantees(report: DoctorReport, paint: Callable[[str, str], str]) -> list[str]:
    """Return which guarantees have which level, the worst first."""
    found = []
    for level, status in _STATUS_OF.items():
        names = [name for name, given in report.guarantees.items() if given == level]
        if names:
            body = _wrapped(", ".join(names), f"  {level:<12} ")
            found += [body[0].replace(level, paint(level, status)), *body[1:]]
    return found


def _reasons(skipped: Iterable[DoctorCheck]) -> str:
    """Return the reasons for skipped checks, with the number of checks for each, on one line."""
    numbers: dict[str, int] = {}
    for check in skipped:
        reason = check.detail.removeprefix(_SKIPPED)
        numbers[reason] = numbers.get(reason, 0) + 1
    return "; ".join(f"{number} ({reason})" for reason, number in numbers.items())


def _wrapped(text: str, first: str) -> list[str]:
    """Wrap a text, but not inside quotes (a path with blanks, or a command)."""
    kept = _QUOTED.sub(lambda found: found.group().replace(" ", _KEPT), text)
    wrapped = textwrap.wrap(
        kept,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_KEPT, " ") for line in wrapped] or [first.rstrip()]
