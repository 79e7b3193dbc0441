"""Settle: what is flushed where a directory's flush may return too early, and where not."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    UnsupportedEnvironmentWarning,
    force_release_lock,
    inspect_lock,
    move_atomic,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import O_PATH, intercept, kernel
from safeatomic_core._settle import flush_renamed, recover, settle_directory
from safeatomic_core._target import Target

TakePlaceFor = Callable[[str], None]


@pytest.fixture
def flushes(target: Path) -> Iterator[list[str]]:
    """Record, from here on, flushes, renames, unlinks and changes of mode, by what they are of."""
    calls: list[str] = []
    directory = target.parent

    def name_of(fd: int) -> str:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            return "directory"
        names = [entry.name for entry in os.scandir(directory) if entry.inode() == status.st_ino]
        return plain(names[0])

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if name in ("fsync", "fchmod"):
                calls.append(f"{name} {name_of(args[0])}")
            elif name == "unlink" or name.startswith("rename"):
                calls.append(f"{name} {plain(args[1 if name.startswith('rename') else -1])}")
            return call(*args, **kwargs)

        return recorded

    with intercept(wrap):
        yield calls


def plain(name: str) -> str:
    """Return a name without the digits of temps."""
    kinds = {".safeatomic-tmp-": "temp", ".safeatomic-sum-": "SIDECAR"}
    return kinds.get(name[:16], name)


def after(calls: list[str], call: str, *, last: bool = False) -> list[str]:
    """Return the calls after one of them, without the release of locks."""
    at = len(calls) - calls[::-1].index(call) if last else calls.index(call) + 1
    rest = calls[at:]
    return [one for one in rest if ".lock" not in one]


def write(path: Path, **options: Any) -> None:
    write_atomic_bytes(path, b"new", **options)


def stream(path: Path, **options: Any) -> None:
    with AtomicWriter(path, **options) as file:
        file.write(b"new")


@pytest.mark.parametrize("fstype", ["btrfs", "overlay"])
@pytest.mark.parametrize("work", [write, stream])
def test_the_renamed_file_is_flushed_where_a_directory_s_flush_may_be_overtaken(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor, fstype: str, work: Any
) -> None:
    take_place_for(fstype)
    work(target)
    assert after(flushes, "rename data.bin") == ["fsync data.bin", "fsync directory"]


@pytest.mark.parametrize("fd", [0, -1])
def test_descriptor_0_is_a_descriptor(
    target: Path, fd: int, locate: Callable[[Path], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, flushed = locate(target), list[int]()
    monkeypatch.setattr(kernel, "fsync", flushed.append, raising=False)
    monkeypatch.setattr(kernel, "fchmod", lambda *_args: None, raising=False)
    assert settle_directory(opened, "strict", renamed_fd=fd, barrier_fd=fd)
    flush_renamed(opened, fd)
    given = [0] if fd == 0 else []
    assert flushed == [*given, opened.dir_fd, *given, *given, opened.dir_fd]


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "tmpfs"])
def test_elsewhere_the_directory_is_enough(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor, fstype: str
) -> None:
    take_place_for(fstype)
    write(target)
    assert after(flushes, "rename data.bin") == ["fsync directory"]


@pytest.mark.usefixtures("guaranteed_place")
def test_a_place_that_nobody_looked_at_may_be_one_of_them(target: Path, flushes: list[str]) -> None:
    write(target, safety="best_effort")
    assert after(flushes, "rename data.bin") == ["fsync data.bin", "fsync directory"]


def test_a_place_that_cannot_be_told_may_be_one_of_them(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor
) -> None:
    take_place_for("unknown")
    with pytest.warns(UnsupportedEnvironmentWarning, match="an unknown filesystem"):
        write(target, safety="warn")
    assert after(flushes, "rename data.bin") == ["fsync data.bin", "fsync directory"]


def test_barriers_need_the_order_only(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor
) -> None:
    take_place_for("btrfs")
    write(target, write_checksum=True)
    assert after(flushes, "rename_noreplace data.bin.sha256") == [
        "fsync directory",
        "rename data.bin",
        "fsync data.bin",
        "fsync directory",
    ]


def test_a_move_flushes_what_it_moved_and_last_the_record(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor
) -> None:
    take_place_for("btrfs")
    write(target, write_checksum=True)
    move_atomic(target, target.with_name("dst"))
    assert after(flushes, "rename_noreplace dst") == [
        "fsync dst",
        "fsync directory",
        "rename_noreplace SIDECAR",
        "unlink SIDECAR",
        "fsync dst",
        "fsync directory",
        "fchmod dst.sha256",
        "fsync dst.sha256",
    ]


def test_an_exchanged_sidecar_is_removed_before_the_flush(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor
) -> None:
    take_place_for("btrfs")
    write(target, write_checksum=True)
    write(target, write_checksum=True)
    assert after(flushes, "rename_exchange data.bin.sha256", last=True)[:5] == [
        "fsync directory",
        "rename data.bin",
        "unlink SIDECAR",
        "fsync data.bin",
        "fsync directory",
    ]


def test_a_roll_back_unlinks_before_it_flushes_the_file_and_the_directory(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor, faults: Any
) -> None:
    take_place_for("btrfs")
    write(target, write_checksum=True)
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    with pytest.raises(OSError, match="unchanged"):
        write(target, write_checksum=True)
    # The former sidecar has its name again: it is flushed, then the directory.
    assert after(flushes, "rename_exchange data.bin.sha256", last=True)[:3] == [
        "unlink SIDECAR",
        "fsync data.bin.sha256",
        "fsync directory",
    ]


def test_a_recorded_checksum_is_flushed_under_its_name(
    target: Path, flushes: list[str], take_place_for: TakePlaceFor
) -> None:
    take_place_for("btrfs")
    write_checksum_file(target)
    assert after(flushes, "rename_noreplace data.bin.sha256") == [
        "fsync data.bin.sha256",
        "fsync directory",
    ]


def test_a_renamed_file_that_cannot_be_flushed_is_unconfirmed(
    target: Path, faults: Any, take_place_for: TakePlaceFor
) -> None:
    take_place_for("btrfs")
    faults.fail("fsync", errno.EIO, at=2)  # the first is Harden's
    with pytest.raises(OSError, match="durability is not confirmed") as caught:
        write(target)
    assert any("Settle failed" in note for note in caught.value.__notes__)
    assert target.read_bytes() == b"new"
    assert inspect_lock(target).alive == "no"  # so that the next writer flushes the directory
    force_release_lock(target)
    faults.counts.clear()
    with pytest.warns(UnsupportedEnvironmentWarning, match="could not be flushed"):
        write(target, safety="warn")


@pytest.mark.skipif(not O_PATH, reason="no descriptors that only look names up")
def test_a_directory_that_was_opened_to_look_names_up_is_opened_once_more_to_be_flushed(
    target: Path, faults: Any, locate: Callable[[str | Path], Target]
) -> None:
    faults.fail("open", errno.EACCES, when=lambda _name, flags, **_options: not flags & O_PATH)
    place = locate(target)
    try:
        with pytest.raises(PermissionError):
            settle_directory(place, "strict")
        faults.rules.clear()
        assert settle_directory(place, "strict")
        assert faults.calls[-4:] == ["fsync", "open", "fsync", "close"]
    finally:
        place.close()


def test_a_recovery_makes_durable_what_the_dead_writer_may_have_renamed(
    target: Path, flushes: list[str], locate: Callable[[Path], Target]
) -> None:
    target.with_name(".safeatomic-tmp-0123456789abcdef.tmp").write_bytes(b"x")
    recover(locate(target), "strict")
    assert flushes == ["fsync directory", "unlink temp"]
