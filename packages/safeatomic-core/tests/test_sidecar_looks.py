"""Whether two looks at a sidecar's name saw the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safeatomic_core import write_checksum_file
from safeatomic_core._posix import kernel
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target

NAME = "data.bin.sha256"


@pytest.fixture
def place(target: Path, locate: Callable[[str | Path], Target]) -> Iterator[Target]:
    write_checksum_file(target)
    opened = locate(target)
    yield opened
    opened.close()


@pytest.fixture
def seen(place: Target) -> Iterator[Sidecar]:
    sidecar = Sidecar(place, "sha256")
    yield sidecar
    sidecar.close()


@pytest.fixture
def side(target: Path) -> Path:
    return target.with_name(NAME)


def again(place: Target, seen: Sidecar) -> tuple[bool, bool, bool]:
    """Return what each of the three comparisons says of the sidecar as it is now."""
    other = Sidecar(place, "sha256")
    try:
        like = seen.is_like(other)
        assert other.is_like(seen) is like
        return seen.is_at(NAME, place.dir_fd), like, seen.still_there(place)
    finally:
        other.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
@pytest.mark.parametrize("entry", ["open", "fstat", "pread"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_look_that_fails_leaves_no_descriptor(
    place: Target, side: Path, entry: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    side.write_bytes(b"x")
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(kernel, entry, fail, raising=False)
    with pytest.raises(type(error)):
        Sidecar(place, "sha256")
    monkeypatch.undo()
    assert os.listdir("/proc/self/fd") == before


def test_what_nobody_touched_is_the_same(place: Target, seen: Sidecar) -> None:
    assert again(place, seen) == (True, True, True)


def test_other_bytes_in_the_same_file_at_the_same_time_are_others(
    place: Target, seen: Sidecar, side: Path
) -> None:
    status = side.stat()
    with open(side, "r+b") as file:
        file.write(b"0" * 64)
    os.utime(side, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again(place, seen) == (False, False, True)  # the last one is a quick look


def test_a_copy_is_another_file(place: Target, seen: Sidecar, side: Path) -> None:
    raw, status = side.read_bytes(), side.stat()
    side.rename(side.with_name("kept"))
    side.write_bytes(raw)
    os.utime(side, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again(place, seen) == (False, False, False)


def test_a_link_to_it_is_another_thing(place: Target, seen: Sidecar, side: Path) -> None:
    side.rename(side.with_name("kept"))
    side.symlink_to("kept")
    assert again(place, seen) == (False, False, False)


def test_what_is_gone_is_not_there(place: Target, seen: Sidecar, side: Path) -> None:
    side.unlink()
    assert again(place, seen) == (False, False, False)


def test_nothing_is_like_nothing_until_there_is_something(place: Target, side: Path) -> None:
    side.unlink()
    nothing = Sidecar(place, "sha256")
    try:
        assert again(place, nothing) == (False, True, True)
        side.symlink_to("nowhere")
        assert again(place, nothing) == (False, False, False)
        side.unlink()
        side.write_bytes(b"mine\n")
        assert again(place, nothing) == (False, False, False)
    finally:
        nothing.close()


@pytest.mark.parametrize("raw", [b"mine\n", b""])
def test_what_is_no_record_of_ours_is_known_by_its_inode_and_time(
    place: Target, side: Path, raw: bytes
) -> None:
    side.write_bytes(raw)
    foreign = Sidecar(place, "sha256")
    try:
        assert again(place, foreign) == (True, True, True)
        side.write_bytes(b"changed, and of another size\n")
        assert again(place, foreign) == (False, False, False)
    finally:
        foreign.close()


def test_a_fifo_that_may_not_be_opened_any_more_is_not_the_same(
    place: Target, side: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> int:
        raise PermissionError(errno.EACCES, "no")

    side.unlink()
    os.mkfifo(side)
    opened = Sidecar(place, "sha256")
    monkeypatch.setattr(kernel, "open", refuse, raising=False)
    refused = Sidecar(place, "sha256")
    monkeypatch.undo()
    try:
        assert (
            (opened.kind, opened.flaw) == (refused.kind, refused.flaw) == ("foreign", "is a FIFO")
        )
        assert not opened.is_like(refused)
        assert not refused.is_like(opened)
        assert refused.is_like(refused)
    finally:
        opened.close()
