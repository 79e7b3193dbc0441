"""Ctrl-C and sys.exit() at every system call: nothing is left over, and nothing is swallowed.

A signal handler runs between two bytecodes, so the exception comes just before a system call or
just after it took effect, and then nobody has seen what the call returned. A descriptor that is
lost this way stays open until the process ends; everything else must be as after an error.
"""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .injection import Injection
from .judging import judge, next_write_flaws
from .running import Runner
from .scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Records


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_interrupt_leaves_nothing_behind(
    scenario: Scenario, after: bool, scratch: Path, log: Records, tally: Counter[str]
) -> None:
    runner = Runner(str(scratch))
    wrong: list[str] = []
    calls = runner.calls(scenario)
    for number, (entry, callers) in enumerate(calls, 1):
        interrupt = KeyboardInterrupt if number % 2 else SystemExit
        injection = Injection(
            (number,), interrupt=interrupt, after=after, unsupported=scenario.unsupported
        )
        log.seen.clear()
        run = runner.run(scenario, injection)
        tally["interrupts injected"] += 1
        here = judge(
            scenario,
            run.directory,
            run.before,
            run.error,
            clean=True,
            sidecars_back=not scenario.replaces_sidecar,
        )
        # io.BufferedReader clears whatever the first tell() of its raw stream raises (CPython,
        # Modules/_io/bufferedio.c, _buffered_init).
        cleared = run.error is None and callers.startswith("_Raw.tell < AtomicReader.__init__")
        if run.error is not injection.raised[0] and not cleared:
            here.append(f"the interrupt became {run.error!r}")
        run.error = None
        injection.raised.clear()
        here += next_write_flaws(scenario, run.directory)
        if run.leaked and not (entry == "close" and not after):
            here.append(f"leaks {sorted(run.leaked)}")
        shutil.rmtree(run.directory)
        wrong += [f"{entry}, call {number} [{callers}]: {flaw}" for flaw in here]
    assert not wrong, f"{len(wrong)} flaws\n" + "\n".join(wrong[:40])
