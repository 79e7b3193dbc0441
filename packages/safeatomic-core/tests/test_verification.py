"""What a reader concludes beside writers, moves and other programs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicReader,
    ChecksumMismatchError,
    SafeAtomicError,
    _reading,
    get_checksum_info,
    move_atomic,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._digests import hash_bytes
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._target import Target, identity
from safeatomic_core._verification import Verification


class Around:
    """Do something before each system call of a reader, or before one of them."""

    def __init__(self, action: Callable[[int], object], at: int = 0) -> None:
        self.action, self.at = action, at
        self.count = 0
        self.busy = False

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if not self.busy:
                self.count += 1
                if self.at in (0, self.count):
                    self.busy = True
                    try:
                        self.action(self.count)
                    finally:
                        self.busy = False
            return call(*args, **options)

        return wrapped


def at_every_call(action: Callable[[int], object], read: Callable[[], object]) -> int:
    """Read again and again, with the action before another system call each time."""
    for at in range(1, 100):
        around = Around(action, at)
        with intercept(around.wrap):
            read()
        if around.count < at:
            return at
    raise AssertionError("a reader never comes to an end")


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_a_write_before_any_call_of_a_reader_is_no_mismatch(target: Path, way: str) -> None:
    write_atomic_bytes(target, b"0", write_checksum=True)
    versions = [0]

    def write(_count: int) -> None:
        for _ in range(2):
            versions[0] += 1
            write_atomic_bytes(target, b"%d" % versions[0], write_checksum=True)

    def read() -> None:
        if way == "whole":
            content = read_atomic_bytes(target, check_checksum=True)
        else:
            with AtomicReader(target, check_checksum=True) as file:
                content = file.read()
        assert int(content) <= versions[0]

    assert at_every_call(write, read) > 5


def test_a_move_there_and_back_before_any_call_of_a_reader_is_no_mismatch(target: Path) -> None:
    write_checksum_file(target)
    away = target.with_name("away")

    def there_and_back(_count: int) -> None:
        move_atomic(target, away)
        write_atomic_bytes(target, b"meanwhile", write_checksum=True)
        move_atomic(away, target, force=True)

    assert at_every_call(there_and_back, lambda: verify_checksum(target)) > 5
    assert verify_checksum(target)


def test_a_failed_write_before_any_call_of_a_reader_is_no_mismatch(target: Path) -> None:
    write_checksum_file(target)
    rename = kernel.rename

    def fail(_count: int) -> None:
        def broken(src: str, dst: str, **options: Any) -> None:
            if dst == "data.bin":
                raise OSError(errno.EIO, "the device is broken")
            rename(src, dst, **options)

        before, kernel.rename = kernel.rename, broken  # type: ignore[assignment]
        try:
            with pytest.raises(OSError, match="unchanged"):
                write_atomic_bytes(target, b"new", write_checksum=True)
        finally:
            kernel.rename = before

    assert at_every_call(fail, lambda: read_atomic_bytes(target, check_checksum=True)) > 5


def test_a_damaged_file_is_never_good(target: Path, side: Path) -> None:
    write_checksum_file(target)
    target.write_bytes(b"OLD")

    def touch(_count: int) -> None:
        os.utime(side)

    def read() -> None:
        with pytest.raises(ChecksumMismatchError):
            read_atomic_bytes(target, check_checksum=True)

    assert at_every_call(touch, read) > 5


def test_a_reader_beside_a_writer_that_never_rests_comes_to_an_end(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksum_file(target)
    monkeypatch.setattr(_reading, "_TRIES", 5)

    def write(count: int) -> None:
        for number in range(2):
            write_atomic_bytes(target, b"%d %d" % (count, number), write_checksum=True)

    around = Around(write)
    for read in (
        lambda: read_atomic_bytes(target, check_checksum=True),
        lambda: verify_checksum(target),
    ):
        with intercept(around.wrap), pytest.raises(SafeAtomicError, match="each of 5 attempts"):
            read()


def test_a_large_file_is_hashed_between_the_looks(target: Path) -> None:
    """However long hashing takes, the first look has seen the digest of what was opened."""
    write_atomic_bytes(target, b"x" * 1_000_000, write_checksum=True)
    looks = [0]

    def write(count: int) -> None:
        if count > 12:  # from the first chunk on
            looks[0] += 1
            write_atomic_bytes(target, b"y%d" % count, write_checksum=True)

    with intercept(Around(write).wrap), AtomicReader(target, check_checksum=True) as file:
        pass
    assert looks[0] > 2
    assert file.closed


def test_a_record_that_may_not_be_read_for_a_moment_is_asked_again(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksum_file(target)
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    refused = lambda name, *_a, **_k: str(name).endswith(".sha256") and len(waits) < 3  # noqa: E731
    faults.fail("open", errno.EACCES, when=refused)
    assert verify_checksum(target)
    assert len(waits) == 3
    assert sum(waits) < 0.1
    refused_for_ever = lambda name, *_a, **_k: str(name).endswith(".sha256")  # noqa: E731
    faults.fail("open", errno.EACCES, when=refused_for_ever)
    with pytest.raises(PermissionError) as caught:
        verify_checksum(target)
    assert caught.value.filename == f"{target}.sha256"
    assert 10 < len(waits) < 50
    del waits[:]
    monkeypatch.setattr("time.time", lambda: target.stat().st_ctime + 100)
    with pytest.raises(PermissionError):  # nobody is at work there
        verify_checksum(target)
    assert not waits


@pytest.fixture
def around_opening(side: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return what does something before the second opening of the sidecar, and counts them."""
    real, count = kernel.open, [0]

    def before_the_second(action: Callable[[], object]) -> list[int]:
        def opening(name: str, *args: Any, **options: Any) -> int:
            if name == side.name:
                count[0] += 1
                if count[0] == 2:
                    action()
            return real(name, *args, **options)

        monkeypatch.setattr(kernel, "open", opening, raising=False)
        return count

    return before_the_second


def test_a_digest_that_appears_at_the_second_look_is_good(
    target: Path, side: Path, around_opening: Callable[..., list[int]]
) -> None:
    write_checksum_file(target)
    good = side.read_bytes()
    side.write_bytes(b"f" * 64 + good[64:])
    count = around_opening(lambda: side.write_bytes(good))
    assert verify_checksum(target)
    assert count == [2]


def test_the_algorithm_of_a_record_that_appears_at_the_second_look_is_the_one_that_counts(
    target: Path, side: Path, around_opening: Callable[..., list[int]]
) -> None:
    write_checksum_file(target, algo="sha512")
    good = side.read_bytes()
    side.write_bytes(b"f" * 64 + b"  data.bin\n")
    around_opening(lambda: side.write_bytes(good))
    assert verify_checksum(target, algo="sha512")


def test_content_without_a_sidecar_is_not_good_because_its_directory_was_replaced(
    target: Path, locate: Callable[[Path], Target]
) -> None:
    target.with_name("d").mkdir()
    path = target.with_name("d") / "f"
    path.write_bytes(b"old")
    place = locate(path)
    assert place.status is not None
    verification = Verification(place, identity(place.status), None, "sha256")
    verification.look()
    path.parent.rename(target.with_name("moved"))
    path.parent.mkdir()
    path.write_bytes(b"new")
    assert not verification.agrees(lambda algo: hash_bytes(b"old", algo))  # to be read again
    verification.close()


def test_the_answers_are_different(target: Path, side: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        read_atomic_bytes(target, check_checksum=True)
    assert missing.value.filename == str(side)
    assert get_checksum_info(target) is None
    side.write_bytes(b"junk")
    with pytest.raises(SafeAtomicError, match="is not a checksum sidecar of this file"):
        read_atomic_bytes(target, check_checksum=True)
    side.unlink()
    write_checksum_file(target)
    with pytest.raises(ValueError, match="'sha512' is asked for"):
        read_atomic_bytes(target, check_checksum=True, checksum_algo="sha512")
    with pytest.raises(ValueError, match="'sha512' is asked for") as other:
        verify_checksum(target, algo="sha512")
    assert "checksum_algo" not in str(other.value)  # which this one's argument is not called
    target.write_bytes(b"Old")
    with pytest.raises(ValueError, match="'sha512' is asked for"):
        read_atomic_bytes(target, check_checksum=True, checksum_algo="sha512")
    with pytest.raises(ChecksumMismatchError) as mismatch:
        read_atomic_bytes(target, check_checksum=True)
    assert mismatch.value.expected == hash_bytes(b"old", "sha256")
    assert mismatch.value.actual == hash_bytes(b"Old", "sha256")
    assert verify_checksum(target) is False


def test_an_untagged_digest_is_good_by_either_algorithm_of_its_length(
    target: Path, side: Path
) -> None:
    side.write_text(f"{hash_bytes(b'old', 'blake2b')}  data.bin\n")
    assert verify_checksum(target, algo="blake2b")
    assert read_atomic_bytes(target, check_checksum=True, checksum_algo="blake2b") == b"old"
    side.write_text(f"{hash_bytes(b'old', 'sha512')}  data.bin\n")
    assert verify_checksum(target, algo="sha512")
