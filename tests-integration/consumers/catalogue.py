"""What writes files in the field, as it would be called, and how its file is read back.

Each consumer writes to the binary file that it is given, which is an `AtomicWriter` in one run and
a plain ``open(path, "w+b")`` in the other.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import joblib
import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
from PIL import Image
from pyarrow import feather, parquet

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 1000
_ARRAY = np.arange(ROWS * 4, dtype="f8").reshape(ROWS, 4)
_FRAME: Any = pd.DataFrame(_ARRAY, columns=["a", "b", "c", "d"])
_POLARS = pl.DataFrame({"a": list(range(ROWS)), "b": [f"row {n}" for n in range(ROWS)]})
_TABLE = pa.table({"a": list(range(ROWS)), "b": [f"row {n}" for n in range(ROWS)]})
_TEXT = b"".join(b"line %d\n" % n for n in range(20_000))
_DATE = (2001, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Consumer:
    """Something that writes a file.

    Attributes:
        name: What it is called in reports.
        save: Writes to a binary file that is open for writing.
        load: Returns the content of the file at a path, for comparison.
        same_bytes: Whether two runs write the same bytes (no times, no random names in them).
        needs: A module that may be missing, as there is no wheel of it for the newest Python.
    """

    name: str
    save: Callable[[Any], object]
    load: Callable[[str], object]
    same_bytes: bool = True
    needs: str = ""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


# -------------------------------------------------------------------- the standard library


def _json(file: IO[bytes]) -> None:
    with io.TextIOWrapper(file, encoding="utf-8") as text:
        json.dump({str(n): n for n in range(ROWS)}, text)


def _csv(file: IO[bytes]) -> None:
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([n, n * n] for n in range(ROWS))


def _logging(file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8")
    handler = logging.StreamHandler(text)
    for number in range(ROWS):
        handler.handle(logging.makeLogRecord({"msg": "event %d", "args": (number,)}))
    handler.close()
    text.detach()


def _subprocess(file: IO[bytes]) -> None:
    command = [sys.executable, "-c", "for n in range(20000): print('line', n)"]
    subprocess.run(command, stdout=file, check=True)


def _copy(file: IO[bytes]) -> None:
    shutil.copyfileobj(io.BytesIO(_TEXT), file)


def _sendfile(file: IO[bytes]) -> None:
    with tempfile.TemporaryFile() as source:
        source.write(_TEXT)
        source.flush()
        sent = 0
        while sent < len(_TEXT):
            sent += os.sendfile(file.fileno(), source.fileno(), sent, len(_TEXT) - sent)


def _gzip(file: IO[bytes]) -> None:
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        packed.write(_TEXT)


def _tar(file: IO[bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("lines")
        entry.size = len(_TEXT)
        archive.addfile(entry, io.BytesIO(_TEXT))


def _tar_stream(file: IO[bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w|xz") as archive:
        entry = tarfile.TarInfo("lines")
        entry.size = len(_TEXT)
        archive.addfile(entry, io.BytesIO(_TEXT))


def _tar_content(path: str) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        members = {name: archive.extractfile(name) for name in archive.getnames()}
        return {name: member.read() for name, member in members.items() if member}


def _zip(file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("first", _DATE), _TEXT)


def _zip_append(file: IO[bytes]) -> None:
    """Append to a copy of an archive: that reads as well, so it goes through the descriptor."""
    _zip(file)
    file.flush()
    with os.fdopen(os.dup(file.fileno()), "r+b") as both, zipfile.ZipFile(both, "a") as archive:
        archive.writestr(zipfile.ZipInfo("second", _DATE), b"appended")


def _zip_content(path: str) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


# -------------------------------------------------------------------- other people's libraries


def _zstd(file: IO[bytes]) -> None:
    import zstandard

    with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
        packed.write(_TEXT)


def _zstd_content(path: str) -> bytes:
    import zstandard

    with open(path, "rb") as file:
        return bytes(zstandard.ZstdDecompressor().stream_reader(file).read())


def _pandas_excel(file: IO[bytes]) -> None:
    _FRAME.head(50).to_excel(file, index=False, engine="openpyxl")


def _openpyxl(file: IO[bytes]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for number in range(50):
        sheet.append([number, number * number])
    book.save(file)


def _sheet(path: str) -> list[tuple[object, ...]]:
    with open(path, "rb") as file:  # by its name it would have to end in .xlsx
        sheet = openpyxl.load_workbook(file).active
    assert sheet is not None
    return list(sheet.values)


def _hdf5(file: IO[bytes]) -> None:
    """HDF5 reads what it writes, so it goes through the descriptor."""
    import h5py

    with os.fdopen(os.dup(file.fileno()), "r+b") as both, h5py.File(both, "w") as archive:
        archive.create_dataset("array", data=_ARRAY, chunks=True)


def _hdf5_content(path: str) -> bytes:
    import h5py

    with h5py.File(path) as archive:
        return bytes(archive["array"][()].tobytes())


def _image(kind: str) -> Callable[[IO[bytes]], None]:
    def save(file: IO[bytes]) -> None:
        Image.linear_gradient("L").save(file, kind)

    return save


def _pixels(path: str) -> bytes:
    with Image.open(path) as image:
        return bytes(image.tobytes())


ALL = {
    consumer.name: consumer
    for consumer in (
        Consumer("json", _json, _read),
        Consumer("csv", _csv, _read),
        Consumer("pickle", lambda file: pickle.dump(list(range(ROWS)), file), _read),
        Consumer("logging", _logging, _read),
        Consumer("subprocess", _subprocess, _read),
        Consumer("copyfileobj", _copy, _read),
        Consumer("sendfile", _sendfile, _read),
        Consumer("gzip", _gzip, lambda path: gzip.decompress(_read(path))),
        Consumer("tarfile", _tar, _tar_content),
        Consumer("tarfile-stream", _tar_stream, _tar_content),
        Consumer("zipfile", _zip, _zip_content),
        Consumer("zipfile-append", _zip_append, _zip_content),
        Consumer("zstandard", _zstd, _zstd_content, needs="zstandard"),
        Consumer("numpy", lambda file: np.save(file, _ARRAY), lambda path: np.load(path).tolist()),
        Consumer("pandas-csv", lambda file: _FRAME.to_csv(file), _read),
        Consumer(
            "pandas-parquet",
            lambda file: _FRAME.to_parquet(file),
            lambda path: pd.read_parquet(path).to_dict(),
        ),
        Consumer("pandas-excel", _pandas_excel, _sheet, same_bytes=False),
        Consumer("openpyxl", _openpyxl, _sheet, same_bytes=False),
        Consumer("polars-csv", _POLARS.write_csv, _read),
        Consumer(
            "polars-parquet",
            _POLARS.write_parquet,
            lambda path: pl.read_parquet(path).to_dict(as_series=False),
        ),
        Consumer(
            "pyarrow-parquet",
            lambda file: parquet.write_table(_TABLE, file),
            lambda path: parquet.read_table(path).to_pydict(),
        ),
        Consumer(
            "pyarrow-feather",
            lambda file: feather.write_feather(_TABLE, file),
            lambda path: feather.read_table(path).to_pydict(),
        ),
        Consumer("pillow-png", _image("PNG"), _pixels),
        Consumer("pillow-jpeg", _image("JPEG"), _pixels),
        Consumer("pillow-tiff", _image("TIFF"), _pixels),
        Consumer("h5py", _hdf5, _hdf5_content, same_bytes=False, needs="h5py"),
        Consumer(
            "joblib",
            lambda file: joblib.dump(_ARRAY, file),
            lambda path: joblib.load(path).tolist(),
        ),
        Consumer(
            "joblib-compressed",
            lambda file: joblib.dump(_ARRAY, file, compress=3),
            lambda path: joblib.load(path).tolist(),
        ),
    )
}
