"""The lock that a command inherits from ``safeatomic lock``."""

from __future__ import annotations

import contextvars
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lock_outcomes import FENCED, ITS_OWN, OWN, outcome
from safeatomic_core import (
    AtomicWriter,
    LockError,
    _command_lock,
    _held_locks,
    force_release_lock,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._cli.running import inheritable
from safeatomic_core._held_locks import kept_by_path
from safeatomic_core._target import Target

_T = TypeVar("_T")


@pytest.fixture
def command(held: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose lock the environment names, as for a process under ``safeatomic lock``."""
    lock = inheritable(kept_by_path(str(held)))
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


@pytest.mark.parametrize(
    "before",
    [
        '"/data.lock": "x"',
        '"/nowhere/data.lock": "x"',
        '"/other.lock": "x"',
        '"": 1',
        '"{here}/other.lock": "x"',
        '"{here}/./data.lock": 1',
    ],
)
def test_a_lock_of_the_command_is_found_behind_others(
    command: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    ours = os.environ[_command_lock.VARIABLE]
    monkeypatch.setenv(
        _command_lock.VARIABLE, f"{{{before.format(here=command.parent)}, {ours[1:]}"
    )
    assert in_command(lambda: outcome(command)) == OWN


def test_a_look_at_the_lock_of_the_command_leaves_nothing_open(
    command: Path, locate: Callable[[str | Path], Target]
) -> None:
    lock = _command_lock.command_lock(locate(command))
    assert lock is not None
    before = os.listdir("/proc/self/fd")
    assert lock.owned()
    assert os.listdir("/proc/self/fd") == before


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
    lock = inheritable(kept_by_path(str(held)))
    assert lock is not None
    fd, path, token = lock
    assert path == os.path.realpath(f"{held}.lock")
    assert os.fstat(fd).st_ino == os.stat(path).st_ino
    assert token in Path(path).read_text()
    force_release_lock(held)
    assert inheritable(kept_by_path(str(held))) is None
    release_lock(held)
    assert inheritable(kept_by_path(str(held))) is None


@pytest.mark.parametrize("other", ["/\\u0000/data.bin.lock", "/\\ud800/data.bin.lock"])
def test_a_variable_that_names_no_path_makes_no_difference(
    data: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setenv("SAFEATOMIC_LOCK", f'{{"{other}": "x"}}')
    write_atomic_bytes(data, b"new")
    assert data.read_bytes() == b"new"


def test_brackets_in_a_name_hide_no_lock_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / ("[" * 70 + '"') / "data.bin"
    data.parent.mkdir()
    assert try_acquire_lock(data)
    described = inheritable(kept_by_path(str(data)))
    assert described is not None
    monkeypatch.setenv("SAFEATOMIC_LOCK", json.dumps({described[1]: described[2]}))
    assert in_command(lambda: outcome(data)) == OWN
    release_lock(data)


def test_a_lock_file_that_somebody_has_cut_is_not_said_to_be_removed(command: Path) -> None:
    os.truncate(f"{command}.lock", 0)
    with pytest.raises(LockError, match="is gone: its file was removed or overwritten, or"):
        in_command(lambda: write_atomic_bytes(command, b"new"))
    assert not command.exists()
