"""A program that can import nothing any more, in a chroot for example: every call still works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import safeatomic_core as sa

# What a chroot does to imports, without one: nothing is found but what is built in or loaded.
PROGRAM = """
import os, sys
import safeatomic_core as sa
sys.path[:] = []
sys.path_importer_cache.clear()
kept = ("BuiltinImporter", "FrozenImporter")
sys.meta_path[:] = [found for found in sys.meta_path if getattr(found, "__name__", "") in kept]
os.chdir(sys.argv[1])
"""
CALLS = {
    "write": "sa.write_atomic('new', 'x')",
    "write over a pair": "sa.write_atomic('pair', 'x')",
    "write over another algorithm's pair": "sa.write_atomic('blake', 'x')",
    "checked write": "sa.write_atomic('new', 'x', write_checksum=True)",
    "checked write over a pair": "sa.write_atomic('pair', 'x', write_checksum=True)",
    "checked write over an unsealed pair": "sa.write_atomic('unsealed', 'x', write_checksum=True)",
    "checked write of an old pair": "sa.write_atomic('old', 'x', write_checksum=True)",
    "checked write over blake": "sa.write_atomic('blake', 'x', write_checksum=True)",
    "algorithm in capitals": (
        "sa.write_atomic('new', 'x', write_checksum=True, checksum_algo='SHA256')"
    ),
    "large checked write": (
        "sa.write_atomic_bytes('pair', bytes(3_000_000), write_checksum=True)\n"
        "assert sa.verify_checksum('pair')"
    ),
    "creation": "sa.write_atomic('new', 'x', write_checksum=True, overwrite=False, mode=0o600)",
    "read": "assert sa.read_atomic('pair') == 'pair'",
    "checked read": "assert sa.read_atomic('pair', check_checksum=True) == 'pair'",
    "checked read by a list": "assert sa.read_atomic('listed', check_checksum=True) == 'l'",
    "reader": "sa.AtomicReader('pair', check_checksum=True).close()",
    "mismatch": (
        "try: sa.read_atomic('damaged', check_checksum=True)\n"
        "except sa.ChecksumMismatchError: pass\n"
        "else: raise SystemExit('not found')"
    ),
    "stream": (
        "with sa.AtomicWriter('pair', write_checksum=True) as file:\n"
        "    file.write(b'x'); file.seek(0); file.text().write('y')"
    ),
    "move": "sa.move_atomic('pair', 'new'); assert sa.verify_checksum('new')",
    "move onto a pair": "sa.move_atomic('pair', 'old', force=True)",
    "move of another algorithm's pair": "sa.move_atomic('blake', 'new')",
    "recording": "sa.write_checksum_file('bare')",
    "digests": "assert sa.compute_hash_file('pair') == sa.compute_hash_data(b'pair')",
    "information": "assert sa.get_checksum_info('pair').algo == 'sha256'",
    "lock": (
        "assert sa.try_acquire_lock('new', session='s')\n"
        "assert sa.inspect_lock('new').alive == 'yes' and sa.get_lock_age('new') >= 0\n"
        "assert sa.release_lock('new')"
    ),
    "another tool's lock": "assert not sa.try_acquire_lock('taken')",
    "defaults": (
        "with sa.safeatomic_config(checksum_algo='sha256', retries=1):\n"
        "    sa.write_atomic('new', 'x', write_checksum=True)"
    ),
    "guarantees": "assert str(sa.inspect_guarantees('new'))",
    "doctor": "assert str(sa.doctor('new', destructive=True))",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, algo in (("pair", "sha256"), ("blake", "blake2b"), ("damaged", "sha256")):
        sa.write_atomic(tmp_path / name, name, write_checksum=True, checksum_algo=algo)
    (tmp_path / "damaged").write_text("other")
    (tmp_path / "bare").write_text("bare")
    line = "{}  {}\n".format
    digests = {}
    for name in ("old", "unsealed", "listed"):
        (tmp_path / name).write_text(name[0])
        digests[name] = sa.compute_hash_file(tmp_path / name)
    (tmp_path / "old.sha256").write_text(line(digests["old"], "old") + "# algo=sha256\n")
    (tmp_path / "unsealed.sha256").write_text(
        line("0" * 64, "unsealed") + f"# previous=sha256:{digests['unsealed']}\n"
    )
    (tmp_path / "listed.sha256").write_text(
        line(digests["listed"], "listed") + line("0" * 64, "other")
    )
    (tmp_path / "taken.lock").write_text("4711\n")
    return tmp_path


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_first_call_imports_nothing(place: Path, call: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + call, str(place)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not [name for name in os.listdir(place) if name.startswith(".safeatomic")]
