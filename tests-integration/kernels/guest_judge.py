"""In the guest: judge what was recorded, for filesystems that the host's kernel may not have.

``python -m kernels.guest_judge FILE REPORTS``: FILE has a `Spec` with a log to replay
in each line, REPORTS gets a report a line.
"""

from __future__ import annotations

import json
import sys
import tempfile

from crash.crashlab import driver
from crash.crashlab.scenario import Spec

from . import more_filesystems

DONE = "JUDGED EVERYTHING"


def main(path: str, reports: str) -> None:
    """Judge every scenario of a file, each in a process with mounts of its own."""
    more_filesystems.register()
    with open(path, encoding="utf-8") as file, open(reports, "w", encoding="utf-8") as out:
        for line in file:
            spec = Spec(**json.loads(line))
            more_filesystems.adapt_to(spec.filesystem)
            report = driver.run_in_child(spec, tempfile.mkdtemp(), "safeatomic-guest")
            more_filesystems.restore()
            print(report, flush=True)
            out.write(report.to_json() + "\n")
    print(DONE)


if __name__ == "__main__":
    main(*sys.argv[1:])
