"""Streams of both directions, and the odd buffers, descriptors and moments that they meet."""

from __future__ import annotations

import csv
import errno
import gc
import io
import json
import logging
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
    read_atomic_bytes,
    verify_checksum,
    write_atomic,
    write_atomic_bytes,
)
from safeatomic_core._digests import HashAside
from safeatomic_core._options import Policy
from safeatomic_core._posix import kernel
from safeatomic_core._protocol import Write

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
    with AtomicWriter(target) as file:
        os.fchmod(file.fileno(), 0o600)  # as the temp has it
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


USES: dict[str, Callable[[AtomicWriter], object]] = {
    "commit": lambda file: file.commit(),
    "write": lambda file: file.write(b"buffered" * 100_000),
    "small writes": lambda file: [file.write(b"buffered") for _ in range(100_000)],
    "a view": lambda file: file.write(memoryview(b"buffered" * 100_000)),
    "flush": lambda file: file.flush(),
    "seek": lambda file: file.seek(0),
    "truncate": lambda file: file.truncate(0),
    "fileno": lambda file: file.fileno(),
    "raw": lambda file: file.raw.write(b"buffered"),
    "text": lambda file: print("buffered", file=file.text(), flush=True),
}


@pytest.mark.parametrize("decision", [*USES, "abort", "drop"])
@pytest.mark.parametrize("opened", [0, 30])
@pytest.mark.parametrize("checked", [False, True])
def test_descriptors_that_the_program_closed_are_neither_used_nor_closed_again(
    target: Path, tmp_path: Path, checked: bool, decision: str, opened: int
) -> None:
    if checked:
        write_atomic(target, "old", write_checksum=True)
    pid = os.fork()
    if pid == 0:
        try:
            verify_checksum(target, "0" * 64)  # what is loaded late is loaded now
            file = AtomicWriter(target, write_checksum=checked)
            reader = AtomicReader(target, check_checksum=checked)
            file.write(b"buffered")
            os.closerange(3, 256)
            mine = [os.open(tmp_path / f"mine{n}", os.O_RDWR | os.O_CREAT) for n in range(opened)]
            for fd in mine:
                os.write(fd, b"mine")
            reader.close()
            if decision in USES:
                with pytest.raises(OSError, match="descriptor"):
                    USES[decision](file)
                with pytest.raises((OSError, ValueError)):
                    file.commit()
            elif decision == "abort":
                file.abort()
            else:
                del file
                gc.collect()
            # What the test's own output goes to may have been closed as well.
            found = [os.pread(fd, 999_999, 0) for fd in mine]
            untouched = all(b"mine" in one and b"buffered" not in one for one in found)
        except BaseException:
            os._exit(2)
        os._exit(0 if untouched else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert read_atomic_bytes(target, check_checksum=checked) == b"old"
    write_atomic(target, "next")  # takes what was left over, and clears up


def test_a_writer_whose_temp_cannot_be_asked_is_dropped_in_silence(
    target: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Write(target, Policy.of(concurrency="none"))
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


# ------------------------------------------------------------------------- what cannot be had late


def test_a_large_content_is_hashed_at_once_where_no_thread_can_be_had(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_digests, "_start_joinable", None)
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
    monkeypatch.setattr(_digests, "_start_joinable", None)
    monkeypatch.setattr(_digests, "start_new_thread", at_once)
    aside = HashAside("sha256")
    aside.start(b"x")
    with pytest.raises(BufferError):
        aside.hexdigest()


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
