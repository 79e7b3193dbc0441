"""An error at every system call of every public call, once and for ever.

For N = 1, 2, 3 … the N-th call of the seam fails with each error that it can return (`errnos`),
until N is beyond the last call. After each run the directory is judged from the outside
(`judging`): old or new and nothing else, nothing left over, what the error says about the target
is true, no descriptor is leaked, and the next plain write works. Every injected error is accounted
for: it surfaced, or it came from a place where going on is right (`tolerated`).
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import safeatomic_core as sa

from .errnos import ANSWERS, ERRNOS
from .injection import Injection
from .judging import judge, next_write_flaws
from .running import Run, Runner, chain
from .scenarios import SCENARIOS, Scenario
from .tolerated import PLACES, Place, place_of

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Records

_reached: set[Place] = set()
_scenarios_done: set[str] = set()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_one_error_leaves_everything_or_nothing(
    scenario: Scenario, scratch: Path, log: Records, tally: Counter[str], long_run: bool
) -> None:
    runner = Runner(str(scratch))
    wrong: list[str] = []
    calls = runner.calls(scenario)
    surfaced = tolerated = answered = injected = 0
    for number, (entry, _) in enumerate(calls, 1):
        for code in _codes(scenario, entry, number, all_of_them=long_run):
            injection = Injection((number,), code, unsupported=scenario.unsupported)
            log.seen.clear()
            run = runner.run(scenario, injection)
            assert len(injection.raised) == 1, f"{scenario.name} does not repeat itself"
            injected += 1
            here: list[str] = []
            answer = (entry, code) in ANSWERS
            place = place_of(injection.sites[0], code)
            if _surfaced(run.error, injection.raised[0]):
                surfaced += 1
            elif answer or (scenario.never_raises and run.error is None):
                answered += 1
            elif run.error is None and place is not None:
                tolerated += 1
                _reached.add(place)
                if place.log and place.log not in {record.levelname for record in log.seen}:
                    here.append(f"tolerated without a message at {place.log}")
            else:
                here.append(f"swallowed at {injection.sites[0][1]}; got {run.error!r}")
            here += _error_flaws(run, None if answer else code)
            flaws = judge(
                scenario,
                run.directory,
                run.before,
                run.error,
                clean=True,
                sidecars_back=not scenario.replaces_sidecar,
                metadata=place is None or not place.metadata,
            )
            if answer:
                # The call was told that a name is gone, or there, and could but believe it.
                flaws = [flaw for flaw in flaws if "neither old nor new" in flaw or "match" in flaw]
            here += flaws
            here += _finish(scenario, run, injection)
            wrong += [f"{_name(entry, calls, number, code)}: {flaw}" for flaw in here]
    assert not wrong, _report(wrong)
    assert surfaced + tolerated + answered == injected
    _scenarios_done.add(scenario.name)
    tally["errors injected, once"] += injected
    tally["errors injected, once: surfaced"] += surfaced
    tally["errors injected, once: tolerated in a listed place"] += tolerated
    tally["errors injected, once: taken for an answer"] += answered
    beyond = Injection((len(calls) + 1,), errno.EIO, unsupported=scenario.unsupported)
    assert runner.run(scenario, beyond).error is None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_errors_for_ever_leave_what_the_next_writer_clears(
    scenario: Scenario, scratch: Path, log: Records, tally: Counter[str], long_run: bool
) -> None:
    runner = Runner(str(scratch))
    wrong: list[str] = []
    calls = runner.calls(scenario)
    for number, (entry, _) in enumerate(calls, 1):
        for code in _codes(scenario, entry, number, all_of_them=long_run):
            if code == errno.EINTR:
                continue  # a storm of signals that never ends is no error
            injection = Injection((number,), code, forever=True, unsupported=scenario.unsupported)
            log.seen.clear()
            run = runner.run(scenario, injection)
            tally["errors injected, for ever"] += len(injection.raised)
            here = judge(
                scenario,
                run.directory,
                run.before,
                run.error,
                clean=False,
                sidecars_back=False,
                metadata=False,
            )
            if (entry, code) in ANSWERS:
                here = [flaw for flaw in here if "neither old nor new" in flaw or "match" in flaw]
            here += _error_flaws(run, None)
            here += _finish(scenario, run, injection)
            wrong += [f"{_name(entry, calls, number, code)}…: {flaw}" for flaw in here]
    assert not wrong, _report(wrong)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_second_error_during_the_clean_up_does_no_more_harm(
    scenario: Scenario, scratch: Path, log: Records, tally: Counter[str], long_run: bool, seed: int
) -> None:
    runner = Runner(str(scratch))
    wrong: list[str] = []
    calls = runner.calls(scenario)
    pairs = [
        (first, second)
        for first in range(1, len(calls) + 1)
        for second in range(first + 1, first + 31)
    ]
    if not long_run:
        chosen = random.Random(f"{seed} {scenario.name}")
        pairs = chosen.sample(pairs, min(len(pairs), 25 if scenario.never_raises else 100))
    for first, second in pairs:
        entry = calls[first - 1][0]
        code = errno.EIO if errno.EIO in ERRNOS[entry] else ERRNOS[entry][0]
        injection = Injection((first, second), code, unsupported=scenario.unsupported)
        log.seen.clear()
        run = runner.run(scenario, injection)
        if len(injection.raised) == 2:
            tally["errors injected, in pairs"] += 2
            here = judge(
                scenario,
                run.directory,
                run.before,
                run.error,
                clean=False,
                sidecars_back=False,
                metadata=False,
            )
            here += _error_flaws(run, None)
        else:
            here = []
        here += _finish(scenario, run, injection)
        where = " and ".join(f"{site[0]} [{site[1]}]" for site in injection.sites)
        wrong += [f"#{first} and #{second}, {where}: {flaw}" for flaw in here]
    assert not wrong, _report(wrong)


def test_every_place_where_an_error_may_be_tolerated_is_one() -> None:
    if len(_scenarios_done) < len(SCENARIOS):
        pytest.skip("needs the whole of this file to have run, and to have passed")
    missing = [f"{place.entry} [{place.callers}]" for place in PLACES if place not in _reached]
    assert not missing


def _codes(scenario: Scenario, entry: str, number: int, *, all_of_them: bool) -> tuple[int, ...]:
    """Return the errors to inject; the doctor makes hundreds of calls, each gets one."""
    codes = ERRNOS[entry]
    if scenario.never_raises and not all_of_them:
        return (codes[number % len(codes)],)
    return codes


def _surfaced(error: BaseException | None, injected: BaseException) -> bool:
    """Tell whether an injected error can be seen in what the call raised."""
    if error is None:
        return False
    if any(one is injected for one in chain(error)):
        return True
    # A lock file that cannot be examined is contention, with the reason in the message.
    return isinstance(error, sa.LockError) and os.strerror(injected.errno or 0) in str(error)  # type: ignore[attr-defined]


def _error_flaws(run: Run, code: int | None) -> list[str]:
    """Say what is wrong with the exception itself."""
    error = run.error
    wrong = []
    if isinstance(error, OSError):
        if code is not None and error.errno != code:
            wrong.append(f"errno is {error.errno}: {error!r}")
        if not (isinstance(error.filename, str) and error.filename.startswith(run.directory)):
            wrong.append(f"the error names {error.filename!r}, not the path: {error!r}")
    elif isinstance(error, BaseException) and not isinstance(error, sa.SafeAtomicError):
        wrong.append(f"not an error of the system or the library: {error!r}")
    return wrong


def _finish(scenario: Scenario, run: Run, injection: Injection) -> list[str]:
    """Hold that nothing leaked and that the next write works; remove the directory."""
    wrong = [f"leaks {sorted(run.leaked)}"] if run.leaked else []
    run.error = None
    injection.raised.clear()
    wrong += next_write_flaws(scenario, run.directory)
    shutil.rmtree(run.directory)
    return wrong


def _name(entry: str, calls: list[tuple[str, str]], number: int, code: int) -> str:
    occurrence = sum(other == entry for other, _ in calls[:number])
    return f"{entry}#{occurrence}-{errno.errorcode[code]} [{calls[number - 1][1]}]"


def _report(wrong: list[str]) -> str:
    more = f"\n… and {len(wrong) - 40} more" if len(wrong) > 40 else ""
    return f"{len(wrong)} flaws\n" + "\n".join(wrong[:40]) + more
