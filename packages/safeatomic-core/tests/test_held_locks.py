"""Which lock is the running context's own, and which one fences a write.

The same questions are put to trio, anyio, greenlet and gevent in `tests-integration`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lock_outcomes import FENCED, ITS_OWN, OTHER, OWN, in_thread, outcome
from safeatomic_core import (
    AtomicWriter,
    LockError,
    _waiting,
    inspect_lock,
    is_locked,
    move_atomic,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._lock import Lock

# --------------------------------------------------------------------------- threads and contexts


def test_the_context_that_took_a_lock_writes_under_it_as_often_as_it_likes(held: Path) -> None:
    assert [outcome(held) for _ in range(3)] == [OWN] * 3


def test_a_second_acquisition_by_the_same_context_is_refused_without_waiting(held: Path) -> None:
    assert try_acquire_lock(held, retries=1000, delay=1000) is False


def test_a_thread_that_is_started_inside_is_another_holder(held: Path) -> None:
    assert in_thread(lambda: outcome(held)) == OTHER


def test_a_copy_of_the_context_is_another_holder(held: Path) -> None:
    assert contextvars.copy_context().run(outcome, held) == OTHER


def test_a_copy_made_before_is_another_holder(data: Path) -> None:
    before = contextvars.copy_context()
    assert try_acquire_lock(data)
    assert before.run(outcome, data) == OTHER
    assert release_lock(data)


def test_what_runs_in_the_thread_of_the_holder_does_not_wait_for_it(held: Path) -> None:
    other = contextvars.copy_context()
    with pytest.raises(LockError, match="did not wait") as caught:
        other.run(write_atomic_bytes, held, b"x", retries=1000, delay=1000)
    assert (caught.value.pid, caught.value.hostname) == (os.getpid(), os.uname().nodename)
    assert caught.value.age_s is not None


def test_a_thread_that_has_just_begun_is_not_another_one_that_had(data: Path) -> None:
    def refused() -> str:
        with pytest.raises(LockError) as caught:
            write_atomic_bytes(data, b"x")
        return caught.value.reason

    assert in_thread(lambda: try_acquire_lock(data))
    assert "did not wait" not in in_thread(refused)
    assert release_lock(data)


def test_a_thread_waits_for_the_context_that_holds_the_lock(held: Path) -> None:
    waiting = threading.Thread(
        target=write_atomic_bytes, args=(held, b"waited"), kwargs={"retries": 1000, "delay": 0.1}
    )
    waiting.start()
    assert outcome(held) == OWN
    assert release_lock(held)
    waiting.join()
    assert held.read_bytes() == b"waited"


def test_a_lock_that_becomes_free_is_taken_before_the_delay_is_over(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, looked = _waiting._is_free, threading.Event()

    def is_free(lock: Lock) -> bool:
        looked.set()
        return really(lock)

    monkeypatch.setattr(_waiting, "_is_free", is_free)
    waiting = threading.Thread(
        target=write_atomic_bytes,
        args=(held, b"waited"),
        kwargs={"retries": 1, "delay": 1000},
        daemon=True,
    )
    waiting.start()
    assert looked.wait(30)
    assert release_lock(held)
    waiting.join(30)
    assert not waiting.is_alive()
    assert held.read_bytes() == b"waited"


def test_another_thread_is_fenced_by_the_lock_of_the_process(held: Path) -> None:
    assert in_thread(lambda: outcome(held, "none")) == FENCED


def test_another_thread_may_release_it_and_that_is_logged(
    held: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert in_thread(lambda: release_lock(held)) is True
    assert "released by a context other than" in caplog.text
    assert outcome(held) == ITS_OWN


def test_the_number_of_a_thread_that_has_ended_proves_nothing(data: Path) -> None:
    def acquire() -> int:
        assert try_acquire_lock(data)
        return threading.get_ident()

    first = in_thread(acquire)
    for _ in range(200):
        number, result = in_thread(lambda: (threading.get_ident(), outcome(data)))
        assert result == OTHER
        if number == first:
            break
    assert release_lock(data)


def test_the_next_job_of_a_pool_s_thread_is_the_same_holder(data: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(try_acquire_lock, data).result()
        assert pool.submit(outcome, data).result() == OWN
        assert outcome(data) == OTHER
        assert pool.submit(release_lock, data).result()


def test_a_pool_s_thread_that_is_started_inside_is_another_holder(held: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(outcome, held).result() == OTHER


def test_a_generator_is_where_it_is_resumed(data: Path) -> None:
    def generator() -> Iterator[str]:
        assert try_acquire_lock(data)
        while True:
            yield outcome(data)

    steps = generator()
    assert next(steps) == OWN
    assert in_thread(lambda: next(steps)) == OTHER
    assert release_lock(data)


def test_a_signal_handler_is_the_context_that_it_interrupts(held: Path) -> None:
    results: list[str] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: results.append(outcome(held)))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert results == [OWN]


def test_a_forked_child_is_another_holder_and_owns_nothing(held: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            write_atomic_bytes(held, b"x")
        except LockError:
            os._exit(0 if release_lock(held) is False else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert outcome(held) == OWN


# --------------------------------------------------------------------------------------- asyncio


def test_an_asyncio_task_keeps_its_lock_over_an_await(data: Path) -> None:
    async def awaited() -> str:
        return outcome(data)

    async def stream() -> AsyncIterator[str]:
        yield outcome(data)

    async def main() -> list[str]:
        assert try_acquire_lock(data)
        results = [outcome(data)]
        await asyncio.sleep(0)
        results += [outcome(data), await awaited()]
        results += [result async for result in stream()]
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
            results.append(outcome(data))
        assert release_lock(data)
        return results

    assert asyncio.run(main()) == [OWN] * 5


def test_what_a_task_starts_is_another_holder(data: Path) -> None:
    async def child() -> str:
        return outcome(data)

    async def main() -> list[str]:
        assert try_acquire_lock(data)
        loop = asyncio.get_running_loop()
        called: asyncio.Future[str] = loop.create_future()
        loop.call_soon(lambda: called.set_result(outcome(data)))
        results = [
            await asyncio.create_task(child()),
            await asyncio.create_task(child(), context=contextvars.copy_context()),
            await asyncio.to_thread(outcome, data),
            await called,
        ]
        assert release_lock(data)
        return results

    assert asyncio.run(main()) == [OTHER] * 4


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no eager tasks before 3.12")
def test_an_eager_task_is_another_holder(data: Path) -> None:
    async def child() -> str:
        return outcome(data)

    async def main() -> str:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
        assert try_acquire_lock(data)
        result = await asyncio.create_task(child())
        assert release_lock(data)
        return result

    assert asyncio.run(main()) == OTHER


def test_a_thread_of_the_loop_s_is_fenced_by_the_task_s_lock(data: Path) -> None:
    async def main() -> str:
        assert try_acquire_lock(data)
        result = await asyncio.to_thread(outcome, data, "none")
        assert release_lock(data)
        return result

    assert asyncio.run(main()) == FENCED


def test_two_tasks_that_share_a_context_are_two_holders(data: Path) -> None:
    async def main() -> list[str]:
        context = contextvars.copy_context()
        taken, tried = asyncio.Event(), asyncio.Event()

        async def one() -> str:
            assert try_acquire_lock(data)
            taken.set()
            await tried.wait()
            result = outcome(data)
            assert release_lock(data)
            return result

        async def two() -> str:
            await taken.wait()
            result = outcome(data, retries=1000, delay=1000)
            tried.set()
            return result

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(each(), context=context) for each in (one, two)]
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(main()) == [OWN, OTHER]


def test_a_loop_that_is_run_inside_is_another_holder(held: Path) -> None:
    async def main() -> str:
        return outcome(held)

    assert asyncio.run(main()) == OTHER


# ----------------------------------------------------------------------- what uses an own lock


def test_every_call_that_locks_uses_the_own_lock_and_leaves_it(held: Path) -> None:
    with AtomicWriter(held) as file:
        file.write(b"streamed")
    write_checksum_file(held)
    other = held.with_name("other")
    move_atomic(held, other)
    assert other.read_bytes() == b"streamed"
    assert is_locked(held)
    assert inspect_lock(held).pid == os.getpid()
    move_atomic(other, held)
    assert release_lock(held)


def test_a_lock_that_is_lent_stays_behind_when_a_write_could_not_be_finished(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safeatomic_core._posix import kernel

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    with pytest.raises(OSError, match="durability is not confirmed"):
        write_atomic_bytes(held, b"new")
    monkeypatch.undo()
    assert release_lock(held) is True
    assert inspect_lock(held).alive == "no"
    write_atomic_bytes(held, b"next")
    assert not is_locked(held)


def test_the_use_of_an_own_lock_is_traced(held: Path, steps: list[tuple[str, Any]]) -> None:
    write_atomic_bytes(held, b"new")
    phases = [facts.get("phase") for step, facts in steps if step == "Acquire"]
    assert phases == ["borrowed"]


def test_a_release_where_nothing_can_be_opened_and_nothing_was_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        release_lock(tmp_path / "missing" / "data")
