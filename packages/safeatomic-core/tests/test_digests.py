"""Where a digest is worked out: in a thread of its own, or at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from safeatomic_core import _digests
from safeatomic_core._digests import HashAside, hash_bytes

Work = Callable[..., object]


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
    aside = HashAside(b"abc", "sha256")
    assert not aside._done.locked()  # or nobody would ever work it out
    assert aside.hexdigest() == hash_bytes(b"abc", "sha256")
    assert started == ([] if ending else [(b"abc",)])


def test_where_no_thread_can_be_started_the_bytes_are_hashed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_digests, "start_new_thread", refuse)
    aside = HashAside(b"abc", "sha256")
    assert not aside._done.locked()
    assert aside.hexdigest() == hash_bytes(b"abc", "sha256")
