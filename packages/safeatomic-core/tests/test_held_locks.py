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
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from safeatomic_core import (
    AtomicWriter,
    LockError,
    _command_lock,
    _held_locks,
    force_release_lock,
    inspect_lock,
    is_locked,
    move_atomic,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._lock_api import inheritable_lock

_T = TypeVar("_T")
OWN = "written under the context's own lock"
ITS_OWN = "written under a lock of its own"
OTHER = "held by another"
LOST = "lost"
FENCED = "written without a lock"


def outcome(path: Path, concurrency: Any = "lock", **options: Any) -> str:
    """Write the file, and say what became of that."""
    try:
        write_atomic_bytes(path, b"new", concurrency=concurrency, **options)
    except LockError as error:
        if "another task or thread of this process" in error.reason:
            return OTHER
        assert "taken away" in error.reason, error.reason
        return LOST
    if concurrency == "none":
        return FENCED
    return OWN if is_locked(path) else ITS_OWN


def in_thread(call: Callable[[], _T]) -> _T:
    """Return what a call returns in a new thread."""
    results: list[_T] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def held(data: Path) -> Iterator[Path]:
    """A file whose lock this context has taken."""
    assert try_acquire_lock(data)
    yield data
    release_lock(data)


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


def test_a_thread_waits_for_the_context_that_holds_the_lock(held: Path) -> None:
    waiting = threading.Thread(
        target=write_atomic_bytes, args=(held, b"waited"), kwargs={"retries": 1000, "delay": 0.1}
    )
    waiting.start()
    assert outcome(held) == OWN
    assert release_lock(held)
    waiting.join()
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


# ------------------------------------------------------------------------------------ a lost lock


def test_a_lost_lock_is_remembered_whoever_holds_the_name_now(data: Path) -> None:
    async def successor() -> str:
        assert try_acquire_lock(data)
        return outcome(data)

    async def main() -> None:
        assert try_acquire_lock(data)
        assert force_release_lock(data)
        assert outcome(data) == LOST
        assert outcome(data, "none") == LOST
        assert await asyncio.to_thread(outcome, data, "none") == LOST
        assert await asyncio.create_task(successor()) == OWN
        assert outcome(data, "none") == LOST
        assert await asyncio.to_thread(outcome, data, "none") == LOST
        assert release_lock(data) is False
        assert is_locked(data), "the successor's lock was touched"
        assert outcome(data) == OTHER
        assert release_lock(data) is True

    asyncio.run(main())


def test_a_new_acquisition_ends_the_memory_of_a_lost_lock(held: Path) -> None:
    os.unlink(f"{held}.lock")
    assert outcome(held) == LOST
    assert try_acquire_lock(held)
    assert outcome(held) == OWN
    assert outcome(held, "none") == FENCED


def test_a_lock_that_was_removed_while_a_write_ran_is_noticed_before_it_publishes(
    held: Path,
) -> None:
    held.write_bytes(b"old")
    for concurrency in ("lock", "none"):
        writer = AtomicWriter(held, concurrency=concurrency)
        writer.write(b"new")
        assert force_release_lock(held)
        with pytest.raises(LockError, match="taken away"):
            writer.commit()
        assert held.read_bytes() == b"old"
        assert release_lock(held) is False
        assert try_acquire_lock(held)


def test_a_lock_that_is_released_while_a_write_relies_on_it_is_lost(held: Path) -> None:
    writer = AtomicWriter(held, concurrency="none")
    assert release_lock(held)
    with pytest.raises(LockError, match="taken away"):
        writer.commit()


def test_a_lock_of_another_thread_that_is_released_meanwhile_is_no_lock(held: Path) -> None:
    ready, go_on = threading.Event(), threading.Event()

    def write() -> None:
        writer = AtomicWriter(held, concurrency="none")
        ready.set()
        assert go_on.wait(60)
        writer.commit()

    thread = contextvars.Context().run(threading.Thread, target=write)
    thread.start()
    assert ready.wait(60)
    assert release_lock(held)
    go_on.set()
    thread.join()
    assert held.read_bytes() == b""


def test_a_retired_sidecar_is_not_touched_by_a_writer_that_lost_its_lock(held: Path) -> None:
    write_atomic_bytes(held, b"old", write_checksum=True)
    assert force_release_lock(held)
    for options in ({"write_checksum": True}, {}):
        with pytest.raises(LockError, match="taken away"):
            write_atomic_bytes(held, b"new", concurrency="none", **options)  # type: ignore[arg-type]
    assert read_atomic_bytes(held, check_checksum=True) == b"old"


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


# ------------------------------------------------------------------------- nobody waits for oneself


@pytest.mark.parametrize("own", [False, True], ids=["lock of the write", "own lock"])
@pytest.mark.parametrize("concurrency", ["lock", "none"])
def test_a_change_inside_another_one_of_the_same_file_fails_at_once(
    data: Path, concurrency: Any, own: bool
) -> None:
    data.write_bytes(b"old")
    if own:
        assert try_acquire_lock(data)
    patient = {"concurrency": concurrency, "retries": 1000, "delay": 1000}
    with AtomicWriter(data) as file:
        file.write(b"outer")
        for change in (
            lambda: write_atomic_bytes(data, b"inner", **patient),
            lambda: move_atomic(data, data.with_name("other"), **patient),
            lambda: write_checksum_file(data, **patient),
            lambda: AtomicWriter(data, **patient),
        ):
            with pytest.raises(LockError, match="already changing the file") as caught:
                change()
            assert "force" not in caught.value.reason
        assert try_acquire_lock(data, retries=1000, delay=1000) is False
        assert data.read_bytes() == b"old"
    assert data.read_bytes() == b"outer"
    assert release_lock(data) is own
    assert outcome(data) == ITS_OWN


def test_a_signal_handler_that_interrupts_a_write_fails_at_once(data: Path) -> None:
    results: list[str] = []

    def handler(*_: object) -> None:
        try:
            write_atomic_bytes(data, b"handler", retries=1000, delay=1000)
        except LockError as error:
            results.append(error.reason)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with AtomicWriter(data) as file:
            file.write(b"outer")
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "signal handler" in results[0]
    assert data.read_bytes() == b"outer"


def test_another_task_does_not_wait_in_the_loop_of_a_writer(data: Path) -> None:
    async def main() -> None:
        with AtomicWriter(data) as file:
            file.write(b"outer")

            async def other() -> str:
                return outcome(data, retries=1000, delay=1000)

            assert await asyncio.create_task(other()) == OTHER

    asyncio.run(main())
    assert data.read_bytes() == b"outer"


def test_a_write_of_another_thread_is_not_nested(data: Path) -> None:
    with AtomicWriter(data) as file:
        file.write(b"outer")
        assert in_thread(lambda: outcome(data)) == OTHER
        assert in_thread(lambda: outcome(data, "none")) == FENCED
    assert data.read_bytes() == b"outer"


# ------------------------------------------------------- directories that go, descriptors that go


def test_a_lock_whose_directory_was_renamed_can_be_released(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert try_acquire_lock(tmp_path / "d" / "data")
    (tmp_path / "d").rename(tmp_path / "e")
    before = _open_descriptors()
    assert release_lock(tmp_path / "d" / "data") is True
    assert os.listdir(tmp_path / "e") == []
    assert len(_open_descriptors()) == len(before) - 2


def test_a_lock_whose_directory_was_replaced_can_be_released(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert try_acquire_lock(tmp_path / "d" / "data")
    (tmp_path / "d").rename(tmp_path / "e")
    (tmp_path / "d").mkdir()
    assert release_lock(tmp_path / "d" / "data") is True
    assert os.listdir(tmp_path / "e") == []


def test_a_lock_whose_directory_was_removed_is_released_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path / "d")
    assert try_acquire_lock("data")
    os.unlink("data.lock")
    os.rmdir(tmp_path / "d")
    before = _open_descriptors()
    assert release_lock("data") is False
    assert len(_open_descriptors()) == len(before) - 2
    assert release_lock("data") is False


def test_descriptors_that_the_program_closed_are_neither_used_nor_closed_again(
    data: Path, tmp_path: Path
) -> None:
    pid = os.fork()
    if pid == 0:
        assert try_acquire_lock(data)
        os.closerange(3, 256)
        mine = [os.open(tmp_path / f"mine{n}", os.O_RDWR | os.O_CREAT) for n in range(9)]
        lost = outcome(data) == LOST and release_lock(data) is False
        for fd in mine:
            os.fstat(fd)
        os._exit(0 if lost else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert inspect_lock(data).alive == "no"


def test_a_lock_whose_directory_s_descriptor_is_closed_is_still_used_and_released(
    held: Path,
) -> None:
    kept = [*_held_locks._kept.values()][-1]
    assert kept.lock._handle is not None
    os.close(kept.lock._handle.fd)
    assert outcome(held) == OWN
    assert release_lock(held) is True
    assert not is_locked(held)


def test_a_directory_that_nobody_can_reach_any_more_keeps_a_dead_lock(
    tmp_path: Path, held: Path
) -> None:
    kept = [*_held_locks._kept.values()][-1]
    assert kept.lock._handle is not None
    os.close(kept.lock._handle.fd)
    assert _held_locks.let_go(kept) is False
    assert inspect_lock(held).alive == "no"
    force_release_lock(held)


def _open_descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


# ---------------------------------------------------------------- the lock that a command inherits


@pytest.fixture
def command(held: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose lock the environment names, as for a process under ``safeatomic lock``."""
    lock = inheritable_lock(held)
    assert lock is not None
    _, path, token = lock
    monkeypatch.setenv(_command_lock.VARIABLE, f'{{"{path}": "{token}"}}')
    return held


def in_command(call: Callable[[], _T]) -> _T:
    """Return what a call returns in a process of the command, which did not take the lock."""

    def apart() -> _T:
        kept, _held_locks._kept = _held_locks._kept, {}
        try:
            return call()
        finally:
            _held_locks._kept = kept

    return contextvars.Context().run(apart)


def test_a_process_of_the_command_writes_under_the_command_s_lock(command: Path) -> None:
    assert in_command(lambda: outcome(command)) == OWN
    assert in_command(lambda: try_acquire_lock(command, retries=1000, delay=1000)) is False
    assert in_command(lambda: outcome(command, "none")) == FENCED


@pytest.mark.parametrize("concurrency", ["lock", "none"])
def test_a_lock_of_the_command_that_is_gone_fails_the_write_and_names_the_variable(
    command: Path, concurrency: Any
) -> None:
    command.write_bytes(b"old")
    assert force_release_lock(command)
    with pytest.raises(LockError, match=_command_lock.VARIABLE):
        in_command(lambda: write_atomic_bytes(command, b"new", concurrency=concurrency))
    assert command.read_bytes() == b"old"


def test_a_lock_of_the_command_that_is_removed_during_a_write_is_noticed(command: Path) -> None:
    def write() -> None:
        with AtomicWriter(command) as file:
            file.write(b"new")
            force_release_lock(command)

    with pytest.raises(LockError, match=_command_lock.VARIABLE):
        in_command(write)


def test_the_lock_of_a_dead_wrapper_does_not_count(
    command: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safeatomic_core import _lock_file

    monkeypatch.setattr(_lock_file, "probe_free", lambda _fd: True)
    with pytest.raises(LockError, match=_command_lock.VARIABLE):
        in_command(lambda: write_atomic_bytes(command, b"new"))


@pytest.mark.parametrize(
    "value", ["", "junk", "[]", "{}", '{"/nowhere/data.lock": "x"}', '{"data.lock": 1}']
)
def test_a_variable_that_names_another_lock_or_none_makes_no_difference(
    data: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(_command_lock.VARIABLE, value)
    assert outcome(data) == ITS_OWN


def test_the_lock_of_another_directory_s_file_makes_no_difference(
    command: Path, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    assert in_command(lambda: outcome(tmp_path / "d" / command.name)) == ITS_OWN


def test_only_a_lock_that_is_held_can_be_inherited(held: Path) -> None:
    link = held.with_name("link")
    link.symlink_to(held)
    lock = inheritable_lock(link)
    assert lock is not None
    fd, path, token = lock
    assert path == os.path.realpath(f"{held}.lock")
    assert os.fstat(fd).st_ino == os.stat(path).st_ino
    assert token in Path(path).read_text()
    force_release_lock(held)
    assert inheritable_lock(held) is None
    release_lock(held)
    assert inheritable_lock(held) is None


def test_the_use_of_an_own_lock_is_traced(held: Path, steps: list[tuple[str, Any]]) -> None:
    write_atomic_bytes(held, b"new")
    phases = [facts.get("phase") for step, facts in steps if step == "Acquire"]
    assert phases == ["borrowed"]


def test_a_release_where_nothing_can_be_opened_and_nothing_was_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        release_lock(tmp_path / "missing" / "data")
