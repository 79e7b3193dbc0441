"""Ctrl-C and sys.exit() at every system call: nothing is left over, and nothing is swallowed.

A signal handler runs between two bytecodes, so the exception comes just before a system call or
just after it took effect, and then nobody has seen what the call returned. A descriptor that is
lost this way stays open until the process ends; everything else must be as after an error.
"""

from __future__ import annotations

import dis
import errno
import gc
import os
import random
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from safeatomic_core import _posix

from .injection import Injection
from .judging import judge, next_write_flaws
from .running import Runner
from .scenarios import SCENARIOS
from .situations import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from .conftest import Records


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_interrupt_leaves_nothing_behind(
    scenario: Scenario, after: bool, scratch: Path, log: Records, tally: Counter[str]
) -> None:
    runner = Runner(str(scratch))
    wrong: list[str] = []
    calls = runner.calls(scenario)
    for number in range(1, len(calls) + 1):
        interrupt = KeyboardInterrupt if number % 2 else SystemExit
        injection = Injection(
            (number,), interrupt=interrupt, after=after, unsupported=scenario.unsupported
        )
        log.seen.clear()
        run = runner.run(scenario, injection)
        entry, callers = injection.sites[0]
        tally["interrupts injected"] += 1
        here = judge(
            scenario,
            run.directory,
            run.before,
            run.error,
            clean=True,
            sidecars_back=not scenario.replaces_sidecar,
        )
        if run.error is not injection.raised[0]:
            here.append(f"the interrupt became {run.error!r}")
        run.error = None
        injection.raised.clear()
        here += next_write_flaws(scenario, run.directory)
        if run.leaked and not (entry == "close" and not after):
            here.append(f"leaks {sorted(run.leaked)}")
        shutil.rmtree(run.directory)
        wrong += [f"{entry}, call {number} [{callers}]: {flaw}" for flaw in here]
    assert not wrong, f"{len(wrong)} flaws\n" + "\n".join(wrong[:40])


class _Alarm:
    """Raises KeyboardInterrupt before the N-th bytecode that the library executes.

    Those count that are executed after something else was raised, if that is asked for.
    """

    def __init__(self, number: int, raised: list[BaseException] | None = None) -> None:
        self._left = number
        self._raised = raised
        self.where = ""

    def call(self, frame: FrameType, _event: str, _arg: object) -> Any:
        code = frame.f_code
        # A finalizer's exceptions go nowhere, and `intercept` is the test's own.
        own = code.co_qualname.startswith("intercept") or code.co_name == "__del__"
        if own or not code.co_filename.startswith(_LIBRARY):
            return None
        frame.f_trace_opcodes = True  # from Python 3.12 not always heeded: hence lines as well
        return self.step

    def step(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event in ("line", "opcode") and self._raised != []:
            self._left -= 1
            if self._left <= 0 and _may_be_interrupted(frame):
                self.where = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.step


def _may_be_interrupted(frame: FrameType) -> bool:
    """Tell whether signals are looked at here: as functions begin and loops go on, and at calls.

    What is raised where a handler begins or ends makes CPython keep what was handled for ever.
    """
    name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return name.startswith(("CALL", "PRECALL", "RESUME", "JUMP_BACKWARD"))


_LIBRARY = os.path.dirname(_posix.__file__) + os.sep
_ANYWHERE = [
    one
    for one in SCENARIOS
    if one.name
    in (
        "overwrite",
        "checked-over-sealed",
        "unchecked-over-sealed",
        "checked-after-a-dead-writer",
        "stream-checked",
        "move-with-sidecar-over-sidecar",
        "lock-and-release",
    )
]


@pytest.mark.filterwarnings("ignore:.*dropped undecided:ResourceWarning")
@pytest.mark.parametrize("scenario", _ANYWHERE, ids=lambda scenario: scenario.name)
def test_an_interrupt_between_any_two_bytecodes_blocks_nobody(
    scenario: Scenario, scratch: Path, log: Records, tally: Counter[str], long_run: bool, seed: int
) -> None:
    # Between the end of a step and the clean-up no Python program can catch it. What may be left
    # then is a dead lock, never a living one, and never a false alarm or half a file.
    wrong: list[str] = []
    runner = Runner(str(scratch))
    runner.calls(scenario)
    rng = random.Random(f"{seed} {scenario.name}")
    number = 0
    while True:
        number += 1 if long_run else rng.randint(1, 15)
        alarm = _Alarm(number)
        run = runner.run(scenario, Injection(unsupported=scenario.unsupported), trace=alarm.call)
        if not alarm.where:
            break
        tally["interrupts at any bytecode"] += 1
        here = judge(
            scenario, run.directory, run.before, run.error, clean=False, sidecars_back=False
        )
        run.error = None
        here += next_write_flaws(scenario, run.directory)
        shutil.rmtree(run.directory)
        wrong += [f"bytecode {number}, {alarm.where}: {flaw}" for flaw in here]
    assert number > 200
    assert not wrong, f"{len(wrong)} flaws\n" + "\n".join(wrong[:40])


_OVER_A_SIDECAR = [
    one
    for one in SCENARIOS
    if one.name
    in (
        "checked-over-sealed",
        "unchecked-over-sealed",
        "stream-checked",
        "move-over-sidecar",
        "move-with-sidecar-over-sidecar",
    )
]


@pytest.fixture
def _quick_collections() -> Iterator[None]:
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_quick_collections")
@pytest.mark.filterwarnings("ignore:.*dropped undecided:ResourceWarning")
@pytest.mark.parametrize("scenario", _OVER_A_SIDECAR, ids=lambda scenario: scenario.name)
def test_an_interrupt_while_a_failure_is_handled_costs_no_sidecar(
    scenario: Scenario,
    scratch: Path,
    caplog: pytest.LogCaptureFixture,
    tally: Counter[str],
    long_run: bool,
    seed: int,
) -> None:
    wrong: list[str] = []
    runner = Runner(str(scratch))
    calls = runner.calls(scenario)
    publish = max(number for number, (entry, _) in enumerate(calls, 1) if entry == "rename")
    rng = random.Random(f"{seed} {scenario.name}")
    number = 0
    while True:
        number += 1 if long_run else rng.randint(1, 7)
        injection = Injection((publish,), errno.EACCES, unsupported=scenario.unsupported)
        alarm = _Alarm(number, injection.raised)
        run = runner.run(scenario, injection, trace=alarm.call)
        if not alarm.where:
            break
        tally["interrupts of a failure"] += 1
        injection.raised.clear()
        caplog.clear()
        gc.collect()  # tracing made cycles of the frames that keep alive what clears up
        here = judge(
            scenario, run.directory, run.before, run.error, clean=False, sidecars_back=True
        )
        run.error = None
        here += next_write_flaws(scenario, run.directory)
        shutil.rmtree(run.directory)
        wrong += [f"bytecode {number}, {alarm.where}: {flaw}" for flaw in here]
    assert number > 200
    assert not wrong, f"{len(wrong)} flaws\n" + "\n".join(wrong[:40])
