from __future__ import annotations

import errno
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicReader, ChecksumMismatchError, write_atomic_bytes
from safeatomic_core._posix import kernel


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
