"""An error at every system call of every public call, once and for ever.

For N = 1, 2, 3 … the N-th call of the seam fails with each error that it can return (`errnos`),
until N is beyond the last call. After each run the directory is judged from the outside
(`judging`): old or new and nothing else, nothing left over, what the error says about the target
is true, no descriptor is leaked, and the next plain write works. Every injected error is accounted
for: it surfaced, or it came from a place where going on is right (`tolerated`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import safeatomic_core as sa
from safeatomic_core import _announcement, _change, _lock, _metadata, _protocol, _target, _temp_file

from .errnos import ANSWERS, ERRNOS
from .injection import Injection
from .judging import close_lost, judge, next_write_flaws
from .running import Run, Runner, chain
from .scenarios import SCENARIOS
from .situations import Scenario
from .tolerated import PLACES, Place, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Records

_reached: set[Place] = set()
_scenarios_done: set[str] = set()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_one_error_leaves_everything_or_nothing(
    scenario: Scenario, scratch: Path, log: Records, tally: Counter[str], long_run: bool
) -> None:
    runner = Runner(str(scratch))
    calls = runner.calls(scenario)
    wrong, counts = _one_error_each(scenario, runner, calls, log, all_codes=long_run)
    assert not wrong, _report(wrong)
    assert counts["surfaced"] + counts["tolerated"] + counts["answered"] == counts["injected"]
    _scenarios_done.add(scenario.name)
    tally["errors injected, once"] += counts["injected"]
    tally["errors injected, once: surfaced"] += counts["surfaced"]
    tally["errors injected, once: tolerated in a listed place"] += counts["tolerated"]
    tally["errors injected, once: taken for an answer"] += counts["answered"]
    beyond = Injection((len(calls) + 1,), errno.EIO, unsupported=scenario.unsupported)
    assert runner.run(scenario, beyond).error is None


def _one_error_each(
    scenario: Scenario,
    runner: Runner,
    calls: list[tuple[str, str]],
    log: Records,
    *,
    all_codes: bool,
) -> tuple[list[str], Counter[str]]:
    """Let each call fail with each of its errors; return what is wrong, and what was counted."""
    wrong: list[str] = []
    counts = Counter[str]()
    for number, (entry, _) in enumerate(calls, 1):
        for code in _codes(scenario, entry, number, all_of_them=all_codes):
            injection = Injection((number,), code, unsupported=scenario.unsupported)
            log.seen.clear()
            run = runner.run(scenario, injection)
            assert len(injection.raised) == 1, f"{scenario.name} does not repeat itself"
            counts["injected"] += 1
            here: list[str] = []
            answer = (entry, code) in ANSWERS
            place = place_of(injection.sites[0], code)
            if _surfaced(run.error, injection.raised[0]):
                counts["surfaced"] += 1
            elif answer or (scenario.never_raises and run.error is None):
                counts["answered"] += 1
            elif run.error is None and place is not None:
                counts["tolerated"] += 1
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
            here += _about_data(flaws, place)
            here += _finish(scenario, run, injection)
            wrong += [f"{_name(entry, calls, number, code)}: {flaw}" for flaw in here]
    return wrong, counts


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
                continue  # a storm of signals that never ends is not an error
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
            for site in injection.sites:
                here = _about_data(here, place_of(site, code))
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
        codes = ERRNOS[entry]
        if not codes:
            continue  # it never fails
        code = errno.EIO if errno.EIO in codes else codes[0]
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
    if os.geteuid() != 0:  # who cannot give files away finds none to be given back
        missing = [place for place in missing if not place.startswith("fchown ")]
    assert not missing


def _swallowing(function: Callable[..., Any]) -> Callable[..., Any]:
    def swallow(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(OSError):
            return function(*args, **kwargs)

    return swallow


# A library with one thing wrong, and what the tests above must say of it.
BROKEN: dict[str, tuple[object, str, Callable[[Any], Any], str]] = {
    "a failed flush is ignored": (_protocol.Write, "harden", _swallowing, "swallowed"),
    "a failed settle is ignored": (_protocol.Write, "settle", _swallowing, "swallowed"),
    "the temp stays": (_temp_file, "unlink_if_there", lambda _: lambda *_: None, "was left behind"),
    "the lock stays": (_lock.Lock, "release", lambda _: lambda _: None, "was left behind"),
    "the sidecar is not put back": (
        _announcement.Announcement,
        "roll_back",
        lambda _: lambda *_: True,
        "is not what it was",
    ),
    "the directory stays open": (_target.Target, "close", lambda _: lambda _: None, "leaks"),
    "errors keep their words to themselves": (
        _protocol.Write,
        "explained",
        lambda _: lambda _, error: error,
        "does not say what became of the target",
    ),
    "errors lie": (
        _protocol.Write,
        "outcome",
        lambda _: lambda _: "the target is unchanged",
        "says that the target is unchanged, and it is not",
    ),
    "another errno is raised": (
        _change,
        "explained",
        lambda real: lambda error, *rest: real(OSError(errno.ENOTTY, "?"), *rest),
        "errno is",
    ),
    "metadata is not kept": (
        _metadata,
        "preserve",
        lambda _: lambda *_, **_own: None,
        "lost metadata",
    ),
}


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow as many open files as may be had: a library that closes none uses up a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_library_is_caught(
    name: str, scratch: Path, log: Records, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    scenario = next(one for one in SCENARIOS if one.name == "checked-over-sealed")
    owner, attribute, replacement, said = BROKEN[name]
    runner = Runner(str(scratch))
    monkeypatch.setattr(owner, attribute, replacement(getattr(owner, attribute)))
    calls = runner.calls(scenario)
    wrong, _ = _one_error_each(scenario, runner, calls, log, all_codes=False)
    assert any(said in one for one in wrong), wrong[:5]
    tally["broken libraries caught by injected errors"] += 1
    for name_or_number in set(os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if str(scratch) in os.readlink(f"/proc/self/fd/{name_or_number}"):
                close_lost([int(name_or_number)])


def _about_data(flaws: list[str], place: Place | None) -> list[str]:
    """Return the flaws without those of a sidecar that may be where it was."""
    if place is None or not place.sidecar:
        return flaws
    return [flaw for flaw in flaws if "sidecar" not in flaw]


def _codes(scenario: Scenario, entry: str, number: int, *, all_of_them: bool) -> tuple[int, ...]:
    """Return the errors to inject; the doctor makes hundreds of calls, each gets one."""
    codes = ERRNOS[entry]
    if codes and scenario.never_raises and not all_of_them:
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
