"""Streams at their full size, and the writers that people bring along."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from safeatomic_core import AtomicReader, AtomicWriter, verify_checksum

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
_THERE_AND_BACK = """
import resource, sys
from safeatomic_core import AtomicReader, AtomicWriter

chunk = bytes(range(256)) * 4096
with AtomicWriter("warm", write_checksum=True) as file:
    file.write(chunk)
with AtomicReader("warm", check_checksum=True) as file:
    file.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with AtomicWriter("large", write_checksum=True) as file:
    for n in range(300):
        file.write(chunk)
    if sys.argv[1] == "rewound":
        file.seek(0)
        file.write(b"rewound")
with AtomicReader("large", check_checksum=True) as file:
    size = 0
    while data := file.read(1 << 20):
        size += len(data)
assert size == 300 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("manner", ["straight", "rewound"])
def test_300_mib_there_and_back_cost_no_memory(tmp_path: Path, manner: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _THERE_AND_BACK, manner],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "large").unlink()
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): KiB on Linux, bytes on macOS
    assert int(done.stdout) * unit < 24 * MIB


def test_numpy_saves_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    array = np.arange(1_000_000, dtype="f8").reshape(1000, 1000)
    with AtomicWriter(path, write_checksum=True) as file:
        np.save(file, array)
    assert verify_checksum(path)
    with AtomicReader(path, check_checksum=True) as opened:
        assert (np.load(opened) == array).all()


def test_numpy_archives_seek_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    with AtomicWriter(path, write_checksum=True) as file:
        np.savez_compressed(file, a=np.zeros(10), b=np.ones((3, 4)))
    with AtomicReader(path, check_checksum=True) as opened, np.load(opened) as archive:
        assert archive["b"].sum() == 12
