"""Text streams over a writer: nothing is left behind in one, and nothing lost unnoticed."""

from __future__ import annotations

import gc
import io
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, SafeAtomicError, safeatomic_config, verify_checksum


class Late(Exception):  # noqa: N818 - what a program calls its time-out
    """What a signal handler raises."""


knows_who_closes = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="other interpreters do not say who closes it"
)


def test_what_each_of_several_holds_is_published(target: Path) -> None:
    with AtomicWriter(target, write_checksum=True) as file:
        first, second = file.text(), file.text("utf-16-le")
        second.write("b")
        first.write("a")
    assert target.read_bytes() == b"ab\0"  # the oldest first
    assert verify_checksum(target)


@knows_who_closes
def test_one_that_is_dropped_leaves_the_writer_open(target: Path) -> None:
    with AtomicWriter(target) as file:
        print("a", file=file.text())
        gc.collect()
        print("b", file=file.text())
        gc.collect()
        file.write(b"c")
    assert target.read_bytes() == b"a\nb\nc"


def test_one_that_was_detached_has_handed_on_what_it_held(target: Path) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        text.write("a")
        assert text.detach() is file
    assert target.read_bytes() == b"a"


def test_a_writer_that_is_closed_has_what_they_held(target: Path) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        text.write("a")
        file.close()
    assert target.read_bytes() == b"a"


def test_closing_one_closes_the_writer(target: Path) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        text.write("a")
        text.close()
        assert file.closed
    assert target.read_bytes() == b"a"


def test_what_is_held_when_the_writer_aborts_goes_nowhere(target: Path) -> None:
    file = AtomicWriter(target)
    text = file.text()
    text.write("a")
    file.abort()
    del text
    gc.collect()
    assert target.read_bytes() == b"old"


def test_the_configured_encoding_is_the_default(target: Path) -> None:
    with safeatomic_config(encoding="latin-1"), AtomicWriter(target) as file:
        file.text().write("\xfc")
    assert target.read_bytes() == b"\xfc"


def interrupting(
    monkeypatch: pytest.MonkeyPatch, file: AtomicWriter, call: Callable[[], object], *, after: bool
) -> None:
    """Let a signal handler's exception meet the writer before or after it takes what it gets."""

    def write(self: AtomicWriter, data: Any) -> int:
        if after:
            io.BufferedWriter.write(self, data)
        raise Late

    with monkeypatch.context() as patch, pytest.raises(Late):
        patch.setattr(AtomicWriter, "write", write)
        call()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["write", "flush", "tell"])
def test_text_that_an_interrupt_may_have_cost_is_not_published_without(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str, *, after: bool
) -> None:
    file = AtomicWriter(target)
    text = file.text()
    text.write("accepted")
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: text.write("x" * 100_000),
        "flush": text.flush,
        "tell": text.tell,
    }
    interrupting(monkeypatch, file, calls[call], after=after)
    text.write("more")
    with pytest.raises(SafeAtomicError, match="may be lost") as caught:
        file.commit()
    assert "the target is unchanged" in caught.value.__notes__[0]
    assert target.read_bytes() == b"old"


@knows_who_closes
@pytest.mark.parametrize("interrupt", [Late, KeyboardInterrupt, SystemExit])
def test_what_interrupts_one_that_is_dropped_arrives_with_the_commit(
    target: Path, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    """A finalizer swallows what is raised in it, a request to stop as well."""

    def write(self: AtomicWriter, data: Any) -> int:
        raise interrupt

    with pytest.raises(interrupt) as caught, AtomicWriter(target) as file:
        text = file.text()
        text.write("accepted")
        with monkeypatch.context() as patch:
            patch.setattr(AtomicWriter, "write", write)
            del text
            gc.collect()
    assert "the target is unchanged" in caught.value.__notes__[0]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("dropped", [False, True])
def test_text_that_is_held_when_raw_is_closed_is_not_left_out_silently(
    target: Path, *, dropped: bool
) -> None:
    file = AtomicWriter(target)
    text = file.text()
    text.write("accepted")
    file.raw.close()
    if dropped:
        del text
        gc.collect()
    with pytest.raises(SafeAtomicError, match="raw stream was closed"):
        file.commit()
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="nothing is dropped at once here")
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("chained", [False, True])
def test_what_interrupts_one_that_is_dropped_keeps_no_writer_alive(
    target: Path, monkeypatch: pytest.MonkeyPatch, *, committed: bool, chained: bool
) -> None:
    """Its lock would stay until a collection."""

    def write(self: AtomicWriter, data: Any) -> int:
        if not chained:
            raise Late
        try:
            raise OSError
        except OSError as error:
            raise Late from error

    file = AtomicWriter(target)
    text = file.text()
    text.write("accepted")
    gc.disable()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(AtomicWriter, "write", write)
            del text
        if committed:
            with pytest.raises(Late):
                file.commit()
        else:
            file.abort()
        left = weakref.ref(file)
        del file
        assert left() is None
    finally:
        gc.enable()


def test_an_interrupt_that_costs_no_accepted_text_does_no_harm(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        text.write("accepted")
        text.flush()
        interrupting(monkeypatch, file, lambda: text.write("x" * 100_000), after=False)
        text.write(" again")
    assert target.read_bytes() == b"accepted again"


def test_an_interrupt_before_anything_was_accepted_does_no_harm(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        interrupting(monkeypatch, file, lambda: text.write("x" * 100_000), after=False)
        text.write("again")
    assert target.read_bytes() == b"again"


def test_it_tells_what_it_took_and_where_it_is(target: Path) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        assert text.write("h\u00e9llo") == 5
        assert text.tell() == 6
    assert target.read_text(encoding="utf-8") == "h\u00e9llo"


def test_what_is_no_text_costs_nothing_else(target: Path) -> None:
    with AtomicWriter(target) as file:
        text = file.text()
        text.write("a")
        with pytest.raises(TypeError):
            text.write(b"b")  # type: ignore[arg-type]
    assert target.read_bytes() == b"a"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_text_that_cannot_be_encoded_costs_nothing_else(target: Path, encoding: str) -> None:
    with AtomicWriter(target) as file:
        text = file.text(encoding)
        text.write("a")
        with pytest.raises(UnicodeEncodeError):
            text.write("\ud800")
        text.write("b")
    assert target.read_bytes() == b"ab"
