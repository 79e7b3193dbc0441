"""A sidecar that is examined, taken away and put back, step by step."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST
from safeatomic_core import verify_checksum, write_checksum_file
from safeatomic_core._announcement import Announcement
from safeatomic_core._posix import kernel
from safeatomic_core._retirement import Retirement
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]
BOTH = ["data.bin", "data.bin.sha256"]
needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list"
)


@pytest.fixture
def retirement(place: Target) -> Iterator[Retirement]:
    made = Retirement(place)
    yield made
    made.discard()


@pytest.fixture
def record(place: Target) -> Iterator[Announcement]:
    made = Announcement(place)
    yield made
    made.discard()


def announce(record: Announcement) -> None:
    record.draft("sha256", "b" * 64, lambda: None)
    record.harden(record.fd)
    record.announce(lambda: None)


def unsealed(side: Path) -> None:
    """Leave the record of a writer that died before Seal."""
    sealed = side.read_bytes()
    side.write_bytes(b"f" * 64 + sealed[64:] + b"# previous=sha256:" + sealed[:64] + b"\n")


# ------------------------------------------------------------------------------------ examination


@needs_proc
@pytest.mark.parametrize("look", ["recorded", "find_ours"])
def test_another_look_closes_what_the_last_one_opened(
    target: Path, retirement: Retirement, look: str
) -> None:
    write_checksum_file(target)
    getattr(retirement, look)()
    before = os.listdir("/proc/self/fd")
    getattr(retirement, look)()
    assert os.listdir("/proc/self/fd") == before


def test_what_is_not_ours_records_nothing_and_is_said_to_stay(
    side: Path, retirement: Retirement, caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(LIST)
    with caplog.at_level("INFO"):
        assert retirement.recorded() is None
    assert "is left as it is" in caplog.text


def test_a_sidecar_that_was_found_is_open_until_something_closes_it(
    target: Path, retirement: Retirement
) -> None:
    assert retirement.is_open()  # nothing was looked at
    write_checksum_file(target)
    assert retirement.find_ours()
    assert retirement.is_open()
    assert retirement._present is not None
    os.close(retirement._present.fd)
    assert not retirement.is_open()


# ----------------------------------------------------------------------------------- taking away


def test_what_is_not_ours_is_not_retired(
    side: Path, retirement: Retirement, steps: list[tuple[str, dict[str, object]]]
) -> None:
    side.write_bytes(LIST)
    flushed: list[int] = []
    retirement.retire(lambda: flushed.append(1))
    assert side.read_bytes() == LIST
    assert (flushed, steps) == ([], [])


def test_a_sidecar_that_somebody_holds_is_taken_away_where_nothing_is_created(
    target: Path, side: Path, retirement: Retirement, listing: Listing
) -> None:
    write_checksum_file(target)
    with side.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert retirement.take_away()
    retirement.drop_displaced()
    assert listing() == ["data.bin"]


def test_a_creator_that_finds_the_file_there_displaces_nothing(
    tmp_path: Path, locate: Callable[[str | Path], Target], listing: Listing
) -> None:
    path, side = tmp_path / "f", tmp_path / "f.sha256"
    side.write_bytes(b"a" * 64 + b"  f\n")
    creator = Announcement(locate(path), creating=True)
    creator.look("sha256")
    path.write_bytes(b"theirs")  # and their sidecar has still to come
    with pytest.raises(FileExistsError):
        creator.draft("sha256", "b" * 64, lambda: None)
    assert not creator.announced
    creator.discard()
    assert side.read_bytes() == b"a" * 64 + b"  f\n"
    assert listing() == ["f", "f.sha256"]


# ---------------------------------------------------------------------------------- the way back


def test_what_comes_back_is_flushed_and_there_is_nothing_left_to_undo(
    target: Path, side: Path, record: Announcement
) -> None:
    write_checksum_file(target)
    before = side.stat()
    announce(record)
    assert record.announced
    flushed: list[os.stat_result] = []
    assert record.roll_back(lambda fd: flushed.append(os.fstat(fd)))
    assert [os.path.samestat(one, before) for one in flushed] == [True]
    assert (record.announced, record.retired) == (False, False)


@pytest.mark.parametrize("recorded", [True, False])
def test_what_came_back_before_an_interrupt_is_blamed_on_no_other_program(
    target: Path,
    side: Path,
    record: Announcement,
    listing: Listing,
    caplog: pytest.LogCaptureFixture,
    recorded: bool,
) -> None:
    def interrupt(_renamed: int) -> None:
        raise KeyboardInterrupt

    if recorded:
        write_checksum_file(target)
    before = listing(), recorded and side.read_bytes()
    announce(record)
    with pytest.raises(KeyboardInterrupt):
        record.roll_back(interrupt)
    assert record.roll_back(lambda _renamed: None)
    assert (listing(), recorded and side.read_bytes()) == before
    assert not caplog.records


def test_what_does_not_come_back_is_removed_before_the_flush(
    target: Path, side: Path, record: Announcement, listing: Listing
) -> None:
    write_checksum_file(target)
    unsealed(side)
    announce(record)
    flushed: list[tuple[int, list[str]]] = []
    assert record.roll_back(lambda fd: flushed.append((fd, listing())))
    assert flushed == [(-1, BOTH)]
    assert verify_checksum(target)


def test_what_is_left_to_others_is_not_undone(
    target: Path, side: Path, record: Announcement
) -> None:
    write_checksum_file(target)
    announce(record)
    record.leave("for a reason")
    assert (record.announced, record.retired) == (False, False)
    assert b"# previous=" in side.read_bytes()


def test_an_interrupt_as_what_was_displaced_is_removed_leaves_the_comparison_to_the_next_call(
    target: Path,
    listing: Listing,
    retirement: Retirement,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise it would stay, and another program be blamed."""
    write_checksum_file(target)
    assert retirement.take_away()

    def interrupt(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(kernel, "stat", interrupt, raising=False)
        with pytest.raises(KeyboardInterrupt):
            retirement.discard()
    retirement.discard()
    assert listing() == ["data.bin"]
    assert "another program" not in caplog.text
