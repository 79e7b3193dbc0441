"""Write the tables of supported-environments.md from real mounts and recorded samples.

``python docs/generate_supported_environments.py`` mounts every filesystem that this machine can
mount (root and loop devices needed), runs the probes of the doctor and a write under strict on
each, and rewrites the tables. ``--check`` exits with 1 if that would change anything. A filesystem
that cannot be mounted here keeps the row it has.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests-integration"))

import mounted  # noqa: E402 - found through the line above
from safeatomic_core import (  # noqa: E402
    LockError,
    UnsupportedEnvironmentError,
    _filesystems,
    doctor,
    read_atomic_bytes,
    write_atomic_bytes,
)
from safeatomic_core._environment import describe, lives_in_memory, parse_mount  # noqa: E402

PAGE = ROOT / "docs" / "supported-environments.md"
SAMPLES = ROOT / "packages" / "safeatomic-core" / "tests" / "samples" / "mounts.txt"
SHOWN = ("AtomicVisibility", "CrashDurability", "WriterExclusion", "IntegrityDetection")
_SHORT = {"Guaranteed": "yes", "BestEffort": "BestEffort"}


class Measured(NamedTuple):
    """What was found on one mounted filesystem."""

    kind: str
    filesystem: str
    filesystem_class: str
    levels: tuple[str, ...]
    findings: tuple[str, ...]
    probes: tuple[tuple[str, str], ...]
    strict: str
    left: tuple[str, ...]


def measure(place: Path) -> tuple[str, str, tuple[str, ...], tuple[str, ...], object, str, object]:
    """Look, probe and write in a directory; everything returned pickles."""
    before = set(place.iterdir())
    report = doctor(place, destructive=True)
    probes = tuple(
        (check.name.removeprefix("probe_"), check.status)
        for check in report.checks
        if check.name.startswith("probe_") and check.name != "probe_cleanup"
    )
    target = place / "file"
    try:
        write_atomic_bytes(target, b"old", write_checksum=True)
        write_atomic_bytes(target, b"new", write_checksum=True)
        assert read_atomic_bytes(target, check_checksum=True) == b"new"
        strict = "works"
    except UnsupportedEnvironmentError as error:
        strict = f"refused: {error.guarantee}"
    except LockError as error:
        strict = f"fails: {error}"
    except OSError as error:
        strict = f"fails: {os.strerror(error.errno or 0)}"
    left = sorted(path.name for path in set(place.iterdir()) - before)
    return (
        report.environment.filesystem,
        report.environment.filesystem_class,
        tuple(report.guarantees[name] for name in SHOWN),
        report.environment.durability_findings,
        probes,
        strict,
        tuple(left),
    )


def measure_kind(kind: mounted.Kind) -> Measured:
    """Mount one filesystem and measure it.

    Raises:
        mounted.NotPossibleError: It cannot be mounted here, and why.
    """
    with tempfile.TemporaryDirectory() as work:
        return Measured(kind.name, *mounted.run_on(kind, Path(work), measure))  # type: ignore[arg-type]


def row(found: Measured) -> str:
    """Return the table's row for a measured filesystem."""
    passed = sum(status == "pass" for _, status in found.probes)
    probes = f"{passed} of {len(found.probes)}"
    if {status for _, status in found.probes} == {"unknown"}:
        probes = "skipped"
    cells = (found.kind, found.filesystem_class, *map(_cell, found.levels), probes, found.strict)
    return f"| {' | '.join(cells)} |"


def sample_rows() -> list[str]:
    """Return the rows of the recorded samples."""
    rows = []
    head: list[str] = []
    for line in SAMPLES.read_text("utf-8").split("\n"):
        if line.startswith("= "):
            head = [field.strip() for field in line[2:].split("|")]
        elif line and not line.startswith("#"):
            rows.append(_sample_row(head[0], head[-1], line.encode()))
    levels, _ = _filesystems.levels("darwin", "apfs", _filesystems.PERSISTENT, ())
    cells = [_cell(levels[name]) for name in SHOWN]
    rows.append(
        f"| macOS APFS | {_filesystems.PERSISTENT} | {' | '.join(cells)} | Apple's documentation |"
    )
    return rows


def _sample_row(name: str, origin: str, line: bytes) -> str:
    mount = parse_mount(line)
    assert mount is not None
    environment = describe(mount, 0)
    levels, _ = _filesystems.levels(
        "linux",
        environment.filesystem,
        environment.filesystem_class,
        _filesystems.hazards(environment.filesystem, mount.options),
        in_memory=mount.device.startswith("1:") or lives_in_memory(environment),
    )
    cells = [environment.filesystem_class, *(_cell(levels[name]) for name in SHOWN), origin]
    return f"| {name} | {' | '.join(cells)} |"


def _cell(level: str) -> str:
    return _SHORT.get(level, level)


def replaced(page: str, name: str, rows: list[str]) -> str:
    """Return the page with the rows of one table replaced."""
    start = page.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n")
    head = "".join(page[start:].splitlines(keepends=True)[:2])
    return page[:start] + head + "\n".join(rows) + "\n" + page[page.index(f"<!-- end of {name}") :]


def row_of(page: str, kind: str) -> str | None:
    """Return the row that a page has for a filesystem."""
    return next((line for line in page.splitlines() if line.startswith(f"| {kind} |")), None)


def main() -> int:
    """Measure, then write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    page = PAGE.read_text("utf-8")
    rows = []
    for kind in mounted.KINDS:
        try:
            rows.append(row(measure_kind(kind)))
        except mounted.NotPossibleError as reason:
            print(f"{kind.name}: not mounted here ({reason})", file=sys.stderr)
            rows.append(row_of(page, kind.name) or f"| {kind.name} |" + " not measured |" * 7)
    new = replaced(page, "mounted", rows)
    new = replaced(new, "samples", sample_rows())
    if not check:
        start, end = "<!-- kernel -->", "<!-- end of kernel -->"
        kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
        new = new[: new.index(start)] + start + kernel + new[new.index(end) :]
    if new == page:
        return 0
    if check:
        print("supported-environments.md is out of date")
        return 1
    PAGE.write_text(new, "utf-8")
    print("wrote supported-environments.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
