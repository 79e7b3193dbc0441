"""Where a digest is worked out: in a thread of its own, or at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _digests, write_atomic_bytes
from safeatomic_core._digests import HashAside, hash_bytes

Work = Callable[..., object]


@pytest.fixture
def no_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the threads that can be joined, as up to Python 3.12."""
    monkeypatch.setattr(_digests, "_start_joinable", None)


@pytest.mark.usefixtures("no_join")
@pytest.mark.parametrize("ending", [False, True])
def test_a_thread_hashes_unless_the_interpreter_is_ending(
    monkeypatch: pytest.MonkeyPatch, ending: bool
) -> None:
    started: list[tuple[object, ...]] = []

    def start(work: Work, args: tuple[object, ...]) -> None:
        started.append(args)
        work(*args)

    monkeypatch.setattr(_digests, "is_finalizing", lambda: ending)
    monkeypatch.setattr(_digests, "start_new_thread", start)
    aside = HashAside("sha256")
    aside.start(b"abc")
    assert aside._finished  # or nobody would ever work it out
    assert aside.hexdigest() == hash_bytes(b"abc", "sha256")
    aside.end()
    assert started == ([] if ending else [(b"abc",)])


def test_a_thread_that_can_be_joined_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []

    class Thread:
        def __init__(self, work: Work) -> None:
            work()

        def join(self) -> None:
            joined.append("joined")

    monkeypatch.setattr(_digests, "_start_joinable", Thread)
    aside = HashAside("sha256")
    aside.start(b"abc")
    assert aside.hexdigest() == hash_bytes(b"abc", "sha256")
    assert joined == []  # the thread may take its time to end
    aside.end()
    assert joined == ["joined"]


@pytest.mark.parametrize("name", ["start_new_thread", "_start_joinable"])
def test_where_no_thread_can_be_started_the_bytes_are_hashed_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_digests, "_start_joinable", None)
    monkeypatch.setattr(_digests, name, refuse)
    aside = HashAside("sha256")
    aside.start(b"abc")
    assert aside._finished
    assert aside.hexdigest() == hash_bytes(b"abc", "sha256")
    aside.end()


def test_a_runtime_error_of_a_signal_handler_is_not_taken_for_a_thread_that_did_not_start() -> None:
    class LateError(RuntimeError):
        pass

    class Interrupted(list[Any]):
        def extend(self, more: Iterable[Any]) -> None:
            super().extend(more)
            raise LateError

    aside = HashAside("sha256")
    aside._threads = Interrupted()
    with pytest.raises(LateError):
        aside.start(b"abc")
    assert aside.hexdigest() == hash_bytes(b"abc", "sha256")  # once: not of the bytes twice


def test_an_interrupt_as_the_thread_was_started_costs_neither_the_wait_nor_itself(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it replaced by what a buffer says that a thread still has."""
    really = HashAside.start

    def interrupted(aside: HashAside, data: memoryview | bytes) -> None:
        really(aside, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(HashAside, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic_bytes(target, memoryview(b"x" * 30_000_000), write_checksum=True)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("started", [True, False])
def test_a_digest_can_be_waited_for_twice_and_where_nothing_was_started(started: bool) -> None:
    aside = HashAside("sha256")
    if started:
        aside.start(b"abc")
    wanted = hash_bytes(b"abc" if started else b"", "sha256")
    assert [aside.hexdigest(), aside.hexdigest()] == [wanted, wanted]


@pytest.mark.usefixtures("no_join")
def test_the_end_can_be_waited_for_without_the_digest() -> None:
    aside = HashAside("sha256")
    aside.start(bytes(30_000_000))
    aside.end()
    assert aside._finished
