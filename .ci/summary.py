"""Add up what the sessions left in a folder: times, tests, and the evidence they produced."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Heading of the summary, and which figures of the integration tests belong under it.
_EVIDENCE = {
    "kernels": r"^kernel ",
    "images": r"crash images|moments of a crash|simulated crash",
    "mutants": r"mutants|broken libraries",
    "kills": r"^kills|^holders killed|^simulated kills|^locks of a killed",
    "users": r"between users",
    "consumers": r"^consumers",
}


def main(folder: Path) -> int:
    """Print the summary, its last line ``N passed, N failed, N skipped``; return an exit code."""
    table = folder / "sessions.json"
    if not table.exists():  # nox was interrupted
        print("0 passed, 1 failed, 0 skipped")
        return 1
    sessions = json.loads(table.read_text(encoding="utf-8"))["sessions"]
    for session in sessions:
        name = session["signatures"][0]
        print(f"{session['duration']:7.1f} s  {session['result']:8} {name}")
    _print_interpreters(folder, sessions)
    _print_figures(folder)
    passed, failed, skipped = _counts(folder.glob("*.xml"))
    lost = sum(session["result"] not in {"success", "skipped"} for session in sessions)
    if lost:
        print(f"{lost} of {len(sessions)} sessions failed")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or lost else 0


def _counts(paths: Iterable[Path]) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped, by files in JUnit form."""
    total = failed = skipped = 0
    for path in paths:
        for suite in ET.parse(path).getroot().iter("testsuite"):
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def _print_interpreters(folder: Path, sessions: list[dict[str, Any]]) -> None:
    """List the interpreters that the tests ran on, and those that were not there."""
    found: dict[str, bool] = {}
    for session in sessions:
        match = re.match(r"(?:tests|freethreaded)-([\d.]+t?)", session["signatures"][0])
        if match:
            name = f"CPython {match[1]}"
            found[name] = found.get(name, False) or session["result"] != "skipped"
    print("interpreters")
    for tried in sorted(folder.glob("*-tried.json")):
        entry = json.loads(tried.read_text(encoding="utf-8"))
        name, _, version = entry["version"].rpartition(" ")
        found.pop(f"{name} {'.'.join(version.split('.')[:2])}", None)
        found[entry["version"]] = True
        passed, _, _ = _counts(folder.glob(f"{tried.name.removesuffix('-tried.json')}-*.xml"))
        print(f"{passed:>9,}  tests passed on {entry['version']} of Debian's next suite")
    print(f"           ran on {', '.join(sorted(n for n in found if found[n])) or 'none'}")
    print(f"           not there: {', '.join(sorted(n for n in found if not found[n])) or 'none'}")


def _print_figures(folder: Path) -> None:
    """Print the figures of all sessions under the kind of evidence that they are."""
    figures: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            figures.update({name: n for name, n in found.items() if isinstance(n, int)})
    for heading, pattern in _EVIDENCE.items():
        print(heading)
        names = sorted(name for name in figures if re.search(pattern, name))
        if heading != "kernels":
            names = [name for name in names if not name.startswith("kernel ")]
        for name in names:
            print(f"{figures[name]:>9,}  {name}")
        if not names:
            print("           none: the session that finds them did not run here, see its output")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
