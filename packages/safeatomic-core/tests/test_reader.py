from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from held_descriptors import take_number
from safeatomic_core import AtomicReader, ChecksumMismatchError, write_atomic_bytes
from safeatomic_core._posix import kernel
from safeatomic_core._reading import Opened


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines"
    write_atomic_bytes(path, b"one\ntwo\nthree", write_checksum=True)
    return path


@pytest.mark.parametrize("check", [False, True])
def test_it_is_a_binary_file_object(lines: Path, check: bool) -> None:
    with AtomicReader(lines, check_checksum=check) as file:
        assert isinstance(file, io.BufferedIOBase)
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert (file.name, file.mode) == (str(lines), "rb")
        assert file.readline() == b"one\n"
        assert file.readline(2) == b"tw"
        assert file.tell() == 6
        assert file.peek(1)[:1] == b"o"
        assert list(file) == [b"o\n", b"three"]
        assert file.seek(-5, io.SEEK_END) == 8
        assert file.read(2) == b"th"
        assert file.read1(2) == b"re"
        buffer = bytearray(5)
        assert file.readinto(buffer) == 1
        assert file.seek(0) == 0
        assert file.readline(None) == b"one\n"
        assert file.read() == b"two\nthree"
        assert file.read(None) == b""
        assert os.fstat(file.fileno()).st_size == 13
        assert "closed" not in repr(file)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(file)
    assert file.closed
    assert "closed" in repr(file)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_it_keeps_its_version_while_the_file_is_replaced(lines: Path) -> None:
    with AtomicReader(lines) as file:
        write_atomic_bytes(lines, b"new")
        assert file.read() == b"one\ntwo\nthree"


def test_a_file_that_is_missing_is_that_wherever_it_is(tmp_path: Path, take_place_for: Any) -> None:
    take_place_for("nfs4")
    with pytest.raises(FileNotFoundError):
        AtomicReader(tmp_path / "missing")


def test_a_mismatch_is_found_before_anything_is_handed_out(lines: Path) -> None:
    lines.write_bytes(b"one\ntwo\nthreE")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ChecksumMismatchError):
        AtomicReader(lines, check_checksum=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_writer_that_moves_on_is_followed(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, state = kernel.open, {"done": False}

    def opening(name: str, *args: Any, **options: Any) -> int:
        fd: int = real(name, *args, **options)
        if name == lines.name and not state["done"]:
            state["done"] = True
            write_atomic_bytes(lines, b"two", write_checksum=True)
            write_atomic_bytes(lines, b"three", write_checksum=True)
        return fd

    monkeypatch.setattr(kernel, "open", opening, raising=False)
    with AtomicReader(lines, check_checksum=True) as file:
        assert file.read() == b"three"


def test_a_large_file_is_verified_in_pieces(tmp_path: Path, faults: Any) -> None:
    path = tmp_path / "large"
    write_atomic_bytes(path, b"x" * 3_000_000, write_checksum=True)
    faults.calls.clear()
    with AtomicReader(path, check_checksum=True) as file:
        assert faults.calls.count("pread") > 10
        assert len(file.read()) == 3_000_000


def test_it_follows_a_link(lines: Path) -> None:
    link = lines.with_name("link")
    link.symlink_to("lines")
    with AtomicReader(link, check_checksum=True) as file:
        assert file.read(3) == b"one"


def test_a_mismatch_and_a_missing_sidecar_are_traced(lines: Path, steps: Any) -> None:
    lines.write_bytes(b"changed")
    with pytest.raises(ChecksumMismatchError):
        AtomicReader(lines, check_checksum=True)
    lines.with_name("lines.sha256").unlink()
    with pytest.raises(FileNotFoundError):
        AtomicReader(lines, check_checksum=True)
    verdicts = [facts["verdict"] for step, facts in steps if facts.get("phase") == "verdict"]
    assert verdicts == ["mismatch", "missing"]


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, faults: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    faults.fail("open", errno.EIO, when=lambda name, *_args, **_options: name == "pipe")
    with pytest.raises(OSError, match="FIFO"):
        AtomicReader(tmp_path / "pipe")


# ------------------------------------------------------- a descriptor that the program closed

ASKS_THE_FILE: dict[str, Callable[[AtomicReader], object]] = {
    "read": lambda file: file.read(4),
    "read-all": lambda file: file.read(),
    "read-none": lambda file: file.read(None),
    "read1": lambda file: file.read1(4),
    "read1-any": lambda file: file.read1(),
    "readinto": lambda file: file.readinto(bytearray(4)),
    "readinto1": lambda file: file.readinto1(bytearray(4)),
    "readline": lambda file: file.readline(),
    "readlines": lambda file: file.readlines(),
    "iteration": lambda file: list(file),
    "peek": lambda file: file.peek(),
    "seek": lambda file: file.seek(2),
    "tell": lambda file: file.tell(),
    "fileno": lambda file: file.fileno(),
    "text": lambda file: io.TextIOWrapper(file).read(),
}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    path.write_bytes(b"secret of another file" * 9000)
    return path


def reuse(file: AtomicReader, other: Path) -> int:
    """Let the program close what it finds, and open a file of its own; return its descriptor."""
    number: int = file._opened.fd  # type: ignore[union-attr]
    take_number(number, other)
    return number


@pytest.mark.parametrize("name", ASKS_THE_FILE)
def test_a_reused_number_is_not_read_from(lines: Path, other: Path, name: str) -> None:
    file = AtomicReader(lines)
    number = reuse(file, other)
    with pytest.raises(OSError, match="the program closed the descriptor of this reader") as caught:
        ASKS_THE_FILE[name](file)
    assert (caught.value.errno, caught.value.filename) == (errno.EBADF, str(lines))
    assert os.lseek(number, 0, os.SEEK_CUR) == 0
    file.close()
    os.close(number)  # is the program's still


@pytest.mark.parametrize("name", ASKS_THE_FILE)
def test_a_number_that_is_not_reused_is_refused_alike(lines: Path, name: str) -> None:
    file = AtomicReader(lines)
    os.close(file.fileno())
    with pytest.raises(OSError, match="the program closed the descriptor of this reader"):
        ASKS_THE_FILE[name](file)
    file.close()


@pytest.mark.parametrize("how", ["read", "read1", "readinto", "readline"])
def test_what_is_held_in_memory_is_handed_out_and_nothing_of_another_file(
    tmp_path: Path, other: Path, how: str
) -> None:
    data = b"".join(b"%07d line\n" % number for number in range(20_000))
    path = tmp_path / "f"
    path.write_bytes(data)
    file = AtomicReader(path)

    def piece() -> bytes:
        if how == "readinto":
            buffer = bytearray(999)
            return bytes(buffer[: file.readinto(buffer)])
        if how == "readline":
            return file.readline()
        return file.read(999) if how == "read" else file.read1(999)

    given = piece()
    number = reuse(file, other)
    with pytest.raises(OSError, match="the program closed the descriptor of this reader"):
        while more := piece():
            given += more
    assert data.startswith(given)
    assert len(given) > 60_000 or how == "read1"  # which reads nothing ahead
    assert how == "readline" or os.lseek(number, 0, os.SEEK_CUR) == 0
    file.close()
    os.close(number)


@pytest.mark.parametrize("theirs", [b"", b"theirs\n" * 40_000])
def test_a_line_that_another_file_would_end_is_not_handed_out(
    tmp_path: Path, other: Path, theirs: bytes
) -> None:
    data = b"%07d line\n" * 10_000 % tuple(range(10_000))
    path = tmp_path / "f"
    path.write_bytes(data)
    other.write_bytes(theirs)
    file = AtomicReader(path)
    given = file.readline()
    number = reuse(file, other)
    with pytest.raises(OSError, match="the program closed the descriptor of this reader"):
        while line := file.readline():
            given += line
    assert data.startswith(given)
    assert given.endswith(b"\n")
    file.close()
    os.close(number)


def test_the_last_line_is_not_ended_by_another_file(lines: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    file = AtomicReader(lines)
    assert [file.readline(), file.readline()] == [b"one\n", b"two\n"]
    number = reuse(file, empty)
    with pytest.raises(OSError, match="the program closed the descriptor of this reader"):
        file.readline()
    file.close()
    os.close(number)


def test_an_error_in_the_middle_of_a_line_names_the_file(
    lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.FileIO):
        """A file of which only the first six bytes can be read."""

        def readinto(self, buffer: Any, /) -> int:
            if self.tell():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(memoryview(buffer)[:6])

    def raw_stream(fd: int, mode: str) -> io.RawIOBase:
        return Failing(fd, mode, closefd=False)

    monkeypatch.setattr(kernel, "raw_stream", raw_stream, raising=False)
    with AtomicReader(lines) as file:
        assert file.readline() == b"one\n"
        with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
            file.readline()
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(lines))


def test_the_descriptor_is_looked_at_once_for_each_part_that_is_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a line\n" * 40_000)
    looks: list[int] = []
    really = kernel.fstat

    def fstat(fd: int) -> os.stat_result:
        looks.append(fd)
        return really(fd)

    with AtomicReader(path) as file:
        monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
        assert sum(1 for _ in file) == 40_000
        assert len(looks) < 12
        file.seek(0)
        looks.clear()
        while file.read(100):
            pass
        assert len(looks) < 12
        monkeypatch.undo()


def read_into(file: AtomicReader, size: int) -> bytes:
    buffer = bytearray(size)
    assert file.readinto(buffer) == size
    return bytes(buffer)


@pytest.mark.parametrize("read", [AtomicReader.read, AtomicReader.read1, read_into])
@pytest.mark.parametrize("size", [0, 9])
def test_up_to_the_last_byte_that_is_held_no_call_of_the_system_is_made(
    lines: Path, faults: Any, read: Callable[[AtomicReader, int], bytes], size: int
) -> None:
    with AtomicReader(lines) as file:
        assert file.readline() == b"one\n"
        faults.calls.clear()
        assert read(file, size) == b"two\nthree"[:size]
        assert faults.calls == []


@pytest.fixture
def interrupted_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an interrupt come before the first thing that is closed is."""
    really, calls = Opened.close, []

    def close(opened: Opened) -> None:
        calls.append(opened)
        if len(calls) == 1:
            raise KeyboardInterrupt
        really(opened)

    monkeypatch.setattr(Opened, "close", close)


@pytest.mark.usefixtures("interrupted_close")
def test_an_interrupt_as_it_is_closed_leaves_nothing_open(lines: Path) -> None:
    file = AtomicReader(lines)
    number = file.fileno()
    with pytest.raises(KeyboardInterrupt):
        file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.usefixtures("interrupted_close")
def test_an_interrupt_as_one_that_failed_is_closed_leaves_nothing_open(
    lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def raw_stream(fd: int, _mode: str) -> io.RawIOBase:
        opened.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(kernel, "raw_stream", raw_stream, raising=False)
    with pytest.raises(KeyboardInterrupt):
        AtomicReader(lines)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_an_interrupted_call_leaves_no_belief_in_what_is_held(
    lines: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Exception):  # noqa: N818 - what a program calls its time-out
        pass

    def interrupt(_fd: int) -> None:
        raise Late

    file = AtomicReader(lines)
    assert file.read(4) == b"one\n"
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "fstat", interrupt, raising=False)
        with pytest.raises(Late):
            file.read(100)
    number = reuse(file, other)
    with pytest.raises(OSError, match="the program closed"):
        file.read(1)
    file.close()
    os.close(number)
