"""Count the instructions of one call: ``python tests-integration/benchmarks/instructions.py``.

Counted by ``valgrind --tool=callgrind``, which leaves the kernel out and repeats itself to a few
parts in a thousand, whatever else the machine is doing. What a process takes for some writes is
taken off what it takes for more, and so the start of the interpreter goes; ``--against DIR`` counts
another checkout as well, with the same interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = str(Path(__file__).resolve().parent)
_ROOT = Path(__file__).resolve().parents[2]
_FEW, _MORE = 10, 110
_CALLS = {
    'write_atomic_bytes(concurrency="none")': "write_atomic_bytes(p, d, concurrency='none')",
    "write_atomic_bytes()": "write_atomic_bytes(p, d)",
    "write_atomic_bytes(write_checksum=True)": "write_atomic_bytes(p, d, write_checksum=True)",
    "read_atomic_bytes()": "read_atomic_bytes(p)",
    "AtomicReader.readline(), 50 bytes": "reader.readline()",
    "AtomicReader.read(100)": "reader.read(100)",
    "AtomicReader.read(4096)": "reader.read(4096)",
}
# What the same system calls take from one function with nothing around them.
_FLOORS = {
    'write_atomic_bytes(concurrency="none")': "straight.straight_none(p, d)",
    "write_atomic_bytes()": "straight.straight_default(p, d)",
    "write_atomic_bytes(write_checksum=True)": "straight.straight_checksum(q, d)",
}
_PROGRAM = """
import sys
sys.path[:0] = sys.argv[1], {benchmarks!r}
import straight
from safeatomic_core import AtomicReader, read_atomic_bytes, write_atomic_bytes
p, d = sys.argv[2] + "/data", b"x" * 4096
write_atomic_bytes(p, d)
q = p + "3"
write_atomic_bytes(q, d, write_checksum=True)
write_atomic_bytes(p + "2", (b"x" * 49 + b"\\n") * 20_000)
reader = AtomicReader(p + "2")
for _ in range(int(sys.argv[3])):
    {call}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts, and how they compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", metavar="DIR", help="another checkout")
    parser.add_argument("--only", metavar="TEXT", default="", help="calls whose name has this")
    parser.add_argument("--json", metavar="FILE", help="write the counts there")
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    counts, floors = {}, {}
    for name, call in _CALLS.items():
        if options.only not in name:
            continue
        counts[name] = count(_ROOT, call)
        line = f"{name:<42} {counts[name]:>9,}"
        if name in _FLOORS:
            floors[name] = count(_ROOT, _FLOORS[name])
            line += f", floor {floors[name]:>9,}"
        if options.against:
            former = count(Path(options.against), call)
            line += f", former {former:>9,}: {counts[name] / former:.2f} x"
        print(line, flush=True)
    if options.json:
        python = ".".join(map(str, sys.version_info[:2]))
        result = {"python": python, "instructions": counts, "floors": floors}
        text = json.dumps(result, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0


def count(checkout: Path, call: str) -> int:
    """Return the instructions of one call."""
    few, more = (_run(checkout, call, times) for times in (_FEW, _MORE))
    return round((more - few) / (_MORE - _FEW))


def _run(checkout: Path, call: str, times: int) -> int:
    """Return the instructions of a process that makes a call so many times."""
    source = checkout / "packages" / "safeatomic-core" / "src"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        program = Path(place, "program.py")
        program.write_text(_PROGRAM.format(call=call, benchmarks=_HERE), encoding="utf-8")
        command = [os.path.realpath(sys.executable), "-sSP", str(program), str(source), place]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": place}
        subprocess.run([*command, "0"], check=True, env=environment)  # compiled from here on
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={place}/out"]
        done = subprocess.run(
            [*tool, *command, str(times)],
            check=True,
            env=environment,
            capture_output=True,
        )
    found = re.search(rb"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
