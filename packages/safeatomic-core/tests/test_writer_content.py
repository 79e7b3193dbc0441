"""What a stream knows of its own content, and how it ends."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, SafeAtomicError, verify_checksum
from safeatomic_core._posix import kernel


class Late(Exception):  # noqa: N818 - what a program calls its time-out
    """What a signal handler raises."""


class Interrupted(io.FileIO):
    """A stream of which the first call of each kind is done, and then interrupted."""

    def __init__(self, fd: int, mode: str) -> None:
        super().__init__(fd, mode, closefd=False)
        self.done: set[str] = set()

    def interrupt(self, call: str) -> None:
        if call not in self.done:
            self.done.add(call)
            raise Late

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        if count > 100:
            self.interrupt("write")
        return count

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position = super().seek(offset, whence)
        self.interrupt("seek")
        return position

    def truncate(self, size: int | None = None, /) -> int:
        length = super().truncate(size)
        self.interrupt("truncate")
        return length


@pytest.mark.parametrize(
    ("change", "content"),
    [
        (lambda file: file.write(b"x" * 1_000_000), b"0123456789" + b"x" * 1_000_000 + b"XX"),
        (lambda file: file.seek(2), b"01XX456789"),
        (lambda file: file.truncate(4), b"0123\0\0\0\0\0\0XX"),
    ],
    ids=["write", "seek", "truncate"],
)
def test_a_change_that_is_interrupted_has_happened_for_the_checksum(
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[AtomicWriter], object],
    content: bytes,
) -> None:
    monkeypatch.setattr(kernel, "raw_stream", Interrupted, raising=False)
    with AtomicWriter(target, write_checksum=True) as file:
        file.write(b"0123456789")
        with pytest.raises(Late):
            change(file)
        file.write(b"XX")
    monkeypatch.undo()
    assert target.read_bytes() == content
    assert verify_checksum(target)


def test_a_buffer_that_is_exactly_full_has_cost_no_call_of_the_system(
    target: Path, faults: Any
) -> None:
    with AtomicWriter(target) as file:
        faults.calls.clear()
        for _ in range(1024):
            file.write(b"x" * 128)
        assert faults.calls == []
        file.write(b"x")
        assert faults.calls != []
    assert target.read_bytes() == b"x" * 131_073


def test_a_stream_that_is_closed_looks_at_its_descriptor_once(target: Path, faults: Any) -> None:
    with AtomicWriter(target) as file:
        file.write(b"new")
        faults.calls.clear()
        file.close()
        assert faults.calls == ["fstat", "write"]


def test_a_stream_whose_descriptor_the_program_closed_can_be_closed(target: Path) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    os.close(file.fileno())
    file.close()
    assert file.closed
    file.abort()
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("content", [b"", b"twelve bytes"])
def test_the_size_of_what_was_written_is_traced(
    target: Path, steps: list[tuple[str, dict[str, object]]], content: bytes
) -> None:
    with AtomicWriter(target) as file:
        file.write(content)
    assert [facts for step, facts in steps if step == "Fill"] == [{"bytes": len(content)}]


@pytest.mark.parametrize("end", [AtomicWriter.abort, AtomicWriter.commit])
def test_what_is_decided_is_closed(target: Path, end: Callable[[AtomicWriter], None]) -> None:
    file = AtomicWriter(target)
    raw = file.raw
    file.write(b"new")
    end(file)
    assert file.closed
    assert raw.closed


@pytest.mark.parametrize("write_checksum", [False, True])
def test_what_was_not_flushed_before_raw_was_closed_is_not_left_out_silently(
    target: Path, listing: Callable[[], list[str]], write_checksum: bool
) -> None:
    file = AtomicWriter(target, write_checksum=write_checksum)
    file.write(b"new")
    file.raw.close()
    with pytest.raises(SafeAtomicError, match="raw stream was closed"):
        file.commit()
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_what_an_interrupt_of_close_kept_back_is_not_left_out_silently(
    target: Path, listing: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flush(_self: AtomicWriter) -> None:
        raise Late

    file = AtomicWriter(target)
    file.write(b"new")
    with monkeypatch.context() as patch, pytest.raises(Late):
        patch.setattr(AtomicWriter, "flush", flush)
        file.close()
    with pytest.raises(SafeAtomicError, match="raw stream was closed"):
        file.commit()
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_what_was_flushed_before_raw_was_closed_is_published(target: Path) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    file.flush()
    file.raw.close()
    file.commit()
    assert target.read_bytes() == b"new"


def test_a_buffer_that_was_hashed_is_free_while_an_error_is_handled(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        """A hash that a signal handler's exception meets."""

        def update(self, _data: object) -> None:
            raise Late

    data = bytearray(b"x" * 10)
    file = AtomicWriter(target, write_checksum=True)
    monkeypatch.setattr(file, "_hash", Refusing())
    with pytest.raises(Late) as caught:
        file.write(data)
    data.clear()  # which is refused while a view shows it
    assert caught.value.__traceback__ is not None
    file.abort()
    assert os.listdir(target.parent) == ["data.bin"]
