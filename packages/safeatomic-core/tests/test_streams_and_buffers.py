"""Streams of both directions, and the odd buffers, descriptors and moments that they meet."""

from __future__ import annotations

import csv
import ctypes
import errno
import gc
import io
import json
import logging
import mmap
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicReader,
    AtomicWriter,
    _abandoned,
    _digests,
    _log,
    _reader,
    read_atomic,
    verify_checksum,
    write_atomic,
    write_atomic_bytes,
)
from safeatomic_core._digests import HashAside
from safeatomic_core._options import Policy, check_data
from safeatomic_core._posix import kernel
from safeatomic_core._protocol import Write

Listing = Callable[[], list[str]]


# ------------------------------------------------------------------------------------------ text


def test_text_that_a_wrapper_still_holds_is_published(target: Path) -> None:
    with AtomicWriter(target, write_checksum=True) as file:
        text = file.text()
        csv.writer(text).writerow(["a", "ü"])
        json.dump({"b": 1}, text)
        print("c", file=text)
    assert target.read_text("utf-8").split() == ["a,ü", '{"b":', "1}c"]
    assert verify_checksum(target)


def test_a_wrapper_that_was_dropped_or_closed_has_written_already(target: Path) -> None:
    with AtomicWriter(target) as file:
        file.text(encoding="latin-1", newline="").write("ü\n")
    assert target.read_bytes() == b"\xfc\n"
    with AtomicWriter(target) as file, file.text() as text:
        text.write("closed")
    assert target.read_bytes() == b"closed"


def test_logging_writes_through_a_writer(target: Path) -> None:
    logger = logging.getLogger("a logger of the test's own")
    with AtomicWriter(target) as file:
        handler = logging.StreamHandler(file.text())
        logger.addHandler(handler)
        logger.warning("said")
        logger.removeHandler(handler)
    assert target.read_bytes() == b"said\n"


# ------------------------------------------------------------------------------ the stream itself


def test_what_is_underneath_stays_with_the_stream(target: Path) -> None:
    with AtomicWriter(target, write_checksum=True) as file:
        with pytest.raises(io.UnsupportedOperation, match="detached"):
            file.detach()
        file.write(b"buffered ")
        file.flush()
        file.raw.write(b"directly")
        file.close()
        file.flush()  # of a closed stream: nothing
    assert target.read_bytes() == b"buffered directly"
    assert verify_checksum(target)
    file.flush()  # of a decided one, too
    with AtomicReader(target) as reader:
        with pytest.raises(io.UnsupportedOperation, match="detached"):
            reader.detach()
        assert (reader.name, reader.mode) == (str(target), "rb")


def test_the_position_is_the_kernels(target: Path) -> None:
    with AtomicWriter(target) as file:
        os.write(file.fileno(), b"twelve bytes")
        assert file.tell() == 12


def test_a_mode_that_is_set_through_the_descriptor_stays(target: Path) -> None:
    with AtomicWriter(target) as file:
        os.fchmod(file.fileno(), 0o604)
        assert file.fileno() == file.fileno()
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    with AtomicWriter(target.with_name("new"), mode=0o640) as file:
        os.fchmod(file.fileno(), 0o600)
    assert stat.S_IMODE(target.with_name("new").stat().st_mode) == 0o600
    with AtomicWriter(target) as file:
        file.fileno()
    assert stat.S_IMODE(target.stat().st_mode) == 0o604


def test_a_writer_whose_temp_cannot_be_asked_is_dropped_in_silence(
    target: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Write(target, Policy(concurrency="none"))
    write.gate()
    write.stage()

    def fail(_fd: int) -> Any:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "fstat", fail, raising=False)
        assert write.holds_content() is False
    _abandoned.disarm(None)
    write.undo()
    write.close()
    assert not caplog.records


def test_content_that_is_thrown_away_is_said_in_the_log(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def drop() -> None:
        AtomicWriter(target).write(b"x" * 200_000)

    with pytest.warns(ResourceWarning, match="dropped undecided"):
        drop()
        for _ in range(3):  # where a reference count does not end it
            gc.collect()
    assert "what was written to it is lost" in caplog.text
    assert target.read_bytes() == b"old"


@pytest.fixture
def failing_reader(target: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AtomicReader]:
    """A reader whose disk fails once it is open."""

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _buffer: object, /) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(kernel, "raw_stream", lambda _fd, _mode: Broken(), raising=False)
    with AtomicReader(target) as reader:
        yield reader


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.read(3),
        lambda reader: reader.read1(3),
        lambda reader: reader.readinto(bytearray(3)),
        lambda reader: reader.readline(),
    ],
)
def test_an_error_of_a_read_names_the_file(
    failing_reader: AtomicReader, target: Path, read: Callable[[AtomicReader], object]
) -> None:
    with pytest.raises(OSError, match="error") as caught:
        read(failing_reader)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(target))


def test_an_error_that_names_a_file_or_has_no_number_is_left_alone(target: Path) -> None:
    with AtomicReader(target) as reader:
        for error in (OSError(2, "no", "other"), io.UnsupportedOperation("write")):
            assert reader._named(error) is error


def test_a_reader_that_cannot_be_made_closes_what_it_opened(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    AtomicReader(target).close()  # what is opened once stays
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(kernel, "raw_stream", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        AtomicReader(target)
    assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------ names, sizes


def test_a_file_that_is_longer_than_one_call_reads_is_read_whole(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reader, "_LONGEST_READ", 2)
    write_atomic_bytes(target, b"longer than two")
    assert read_atomic(target) == "longer than two"


def test_what_was_opened_must_be_a_regular_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(target.with_name("fifo"))
    really = kernel.open

    def swapped(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        return really("fifo" if path == "data.bin" else path, flags, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", swapped, raising=False)
    with pytest.raises(OSError, match="FIFO"):
        read_atomic(target)


def test_links_that_are_replaced_while_they_are_followed_are_followed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "f").write_text(version)
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "f").symlink_to("data/f")
    really, swaps = kernel.open, list[str]()

    def swap(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "f" and not swaps:
            swaps.append(path)
            (tmp_path / "v1" / "f").unlink()
            (tmp_path / "next").symlink_to("v2")
            (tmp_path / "next").rename(tmp_path / "data")
        return really(path, flags, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", swap, raising=False)
    assert read_atomic(tmp_path / "f") == "v2"
    (tmp_path / "v2" / "f").unlink()
    with pytest.raises(FileNotFoundError):
        read_atomic(tmp_path / "f")


def test_open_files_without_a_name_are_refused_as_what_they_are(
    tmp_path: Path, listing: Listing
) -> None:
    reader, writer = os.pipe()
    deleted = os.open(tmp_path / "gone", os.O_RDWR | os.O_CREAT)
    (tmp_path / "gone").unlink()
    (tmp_path / "real").write_text("old")
    named = os.open(tmp_path / "real", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="FIFO"):
            write_atomic(f"/proc/self/fd/{writer}", "x")
        with pytest.raises(OSError, match="deleted"):
            write_atomic(f"/proc/self/fd/{deleted}", "x")
        write_atomic(f"/proc/self/fd/{named}", "new")
    finally:
        for fd in (reader, writer, deleted, named):
            os.close(fd)
    assert listing() == ["real"]
    assert (tmp_path / "real").read_text() == "new"


def test_a_file_that_appears_where_a_link_leads_is_no_open_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to("there")
    really = kernel.stat

    def just_made(path: Any, **kwargs: Any) -> os.stat_result:
        if path == str(tmp_path / "link"):
            (tmp_path / "there").write_text("another program's")
        return really(path, **kwargs)

    monkeypatch.setattr(kernel, "stat", just_made, raising=False)
    write_atomic(tmp_path / "link", "x")
    assert (tmp_path / "there").read_text() == "x"


def test_a_link_that_leads_nowhere_is_made_a_file_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    write_atomic(tmp_path / "link", "x")
    assert (tmp_path / "there").read_text() == "x"


# ------------------------------------------------------------------------------------------ buffers


class Silent:
    """Exports nothing."""


def test_an_object_without_bytes_is_refused() -> None:
    with pytest.raises(TypeError, match="Silent"):
        check_data(Silent())


def test_a_view_that_is_no_row_of_bytes_is_copied() -> None:
    assert check_data(memoryview(bytes(8)).cast("B", (2, 4))) == bytes(8)
    assert check_data(bytearray()) == b""

    class Pair(ctypes.Structure):
        _fields_ = (("a", ctypes.c_uint8), ("b", ctypes.c_uint16))

    assert check_data(Pair(1, 2)) == bytes(Pair(1, 2))
    with pytest.raises(TypeError, match="contiguous"):  # a plain file does not take it either
        check_data(memoryview(b"abcdef")[::2])


def test_a_failed_write_holds_no_buffer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), mmap.mmap(-1, 10) as data:
        write_atomic_bytes(tmp_path / "missing" / "f", data)  # type: ignore[arg-type]
    grown = bytearray()
    write_atomic_bytes(tmp_path / "f", grown)
    grown += b"x"
    write_atomic_bytes(tmp_path / "f", grown)
    grown += b"y"
    with AtomicWriter(tmp_path / "f", write_checksum=True) as file:
        file.write(grown)
        grown += b"z"
    assert (tmp_path / "f").read_bytes() == b"xy"


@pytest.mark.parametrize("mode", [True, "0600", 0o600 + 0.5])
def test_a_mode_of_another_type_is_refused(target: Path, mode: object) -> None:
    with pytest.raises(TypeError, match="mode must be an int"):
        write_atomic(target, "x", mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [-1, 0o1777, stat.S_IFREG | 0o600])
def test_a_mode_with_other_bits_is_refused(target: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="permission bits"):
        write_atomic(target, "x", mode=mode)
    assert target.read_bytes() == b"old"


# ------------------------------------------------------------------------- what cannot be had late


def test_a_large_content_is_hashed_at_once_where_no_thread_can_be_had(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_digests, "start_new_thread", refuse)
    write_atomic_bytes(target, bytes(300_000), write_checksum=True)
    assert verify_checksum(target)


def test_a_hash_that_fails_aside_fails_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hash:
        def update(self, _data: object) -> None:
            raise BufferError

    def at_once(work: Callable[..., None], args: tuple[object, ...]) -> None:
        work(*args)

    monkeypatch.setattr(_digests, "new_hash", lambda _algo: Hash())
    monkeypatch.setattr(_digests, "start_new_thread", at_once)
    with pytest.raises(BufferError):
        HashAside(b"x", "sha256").hexdigest()


def test_where_nothing_can_be_imported_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("logging", "warnings"):
        monkeypatch.setitem(sys.modules, name, None)
    _log.warning("x")
    _log.warn("x", UserWarning)


def test_an_interrupt_of_the_second_kind_arrives(target: Path) -> None:
    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt), AtomicWriter(target) as file:
            file.write(b"x")
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert target.read_bytes() == b"old"
