"""Many processes at one file: one holder at a time, and readers that are never deceived.

Each claim is checked by something that is not the library: a POSIX record lock and a value in
shared memory tell of two holders, contents that hold their own digest tell of tears.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import itertools
import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import safeatomic_core as sa
from safeatomic_core import _lock, _lock_file, _verification

from .judging import locks, take, temps
from .processes import Children, Pipe, Shared

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 8
DOUBLE, LOST, VALUE, COUNTS = 0, 1, 2, 3  # places in the shared memory


def _contend(scratch: Path, wanted: int, seed: str, *, until_caught: bool) -> tuple[Shared, int]:
    """Let 8 processes acquire one lock, holders being killed while they hold it.

    Args:
        scratch: An empty directory.
        wanted: How many acquisitions there are to be.
        seed: Seed of who is killed.
        until_caught: End as soon as there were two holders.

    Returns:
        The figures, and how many were killed.
    """
    target = str(scratch / "target")
    shared = Shared(COUNTS + WORKERS)
    marker = os.open(scratch / "marker", os.O_RDWR | os.O_CREAT)

    def work(worker: int, life: int) -> None:
        rng = random.Random(f"{seed} {worker} {life}")
        # Opened before any lock: a dying process closes its lowest descriptors first, so the marker
        # is free by the time that the lock can be taken over.
        own = os.open(scratch / "marker", os.O_RDWR)
        while sum(shared[COUNTS + one] for one in range(WORKERS)) < wanted:
            if until_caught and shared[DOUBLE]:
                return
            if not sa.try_acquire_lock(target):
                os.sched_yield()
                continue
            try:
                fcntl.lockf(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                shared[DOUBLE] += 1
            token = rng.getrandbits(60)
            shared[VALUE] = token
            os.sched_yield()
            if shared[VALUE] != token:
                shared[DOUBLE] += 1
            shared[COUNTS + worker] += 1
            if rng.random() < 0.12:
                os.kill(os.getpid(), signal.SIGKILL)
            fcntl.lockf(own, fcntl.LOCK_UN)
            if not sa.release_lock(target):
                shared[LOST] += 1

    kills = 0
    with Children() as children:
        workers = {children.fork(functools.partial(work, one, 0)): one for one in range(WORKERS)}
        for life in itertools.count(1):
            pid, status = children.wait_for_any()
            worker = workers.pop(pid)
            assert status in (0, -signal.SIGKILL)
            if status == 0:
                break
            kills += 1
            workers[children.fork(functools.partial(work, worker, life))] = worker
        for _ in workers:
            children.wait_for_any()
    os.close(marker)
    return shared, kills


def test_a_dead_lock_has_one_taker_and_a_live_one_none(
    scratch: Path, tally: Counter[str], long_run: bool, seed: int
) -> None:
    wanted = 30_000 if long_run else 3_000
    shared, kills = _contend(scratch, wanted, str(seed), until_caught=False)
    counts = [shared[COUNTS + one] for one in range(WORKERS)]
    assert shared[DOUBLE] == 0, "two holders at once"
    assert shared[LOST] == 0, "a living holder's lock was removed"
    assert sum(counts) >= wanted
    assert kills > wanted // 20
    assert min(counts) > 0, "somebody starved"
    tally["acquisitions of a contended lock"] += sum(counts)
    tally["holders killed while holding"] += kills
    tally["acquisitions of the least lucky of 8 processes"] = min(counts)
    tally["acquisitions of the luckiest of 8 processes"] = max(counts)
    sa.write_atomic_bytes(scratch / "target", b"last")
    assert not locks(take(str(scratch)))


def test_a_lock_that_takes_the_living_for_dead_is_caught(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(_lock_file, "probe_free", lambda _: True)
    monkeypatch.setattr(_lock, "flock_stale", lambda _: True)
    shared, _ = _contend(scratch, 3_000, str(seed), until_caught=True)
    assert shared[DOUBLE] > 0


# ---------------------------------------------------------------------------------- readers


def _content(number: int, rng: random.Random) -> bytes:
    """Return content of 1 byte to 60 KB that shows any tear."""
    if number % 50 == 0:
        return b"1"
    body = rng.randbytes(rng.choice([10, 500, 4096, 20_000, 60_000]))
    return hashlib.sha256(body).digest() + body


def _whole(content: bytes) -> bool:
    return content == b"1" or content[:32] == hashlib.sha256(content[32:]).digest()


def _checked(target: str, number: int, rng: random.Random) -> None:
    sa.write_atomic_bytes(
        target, _content(number, rng), write_checksum=True, retries=10**6, delay=0
    )


def _alternating(target: str, number: int, rng: random.Random) -> None:
    content = _content(number, rng)
    checked = rng.random() < 0.5
    sa.write_atomic_bytes(target, content, write_checksum=checked, retries=10**6, delay=0)


def _moving(target: str, number: int, rng: random.Random) -> None:
    own = f"{target}.{os.getpid()}"
    sa.write_atomic_bytes(own, _content(number, rng), write_checksum=True)
    while True:
        try:
            sa.move_atomic(own, target, force=True)
        except sa.LockError:
            os.sched_yield()
        else:
            return


WRITERS = {"checked": _checked, "moves": _moving, "alternating": _alternating}


STOP, WRITTEN, MISMATCHES, TORN, MISSING, SEEN = 0, 1, 3, 5, 7, 9  # two places for each, but STOP


def _read_beside_writers(
    kind: str, target: str, wanted: int, seed: str, *, until_caught: bool
) -> Shared:
    """Let two processes read with checks while two write; return the figures of each."""
    counts = Shared(11)
    sa.write_atomic_bytes(target, b"1", write_checksum=True)

    def write(writer: int) -> None:
        rng = random.Random(f"{seed} {kind} {writer}")
        for number in itertools.count():
            if counts[STOP]:
                return
            WRITERS[kind](target, number, rng)
            counts[WRITTEN + writer] += 1

    def read(reader: int) -> None:
        last = b""
        for _ in range(wanted // 2):
            if until_caught and counts[MISMATCHES] + counts[MISMATCHES + 1]:
                return
            try:
                content = sa.read_atomic_bytes(target, check_checksum=True)
            except sa.ChecksumMismatchError:
                counts[MISMATCHES + reader] += 1
            except FileNotFoundError:
                counts[MISSING + reader] += 1
            else:
                counts[TORN + reader] += not _whole(content)
                counts[SEEN + reader] += content != last
                last = content

    with Children() as children:
        writers = [children.fork(functools.partial(write, one)) for one in range(2)]
        readers = [children.fork(functools.partial(read, one)) for one in range(2)]
        for pid in readers:
            assert children.wait(pid) == 0
        counts[STOP] = 1
        for pid in writers:
            assert children.wait(pid) == 0
    return counts


@pytest.mark.parametrize("kind", WRITERS)
def test_checked_readers_beside_writers_see_no_false_alarm(
    kind: str, scratch: Path, tally: Counter[str], long_run: bool, seed: int
) -> None:
    wanted = 50_000 if long_run else 10_000
    target = str(scratch / "target")
    counts = _read_beside_writers(kind, target, wanted, str(seed), until_caught=False)

    def both(place: int) -> int:
        return counts[place] + counts[place + 1]

    assert both(MISMATCHES) == 0, "false alarms"
    assert both(TORN) == 0
    assert both(MISSING) == 0 or kind == "alternating"
    assert both(SEEN) > 10, "the readers met no change"
    assert min(counts[WRITTEN], counts[WRITTEN + 1]) > 5
    tally["checked reads beside writers"] += wanted
    tally["writes beside checked readers"] += both(WRITTEN)
    assert not temps(take(str(scratch)))
    assert not locks(take(str(scratch)))


def test_a_reader_that_does_not_look_twice_is_caught(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(_verification, "still_named", lambda *_: True)
    target = str(scratch / "target")
    counts = _read_beside_writers("checked", target, 100_000, str(seed), until_caught=True)
    assert counts[MISMATCHES] + counts[MISMATCHES + 1] > 0


# ------------------------------------------------------------------------------------- moves


def test_six_movers_to_one_name_have_one_winner(scratch: Path, tally: Counter[str]) -> None:
    for turn in range(25):
        directory = scratch / str(turn)
        directory.mkdir()
        sources = [directory / f"source-{one}" for one in range(6)]
        for source in sources:
            sa.write_atomic_bytes(source, source.name.encode(), write_checksum=turn % 2 == 0)
        start = Pipe()

        def move(source: Path) -> int:
            start.hear()  # noqa: B023
            try:
                sa.move_atomic(source, source.with_name("target"))
            except (FileExistsError, sa.LockError):
                return 1
            return 0

        with Children() as children:
            pids = [children.fork(functools.partial(move, one)) for one in sources]
            start.say(b"." * len(pids))
            results = [children.wait(pid) for pid in pids]
        start.close()
        assert sorted(results) == [0, 1, 1, 1, 1, 1]
        winner = sources[results.index(0)]
        assert (directory / "target").read_bytes() == winner.name.encode()
        for source in sources:
            if source is winner:
                assert not source.exists()
            else:
                assert source.read_bytes() == source.name.encode()
                if turn % 2 == 0:
                    assert sa.verify_checksum(source)
        left = take(str(directory))
        assert not locks(left)
        assert not temps(left)
        tally["moves raced for one name"] += len(results)
