"""SIGKILL and SIGSTOP at every system call, at every traced step, and at random instants.

Real processes in real directories. After each death: old or new and nothing else, the pair agrees,
the next writer is not blocked, and it sweeps what the dead one left.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import safeatomic_core as sa
from safeatomic_core import _posix, _trace

from .injection import unsynced
from .judging import data, judge, next_write_flaws, pair_flaw, take, temps
from .processes import Children, Pipe
from .scenarios import SCENARIOS
from .situations import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

WRITING = [
    one for one in SCENARIOS if not one.reads_only and not one.never_raises and not one.owns_lock
]


class _Countdown:
    """Does something to this process before the N-th call of the seam."""

    def __init__(
        self, number: int, signal_number: int, unsupported: Mapping[str, int] | None = None
    ) -> None:
        self._left = number
        self._signal = signal_number
        self._unsupported = unsupported or {}

    def tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        call = unsynced(name, call)

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            if name in self._unsupported:
                raise OSError(self._unsupported[name], os.strerror(self._unsupported[name]))
            return call(*args, **kwargs)

        return stand_in

    def missing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for an entry without counting."""
        still = _Countdown(0, 0, self._unsupported)
        return still.wrap(name, call)

    def hook(self, _step: str, _facts: dict[str, object]) -> None:
        self.tick()


def _die_in(scenario: Scenario, directory: str, number: int, *, traced: bool) -> None:
    """Run a scenario in this process, which is killed on the way; return if it was not."""
    countdown = _Countdown(number, signal.SIGKILL, scenario.unsupported)
    if traced:
        _trace.hook = countdown.hook
        with _posix.intercept(countdown.missing):
            scenario.run(directory)
    else:
        with _posix.intercept(countdown.wrap):
            scenario.run(directory)


@pytest.mark.parametrize("traced", [False, True], ids=["call", "step"])
@pytest.mark.parametrize("scenario", WRITING, ids=lambda scenario: scenario.name)
def test_a_kill_anywhere_leaves_old_or_new_and_blocks_nobody(
    scenario: Scenario, traced: bool, scratch: Path, tally: Counter[str]
) -> None:
    wrong: list[str] = []
    with Children() as children:
        for number in itertools.count(1):
            directory = str(scratch / str(number))
            scenario.set_up(directory)
            before = take(directory)
            pid = children.fork(lambda: _die_in(scenario, directory, number, traced=traced))  # noqa: B023
            status = children.wait(pid)
            assert status in (0, -signal.SIGKILL)
            tally["kills at a chosen point"] += status != 0
            here: list[str] = []
            if status != 0:
                died = KeyboardInterrupt()  # nothing it could have said
                here += judge(scenario, directory, before, died, clean=False, sidecars_back=False)
            # Nothing tells of the orphan of a writer that took no lock. Where there are no
            # anonymous files, a lock is made under a temp's name, which may be left without a lock,
            # or beside it as a second name of it, and so flocked by whoever takes it over. `clean`
            # finds them.
            silent = (
                scenario.name == "write-text-without-lock"
                or "open_anonymous" in scenario.unsupported
            )
            here += next_write_flaws(scenario, directory)
            if not silent:
                here += [f"{one} was not swept" for one in temps(take(directory))]
            wrong += [f"killed before {number}: {flaw}" for flaw in here]
            shutil.rmtree(directory)
            if status == 0:
                break
    assert not wrong, "\n".join(wrong[:40])


STOPPED = [
    one for one in WRITING if one.name in ("overwrite", "checked-over-sealed", "stream-checked")
]


@pytest.mark.parametrize("scenario", STOPPED, ids=lambda scenario: scenario.name)
def test_a_stopped_writer_keeps_its_lock_and_ends_what_it_began(
    scenario: Scenario, scratch: Path, tally: Counter[str]
) -> None:
    refused = 0
    with Children() as children:
        for number in itertools.count(1):
            directory = str(scratch / str(number))
            scenario.set_up(directory)
            target = os.path.join(directory, "target")

            def stop() -> None:
                with _posix.intercept(_Countdown(number, signal.SIGSTOP).wrap):  # noqa: B023
                    scenario.run(directory)  # noqa: B023

            pid = children.fork(stop)
            if not children.wait_until_stopped(pid):
                assert children.last == 0
                break
            tally["stops and continues"] += 1
            mine = True
            try:
                with _posix.intercept(unsynced):
                    sa.write_atomic_bytes(target, b"mine", write_checksum=True)
            except sa.LockError:
                mine = False
                refused += 1
            os.kill(pid, signal.SIGCONT)
            assert children.wait(pid) == 0, "the writer that was stopped failed"
            content = take(directory)["target"].content
            assert content == scenario.after["target"] or (mine and content == b"mine")
            assert pair_flaw(take(directory), "target") is None
            assert not temps(take(directory))
            shutil.rmtree(directory)
    assert refused, "it never held the lock while it was stopped"


# ------------------------------------------------------------------------------ random instants


def _content(number: int) -> bytes:
    """Return content that tells its number and shows any tear."""
    body = hashlib.sha256(str(number).encode()).digest() * (1 + number * 37 % 1800)
    head = f"{number} {len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()
    return head + body


def _number(content: bytes) -> int:
    """Return the number that a content tells; fail if it is torn."""
    head, _, body = content.partition(b"\n")
    number, size, digest = head.split()
    assert int(size) == len(body), "torn"
    assert digest.decode() == hashlib.sha256(body).hexdigest(), "torn"
    return int(number)


def _write_plain(target: str, number: int) -> None:
    sa.write_atomic_bytes(target, _content(number))


def _write_checked(target: str, number: int) -> None:
    sa.write_atomic_bytes(target, _content(number), write_checksum=True)


def _write_stream(target: str, number: int) -> None:
    content = _content(number)
    with sa.AtomicWriter(target, write_checksum=number % 2 == 0) as file:
        for start in range(0, len(content), 5000):
            file.write(content[start : start + 5000])
            file.flush()


def _write_and_move(target: str, number: int) -> None:
    sa.write_atomic_bytes(target + ".next", _content(number), write_checksum=number % 3 > 0)
    sa.move_atomic(target + ".next", target, force=True)


MODES = {
    "plain": _write_plain,
    "checked": _write_checked,
    "stream": _write_stream,
    "moves": _write_and_move,
}


@pytest.mark.parametrize("mode", MODES)
def test_kills_at_random_instants_tear_nothing_and_block_nobody(
    mode: str, scratch: Path, tally: Counter[str], long_run: bool, seed: int
) -> None:
    target = str(scratch / "target")
    rng = random.Random(f"{seed} {mode}")
    write = MODES[mode]
    acknowledged = begun = 0
    with Children() as children:
        for _ in range(1000 if long_run else 80):
            pipe = Pipe()

            def go_on(first: int = acknowledged) -> None:
                for number in itertools.count(first + 1):
                    pipe.say(b"%10d" % number)  # noqa: B023 - begun
                    write(target, number)

            pid = children.fork(go_on)
            pipe.only_read()
            for _ in range(rng.randint(1, 12)):
                word = pipe.hear(10)
                assert word, "the writer was blocked by a dead one"
                begun = int(word)
            for _ in range(rng.randint(0, 4000)):
                pass
            os.kill(pid, signal.SIGKILL)
            assert children.wait(pid) == -signal.SIGKILL
            while word := pipe.hear(10):
                begun = int(word)
            pipe.close()
            tally["kills at random instants"] += 1
            # What was begun last may have been done or not; all before it had returned.
            now = take(str(scratch))
            seen = _number(now["target"].content) if "target" in now else 0
            assert begun - 1 <= seen <= begun, "an acknowledged write is gone"
            acknowledged = seen
            for name in data(now):
                assert pair_flaw(now, name) is None
            if "target.sha256" in now:
                assert sa.verify_checksum(target)
            elif mode == "checked":
                assert "target" not in now
    sa.write_atomic_bytes(target, b"last")
    if os.path.exists(target + ".next") or os.path.exists(target + ".next.lock"):
        sa.write_atomic_bytes(target + ".next", b"last")
    left = take(str(scratch))
    assert not temps(left)
    assert not [name for name in left if name.endswith(".lock")]
