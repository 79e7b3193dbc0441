from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safeatomic_core import AtomicWriter, _posix, write_atomic_bytes
from safeatomic_core._posix import kernel


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


@pytest.mark.parametrize(("code", "mode"), [(79, 0o1600), (79, 0o600), (errno.EPERM, 0o1600)])
def test_a_sticky_bit_that_a_file_cannot_have_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, mode: int
) -> None:
    asked: list[int] = []

    def fchmod(_fd: int, mode: int) -> None:
        asked.append(mode)
        if mode & stat.S_ISVTX or code != 79 or len(asked) == 1:
            raise OSError(code, "Inappropriate file type or format")

    monkeypatch.setattr(os, "fchmod", fchmod)
    if (code, mode) == (79, 0o1600):
        _posix._fchmod(3, mode)
        assert asked == [0o1600, 0o600]
    else:
        with pytest.raises(OSError, match="Inappropriate"):
            _posix._fchmod(3, mode)
        assert asked == [mode]


def test_files_can_be_locked_and_replaced_where_they_cannot_be_sticky(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, refused = os.fchmod, []

    def fchmod(fd: int, mode: int) -> None:
        if mode & stat.S_ISVTX:
            refused.append(mode)
            raise OSError(79, "Inappropriate file type or format")
        really(fd, mode)

    def open_anonymous(mode: int, dir_fd: int) -> int:
        return opened(mode & ~stat.S_ISVTX, dir_fd=dir_fd)

    opened = kernel.open_anonymous
    target.chmod(0o1640)
    monkeypatch.setattr(kernel, "open_anonymous", open_anonymous, raising=False)
    monkeypatch.setattr(os, "fchmod", fchmod)
    monkeypatch.setattr(kernel, "fchmod", _posix._fchmod, raising=False)
    write_atomic_bytes(target, b"new")
    assert sorted(refused) == [0o1600, 0o1640]
    assert target.stat().st_mode & 0o7777 == 0o640
    with AtomicWriter(target) as writer:
        writer.write(b"newer")
        os.fstat(writer.fileno())
    assert target.read_bytes() == b"newer"
    assert target.stat().st_mode & 0o7777 == 0o640
