"""What a stream knows of its own content, and how it ends."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from safeatomic_core import AtomicWriter, verify_checksum
from safeatomic_core._posix import kernel


class Late(Exception):  # noqa: N818 - what a program calls its time-out
    """What a signal handler raises."""


class Interrupted(io.FileIO):
    """A stream whose first change of size is done, and then interrupted."""

    times = 0

    def truncate(self, size: int | None = None, /) -> int:
        length = super().truncate(size)
        self.times += 1
        if self.times == 1:
            raise Late
        return length


def test_a_truncation_that_is_interrupted_has_happened_for_the_checksum(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raw_stream(fd: int, mode: str) -> io.RawIOBase:
        return Interrupted(fd, mode, closefd=False)

    monkeypatch.setattr(kernel, "raw_stream", raw_stream, raising=False)
    with AtomicWriter(target, write_checksum=True) as file:
        file.write(b"0123456789")
        with pytest.raises(Late):
            file.truncate(4)
    monkeypatch.undo()
    assert target.read_bytes() == b"0123"
    assert verify_checksum(target)


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
