from __future__ import annotations

import csv
import errno
import gc
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from safeatomic_core import (
    AtomicReader,
    AtomicWriter,
    LockError,
    SafeAtomicError,
    is_locked,
    read_atomic_bytes,
    release_lock,
    try_acquire_lock,
    verify_checksum,
)
from safeatomic_core._posix import kernel

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


def test_a_writer_that_could_not_be_made_leaves_nothing(target: Path, listing: Listing) -> None:
    try_acquire_lock(target)
    with pytest.raises(LockError):
        copy_context().run(AtomicWriter, target)
    release_lock(target)
    with pytest.raises(ValueError, match="safety"):
        AtomicWriter(target, safety="x")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        AtomicWriter(target.with_name("missing") / "x")
    assert listing() == ["data.bin"]


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


def writers() -> list[Any]:
    def as_json(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8")
        json.dump({"a": [1, 2]}, text)
        text.close()

    def as_csv(file: BinaryIO) -> None:
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            csv.writer(text).writerows([[1, 2], [3, 4]])

    def as_zip(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "content" * 1000)

    def as_tar(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            info = tarfile.TarInfo("a.txt")
            info.size = 7
            archive.addfile(info, io.BytesIO(b"content"))

    def copied(file: BinaryIO) -> None:
        shutil.copyfileobj(io.BytesIO(b"x" * 1_000_000), file)

    return [as_json, as_csv, as_zip, as_tar, copied, lambda file: pickle.dump([1, 2], file)]


def readers() -> list[Any]:
    def tar(file: BinaryIO) -> object:
        with tarfile.open(fileobj=file) as archive:
            return archive.getnames()

    return [
        json.load,
        lambda file: list(csv.reader(io.TextIOWrapper(file, newline=""))),
        lambda file: zipfile.ZipFile(file).read("a.txt"),
        tar,
        lambda file: len(file.read()),
        pickle.load,
    ]


EXPECTED = [
    {"a": [1, 2]},
    [["1", "2"], ["3", "4"]],
    b"content" * 1000,
    ["a.txt"],
    1_000_000,
    [1, 2],
]


@pytest.mark.parametrize(
    ("write", "read", "expected"),
    list(zip(writers(), readers(), EXPECTED, strict=True)),
    ids=["json", "csv", "zip", "tar", "copyfileobj", "pickle"],
)
def test_what_writes_to_files_writes_here(
    target: Path, write: Any, read: Any, expected: object
) -> None:
    with AtomicWriter(target, write_checksum=True) as file:
        write(file)
    with AtomicReader(target, check_checksum=True) as opened:
        assert read(opened) == expected


def test_a_failure_inside_a_nested_wrapper_aborts(target: Path, listing: Listing) -> None:
    with (
        pytest.raises(TypeError),
        AtomicWriter(target) as file,
        io.TextIOWrapper(file, encoding="utf-8") as text,
    ):
        json.dump({"a": object()}, text)
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_a_full_disk_aborts(target: Path, listing: Listing, faults: Any) -> None:
    faults.fail("write", errno.ENOSPC, when=lambda _fd, data: len(data) > 1000)
    with pytest.raises(OSError, match="No space") as caught, AtomicWriter(target) as file:
        file.write(b"x" * 1_000_000)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("call", ["write", "ftruncate"])
def test_what_failed_on_the_way_is_not_published_by_going_on(
    target: Path, listing: Listing, faults: Any, call: str
) -> None:
    file = AtomicWriter(target)
    file.write(b"x" * 300_000)
    faults.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space") as first:
        file.truncate(250_000) if call == "ftruncate" else file.write(b"y" * 300_000)
    faults.rules.clear()
    file.write(b"z")
    with pytest.raises(OSError, match="No space") as second:
        file.commit()
    assert second.value is first.value
    assert second.value.__notes__ == ["safeatomic: Fill failed; the target is unchanged"]
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_a_failed_commit_explains_and_aborts(target: Path, listing: Listing, faults: Any) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    faults.fail("fsync", errno.EIO)
    with pytest.raises(OSError, match="cannot flush the temporary file") as caught:
        file.commit()
    assert any("Harden failed" in note for note in caught.value.__notes__)
    assert "aborted" in repr(file)
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("checked", [False, True])
def test_a_position_or_size_that_is_refused_loses_nothing(target: Path, checked: bool) -> None:
    with AtomicWriter(target, write_checksum=checked) as file:
        file.write(b"first ")
        with pytest.raises(OSError, match="EINVAL"):
            file.seek(-100, os.SEEK_END)
        with pytest.raises(OSError, match="EINVAL"):
            file.truncate(-1)
        assert file.tell() == 6
        file.write(b"second")
    assert read_atomic_bytes(target, check_checksum=checked) == b"first second"


@pytest.mark.parametrize("call", ["seek", "truncate"])
def test_what_a_flush_before_a_seek_lost_is_not_published(
    target: Path, faults: Any, call: str
) -> None:
    file = AtomicWriter(target)
    file.write(b"first")
    faults.fail("write", errno.EINVAL)
    with pytest.raises(OSError, match="EINVAL"):
        getattr(file, call)(0)
    faults.rules.clear()
    with pytest.raises(OSError, match="unchanged"):
        file.commit()
    assert target.read_bytes() == b"old"


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


def test_an_interrupt_while_it_is_made_leaves_nothing(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "raw_stream", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        AtomicWriter(target)
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("call", ["lseek", "ftruncate"])
def test_a_position_that_cannot_be_set_is_an_error_of_the_stream(
    target: Path, faults: Any, call: str
) -> None:
    faults.fail(call, errno.EIO)
    with pytest.raises(OSError, match="unchanged") as caught, AtomicWriter(target) as file:
        file.seek(5)
        file.truncate(2)
    assert caught.value.errno == errno.EIO
    assert target.read_bytes() == b"old"


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
