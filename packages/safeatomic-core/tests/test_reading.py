"""How a file that is only read is opened, by its path where that is enough, and read."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicReader,
    UnsupportedEnvironmentError,
    _reading,
    compute_hash_file,
    read_atomic,
    read_atomic_bytes,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import intercept, kernel


@pytest.fixture
def opened() -> Iterator[list[object]]:
    """Record what is opened."""
    names: list[object] = []

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if name == "open":
                names.append(args[0])
            return call(*args, **kwargs)

        return recorded

    with intercept(wrap):
        yield names


@pytest.fixture
def on_ext4(target: Path, fake: Any) -> Path:
    """The target, on an ext4 that the library has seen before."""
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    read_atomic_bytes(target)
    return target


def read_to_the_end(path: Path) -> bytes:
    with AtomicReader(path) as reader:
        return reader.read()


READS = {
    "bytes": read_atomic_bytes,
    "reader": read_to_the_end,
    "best effort": lambda path: read_atomic_bytes(path, safety="best_effort"),
    "hash": compute_hash_file,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_ordinary_file_on_a_known_filesystem_is_opened_by_its_path(
    on_ext4: Path, opened: list[object], read: Callable[[Path], object]
) -> None:
    assert read(on_ext4)
    assert opened == [str(on_ext4)]


def test_where_the_filesystem_is_not_known_yet_the_directory_is_asked(
    target: Path, fake: Any, opened: list[object]
) -> None:
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    assert read_atomic_bytes(target) == b"old"
    assert opened == [str(target.parent), target.name]


def test_beside_an_overlay_the_directory_is_asked(
    target: Path, fake: Any, opened: list[object]
) -> None:
    # A file on one may show the number of a filesystem underneath.
    fake.table = fake.mounted(target.stat().st_dev, "ext4")
    fake.table += b"28 1 0:99 / /merged rw - overlay overlay rw\n"
    for _ in range(2):
        assert read_atomic_bytes(target) == b"old"
    assert opened == [str(target.parent), target.name] * 2


def test_a_checked_read_finds_the_sidecar_in_the_same_directory(
    on_ext4: Path, opened: list[object]
) -> None:
    write_checksum_file(on_ext4)
    opened.clear()
    assert read_atomic_bytes(on_ext4, check_checksum=True) == b"old"
    assert opened == [str(on_ext4.parent), on_ext4.name, f"{on_ext4.name}.sha256"]


def test_a_link_is_followed_from_directory_to_directory(
    on_ext4: Path, opened: list[object]
) -> None:
    link = on_ext4.with_name("link")
    link.symlink_to(on_ext4)
    assert read_atomic_bytes(link) == b"old"
    assert str(link) not in opened
    assert opened[-1] == on_ext4.name


def test_a_link_that_takes_the_file_s_place_meanwhile_is_followed_with_care(
    on_ext4: Path, opened: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.open

    def swapping(name: str, *args: Any, **kwargs: Any) -> int:
        if name == str(on_ext4):
            on_ext4.rename(on_ext4.with_name("moved"))
            on_ext4.symlink_to("moved")
        return really(name, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", swapping)
    assert read_atomic_bytes(on_ext4) == b"old"
    assert opened[:2] == [str(on_ext4), str(on_ext4.parent)]
    assert opened[-1] == "moved"


@pytest.mark.parametrize("safety", ["strict", "warn"])
def test_what_a_filesystem_does_not_promise_is_said_for_each_read(
    target: Path, take_place_for: Callable[[str], None], safety: Any
) -> None:
    take_place_for("nfs4")
    for _ in range(2):
        if safety == "strict":
            with pytest.raises(UnsupportedEnvironmentError, match="nfs4"):
                read_atomic_bytes(target)
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                assert read_atomic_bytes(target, safety="warn") == b"old"
            assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("call", ["stat", "open", "fstat", "read"])
def test_an_error_names_the_file_and_is_not_tried_away(
    on_ext4: Path, faults: Any, call: str
) -> None:
    faults.fail(call, errno.EIO, at=1)
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_atomic_bytes(on_ext4)
    assert caught.value.filename == str(on_ext4)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing", FileNotFoundError),
        ("data.bin/", IsADirectoryError),
        ("data.bin/below", NotADirectoryError),
        (".", IsADirectoryError),
        ("x" * 256, OSError),
    ],
)
def test_what_cannot_be_opened_by_its_path_is_explained_by_its_directory(
    on_ext4: Path, name: str, error: type[OSError]
) -> None:
    path = f"{on_ext4.parent}/{name}"
    with pytest.raises(error) as caught:
        read_atomic_bytes(path)
    assert caught.value.filename == path


def test_a_path_that_is_too_long_for_one_call_is_read(tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_PATH_MAX")
    directory = str(tmp_path)
    directory += "/." * ((longest - len(directory) - 10) // 2)
    path = f"{directory}/{'x' * 100}"
    assert len(path) >= longest
    (tmp_path / ("x" * 100)).write_bytes(b"far away")
    assert read_atomic_bytes(path) == b"far away"


def test_a_file_that_is_longer_than_one_call_reads_is_read_whole(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reading, "_LONGEST_READ", 2)
    write_atomic_bytes(target, b"longer than two")
    assert read_atomic(target) == "longer than two"


def test_what_was_opened_must_be_a_regular_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = str(target.with_name("fifo"))
    os.mkfifo(fifo)
    really = kernel.open

    def swapped(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        return really(fifo if path == str(target) else path, flags, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", swapped, raising=False)
    with pytest.raises(OSError, match="FIFO"):
        read_atomic(target)
