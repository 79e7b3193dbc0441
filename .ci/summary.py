"""Add up what the sessions left in a folder: their times, and the tests of every pytest run."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


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
    total = failed = skipped = 0
    for path in folder.glob("*.xml"):
        for suite in ET.parse(path).getroot().iter("testsuite"):
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    lost = sum(session["result"] not in {"success", "skipped"} for session in sessions)
    if lost:
        print(f"{lost} of {len(sessions)} sessions failed")
    print(f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or lost else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
