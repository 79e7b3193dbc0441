"""What is flushed before what, in the system calls of checked writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import move_atomic, write_atomic_bytes, write_checksum_file
from safeatomic_core._checksum_api import record_checksums
from safeatomic_core._posix import intercept, kernel

DATA, SIDE = "data.bin", "data.bin.sha256"
FORGED = b"0" * 64 + b"  data.bin\n"


class Journal:
    """The calls that order what a crash may leave, as ``flush NAME`` and ``name NAME``.

    A file that is flushed is called by the name that it gets afterwards, a directory ``.``.
    """

    def __init__(self) -> None:
        self._events: list[tuple[str, Any]] = []
        self._names: dict[tuple[int, int], str] = {}

    def wrap(self, name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def flush(fd: int) -> None:
            really(fd)
            status = os.fstat(fd)
            self._events.append(("flush", (status.st_dev, status.st_ino)))
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                self._names[status.st_dev, status.st_ino] = "."

        def cut(fd: int, length: int) -> None:
            really(fd, length)
            status = os.fstat(fd)
            self._events.append(("cut", (status.st_dev, status.st_ino)))

        def rename(src: str, dst: str, *at: int, **options: int) -> Any:
            dir_fd = options.get("dst_dir_fd", at[-1] if at else None)
            done = really(src, dst, *at, **options)
            if dst in (DATA, SIDE, "moved", "moved.sha256"):
                status = os.stat(dst, dir_fd=dir_fd)
                self._names[status.st_dev, status.st_ino] = dst
                self._events.append(("name", (status.st_dev, status.st_ino)))
            return done

        standing_in: dict[str, Callable[..., Any]] = {
            "fsync": flush,
            "ftruncate": cut,
            "rename": rename,
            "rename_noreplace": rename,
            "rename_exchange": rename,
        }
        return standing_in.get(name, really)

    def events(self) -> list[str]:
        return [f"{what} {self._names.get(inode, '?')}" for what, inode in self._events]


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal()
    with intercept(made.wrap):
        yield made


CHECKED = [f"flush {SIDE}", f"name {SIDE}", "flush .", f"name {DATA}", "flush ."]


@pytest.mark.parametrize(("content", "sealed"), [(b"new", [f"cut {SIDE}"]), (b"old", [])])
def test_a_record_is_durable_before_the_content_and_one_of_the_same_content_needs_no_seal(
    target: Path, journal: Journal, content: bytes, sealed: list[str]
) -> None:
    write_checksum_file(target)
    before = len(journal.events())
    write_atomic_bytes(target, content, write_checksum=True)
    events = journal.events()[before:]
    events.remove(f"flush {DATA}")
    assert events == [*CHECKED, *sealed]


def test_the_content_is_flushed_before_it_is_named(target: Path, journal: Journal) -> None:
    write_atomic_bytes(target, b"new", write_checksum=True)
    events = journal.events()
    assert events.index(f"flush {DATA}") < events.index(f"name {DATA}")


@pytest.mark.parametrize("left", ["nothing", "an unsealed record"])
def test_what_a_dead_writer_may_have_published_is_durable_before_it_is_described(
    target: Path, journal: Journal, left: str
) -> None:
    if left == "an unsealed record":
        write_checksum_file(target)
        side = target.with_name(SIDE)
        side.write_bytes(side.read_bytes() + b"# previous=sha256:" + b"1" * 64 + b"\n")
    before = len(journal.events())
    write_atomic_bytes(target, b"new", write_checksum=True)
    events = journal.events()[before:]
    events.remove(f"flush {DATA}")
    assert events == ["flush .", *CHECKED, f"cut {SIDE}"]


def test_a_record_is_gone_for_good_before_content_that_it_does_not_describe(
    target: Path, journal: Journal
) -> None:
    write_checksum_file(target)
    before = len(journal.events())
    write_atomic_bytes(target, b"new")
    assert journal.events()[before:] in (
        [f"flush {DATA}", "flush .", f"name {DATA}", "flush ."],
        ["flush .", f"flush {DATA}", f"name {DATA}", "flush ."],
    )


def test_a_recorded_checksum_is_of_flushed_content_and_flushed_itself(
    target: Path, journal: Journal
) -> None:
    inode = target.stat().st_dev, target.stat().st_ino
    write_checksum_file(target)
    journal._names[inode] = DATA
    events = journal.events()
    assert events[-3:] == [f"flush {SIDE}", f"name {SIDE}", "flush ."]
    assert f"flush {DATA}" in events[:-3]


def test_a_batch_flushes_all_contents_before_their_directory(
    target: Path, journal: Journal, guaranteed_place: None
) -> None:
    other = target.with_name("other")
    other.write_bytes(b"old")
    for path in (target, other):
        journal._names[path.stat().st_dev, path.stat().st_ino] = path.name
    results: dict[str, str | Exception] = {}
    record_checksums([str(target), str(other)], results.__setitem__)
    assert list(results.values()) == [f"{path}.sha256" for path in (target, other)]
    assert journal.events()[:3] == [f"flush {DATA}", "flush other", "flush ."]


def test_a_moved_file_is_flushed_before_it_moves(target: Path, journal: Journal) -> None:
    write_checksum_file(target)
    before = len(journal.events())
    move_atomic(target, target.with_name("moved"))
    events = journal.events()[before:]
    assert events.index("flush moved") < events.index("name moved")
    assert events.index("name moved.sha256") < events.index("name moved")
    assert "flush ." in events[events.index("name moved.sha256") : events.index("name moved")]
    assert events[-1] == "flush ."


def test_a_move_without_a_record_flushes_the_file_and_its_directory_only(
    target: Path, tmp_path: Path, take_place_for: Callable[[str], None], faults: Any
) -> None:
    take_place_for("btrfs")  # where a record would be flushed last
    own = {(each.stat().st_dev, each.stat().st_ino) for each in (target, tmp_path)}
    flushed: set[tuple[int, int]] = set()

    def note(fd: int) -> bool:
        flushed.add((os.fstat(fd).st_dev, os.fstat(fd).st_ino))
        return False

    faults.fail("fsync", errno.EIO, when=note)
    move_atomic(target, target.with_name("moved"))
    assert flushed == own


def test_a_record_that_displaced_a_stranger_s_file_is_gone_for_good(
    target: Path, journal: Journal
) -> None:
    """It stood at the name for an instant, and a crash may bring it back."""
    write_checksum_file(target)
    really, strangers = kernel.rename_exchange, iter([FORGED])

    def exchange(src: str, dst: str, *at: int) -> None:
        for forged in strangers:
            stranger = target.with_name("stranger")
            stranger.write_bytes(forged)
            stranger.rename(target.with_name(SIDE))
        really(src, dst, *at)

    kernel.rename_exchange = exchange  # type: ignore[assignment]
    before = len(journal.events())
    write_atomic_bytes(target, b"new", write_checksum=True)
    events = journal.events()[before:]
    back = [place for place, event in enumerate(events) if event.startswith("name")][1]
    assert events[back + 1] == "flush ."


@pytest.mark.parametrize("links", [True, False])
def test_without_an_exchange_what_is_kept_aside_is_durable_before_it_is_replaced(
    target: Path, journal: Journal, links: bool
) -> None:
    """Under a link it was flushed before; a copy is new."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def not_here(*_args: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    write_checksum_file(target)
    kernel.rename_exchange = not_here  # type: ignore[assignment]
    if not links:
        kernel.link = refuse
    before = len(journal.events())
    write_atomic_bytes(target, b"new", write_checksum=True, concurrency="none")
    events = journal.events()[before:]
    flushed = events[: events.index(f"name {SIDE}")]
    assert flushed.count("flush ?") == (0 if links else 1)
