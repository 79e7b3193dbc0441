"""A lock that is removed by force, before any system call of a change: nothing is published."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import LockError, move_atomic, write_atomic_bytes, write_checksum_file
from safeatomic_core._posix import intercept, kernel

_LAST_LOOK = 2  # calls between which, and the rename, nobody can notice: a look at each lock


class Force:
    """Remove a lock just before a system call, if it is there by then.

    Args:
        lock: The lock.
        number: Which of the calls, from 1.
        target: What must not be replaced any more when the lock is gone.
    """

    def __init__(self, lock: Path, number: int, target: Path) -> None:
        self._lock = lock
        self._number = number
        self._target = target
        self.calls = 0
        self.forced = False
        self.published = False

    def wrap(self, name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            publishes = name.startswith("rename") and args[1] == self._target.name
            self.calls += 1
            if self.calls == self._number and self._lock.exists() and not publishes:
                self._lock.unlink()
                self.forced = not self.published
            late = self.calls - self._number <= _LAST_LOOK
            assert late or not (publishes and self.forced), "published under a lock that was gone"
            done = really(*args, **options)
            self.published = self.published or publishes
            return done

        return counted


def write(target: Path) -> None:
    write_atomic_bytes(target, b"new")


def write_checked(target: Path) -> None:
    write_atomic_bytes(target, b"new", write_checksum=True)


def move(target: Path) -> None:
    move_atomic(target.with_name("source"), target, force=True)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("change", "locked"),
    [
        (write, "target"),
        (write_checked, "target"),
        (move, "target"),
        (move, "source"),
    ],
)
def test_nothing_is_published_under_a_lock_that_was_forced_away(
    tmp_path: Path, change: Callable[[Path], None], locked: str, recorded: bool
) -> None:
    forced, last, number = 0, 1, 1
    while number <= last:
        place = tmp_path / str(number)
        place.mkdir()
        target = place / "target"
        target.write_bytes(b"old")
        (place / "source").write_bytes(b"new")
        if recorded:
            write_checksum_file(target)
        force = Force(place / f"{locked}.lock", number, target)
        with intercept(force.wrap), contextlib.suppress(LockError):
            change(target)
        if force.forced and not force.published:
            assert target.read_bytes() == b"old"
            assert not [name for name in os.listdir(place) if name.endswith(".tmp")]
            forced += 1
        else:
            assert target.read_bytes() == b"new"
        last = force.calls
        number += 1
    assert forced >= 3


@pytest.mark.parametrize(
    ("change", "source_recorded"),
    [(write, False), (write_checked, False), (move, False), (move, True)],
)
def test_no_record_is_touched_under_a_lock_that_was_forced_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[str, dict[str, object]]],
    change: Callable[[Path], None],
    source_recorded: bool,
) -> None:
    """It may be another holder's by now."""
    target, source, really = tmp_path / "target", tmp_path / "source", kernel.fsync
    for path in (target, source):
        path.write_bytes(b"old")
        if path == target or source_recorded:
            write_checksum_file(path)
    steps.clear()

    def fsync(fd: int) -> None:
        really(fd)
        Path(f"{target}.lock").unlink(missing_ok=True)

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    with pytest.raises(LockError):
        change(target)
    assert "Harden" in dict(steps)
    assert "Announce" not in dict(steps)
