"""Which lock is own under trio, anyio, greenlet and gevent: the real things, where installed."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import LockError, is_locked, release_lock, try_acquire_lock, write_atomic_bytes

OWN, OTHER = "written under the context's own lock", "held by another"


def outcome(path: Path) -> str:
    """Write the file, and say what became of that."""
    try:
        write_atomic_bytes(path, b"new", retries=3, delay=0.01)
    except LockError as error:
        assert "another task or thread of this process" in error.reason
        return OTHER
    assert is_locked(path)
    return OWN


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A file whose lock this context has taken."""
    path = tmp_path / "data"
    assert try_acquire_lock(path)
    yield path
    assert release_lock(path)


def test_trio(tmp_path: Path) -> None:
    trio = pytest.importorskip("trio")
    path = tmp_path / "data"
    results: list[str] = []

    async def child() -> None:
        results.append(outcome(path))

    async def main() -> None:
        assert try_acquire_lock(path)
        await trio.sleep(0)
        results.append(outcome(path))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        results.append(await trio.to_thread.run_sync(outcome, path))
        assert release_lock(path)

    trio.run(main)
    assert results == [OWN, OTHER, OTHER]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(tmp_path: Path, backend: str) -> None:
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)
    path = tmp_path / "data"
    results: list[str] = []

    async def child() -> None:
        results.append(outcome(path))

    async def main() -> None:
        assert try_acquire_lock(path)
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        results.append(outcome(path))
        results.append(await anyio.to_thread.run_sync(outcome, path))
        assert release_lock(path)

    anyio.run(main, backend=backend)
    assert results == [OTHER, OWN, OTHER]


@pytest.mark.parametrize("copied", [False, True], ids=["empty context", "copied context"])
def test_greenlet(held: Path, copied: bool) -> None:
    greenlet: Any = pytest.importorskip("greenlet")
    results: list[str] = []
    inner = greenlet.greenlet(lambda: results.append(outcome(held)))
    if copied:
        inner.gr_context = contextvars.copy_context()
    inner.switch()
    assert results == [OTHER]
    assert outcome(held) == OWN


def test_gevent(held: Path) -> None:
    gevent: Any = pytest.importorskip("gevent")
    assert gevent.spawn(outcome, held).get() == OTHER
    assert outcome(held) == OWN
