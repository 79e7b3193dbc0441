"""Announce, Seal and the roll-back, with other programs and other writers in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST
from safeatomic_core import (
    LockError,
    force_release_lock,
    is_locked,
    is_stale_lock,
    read_atomic_bytes,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel

Listing = Callable[[], list[str]]
Around = Callable[..., AbstractContextManager[None]]
Action = Callable[[], object]


@pytest.fixture
def side(target: Path) -> Path:
    return target.with_name("data.bin.sha256")


def fail(*_args: object) -> None:
    raise OSError(errno.EIO, "the device is broken")


def look(path: Path) -> tuple[object, ...]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_nlink, path.read_bytes()


# ------------------------------------------------------------------------------------- roll-back


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("content", ["sealed", "no record", "a hundred previous"])
def test_the_same_inode_comes_back(
    target: Path, side: Path, listing: Listing, checked: bool, content: str, around: Around
) -> None:
    write_checksum_file(target)
    if content == "no record":
        side.write_bytes(b"")
    os.utime(side, (1, 1))
    os.link(side, side.with_name("other name"))
    before = look(side)
    with around("rename", "data.bin", before=fail), pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=checked)
    assert look(side) == before
    assert listing() == ["data.bin", "data.bin.sha256", "other name"]


def test_an_unsealed_record_does_not_come_back_over_an_announced_one(
    target: Path, side: Path, listing: Listing, around: Around
) -> None:
    write_checksum_file(target)
    sealed = side.read_bytes()
    side.write_bytes(b"f" * 64 + sealed[64:] + b"# previous=sha256:" + sealed[:64] + b"\n")
    with around("rename", "data.bin", before=fail), pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert b"f" * 64 not in side.read_bytes()
    assert verify_checksum(target)
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_nothing_comes_back_beside_content_of_somebody_else(
    target: Path, side: Path, caplog: pytest.LogCaptureFixture, around: Around
) -> None:
    write_checksum_file(target)

    def replaced() -> None:
        target.with_name("theirs").write_bytes(b"theirs")
        target.with_name("theirs").rename(target)
        fail()

    with around("rename", "data.bin", before=replaced), pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert "other content took the file's name" in caplog.text
    assert b"# previous=" in side.read_bytes()
    assert target.read_bytes() == b"theirs"
    assert not is_locked(target)  # there is nothing to recover


def test_a_holder_that_was_forced_away_restores_under_a_lock_of_its_own(
    target: Path, side: Path, listing: Listing, around: Around
) -> None:
    write_checksum_file(target)
    before = look(side)
    forced = around("rename_exchange", side.name, after=lambda: force_release_lock(target))
    with forced, pytest.raises(LockError, match="removed by force"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert look(side) == before
    assert listing() == ["data.bin", "data.bin.sha256"]
    assert not is_locked(target)


def test_a_recording_that_lost_its_lock_is_not_called_a_write(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forced(fd: int) -> None:
        monkeypatch.undo()
        force_release_lock(target)
        os.fsync(fd)

    monkeypatch.setattr(kernel, "fsync", forced, raising=False)
    with pytest.raises(LockError, match="removed by force while the checksum") as caught:
        write_checksum_file(target)
    assert str(caught.value).endswith("then record it again")


def test_a_holder_that_was_forced_away_leaves_things_to_the_next_one(
    target: Path, side: Path, caplog: pytest.LogCaptureFixture, around: Around
) -> None:
    write_checksum_file(target)
    child: list[int] = []

    def taken() -> None:
        force_release_lock(target)
        reader, writer = os.pipe()
        child.append(os.fork())
        if not child[0]:
            os.close(reader)
            os.write(writer, b"x" if try_acquire_lock(target) else b"")
            os.close(writer)
            os.read(stay[0], 1)
            os._exit(0)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)

    stay = os.pipe()
    with around("rename_exchange", side.name, after=taken), pytest.raises(LockError):
        write_atomic_bytes(target, b"new", write_checksum=True)
    os.write(stay[1], b"x")
    os.waitpid(child[0], 0)
    for fd in stay:
        os.close(fd)
    assert "is left as it is: the lock was taken away by force" in caplog.text
    assert b"# previous=" in side.read_bytes()
    assert verify_checksum(target)
    write_atomic_bytes(target, b"newer", write_checksum=True)  # and the next one clears up
    assert sorted(os.listdir(target.parent)) == ["data.bin", "data.bin.sha256"]


def test_a_roll_back_that_cannot_be_flushed_leaves_a_dead_lock(target: Path, faults: Any) -> None:
    write_checksum_file(target)
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    faults.fail("fsync", errno.EIO, when=lambda _fd: "rename" in faults.calls)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert is_stale_lock(target)


# -------------------------------------------------------------------------------------- creators


def test_a_living_creator_s_record_is_left_alone(
    tmp_path: Path, listing: Listing, around: Around
) -> None:
    path = tmp_path / "f"

    def second() -> None:
        for checked in (True, False):
            with pytest.raises(FileExistsError, match="another writer is creating the file"):
                write_atomic_bytes(
                    path, b"two", write_checksum=checked, overwrite=False, concurrency="none"
                )

    with around("rename_noreplace", "f", before=second):
        write_atomic_bytes(path, b"one", write_checksum=True, overwrite=False, concurrency="none")
    assert read_atomic_bytes(path, check_checksum=True) == b"one"
    assert listing() == ["f", "f.sha256"]


@pytest.mark.parametrize("checked", [True, False])
def test_a_dead_creator_s_record_is_replaced(
    tmp_path: Path, listing: Listing, checked: bool
) -> None:
    path = tmp_path / "f"
    path.with_name("f.sha256").write_bytes(b"a" * 64 + b"  f\n")
    write_atomic_bytes(path, b"one", write_checksum=checked, overwrite=False)
    assert path.read_bytes() == b"one"
    assert not checked or verify_checksum(path)
    assert listing() == (["f", "f.sha256"] if checked else ["f"])


@pytest.mark.parametrize("sidecar", [None, "renamed", "in place"])
def test_a_creator_that_loses_takes_only_its_own_record_back(
    tmp_path: Path, sidecar: str | None, around: Around
) -> None:
    path, side = tmp_path / "f", tmp_path / "f.sha256"

    def quicker() -> None:
        path.write_bytes(b"theirs")
        if sidecar == "in place":
            side.write_bytes(LIST)
        elif sidecar == "renamed":
            side.with_name("x").write_bytes(LIST)
            side.with_name("x").rename(side)

    with around("rename_noreplace", "f", before=quicker), pytest.raises(FileExistsError):
        write_atomic_bytes(path, b"ours", write_checksum=True, overwrite=False)
    assert path.read_bytes() == b"theirs"
    assert side.exists() == (sidecar is not None)
    assert sidecar is None or side.read_bytes() == LIST
    assert {"f", "f.sha256"} >= set(os.listdir(tmp_path))


@pytest.mark.parametrize("checked", [True, False])
def test_a_dead_creator_s_record_does_not_come_back_beside_a_stranger_s_file(
    tmp_path: Path, listing: Listing, checked: bool, around: Around
) -> None:
    path = tmp_path / "f"
    path.with_name("f.sha256").write_bytes(b"a" * 64 + b"  f\n")
    quicker = lambda: path.write_bytes(b"theirs")  # noqa: E731
    with around("rename_noreplace", "f", before=quicker), pytest.raises(FileExistsError):
        write_atomic_bytes(path, b"ours", write_checksum=checked, overwrite=False)
    assert listing() == ["f"]


def test_a_file_that_came_between_draft_and_look_is_seen(tmp_path: Path, around: Around) -> None:
    path = tmp_path / "f"
    appear = lambda: (path.write_bytes(b"theirs"), path.with_name("f.sha256").write_bytes(b""))  # noqa: E731
    with around("rename_noreplace", "f.sha256", before=appear), pytest.raises(FileExistsError):
        write_atomic_bytes(path, b"ours", write_checksum=True, overwrite=False)
    assert path.read_bytes() == b"theirs"
    assert path.with_name("f.sha256").read_bytes() == b""
