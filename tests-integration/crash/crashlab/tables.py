"""The tables of `docs/crash-testing.md`, made by running scenarios and written between markers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import filesystems, mutants, peers
from .driver import Lab
from .scenario import LIBRARY, Report, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLACE = Path(__file__).resolve().parents[1]
_DOCUMENT = _PLACE.parents[1] / "docs" / "crash-testing.md"
_PEER_WORKLOADS = ("overwrite", "create")
_NOTHING = "\u2013"
_DISTRIBUTIONS = ("atomicwrites", "boltons", "safer")


def compare_peers(limit: int) -> None:
    """Run the peers beside the library and write the table."""
    with _installed_peers():
        versions = {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}
        subjects = [LIBRARY, *(f"peer:{name}" for name in peers.ALL)]
        specs = [
            Spec(filesystem.name, workload, subject, noise, limit=limit)
            for subject in subjects
            for filesystem in filesystems.ALL.values()
            for workload in _PEER_WORKLOADS
            for noise in filesystem.noises
        ]
        reports = list(_run(specs))
    lines = [
        f"| writer | {' | '.join(filesystems.ALL)} | images |",
        "|---|" + "---|" * (len(filesystems.ALL) + 1),
    ]
    for subject in subjects:
        mine = [report for report in reports if report.spec.subject == subject]
        name = subject.removeprefix("peer:")
        version = versions.get(name.partition(".")[0])
        cells = [
            _outcome([report for report in mine if report.spec.filesystem == filesystem])
            for filesystem in filesystems.ALL
        ]
        images = sum(report.images for report in mine)
        shown = f"`{name}`" + (f" {version}" if version else "")
        lines.append(f"| {shown} | {' | '.join(cells)} | {images:,} |")
    _write("peers", [*lines, "", f"On {_machine()}."])


def show_mutants(limit: int) -> None:
    """Run every mutant on every filesystem with every noise and write the table."""
    places = {
        name: sorted({where[1] for where in mutant.where}) for name, mutant in mutants.ALL.items()
    }
    specs = [
        Spec(filesystem.name, workload, f"mutant:{name}", noise, limit=limit, hunt=True)
        for name, workloads in places.items()
        for filesystem in filesystems.ALL.values()
        for workload in workloads
        for noise in filesystem.noises
    ]
    reports = list(_run(specs))
    lines = [
        f"| mutant | what is broken | what it leaves | {' | '.join(filesystems.ALL)} |",
        "|---|---|---|" + "---|" * len(filesystems.ALL),
    ]
    for name, mutant in mutants.ALL.items():
        cells = []
        for filesystem in filesystems.ALL.values():
            caught = {
                report.spec.noise
                for report in reports
                if report.spec.subject == f"mutant:{name}"
                and report.spec.filesystem == filesystem.name
                and report.violations
            }
            cells.append(
                ", ".join(kind for kind in filesystem.noises if kind in caught) or _NOTHING
            )
        lines.append(f"| {name} | {mutant.about} | {mutant.shows} | {' | '.join(cells)} |")
    _write("mutants", [*lines, "", f"On {_machine()}."])


def _outcome(reports: Iterable[Report]) -> str:
    """Return the text of a cell: the kinds of violations."""
    words = {
        "lost": "loses acknowledged writes",
        "torn": "torn files",
        "mixture": "mixtures",
        "metadata": "other metadata",
    }
    kinds = {kind for report in reports for kind in report.violations}
    return (
        ", ".join(words.get(kind, kind) for kind in sorted(kinds, key=list(words).index))
        or _NOTHING
    )


def _run(specs: list[Spec]) -> Iterator[Report]:
    with Lab() as lab:
        lab.announce(specs)
        for spec in specs:
            report = lab.run(spec)
            print(f"{spec}: {report.images} images, {report.violations or 'ok'}", flush=True)
            yield report


@contextlib.contextmanager
def _installed_peers() -> Iterator[None]:
    """Install the peers into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="crash-peers-") as folder:
        requirements = _PLACE / "peers-requirements.txt"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
        subprocess.run([*command, "-r", str(requirements)], check=True)
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)


def _machine() -> str:
    return f"Linux {os.uname().release.partition('-')[0]}, Python {sys.version.split()[0]}"


def _write(name: str, lines: list[str]) -> None:
    """Replace the text between two markers of the document."""
    text = _DOCUMENT.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise LookupError(f"{_DOCUMENT.name} has no markers for {name}")
    body = "\n".join(["", *lines, "", ""])
    _DOCUMENT.write_text(head + begin + body + end + tail, encoding="utf-8")
