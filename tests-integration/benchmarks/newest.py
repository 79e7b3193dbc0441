"""Measure many small files on the newest CPythons: those of ``tests-integration/interpreters``.

``SAFEATOMIC_CACHE=DIR python tests-integration/benchmarks/newest.py --image . --json FILE`` runs
`many` on each, one after the other, on one ext4 in a file (root). Exits with 77 where they cannot
be had.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine  # also lets the next two be found

import debian
from interpreters import room

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).resolve().parents[2]
_INTERPRETERS = ("python3.14", "python3.14t", "python3.15", "python3.15t")
_NOT_POSSIBLE = 77


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the numbers down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", required=True, help="write the results there")
    parser.add_argument("--image", metavar="DIR", required=True, help="make the ext4 in DIR")
    options, passed_on = parser.parse_known_args(arguments)
    try:
        root = room.obtain()
    except debian.NotPossibleError as reason:
        print(f"no newest interpreters: {reason}")
        return _NOT_POSSIBLE
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as tools, machine.image(options.image) as ext4:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tools]
        subprocess.run([*pip, str(_ROOT / "packages/safeatomic-core")], check=True)
        for interpreter in filter(lambda name: room.has(root, name), _INTERPRETERS):
            program = [interpreter, "tests-integration/benchmarks/many.py", "--ext4", "/reports"]
            program += ["--json", "/reports/many.json", *passed_on]
            command = room.command(root, _ROOT, Path(tools), Path(ext4), program)
            subprocess.run(command, check=True)
            results.append(json.loads((Path(ext4) / "many.json").read_text(encoding="utf-8")))
    text = json.dumps(results, indent=1)
    Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
