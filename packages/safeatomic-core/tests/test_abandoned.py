"""Writers that nobody decided, wherever and whenever they are dropped."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    _abandoned,
    _trace,
    _writer,
    is_locked,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel
from safeatomic_core._protocol import Write

Listing = Callable[[], list[str]]
WARNED = "was dropped undecided and aborted; what was written to it is lost"


def collect() -> None:
    """Collect what is dropped, and what its finalizers drop (PyPy takes a round for each)."""
    for _ in range(3):
        gc.collect()


def test_a_dropped_writer_aborts_and_warns(target: Path, listing: Listing) -> None:
    watched = len(_abandoned._guards)
    file = AtomicWriter(target)
    file.write(b"new")
    with pytest.warns(ResourceWarning, match="dropped undecided"):
        del file
        collect()
    assert len(_abandoned._guards) == watched
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


class Cyclic(AtomicWriter):
    """A writer that only the collector of garbage finds."""

    def __init__(self, path: Path) -> None:
        self.me = self
        super().__init__(path)


@pytest.mark.parametrize("kind", [AtomicWriter, Cyclic])
def test_a_writer_dropped_while_it_is_made_aborts(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch, kind: type[AtomicWriter]
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    # As if it came where no handler of ours is in force yet.
    monkeypatch.setattr(AtomicWriter, "_failed", lambda _self, error: error)
    monkeypatch.setattr(kernel, "raw_stream", interrupt, raising=False)
    with pytest.warns(ResourceWarning, match="dropped undecided"):
        with pytest.raises(KeyboardInterrupt) as caught:
            kind(target)
        del caught
        collect()
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize(("size", "lost"), [(0, False), (1, True), (200_000, True)])
def test_content_that_is_thrown_away_is_said_in_the_log(
    target: Path, caplog: pytest.LogCaptureFixture, size: int, lost: bool
) -> None:
    def drop() -> None:
        AtomicWriter(target).write(b"x" * size)

    with pytest.warns(ResourceWarning, match="dropped undecided"):
        drop()
        for _ in range(3):  # where a reference count does not end it
            gc.collect()
    assert ("what was written to it is lost" in caplog.text) == lost
    assert target.read_bytes() == b"old"


def test_what_a_cycle_throws_away_is_said_in_the_log_however_little(
    target: Path, listing: Listing, caplog: pytest.LogCaptureFixture
) -> None:
    def drop() -> None:
        file = AtomicWriter(target)
        file.write(b"a")
        file.cycle = file  # type: ignore[attr-defined]

    with pytest.warns(ResourceWarning, match="dropped undecided"):
        drop()
        collect()
    assert WARNED in caplog.text
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("closed", ["close", "raw", "descriptor"])
def test_a_closed_stream_that_is_dropped_undecided_aborts(
    target: Path, listing: Listing, closed: str, cycle: bool
) -> None:
    file = AtomicWriter(target)
    if cycle:
        file.cycle = file  # type: ignore[attr-defined]
    file.write(b"new")
    if closed == "descriptor":
        os.close(file.fileno())
        file.close()
    elif closed == "raw":
        file.flush()
        file.raw.close()
    else:
        file.close()
    with pytest.warns(ResourceWarning, match="dropped undecided"):
        del file
        collect()
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]
    assert not is_locked(target)


def drop(_writer: AtomicWriter) -> None:
    """Leave it as it is."""


@pytest.mark.filterwarnings("ignore:.*dropped undecided:ResourceWarning")
@pytest.mark.parametrize("end", [drop, AtomicWriter.abort])
def test_a_commit_that_nothing_ended_is_undone_with_the_writer(
    target: Path,
    listing: Listing,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[AtomicWriter], None],
) -> None:
    """The announced checksum says what the old one said, though the writer could not undo it."""

    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    def cut_short() -> None:
        file = AtomicWriter(target, write_checksum=True)
        file.write(b"new")
        with monkeypatch.context() as patch:
            # As if others came before the handler of the first, and before what ends it.
            patch.setattr(AtomicWriter, "_failed", lambda _self, error: error)
            patch.setattr(AtomicWriter, "_decide", interrupt)
            patch.setattr(Write, "publish", interrupt)
            with pytest.raises(KeyboardInterrupt):
                file.commit()
        assert record.read_bytes() != recorded
        end(file)

    write_checksum_file(target)
    record = target.with_name("data.bin.sha256")
    recorded = record.read_bytes()
    cut_short()
    collect()
    assert record.read_bytes() == recorded
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_writer_whose_end_was_cut_short_is_closed_when_it_is_dropped(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(write: Write) -> None:
        write.step = _trace.RELEASE
        raise KeyboardInterrupt

    def cut_short() -> None:
        file = AtomicWriter(target)
        file.write(b"new")
        with monkeypatch.context() as patch:
            patch.setattr(_writer, "close", interrupted)
            with pytest.raises(KeyboardInterrupt):
                file.commit()
        assert is_locked(target)

    cut_short()
    collect()
    assert target.read_bytes() == b"new"
    assert listing() == ["data.bin"]


def test_where_nobody_says_who_closes_a_stream_it_is_the_program() -> None:
    class Stream:
        """One of an interpreter that does not tell."""

    def dropped(_reference: object) -> None:
        raise AssertionError("it was taken for a finalizer")

    stream = Stream()
    _abandoned.abandon(stream, weakref.ref(stream, dropped))


def test_a_writer_whose_content_cannot_be_flushed_aborts_when_it_is_dropped(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    os.close(file._write.temp.fd)  # type: ignore[union-attr]
    with pytest.warns(ResourceWarning, match="dropped undecided"):
        del file
        collect()
    assert not is_locked(target)
    assert "data.bin" in listing()


@pytest.mark.parametrize("decide", [AtomicWriter.commit, AtomicWriter.abort])
def test_a_decided_writer_is_not_watched_any_more(
    target: Path, decide: Callable[[AtomicWriter], None]
) -> None:
    before = set(_abandoned._guards)
    writer = AtomicWriter(target)
    assert weakref.getweakrefcount(writer) == 1
    decide(writer)
    collect()
    assert weakref.getweakrefcount(writer) == 0
    assert set(_abandoned._guards) == before


# How a program may still hold a writer when it ends.
LEFT_IN = {
    "a variable": "kept = make()",
    "a cycle": "kept = Box(); kept.cycle = kept; kept.writer = make()",
    "a lost cycle": "import gc; gc.disable(); box = Box(); box.me = box; box.f = make(); del box",
    "a class": "class Kept: writer = make()",
    "a traceback": "kept = failed()",
    "a text stream": "writer = make(); kept = writer.text(); kept.write('more')",
    "a cycle of streams": "kept = make(); kept.text = kept.text(); kept.text.write('more')",
}
PROGRAM = """
import sys
from safeatomic_core import AtomicWriter
class Box:
    pass
def make():
    file = AtomicWriter(sys.argv[1])
    file.write(b"new")
    return file
def failed():
    kept = make()
    try:
        raise ValueError
    except ValueError as error:
        return error
"""
LOGGING = """
import logging
logging.basicConfig(filename=sys.argv[1] + ".log", format="logged: %(message)s")
"""


def run(code: str, target: Path) -> str:
    """Run a program to its end and return what it says."""
    command = [sys.executable, "-c", PROGRAM + code, str(target)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(_abandoned.__file__).parents[1])},
    )
    return done.stderr


FINALIZED = pytest.mark.skipif(
    not hasattr(AtomicWriter, "_finalizing"), reason="this interpreter ends without finalizers"
)


@FINALIZED
@pytest.mark.parametrize("place", LEFT_IN)
def test_a_writer_that_is_left_at_the_end_of_the_interpreter_aborts_and_says_so(
    target: Path, listing: Listing, place: str
) -> None:
    assert WARNED in run(LEFT_IN[place], target)
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@FINALIZED
def test_at_the_end_of_the_interpreter_the_program_s_own_logging_is_told(target: Path) -> None:
    assert run(LOGGING + LEFT_IN["a cycle"], target) == ""
    logged = target.with_name(target.name + ".log").read_text()
    assert logged.startswith("logged: ")
    assert WARNED in logged


def test_a_writer_of_a_thread_that_is_cut_off_is_cleared_up_by_the_next(
    target: Path, listing: Listing
) -> None:
    # Nobody finalizes what such a thread holds. It is as if the process had been killed.
    code = """
import threading
def work():
    file = make()
    ready.set()
    threading.Event().wait()
ready = threading.Event()
threading.Thread(target=work, daemon=True).start()
ready.wait()
"""
    assert run(code, target) == ""
    assert len(listing()) == 3
    with AtomicWriter(target) as file:
        file.write(b"next")
    assert target.read_bytes() == b"next"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize(
    ("name", "goes_well"),
    [
        ("_publish", True),
        ("_decide", True),
        ("_drop", True),
        ("_failed", False),
        ("_decide", False),
        ("_drop", False),
        ("close", True),
        ("close", False),
    ],
)
def test_one_interrupt_of_a_commit_leaves_nothing_held(
    target: Path,
    listing: Listing,
    monkeypatch: pytest.MonkeyPatch,
    faults: Any,
    name: str,
    goes_well: bool,
) -> None:
    owner: Any = _writer if name == "close" else AtomicWriter
    really, interrupts = getattr(owner, name), iter([KeyboardInterrupt])

    def interrupted(*args: object) -> object:
        for interrupt in interrupts:
            raise interrupt
        return really(*args)

    monkeypatch.setattr(owner, name, interrupted)
    if not goes_well:
        faults.fail("rename", errno.EIO)
    file = AtomicWriter(target)
    file.write(b"new")
    with pytest.raises(KeyboardInterrupt):
        file.commit()
    assert not is_locked(target)
    assert listing() == ["data.bin"]
    published = goes_well and name != "_publish"
    assert target.read_bytes() == (b"new" if published else b"old")
    assert ("aborted" in repr(file)) is not published
    faults.rules.clear()
    write_atomic_bytes(target, b"next")
