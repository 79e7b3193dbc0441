from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("platform", ["linux", "darwin", "freebsd14", "openbsd7"])
def test_the_mark_of_a_lock_is_left_out_where_only_root_may_set_it(
    platform: str, tmp_path: Path
) -> None:
    # As FreeBSD's kernel: open(2) drops the sticky bit of a file, chmod(2) refuses it with EFTYPE.
    code = f"""
import os, stat, sys
sys.platform = {platform!r}
open_, fchmod = os.open, os.fchmod

def bsd_open(path, flags, mode=0o777, **place):
    return open_(path, flags, mode & ~stat.S_ISVTX, **place)

def bsd_fchmod(fd, mode):
    if mode & stat.S_ISVTX and not stat.S_ISDIR(os.fstat(fd).st_mode):
        raise OSError(79, "Inappropriate file type or format")
    fchmod(fd, mode)

os.open, os.fchmod = bsd_open, bsd_fchmod
import safeatomic_core as sa

path = sys.argv[1]
try:
    sa.write_atomic(path, "new", mode=0o640, safety="best_effort")
    with sa.AtomicWriter(path, safety="best_effort") as file:
        file.write(b"newer")
        os.fsync(file.fileno())
    assert sa.try_acquire_lock(path, safety="best_effort") and sa.release_lock(path)
except OSError as error:
    sys.exit(error.errno)
assert sa.read_atomic(path, safety="best_effort") == "newer"
assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
"""
    target = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    # Where the kernel has no reason to refuse it, nothing is done for that.
    assert done.returncode == (79 if platform == "linux" else 0)
