"""One run of `doctor`: every inspection, then the probes, each with its result.

The checks are a third of the package, and few programs need them. This module imports them all, so
the first call imports this module.
"""

from __future__ import annotations

from .. import _verdicts
from .._descriptor import closing
from .._errors import SafeAtomicError, explain, system_error
from .._guarantees import GuaranteeReport, inspect_guarantees, unknown_report
from .._types import CRASH_DURABILITY, GUARANTEES
from . import checks as look
from . import limits, sidecars, storage
from .probes import Probes
from .subject import Place, need_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .._types import CheckStatus
    from .subject import Finding

    Line: TypeAlias = tuple[str, CheckStatus, str]  # name, status and detail of a check


def examine(
    path: str, required: tuple[str, ...], *, destructive: bool
) -> tuple[GuaranteeReport, list[Line]]:
    """Make every check of a place.

    Args:
        path: A file, which need not exist, or a directory.
        required: Names of guarantees that must be ``Guaranteed``; they may be unknown ones.
        destructive: Run the probes as well.

    Returns:
        The report on the guarantees there, and a line for each check in a fixed order.
    """
    report, lines = _inspect(path)
    place = Place(path, report.environment)

    def look_around() -> None:
        nonlocal report
        place.open()
        if place.astray:
            report = _report_on(place)
            place.environment = report.environment
        lines.extend(_run(name, check) for name, check in _inspections(place, report))
        lines.extend(_probe(place, _why_not(lines, destructive=destructive)))

    closing(place, look_around)
    lines += [_required(name, report) for name in required]
    return report, lines


def _inspect(path: str) -> tuple[GuaranteeReport, list[Line]]:
    """Return the report on the guarantees; if that fails, an unknown one and the reason."""
    try:
        _verdicts.forget()  # a watch on our mount namespace does not see changes in another one
        return inspect_guarantees(path), []
    except (system_error(), MemoryError) as error:
        why = _explain(error, "inspect the path")
        return unknown_report(), [("inspection", "unknown", why)]


def _report_on(place: Place) -> GuaranteeReport:
    """Return the report on a directory that can be reached only by its descriptor."""
    device = need_directory(place).st_dev
    verdict = _verdicts.look(device, place.dir_fd, place.directory, whole=True)
    if place.name and _verdicts.is_mount_point(place.dir_fd, place.name, verdict):
        verdict = verdict.of_mount_point()
    return GuaranteeReport(verdict.environment, verdict.guarantees, verdict.reasons)


def _inspections(
    place: Place, report: GuaranteeReport
) -> tuple[tuple[str, Callable[[], Finding]], ...]:
    """Return every check that does not write, with its name."""
    return (
        ("parent_exists", lambda: look.parent_exists(place)),
        ("parent_writable", lambda: look.parent_writable(place)),
        ("parent_trust", lambda: look.parent_trust(place)),
        ("parent_symlink", lambda: look.parent_symlink(place)),
        ("process", lambda: limits.process(place)),
        ("filesystem", lambda: storage.filesystem(place, report)),
        ("durability", lambda: storage.durability(place, report)),
        ("fsync_provider", lambda: storage.fsync_provider(place, report)),
        ("write_cache", lambda: storage.write_cache(place)),
        ("free_space", lambda: storage.free_space(place)),
        ("free_inodes", lambda: storage.free_inodes(place)),
        ("quota", lambda: storage.quota(place)),
        ("target", lambda: look.target(place)),
        ("name_length", lambda: look.name_length(place)),
        ("leftovers", lambda: look.leftovers(place)),
        ("lock", lambda: sidecars.lock(place)),
        ("checksum", lambda: sidecars.checksum(place)),
    )


def _why_not(lines: list[Line], *, destructive: bool) -> str | None:
    """Say why the probes are skipped, or None to run them."""
    if not destructive:
        return "skipped: not tried without destructive=True"
    if any(name == "parent_writable" and status != "pass" for name, status, _ in lines):
        return "skipped: nothing can be written there"
    return None


def _probe(place: Place, skipped: str | None) -> list[Line]:
    """Run the probes, or say why not; their files are removed even if one is interrupted."""
    probes = Probes(place)
    if skipped is not None:
        return [(name, "unknown", skipped) for name, _ in probes.all()]
    return closing(probes, lambda: _try(probes))


def _try(probes: Probes) -> list[Line]:
    """Run the probes, and remove their files."""
    lines = []
    try:
        lines = [_run(name, probe) for name, probe in probes.all()]
    finally:
        try:
            cleaned = _run("probe_cleanup", probes.clean)
        finally:
            if not probes.cleaned:  # an interrupt came before the first clean-up began
                _run("probe_cleanup", probes.clean)
    return [*lines, cleaned]


def _run(name: str, check: Callable[[], Finding]) -> Line:
    """Run one check; an exception is its result."""
    try:
        status, detail = check()
    except Exception as error:
        if not _belongs_to_a_check(error):
            raise
        status = "fail" if name.startswith("probe_") else "unknown"
        detail = _explain(error, f"run {name}")
    return name, status, detail


def _belongs_to_a_check(error: Exception) -> bool:
    """Tell whether an error may come from the check itself, and is therefore a finding.

    An exception from a signal handler, such as a time-out, usually has a class of the program.
    """
    if isinstance(error, OSError):
        return error.errno is not None
    return isinstance(error, (SafeAtomicError, Warning)) or type(error).__module__ == "builtins"


def _explain(error: Exception, doing: str) -> str:
    """Return an error as a detail: what failed, and what to do where that is known."""
    if isinstance(error, MemoryError):
        text = f"cannot {doing}: no memory is left to this process ('ulimit -v')"
    elif not isinstance(error, OSError):
        text = str(error) if isinstance(error, SafeAtomicError) else repr(error)
    elif str(error.strerror).startswith("cannot "):
        text = str(error.strerror)  # the protocol has already explained it
    else:
        text = str(explain(error, doing, "", "nothing was changed").strerror)
    return text


def _required(name: str, report: GuaranteeReport) -> Line:
    """Check one required guarantee."""
    wanted = name
    if wanted not in GUARANTEES and wanted == wanted.lower():
        wanted = "".join(word.capitalize() for word in wanted.split("_"))
    check = f"require_{name}"
    if wanted not in GUARANTEES:
        known = ", ".join(GUARANTEES)
        return check, "fail", f"there is no guarantee {name!r}; the guarantees are {known}"
    level = report.guarantees[wanted]
    status: CheckStatus = "pass" if level == "Guaranteed" else "fail"
    why = "durability" if wanted == CRASH_DURABILITY else "filesystem"
    return check, status, f"{wanted} is {level} here; '{why}' says why"
