"""One version of a file: what is asked of its place, how it is read, and that it is closed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicReader,
    UnsupportedEnvironmentWarning,
    compute_hash_file,
    read_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel

Read = Callable[[Path, bool], bytes]


def at_once(path: Path, check: bool) -> bytes:
    return read_atomic_bytes(path, check_checksum=check, safety="warn")


def streamed(path: Path, check: bool) -> bytes:
    with AtomicReader(path, check_checksum=check, safety="warn") as file:
        return file.read()


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("read", [at_once, streamed])
def test_whether_damage_is_found_is_asked_where_the_checksum_is_checked(
    target: Path, take_place_for: Callable[[str], None], read: Read, check: bool
) -> None:
    write_checksum_file(target)
    take_place_for("ext2")  # where nothing is guaranteed
    with pytest.warns(UnsupportedEnvironmentWarning, match="ReaderConsistency") as caught:
        assert read(target, check) == b"old"
    assert ("IntegrityDetection" in str(caught[0].message)) is check


def test_a_file_of_an_everyday_size_is_read_by_one_call(target: Path, faults: Any) -> None:
    target.write_bytes(b"x" * 1_000_000)
    faults.calls.clear()
    assert len(read_atomic_bytes(target)) == 1_000_000
    assert [call for call in faults.calls if "read" in call or "stream" in call] == ["read"]


def test_what_a_call_leaves_out_is_read_by_the_next(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(1000)
    target.write_bytes(content)
    monkeypatch.setattr(kernel, "read", lambda fd, size: os.read(fd, min(size, 300)))
    assert read_atomic_bytes(target) == content


@pytest.mark.parametrize("read", [read_atomic_bytes, compute_hash_file, AtomicReader])
def test_what_is_refused_once_it_is_open_is_closed(
    target: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    fifo, really = target.with_name("fifo"), kernel.open
    os.mkfifo(fifo)

    def swapped(path: Any, flags: int, *args: Any, **options: Any) -> int:
        its_own = os.path.basename(path) == target.name
        return really(fifo if its_own else path, flags, *args, **options)

    read_atomic_bytes(target)  # opens what stays open, the mount table for instance
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(kernel, "open", swapped, raising=False)
    with pytest.raises(OSError, match="FIFO"):
        read(target)
    assert os.listdir("/proc/self/fd") == before


def test_a_file_without_a_size_is_asked_for_all_it_holds_at_once(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some files of the kernel give what they hold at the first read, and nothing after it."""
    target.write_bytes(b"")
    answers = [b"32768\n", b""]
    sizes: list[int] = []

    def read(_fd: int, size: int) -> bytes:
        sizes.append(size)
        answer = answers[0][:size]
        del answers[0]
        return answer

    monkeypatch.setattr(kernel, "read", read, raising=False)
    assert read_atomic_bytes(target) == b"32768\n"
    assert sizes[0] > 4096


@pytest.mark.skipif(not os.path.exists("/proc/sys/kernel/pid_max"), reason="no /proc/sys here")
def test_a_setting_of_the_kernel_is_read_whole() -> None:
    with open("/proc/sys/kernel/pid_max", "rb") as file:
        wanted = file.read()
    assert read_atomic_bytes("/proc/sys/kernel/pid_max", safety="best_effort") == wanted
