"""A change of a file inside another one by the same holder: nobody waits for oneself."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from lock_outcomes import FENCED, ITS_OWN, OTHER, in_thread, outcome
from safeatomic_core import (
    AtomicWriter,
    LockError,
    move_atomic,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)


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
