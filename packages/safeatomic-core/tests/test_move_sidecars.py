"""Moves beside what others have under way, or have left at the names of sidecars."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    LockError,
    is_locked,
    is_stale_lock,
    move_atomic,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._move import _Move


def test_a_move_onto_a_file_that_is_being_changed_is_refused(target: Path) -> None:
    other = target.with_name("other")
    other.write_bytes(b"other")
    with AtomicWriter(target) as file, pytest.raises(LockError):
        file.write(b"new")
        move_atomic(other, target, force=True, concurrency="none")
    assert other.read_bytes() == b"other"


def test_a_stranger_s_sidecar_is_not_the_destination_that_exists(
    target: Path, tmp_path: Path
) -> None:
    write_checksum_file(target)
    (tmp_path / "new.sha256").write_bytes(b"mine\n")
    with pytest.raises(FileExistsError) as caught:
        move_atomic(target, tmp_path / "new")
    assert "the destination exists" not in str(caught.value)
    assert "new.sha256" in str(caught.value)
    assert target.exists()


@pytest.mark.parametrize("order", ["ab", "ba"])  # of the two locks
def test_a_source_whose_sidecar_may_come_back_keeps_its_lock(
    tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Whatever interrupts the clean-up."""
    for name in "ab":
        (tmp_path / name).mkdir()
    inodes = sorted("ab", key=lambda name: (tmp_path / name).stat().st_ino)
    source, there = (tmp_path / inodes["ab".index(name)] / "f" for name in order)
    source.write_bytes(b"old")
    write_checksum_file(source)

    def is_last(fd: int) -> bool:
        at_source = os.path.samestat(os.fstat(fd), source.parent.stat())
        return at_source and there.exists() and not Path(f"{source}.sha256").exists()

    def interrupt(_move: _Move) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Move, "undo", interrupt)
    faults.fail("fsync", errno.EIO, when=is_last)
    with pytest.raises(KeyboardInterrupt):
        move_atomic(source, there)
    assert is_stale_lock(source)
    assert not is_locked(there)
    assert verify_checksum(there)


def test_a_sidecar_that_an_unlocked_writer_made_at_the_source_s_name_stays(
    target: Path,
    side: Path,
    around: Callable[..., AbstractContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_checksum_file(target)
    there = target.with_name("there")

    def write() -> None:
        made = threading.Thread(target=write_unlocked, args=(target,))
        made.start()
        made.join()

    with around("rename_noreplace", there.name, after=write):
        move_atomic(target, there)
    assert (there.read_bytes(), target.read_bytes()) == (b"old", b"new")
    assert verify_checksum(there)
    assert side.exists()
    assert verify_checksum(target)
    assert f"{str(target)!r}: its sidecar stays behind (another program" in caplog.text
    assert not [name for name in os.listdir(target.parent) if name.startswith(".safeatomic")]


def write_unlocked(path: Path) -> None:
    write_atomic_bytes(path, b"new", write_checksum=True, concurrency="none")
