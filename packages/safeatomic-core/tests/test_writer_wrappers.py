"""What other libraries write through a stream, and what is read back by them."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from safeatomic_core import AtomicReader, AtomicWriter

Listing = Callable[[], list[str]]


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
