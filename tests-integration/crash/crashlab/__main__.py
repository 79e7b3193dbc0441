"""Run single scenarios by hand.

python -m crashlab run ext4 overwrite --noise file
python -m crashlab run btrfs checked --subject mutant:sidecar-after-data
python -m crashlab list
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from . import driver, filesystems, mutants, tables, workloads
from .scenario import LIBRARY, Spec


def main() -> int:
    """Do what the command line says; 1 if a scenario found a violation."""
    logging.getLogger("safeatomic").addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(prog="python -m crashlab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run one scenario")
    run.add_argument("filesystem", choices=filesystems.KNOWN)
    run.add_argument("workload", choices=workloads.ALL)
    run.add_argument("--subject", default=LIBRARY, help="or mutant:NAME, or peer:NAME")
    run.add_argument("--noise", default="none", choices=("none", "file", "commit", "mixed"))
    run.add_argument("--options", default="", help="mount options")
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--cap", type=int, default=12, help="subsets of unflushed writes at a moment")
    run.add_argument("--limit", type=int, default=0, help="images to judge, 0 for all")
    run.add_argument("--keep", type=os.path.abspath, help="file for the log, if bad")
    run.add_argument("--replay", type=os.path.abspath, help="judge a kept log again")
    commands.add_parser("list", help="list filesystems, workloads and mutants")
    for name, about in (("peers", "compare with other writers"), ("mutants", "show each mutant")):
        table = commands.add_parser(name, help=f"{about}; rewrites a table of the documentation")
        table.add_argument("--limit", type=int, default=150, help="images in each scenario")
    serve = commands.add_parser("serve")
    serve.add_argument("scratch")
    serve.add_argument("tag")
    arguments = vars(parser.parse_args())
    command = arguments.pop("command")
    if command == "serve":
        driver.serve(**arguments)
        return 0
    if command in ("peers", "mutants"):
        make = tables.compare_peers if command == "peers" else tables.show_mutants
        make(**arguments)
        return 0
    if command == "list":
        for workload in workloads.ALL.values():
            print(f"{workload.name:16} {workload.about}")
        for mutant in mutants.ALL.values():
            print(f"mutant:{mutant.name:22} {mutant.about}: {mutant.shows}")
        return 0
    with driver.Lab() as lab:
        report = lab.run(Spec(**arguments))
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
