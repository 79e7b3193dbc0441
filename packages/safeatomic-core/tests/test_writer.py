from __future__ import annotations

import gc
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, SafeAtomicError, is_locked, verify_checksum

Listing = Callable[[], list[str]]


def test_leaving_the_block_commits(target: Path, listing: Listing) -> None:
    with AtomicWriter(target) as file:
        assert file.write(b"new") == 3
        assert target.read_bytes() == b"old"
        assert is_locked(target)
        assert repr(file) == f"<AtomicWriter {str(target)!r} undecided>"
    assert target.read_bytes() == b"new"
    assert listing() == ["data.bin"]
    assert "committed" in repr(file)


def test_an_exception_aborts(target: Path, listing: Listing) -> None:
    with pytest.raises(RuntimeError), AtomicWriter(target) as file:
        file.write(b"new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_commit_and_abort_decide_once(target: Path) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    file.commit()
    assert target.read_bytes() == b"new"
    with pytest.raises(ValueError, match="committed already"):
        file.commit()
    file.abort()
    assert target.read_bytes() == b"new"
    with pytest.raises(ValueError, match="committed already"):
        file.write(b"x")
    with pytest.raises(ValueError, match="committed already"):
        file.__enter__()
    file.close()

    file = AtomicWriter(target)
    file.abort()
    file.abort()
    with pytest.raises(ValueError, match="aborted already"):
        file.commit()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("decision", ["commit", "abort"])
def test_a_decision_inside_the_block_stands(target: Path, decision: str) -> None:
    with AtomicWriter(target) as file:
        file.write(b"new")
        getattr(file, decision)()
    assert target.read_bytes() == (b"new" if decision == "commit" else b"old")


def test_closing_inside_the_block_loses_nothing(target: Path) -> None:
    with AtomicWriter(target) as file:
        file.write(b"new")
        file.close()
        assert file.closed
        assert "closed, undecided" in repr(file)
        with pytest.raises(ValueError, match="closed"):
            file.write(b"x")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def test_it_is_a_binary_file_object(target: Path) -> None:
    with AtomicWriter(target) as file:
        assert isinstance(file, io.BufferedIOBase)
        assert (file.writable(), file.seekable(), file.readable()) == (True, True, False)
        assert (file.name, file.mode, file.closed) == (str(target), "wb", False)
        file.writelines([b"0123", b"456789"])
        assert file.tell() == 10
        assert file.seek(2) == 2
        file.write(b"XX")
        assert file.seek(0, io.SEEK_END) == 10
        assert file.truncate(8) == 8
        file.seek(6)
        assert file.truncate() == 6
        file.flush()
        assert os.fstat(file.fileno()).st_size == 6
        with pytest.raises(io.UnsupportedOperation):
            file.read()
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(file)
    assert target.read_bytes() == b"01XX45"


@pytest.mark.parametrize(
    "produce",
    [
        lambda file: file.write(b"straight"),
        lambda file: (file.write(b"0123456789"), file.seek(3), file.write(b"rewound")),
        lambda file: (file.write(b"0123456789"), file.truncate(4)),
        lambda file: (file.write(b"0123"), file.seek(100), file.write(b"hole")),
        lambda file: (file.write(b"buffered"), os.write(file.fileno(), b"directly")),
        lambda file: file.write(b"x" * 1_000_000),
        lambda file: (file.write(b"0123"), file.flush(), file.truncate(4)),
    ],
    ids=["straight", "rewound", "truncated", "hole", "fileno", "large", "same-size"],
)
def test_the_checksum_is_that_of_the_file(target: Path, produce: Callable[[Any], object]) -> None:
    with AtomicWriter(target, write_checksum=True) as file:
        produce(file)
    assert verify_checksum(target)


@pytest.mark.parametrize(
    "use",
    [
        lambda file: file.write(b"x"),
        lambda file: file.seek(0),
        lambda file: file.tell(),
        lambda file: file.truncate(0),
        lambda file: file.fileno(),
        lambda file: file.text(),
    ],
)
def test_a_closed_stream_says_what_is_closed(target: Path, use: Callable[[Any], object]) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    file.close()
    with pytest.raises(ValueError, match="operation on a closed AtomicWriter"):
        use(file)
    file.commit()
    assert target.read_bytes() == b"new"


def test_what_a_buffer_takes_costs_no_call_of_the_system(target: Path, faults: Any) -> None:
    with AtomicWriter(target) as file:
        faults.calls.clear()
        for _ in range(1000):
            file.write(b"x" * 100)
        assert faults.calls == []
    assert target.read_bytes() == b"x" * 100_000


def test_a_straight_checked_stream_reads_nothing_back(target: Path, faults: Any) -> None:
    with AtomicWriter(target, write_checksum=True) as file:
        for _ in range(10):
            file.write(b"x" * 100_000)
        faults.calls.clear()
        file.commit()
    # What is read back is the old content, which had no checksum: one chunk and the end of file;
    # and the record, before it is sealed.
    reads = [call for call in faults.calls if call in ("read", "pread")]
    assert len(reads) == 3
    with AtomicWriter(target, write_checksum=True) as file:
        file.write(b"y" * 1_000_000)
        faults.calls.clear()
        file.commit()
    # The former record before and after the exchange, and the new one before it is sealed.
    assert [call for call in faults.calls if call in ("read", "pread")] == ["pread"] * 3


def test_a_forked_child_cannot_use_it(target: Path) -> None:
    file = AtomicWriter(target)
    file.write(b"parent")
    pid = os.fork()
    if pid == 0:
        outcome = 1
        try:
            file.write(b"child")
        except SafeAtomicError as error:
            outcome = 0 if "forked child" in str(error) else 2
        try:
            file.commit()
        except SafeAtomicError:
            pass
        else:
            outcome = 3
        file.close()
        del file
        gc.collect()
        os._exit(outcome)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    file.commit()
    assert target.read_bytes() == b"parent"


def test_an_exception_of_a_forked_child_leaves_the_block_as_it_is(target: Path) -> None:
    parent = os.getpid()
    try:
        with AtomicWriter(target) as file:
            file.write(b"parent")
            pid = os.fork()
            if pid == 0:
                raise SystemExit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(0 if isinstance(error, SystemExit) else 2)
        raise
    assert target.read_bytes() == b"parent"


def test_what_stands_there_at_commit_is_looked_at(tmp_path: Path) -> None:
    target = tmp_path / "f"
    file = AtomicWriter(target, safety="best_effort")
    file.write(b"new")
    target.mkdir()  # another program, which takes no lock
    with pytest.raises(IsADirectoryError, match="a directory, not a regular file"):
        file.commit()
    assert target.is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_a_file_that_appears_while_streaming_is_not_replaced_unless_that_was_asked(
    tmp_path: Path,
) -> None:
    target = tmp_path / "f"
    file = AtomicWriter(target, safety="best_effort", overwrite=False)
    file.write(b"new")
    target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        file.commit()
    assert target.read_bytes() == b"theirs"
