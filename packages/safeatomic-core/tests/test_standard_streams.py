"""Programs that have closed their standard streams, as daemons do, and go on printing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from held_descriptors import exit_code
from safeatomic_core import (
    AtomicWriter,
    inspect_lock,
    read_atomic_bytes,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel


def without_streams(work: Callable[[], object]) -> None:
    """Do some work in a child that has closed its standard streams, and prints in between."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number in range(3):
                os.close(number)
            work()
            code = 0
        finally:
            os._exit(code)
    assert exit_code(pid) == 0


def cry() -> None:
    for number in (1, 2):
        try:
            os.write(number, b"printed\n")
        except OSError:
            continue  # closed, as it should be


@pytest.mark.parametrize("write_checksum", [False, True])
def test_what_is_printed_meanwhile_gets_into_no_file(target: Path, write_checksum: bool) -> None:
    def work() -> None:
        with AtomicWriter(target, write_checksum=write_checksum) as file:
            file.write(b"new")
            file.flush()
            cry()
        cry()

    without_streams(work)
    assert read_atomic_bytes(target, check_checksum=write_checksum) == b"new"


def test_what_is_printed_under_a_lock_damages_none(target: Path) -> None:
    def work() -> None:
        assert try_acquire_lock(target)
        cry()

    without_streams(work)
    assert not inspect_lock(target).corrupt
    write_atomic_bytes(target, b"by the next writer")


def test_a_record_is_made_and_read_as_ever(target: Path) -> None:
    def work() -> None:
        write_checksum_file(target)
        cry()
        assert verify_checksum(target)

    without_streams(work)
    assert verify_checksum(target)


def test_a_program_gets_the_numbers_of_its_streams_for_what_it_opens(target: Path) -> None:
    def work() -> None:
        write_atomic_bytes(target, b"new")
        assert [os.open(os.devnull, os.O_RDWR) for _ in range(3)] == [0, 1, 2]

    without_streams(work)


def test_a_table_of_descriptors_that_is_full_leaves_the_target_as_it_was(target: Path) -> None:
    def full(*_args: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def work() -> None:
        kernel.dupfd = full
        with pytest.raises(OSError, match="unchanged"):
            write_atomic_bytes(target, b"new", concurrency="none")
        assert [os.open(os.devnull, os.O_RDWR) for _ in range(3)] == [0, 1, 2]

    without_streams(work)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("write_checksum", [False, True])
def test_a_table_that_fills_up_meanwhile_leaves_nothing_behind(
    target: Path, write_checksum: bool
) -> None:
    def work() -> None:
        really, left = kernel.dupfd, 0

        def nearly_full(*args: int) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return int(really(*args))

        write_atomic_bytes(target, b"old")  # the filesystem is known from here on
        kernel.dupfd = nearly_full
        before = set(os.listdir(target.parent))
        for calls in range(50):
            left = calls
            try:
                write_atomic_bytes(target, b"new", write_checksum=write_checksum)
            except OSError as error:
                assert error.errno == errno.EMFILE
                assert set(os.listdir(target.parent)) == before, calls
            if left >= 0:
                break
        assert target.read_bytes() == b"new"

    without_streams(work)
