"""`doctor`: look at the place a file lives in, and say what is wrong and what to do about it.

`inspect_guarantees` says what a filesystem promises; this says what one finds there. Looking
changes nothing; ``destructive=True`` also tries each promise out on files of its own. A bad
environment is an answer, never an exception.
"""

from __future__ import annotations

from ._errors import SafeAtomicError, explain
from ._guarantees import inspect_guarantees, unknown_report
from ._policy import check_flag
from ._target import check_path
from ._types import GUARANTEES, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TextIO

    from ._environment import Environment
    from ._guarantees import GuaranteeReport
    from ._place import Finding, Place
    from ._types import CheckStatus, Level, StrPath

SCHEMA = 1  # of DoctorReport.to_dict(); a field that is removed or changes its meaning raises it
WIDTH = 80
_ORDER = ("pass", "warn", "fail", "unknown")
_COLOURS = {"pass": "32", "warn": "33", "fail": "31", "unknown": "2"}


class DoctorCheck(Record):
    """One line of a report.

    Attributes:
        name: What was looked at, in snake_case; `docs/doctor.md` lists them.
        status: ``"pass"``, ``"warn"``, ``"fail"`` or ``"unknown"`` (skipped, or it cannot be told).
        detail: What was seen and, unless it passed, what to do.
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
        environment: Where it lives.
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
        """Return the report as text of at most 80 columns.

        Args:
            colour: Mark each status with a colour of the terminal; see `wants_colour`.
        """
        import textwrap  # with re behind it, slower to import than this package

        from ._place import shown

        def paint(text: str, status: str) -> str:
            return f"\033[{_COLOURS[status]}m{text}\033[0m" if colour else text

        def wrapped(text: str, first: str, indent: str) -> list[str]:
            return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent) or [
                first.rstrip()
            ]

        verdict = paint("ok", "pass") if self.ok else paint("NOT OK", "fail")
        lines = wrapped(shown(self.path), "doctor  ", " " * 8)
        lines += wrapped(shown(str(self.environment)), "on      ", " " * 8)
        lines += [f"result  {verdict}", "", "guarantees"]
        for name, level in self.guarantees.items():
            status = _STATUS_OF[level]
            lines.append(f"  {paint(level, status)}{' ' * (13 - len(level))}{name}")
        counts = [
            f"{sum(check.status == status for check in self.checks)} {status}" for status in _ORDER
        ]
        lines += ["", f"checks ({', '.join(counts)})"]
        for check in self.checks:
            plain = f"  {check.status:<8}{check.name}: "
            body = wrapped(shown(check.detail), plain, " " * 10)
            body[0] = f"  {paint(check.status, check.status)}{body[0][2 + len(check.status) :]}"
            lines += body
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Return the report as values that `json.dumps` takes; `docs/doctor.md` has the schema."""
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


_STATUS_OF: dict[Level, str] = {
    "Guaranteed": "pass",
    "BestEffort": "warn",
    "NonTarget": "fail",
    "Unsupported": "fail",
}


def doctor(
    path: StrPath, *, destructive: bool = False, require: Iterable[str] | str | None = None
) -> DoctorReport:
    """Examine the place a file lives in, or is to live in.

    Args:
        path: A file, which need not exist, or a directory.
        destructive: Also try out creating, flushing, replacing, locking and checking, on files of
            its own beside the file, which itself is never touched. They are removed again.
        require: Names of guarantees, in PascalCase or snake_case, without which the report is not
            ``ok``; each must be ``Guaranteed``. One name may be given as a plain string.

    Returns:
        The report. Whatever is wrong with the environment is in it, not raised.

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
    # The checks are a third of the package and wanted by few programs: they are imported by the
    # first call, here and in the two functions that list them.
    from ._place import Place

    report, trouble = _inspect(text)
    place = Place(text, report.environment)
    try:
        checks = [] if trouble is None else [trouble]
        checks += [_run(name, check) for name, check in _inspections(place, report)]
        checks += _probe(place, _why_not(checks, destructive=destructive))
    finally:
        place.close()
    checks += [_required(name, report) for name in required]
    return DoctorReport(
        path=text,
        environment=report.environment,
        guarantees=dict(report.guarantees),
        checks=tuple(checks),
        ok=all(check.status != "fail" for check in checks),
    )


def wants_colour(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal whose user did not ask for no colours (no-color.org)."""
    import os

    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _check_require(require: object) -> tuple[str, ...]:
    """Return the required names, each once; they may still be unknown ones."""
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
            raise TypeError(f"require must hold str only, not {type(name).__name__}")
        checked.append(name)
    return tuple(dict.fromkeys(checked))


def _inspect(path: str) -> tuple[GuaranteeReport, DoctorCheck | None]:
    """Return the report on the guarantees; when even that fails, an unknown one and why."""
    try:
        return inspect_guarantees(path), None
    except OSError as error:
        return unknown_report(), DoctorCheck(
            "inspection", "unknown", _explain(error, "inspect the path")
        )


def _inspections(
    place: Place, report: GuaranteeReport
) -> tuple[tuple[str, Callable[[], Finding]], ...]:
    """Return every check that only looks, with its name."""
    from . import _inspections as look

    return (
        ("parent_exists", lambda: look.parent_exists(place)),
        ("parent_writable", lambda: look.parent_writable(place)),
        ("parent_trust", lambda: look.parent_trust(place)),
        ("parent_symlink", lambda: look.parent_symlink(place)),
        ("filesystem", lambda: look.filesystem(place, report)),
        ("durability", lambda: look.durability(place, report)),
        ("fsync_provider", lambda: look.fsync_provider(place)),
        ("write_cache", lambda: look.write_cache(place)),
        ("free_space", lambda: look.free_space(place)),
        ("free_inodes", lambda: look.free_inodes(place)),
        ("quota", lambda: look.quota(place)),
        ("target", lambda: look.target(place)),
        ("name_length", lambda: look.name_length(place)),
        ("leftovers", lambda: look.leftovers(place)),
        ("lock", lambda: look.lock(place)),
        ("checksum", lambda: look.checksum(place)),
    )


def _why_not(checks: list[DoctorCheck], *, destructive: bool) -> str | None:
    """Say why the probes are skipped, or None to run them."""
    if not destructive:
        return "skipped: ask for it with destructive=True (--destructive)"
    if any(check.name == "parent_writable" and check.status != "pass" for check in checks):
        return "skipped: nothing can be written there"
    return None


def _probe(place: Place, skipped: str | None) -> list[DoctorCheck]:
    """Run the probes, or say why not; what they made is removed even when one is interrupted."""
    from ._probes import Probes

    probes = Probes(place)
    if skipped is not None:
        return [DoctorCheck(name, "unknown", skipped) for name, _ in probes.all()]
    checks = []
    try:
        checks = [_run(name, probe) for name, probe in probes.all()]
    finally:
        cleaned = _run("probe_cleanup", probes.clean)
    return [*checks, cleaned]


def _run(name: str, check: Callable[[], Finding]) -> DoctorCheck:
    """Make one check; what it raises is its result."""
    try:
        status, detail = check()
    except Exception as error:  # noqa: BLE001 - a diagnosis must not die of the disease
        status = "fail" if name.startswith("probe_") else "unknown"
        detail = _explain(error, f"run {name}")
    return DoctorCheck(name, status, detail)


def _explain(error: Exception, doing: str) -> str:
    """Return an error as a detail: what failed, and what to do where that is known."""
    if not isinstance(error, OSError):
        text = str(error) if isinstance(error, SafeAtomicError) else repr(error)
    elif str(error.strerror).startswith("cannot "):
        text = str(error.strerror)  # explained by the protocol already
    else:
        text = str(explain(error, doing, "", "nothing was changed").strerror)
    return text


def _required(name: str, report: GuaranteeReport) -> DoctorCheck:
    """Hold one required guarantee against the report."""
    wanted = name
    if wanted not in GUARANTEES and wanted == wanted.lower():
        wanted = "".join(word.capitalize() for word in wanted.split("_"))
    check = f"require_{name}"
    if wanted not in GUARANTEES:
        return DoctorCheck(
            check, "fail", f"there is no guarantee {name!r}; there are {', '.join(GUARANTEES)}"
        )
    level, reason = report.guarantees[wanted], report.reasons[wanted]
    status: CheckStatus = "pass" if level == "Guaranteed" else "fail"
    return DoctorCheck(check, status, f"{wanted} is {level}: {reason}")
