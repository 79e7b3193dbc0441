"""The empirical view of an environment: what it promises, and whether it holds."""

from __future__ import annotations

from ._environment import Environment
from ._guarantees import inspect_guarantees
from ._types import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._types import CheckStatus, Level, StrPath


class DoctorCheck(Record):
    """One finding."""

    name: str
    status: CheckStatus
    detail: str


class DoctorReport(Record):
    """All findings about one path."""

    path: str
    environment: Environment
    guarantees: Mapping[str, Level]
    checks: tuple[DoctorCheck, ...]
    ok: bool


def doctor(
    path: StrPath, *, destructive: bool = False, require: Iterable[str] | None = None
) -> DoctorReport:
    """Report on the environment of a path."""
    report = inspect_guarantees(path)
    return DoctorReport(str(path), report.environment, report.guarantees, (), True)
