"""Recording the checksum of what is there: what is refused, flushed and left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST
from safeatomic_core import verify_checksum, write_checksum_file
from safeatomic_core._checksum_api import record_checksums
from safeatomic_core._options import Policy
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._recording import Batch
from safeatomic_core._temp_file import orphans

Listing = Callable[[], list[str]]


def test_a_batch_in_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Batch(str(tmp_path / "gone" / "f"), Policy.of(write_checksum=True))


def test_what_a_record_must_not_replace_is_refused_before_the_file_is_hashed(
    target: Path, side: Path
) -> None:
    side.write_bytes(LIST)
    results: dict[str, str | Exception] = {}
    hashed: list[int] = []
    record_checksums([str(target)], results.__setitem__, on_hashed=hashed.append)
    assert [type(error) for error in results.values()] == [FileExistsError]
    assert hashed == []
    side.unlink()
    record_checksums([str(target)], results.__setitem__, on_hashed=hashed.append)
    assert list(results.values()) == [f"{target}.sha256"]
    assert hashed == [3]


def test_a_single_file_is_flushed_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inode, flushed = target.stat().st_ino, []
    real = kernel.fsync

    def fsync(fd: int) -> None:
        flushed.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    results: dict[str, str | Exception] = {}
    record_checksums([str(target)], results.__setitem__)
    assert list(results.values()) == [f"{target}.sha256"]
    assert flushed.count(inode) == 1


def test_a_socket_that_takes_the_file_s_name_meanwhile_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel.fsync
    theirs = socket.socket(socket.AF_UNIX)

    def fsync(fd: int) -> None:
        real(fd)
        monkeypatch.undo()
        target.unlink()
        monkeypatch.chdir(target.parent)  # a socket's path must be short
        theirs.bind(target.name)

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    with theirs, pytest.raises(OSError, match="a socket, not a regular file"):
        write_checksum_file(target)


def test_a_sweep_leaves_the_former_record_alone_while_it_is_replaced(
    target: Path, side: Path, around: Callable[..., AbstractContextManager[None]]
) -> None:
    write_checksum_file(target)
    swept: list[object] = []

    def sweep() -> None:
        fd = os.open(target.parent, os.O_RDONLY)
        swept.extend(orphans(fd, remove=True))
        os.close(fd)

    with around("rename_exchange", side.name, after=sweep):
        write_checksum_file(target)
    assert swept == []


def test_the_former_record_is_removed_while_the_lock_is_held(
    target: Path, side: Path, listing: Listing
) -> None:
    write_checksum_file(target)
    target.write_bytes(b"changed")
    left: list[list[str]] = []

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if name in ("unlink", "rename", "rename_noreplace") and "data.bin.lock" in args:
                left.append(listing())
            return call(*args, **options)

        return wrapped

    with intercept(wrap):
        write_checksum_file(target)
    assert left[-1] == ["data.bin", "data.bin.lock", "data.bin.sha256"]
    assert verify_checksum(target)


def test_who_writes_to_a_fifo_loses_nothing_to_a_recording(tmp_path: Path) -> None:
    good, fifo = tmp_path / "good", tmp_path / "fifo"
    good.write_bytes(b"x")
    os.mkfifo(fifo)
    opened: list[object] = []
    really = kernel.open

    def seen(path: Any, *args: Any, **options: Any) -> int:
        opened.append(path)
        return really(path, *args, **options)

    kernel.open = seen
    try:
        batch = Batch(str(good), Policy.of(safety="best_effort"))
        batch._shares = True  # whatever this filesystem is
        batch.prepare(["good", "fifo"])
        batch.settle()
    finally:
        del kernel.open
    assert "good" in opened
    assert "fifo" not in opened
