"""Locks within one process: threads and tasks exclude each other, children own none of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import safeatomic_core as sa

from .judging import locks, take, temps
from .processes import Children, Pipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_threads_exclude_each_other(scratch: Path) -> None:
    target = scratch / "target"
    inside = 0
    worst = 0
    guard = threading.Lock()
    taken = Counter[int]()

    def work(worker: int) -> None:
        nonlocal inside, worst
        while taken[worker] < 50:
            if not sa.try_acquire_lock(target):
                os.sched_yield()
                continue
            with guard:
                inside += 1
                worst = max(worst, inside)
            taken[worker] += 1
            with guard:
                inside -= 1
            assert sa.release_lock(target)
            os.sched_yield()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, one) for one in range(6)]:
            done.result()
    assert worst == 1
    assert sum(taken.values()) == 300


def test_tasks_write_through_threads(scratch: Path) -> None:
    target = scratch / "target"

    async def write(number: int) -> None:
        await asyncio.to_thread(
            sa.write_atomic_bytes,
            target,
            b"%d" % number * 1000,
            write_checksum=True,
            retries=10**6,
            delay=0,
        )
        content = await asyncio.to_thread(sa.read_atomic_bytes, target, check_checksum=True)
        assert len(set(content.decode().split())) == 1

    async def main() -> None:
        await asyncio.gather(*(write(number % 10) for number in range(40)))

    asyncio.run(main())
    assert sa.verify_checksum(target)
    assert not locks(take(str(scratch)))


def _in_child(children: Children, question: Callable[[], bool]) -> bool:
    """Ask something in a forked child."""
    status = children.wait(children.fork(lambda: 0 if question() else 1))
    assert status in (0, 1)
    return status == 0


def test_a_forked_child_owns_nothing_of_its_parents(scratch: Path) -> None:
    target = scratch / "target"
    assert sa.try_acquire_lock(target)
    with Children() as children:
        assert not _in_child(children, lambda: sa.release_lock(target))
        assert not _in_child(children, lambda: sa.try_acquire_lock(target))
        # The child's exit, with its copies of our descriptors, has not let the lock go.
        assert sa.inspect_lock(target).alive == "yes"
        with sa.AtomicWriter(scratch / "other") as writer:
            writer.write(b"parent")

            def use() -> bool:
                for call in (lambda: writer.write(b"child"), writer.commit, writer.abort):
                    try:
                        call()
                    except sa.SafeAtomicError:
                        continue
                    return False
                return True

            assert _in_child(children, use)
            assert _in_child(children, lambda: sa.inspect_lock(scratch / "other").alive == "yes")
    assert (scratch / "other").read_bytes() == b"parent"
    assert sa.release_lock(target)
    assert not sa.is_locked(target)


@pytest.mark.parametrize("streaming", [False, True], ids=["lock", "AtomicWriter"])
def test_a_forked_child_does_not_keep_a_dead_parents_lock_alive(
    streaming: bool, scratch: Path
) -> None:
    target = scratch / "target"
    sa.write_atomic_bytes(target, b"old", write_checksum=True)
    ready, hold = Pipe(), Pipe()

    def parent() -> None:
        writer = None
        if streaming:
            writer = sa.AtomicWriter(target, write_checksum=True)
            writer.write(b"never")
        else:
            assert sa.try_acquire_lock(target)
        if os.fork() == 0:
            ready.say()
            hold.only_read()
            hold.hear()  # until the test closes its end
            os._exit(0)
        signal.pause()
        del writer

    with Children() as children:
        pid = children.fork(parent)
        ready.hear()
        assert sa.inspect_lock(target).alive == "yes"
        os.kill(pid, signal.SIGKILL)
        children.wait(pid)
        sa.write_atomic_bytes(target, b"new", write_checksum=True)  # at once
    assert sa.read_atomic_bytes(target, check_checksum=True) == b"new"
    assert not temps(take(str(scratch)))
    hold.close()
    ready.close()
