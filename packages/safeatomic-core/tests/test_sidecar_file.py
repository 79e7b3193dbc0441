"""What stands at a sidecar's name, and what each call makes of it: the table of the protocol."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    ChecksumMismatchError,
    SafeAtomicError,
    get_checksum_info,
    move_atomic,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._digests import hash_bytes
from safeatomic_core._posix import kernel
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target
from sidecar_contents import FOREIGN, LISTS, NEW, NO_RECORD, OLD, OTHER, OURS

Make = Callable[[Path], None]


def directory(side: Path) -> None:
    side.mkdir()


def link(side: Path) -> None:
    side.with_name("manifest").write_text(OURS["sealed"])
    side.symlink_to("manifest")


def dangling_link(side: Path) -> None:
    side.symlink_to("missing")


def fifo(side: Path) -> None:
    os.mkfifo(side)


def a_socket(side: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(side.parent)  # the name of a socket has a hundred bytes at most
    try:
        listener.bind(side.name)
    finally:
        os.chdir(here)
        listener.close()


KINDS: list[Make] = [directory, link, dangling_link, fifo, a_socket]


@pytest.fixture
def side(target: Path) -> Path:
    target.with_name("alias").symlink_to(target.name)
    return target.with_name("data.bin.sha256")


def checked_write(path: Path) -> None:
    write_atomic_bytes(path, b"x", write_checksum=True)


def look(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
    return status.st_ino, status.st_mode, status.st_mtime_ns, content


@pytest.mark.parametrize("kind", OURS)
def test_ours_is_verified_and_replaced_and_retired(target: Path, side: Path, kind: str) -> None:
    side.write_text(OURS[kind])
    assert verify_checksum(target)
    assert read_atomic_bytes(target, check_checksum=True) == b"old"
    assert get_checksum_info(target) is not None
    write_checksum_file(target)
    assert side.read_text() == OURS["sealed"]
    side.write_text(OURS[kind])
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert side.read_text() == f"{NEW}  data.bin\n"
    write_atomic_bytes(target, b"old")
    assert not side.exists()
    assert not [name for name in os.listdir(target.parent) if name.startswith(".safeatomic")]


@pytest.mark.parametrize("kind", NO_RECORD)
def test_no_record_is_left_or_replaced(target: Path, side: Path, kind: str) -> None:
    side.write_text(NO_RECORD[kind])
    before = look(side)
    for ask in (verify_checksum, get_checksum_info):
        with pytest.raises(SafeAtomicError, match="is empty"):
            ask(target)
    write_atomic_bytes(target, b"new")
    assert look(side) == before
    write_atomic_bytes(target, b"old", write_checksum=True)
    assert verify_checksum(target)


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_is_read_and_left(
    target: Path, side: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    side.write_text(LISTS[kind])
    before = look(side)
    assert verify_checksum(target)
    info = get_checksum_info(target)
    assert info is not None
    assert info.hash == OLD
    for call in (write_checksum_file, checked_write):
        with pytest.raises(FileExistsError, match="move that away") as caught:
            call(target)
        assert caught.value.filename == str(side)
        assert target.read_bytes() == b"old"
    write_atomic_bytes(target, b"new")
    assert [one.levelname for one in caplog.records if "goes stale" in one.message] == ["WARNING"]
    assert look(side) == before
    with pytest.raises(ChecksumMismatchError):
        read_atomic_bytes(target, check_checksum=True)


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_program_s_file_is_left_and_no_verdict(
    target: Path, side: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    side.write_text(FOREIGN[kind])
    before = look(side)
    for ask in (verify_checksum, get_checksum_info):
        with pytest.raises(SafeAtomicError, match="is not a checksum sidecar of this file: it"):
            ask(target)
    for call in (write_checksum_file, checked_write):
        with pytest.raises(FileExistsError):
            call(target)
    caplog.set_level(logging.INFO)
    write_atomic_bytes(target, b"new")
    assert "is left as it is" in caplog.text
    assert look(side) == before
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_is_no_file_is_left(target: Path, side: Path, make: Make) -> None:
    make(side)
    before = look(side)
    for ask in (verify_checksum, get_checksum_info):
        with pytest.raises(SafeAtomicError, match="it is a "):
            ask(target)
    for call in (write_checksum_file, checked_write):
        with pytest.raises(FileExistsError):
            call(target)
    write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert look(side) == before
    move_atomic(target, target.with_name("moved"))
    assert look(side) == before


def test_a_pair_that_was_renamed_by_hand_says_so(target: Path, side: Path) -> None:
    side.write_text(FOREIGN["another file"])
    with pytest.raises(SafeAtomicError, match=r"'renamed' .*renaming a file and its sidecar by"):
        verify_checksum(target)


def test_an_unreadable_sidecar_is_its_error_or_left_with_a_warning(
    target: Path, side: Path, faults: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr("safeatomic_core._verification._REFUSED_DELAY", 0)
    side.write_text(OURS["sealed"])
    before = look(side)
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: str(name).endswith(".sha256"))
    for call in (
        verify_checksum,
        get_checksum_info,
        write_checksum_file,
        checked_write,
    ):
        with pytest.raises(PermissionError) as caught:
            call(target)
        assert caught.value.filename == str(side)
    write_atomic_bytes(target, b"new")
    left = [one.levelname for one in caplog.records if "left as it is" in one.message]
    assert left == ["WARNING"]
    assert look(side) == before


def test_a_name_that_leads_nowhere_is_another_file_s(target: Path, side: Path) -> None:
    side.write_text(f"{OLD}  missing\n")
    with pytest.raises(SafeAtomicError, match="another file"):
        verify_checksum(target)
    target.unlink()
    side.write_text(f"{OLD}  alias\n")
    with pytest.raises(FileExistsError):
        write_atomic_bytes(target, b"new", write_checksum=True)


@pytest.mark.parametrize("length", [249, 250])
def test_a_name_with_no_room_for_a_sidecar_has_none(tmp_path: Path, length: int) -> None:
    path, short = tmp_path / ("n" * length), tmp_path / "short"
    write_atomic_bytes(path, b"x")
    assert get_checksum_info(path) is None
    for reading in (verify_checksum, partial(read_atomic_bytes, check_checksum=True)):
        with pytest.raises(FileNotFoundError, match="no room for one") as refused:
            reading(path)
        assert "write_checksum_file" not in str(refused.value)
    move_atomic(path, short)
    with pytest.raises(FileNotFoundError, match="write_checksum_file"):
        verify_checksum(short)
    move_atomic(short, path)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(path, b"y", write_checksum=True)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == [path.name]


def test_an_algorithm_this_python_lacks_is_no_mismatch(target: Path, side: Path) -> None:
    side.write_text(f"{OTHER}  data.bin\n# algo=whirlpool9\n")
    with pytest.raises(SafeAtomicError, match="whirlpool9"):
        read_atomic_bytes(target, check_checksum=True)
    side.write_text(f"{OTHER}  data.bin\n# algo=whirlpool9\n# previous=sha256:{OLD}\n")
    assert read_atomic_bytes(target, check_checksum=True) == b"old"
    side.write_text(f"WHIRLPOOL (data.bin) = {OTHER}{OTHER}\n")
    with pytest.raises(SafeAtomicError, match="whirlpool"):
        verify_checksum(target)


def test_a_list_may_hold_lines_that_no_algorithm_makes(target: Path, side: Path) -> None:
    side.write_text(f"{'a' * 66}  data.bin\n{OLD}  data.bin\n")
    assert verify_checksum(target)


def test_what_follows_the_first_nul_of_a_list_does_not_count(target: Path, side: Path) -> None:
    side.write_text(f"{OTHER}  a\n\0" + f"{OLD}  data.bin\n" * 10_000)
    with pytest.raises(SafeAtomicError, match="does not name this file"):
        verify_checksum(target)


def test_a_sidecar_that_goes_while_a_stream_is_written_is_looked_for_again(
    target: Path, side: Path
) -> None:
    write_checksum_file(target)
    with AtomicWriter(target, write_checksum=True) as file:
        file.write(b"new")
        side.unlink()
    assert verify_checksum(target)


def test_a_list_that_comes_while_a_stream_is_written_stops_it(target: Path, side: Path) -> None:
    with pytest.raises(FileExistsError), AtomicWriter(target, write_checksum=True) as file:
        file.write(b"new")
        side.write_text(LISTS["of several"])
    assert target.read_bytes() == b"old"
    assert side.read_text() == LISTS["of several"]


def test_a_sidecar_is_held_once_however_often_it_is_asked(
    target: Path, side: Path, locate: Callable[[str | Path], Target]
) -> None:
    write_checksum_file(target)
    place = locate(target)
    mine, other = Sidecar(place, "sha256"), Sidecar(place, "sha256")
    assert mine.hold()
    assert mine.hold()
    assert not other.hold()
    mine.close()
    assert other.hold()
    other.close()
    place.close()


@pytest.mark.parametrize("line", ["{digest}  a\\b", "\\{digest}  a\\\\b", "SHA256(a\\b)= {digest}"])
def test_a_list_names_a_file_with_a_backslash_escaped_or_as_it_is(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "a\\b"
    path.write_bytes(b"x")
    other = f"{'0' * 64}  other"
    text = f"{other}\n{line.format(digest=hash_bytes(b'x', 'sha256'))}\n"
    path.with_name("a\\b.sha256").write_text(text)
    assert verify_checksum(path)
    path.write_bytes(b"y")
    assert not verify_checksum(path)


@pytest.mark.parametrize("directory", ["/srv/data/", "../x/", ".//", "./../"])
def test_a_path_in_the_line_is_not_called_another_file(
    target: Path, side: Path, directory: str
) -> None:
    side.write_text(f"{'a' * 64}  {directory}{target.name}\n")
    shown = re.escape(f"it gives a path, '{directory}{target.name}', instead of this file's own")
    with pytest.raises(SafeAtomicError, match=shown):
        verify_checksum(target)
    with pytest.raises(FileExistsError, match=shown):
        write_checksum_file(target)
    side.write_text(f"{'a' * 64}  /srv/data/other\n")
    with pytest.raises(SafeAtomicError, match="describes another file"):
        verify_checksum(target)


@pytest.mark.parametrize(
    "change",
    [
        write_atomic_bytes,
        lambda path, _data: move_atomic(path, path.with_name("moved")),
        lambda path, data: move_atomic(new(path, data), path, force=True),
    ],
    ids=["write", "move", "move-onto"],
)
def test_the_writer_of_a_fifo_goes_on_waiting_for_a_reader(
    target: Path, side: Path, change: Callable[[Path, bytes], None]
) -> None:
    os.mkfifo(side)
    really, opened = kernel.open, []

    def opening(name: str, *args: Any, **options: Any) -> int:
        opened.append(name)
        return really(name, *args, **options)

    kernel.open = opening  # type: ignore[assignment]
    try:
        change(target, b"new")
    finally:
        del kernel.open
    assert opened
    assert side.name not in opened
    assert stat.S_ISFIFO(side.lstat().st_mode)


def new(path: Path, data: bytes) -> Path:
    """Return another file, with this content."""
    other = path.with_name("other")
    other.write_bytes(data)
    return other
