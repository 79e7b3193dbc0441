"""The read-only half of the seam, on the kernel itself."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from mount_tables import needs_mountinfo
from safeatomic_core import _mounts as mounts

pytestmark = needs_mountinfo


def test_a_proc_file_is_read_to_its_end() -> None:
    table = mounts.read_proc("/proc/self/mountinfo")
    assert table.endswith(b"\n")
    assert b" / " in table


def test_a_missing_proc_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        mounts.read_proc("/proc/self/no-such-file")


def test_an_open_directory_tells_its_path_and_its_mount(tmp_path: Path) -> None:
    fd = mounts.open_directory(str(tmp_path))
    try:
        assert mounts.directory_of(fd) == os.path.realpath(tmp_path)
        number = mounts.mount_id(fd)
        assert number is not None
        lines = mounts.read_proc("/proc/self/mountinfo").splitlines()
        if not any(line.split(b" ")[4] == b"/" for line in lines):
            pytest.skip("this root is a chroot: the table does not show its mount")
        assert any(line.startswith(b"%d " % number) for line in lines)
    finally:
        os.close(fd)


def test_a_file_is_no_directory(target: Path) -> None:
    with pytest.raises(NotADirectoryError):
        mounts.open_directory(str(target))


def test_an_old_kernel_tells_no_mount_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_proc", lambda _path: b"pos:\t0\nflags:\t02\n")
    assert mounts.mount_id(0) is None


def test_fsync_is_not_ignored_here() -> None:
    assert not mounts.fsync_is_ignored()


def test_an_fsync_that_accepts_anything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "fsync", asked.append)
    assert mounts.fsync_is_ignored()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(asked[0])


def test_statfs_fills_in_the_filesystems_number(tmp_path: Path) -> None:
    fd = mounts.open_directory(str(tmp_path))
    try:
        first, second = mounts.statfs(fd), mounts.statfs(fd)
    finally:
        os.close(fd)
    assert any(first[:8])
    assert first[:8] == second[:8]


def test_statfs_without_ctypes_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_fstatfs", None)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    with pytest.raises(OSError, match="no ctypes"):
        mounts.statfs(0)


def test_statfs_of_a_bad_descriptor_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_fstatfs", None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        mounts.statfs(2**31 - 1)


def test_a_name_in_a_directory_tells_its_mount(target: Path) -> None:
    fd = mounts.open_directory(str(target.parent))
    try:
        assert mounts.mount_id_at(fd, target.name) == mounts.mount_id(fd)
        with pytest.raises(FileNotFoundError):
            mounts.mount_id_at(fd, "missing")
    finally:
        os.close(fd)


def test_a_file_that_the_machine_swaps_to(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = target.rename(target.with_name("swap file"))
    escaped = os.fsencode(odd).replace(b" ", b"\\040")
    table = b"Filename Type Size Used Priority\n/gone\\040away file 1 0 -2\n%b file 1 0 -3\n"
    other = odd.with_name("other")
    other.touch()
    fd = os.open(odd.parent, os.O_RDONLY)
    try:
        monkeypatch.setattr(mounts, "read_proc", lambda _path: table % escaped)
        assert mounts.is_swap_file(fd, odd.name)
        assert not mounts.is_swap_file(fd, other.name)
        title, _, line = table.splitlines(keepends=True)
        monkeypatch.setattr(mounts, "read_proc", lambda _path: title + line % escaped)
        assert mounts.is_swap_file(fd, odd.name)
        assert not mounts.is_swap_file(fd, "missing")
        odd.with_name("link").symlink_to(odd.name)
        assert not mounts.is_swap_file(fd, "link")
    finally:
        os.close(fd)


def test_attributes_of_what_has_none(target: Path) -> None:
    fd = os.open(target.parent, os.O_RDONLY)
    try:
        wanted = mounts.IMMUTABLE | mounts.APPEND_ONLY
        for found in (mounts.attributes(fd), mounts.attributes(fd, target.name)):
            assert not (found or 0) & wanted
        assert mounts.attributes(fd, "missing") is None
    finally:
        os.close(fd)


def test_a_c_library_without_statx_knows_no_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name, **_options: object())
    assert mounts.attributes(-1) is None


def test_without_a_c_library_no_attributes_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda _name, **_options: real("/nowhere/libc.so"))
    assert mounts.attributes(-1) is None


def test_a_name_is_on_its_mount_whatever_it_leads_to_and_whoever_waits(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "elsewhere").symlink_to("/proc/self/status")
    os.mkfifo(tmp_path / "pipe")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        here = mounts.mount_id(directory)
        for name in ("dangling", "elsewhere", "pipe"):
            assert mounts.mount_id_at(directory, name) == here
    finally:
        os.close(directory)
