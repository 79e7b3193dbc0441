"""What a move that fails leaves behind: both files, their sidecars, and locks that tell of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    get_checksum_info,
    is_stale_lock,
    move_atomic,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._posix import kernel

Listing = Callable[[], list[str]]


@pytest.mark.parametrize("checked", [True, False])
def test_a_failed_rename_leaves_both_as_they_were(
    src: Path, listing: Listing, faults: Any, checked: bool
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=checked)
    write_atomic_bytes(dst, b"stays", write_checksum=True)
    faults.fail("rename", errno.EIO, when=lambda _src, name, **_k: name == "dst")
    with pytest.raises(OSError, match="cannot move") as caught:
        move_atomic(src, dst, force=True)
    assert any("Publish failed; the target is unchanged" in n for n in caught.value.__notes__)
    assert verify_checksum(dst)
    assert read_atomic_bytes(src, check_checksum=checked) == b"moved"
    info = get_checksum_info(dst)
    assert info is not None
    assert b"previous" not in Path(f"{dst}.sha256").read_bytes()


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_around_the_rename_is_told_truly(
    src: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=True)
    real = kernel.rename

    def rename(source: str, name: str, **kwargs: Any) -> None:
        if name != "dst":
            real(source, name, **kwargs)
            return
        if after:
            real(source, name, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "rename", rename, raising=False)
    with pytest.raises(KeyboardInterrupt) as caught:
        move_atomic(src, dst, force=True)
    assert ("is visible" in caught.value.__notes__[0]) is after
    assert dst.exists() is after
    assert verify_checksum(dst if after else src)


def test_a_roll_back_that_fails_leaves_dead_locks_to_tell_of_it(
    src: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dst = src.with_name("dst")
    write_atomic_bytes(src, b"moved", write_checksum=True)
    faults.fail("rename_noreplace", errno.EIO, when=lambda name, *_a: name == "src")
    faults.fail("rename_noreplace", errno.EIO, when=lambda name, *_a: name == "dst.sha256")
    with pytest.raises(OSError, match="cannot move"):
        move_atomic(src, dst)
    assert "could not put the checksum sidecar" in caplog.text
    assert is_stale_lock(src)
    assert is_stale_lock(dst)


def test_a_roll_back_that_cannot_even_look_is_logged(
    src: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_atomic_bytes(src, b"moved", write_checksum=True)
    faults.fail("rename_noreplace", errno.EIO)
    faults.calls.clear()
    count = {"n": 0}

    def after_the_rename(name: str, **_options: object) -> bool:
        count["n"] += name.endswith(".lock")
        return name.endswith(".lock") and "rename_noreplace" in faults.calls

    faults.fail("stat", errno.EIO, when=after_the_rename)
    with pytest.raises(OSError, match="cannot move"):
        move_atomic(src, src.with_name("dst"))
    assert "could not clean up" in caplog.text


def test_not_knowing_whether_it_was_moved_counts_as_not(
    src: Path, faults: Any, listing: Listing
) -> None:
    faults.fail("rename", errno.EIO)
    faults.fail("fstat", errno.EIO, when=lambda _fd: "rename" in faults.calls)
    with pytest.raises(OSError, match="unchanged"):
        move_atomic(src, src.with_name("dst"), force=True)
    assert listing() == ["src"]


def test_an_unflushed_removal_of_the_sidecar_leaves_a_dead_lock_to_tell_of_it(
    src: Path, faults: Any
) -> None:
    (src.parent / "sub").mkdir()
    write_atomic_bytes(src, b"moved", write_checksum=True)
    inode = src.parent.stat().st_ino
    faults.fail("fsync", errno.EIO, when=lambda fd: os.fstat(fd).st_ino == inode)
    with pytest.raises(OSError, match="durability is not confirmed"):
        move_atomic(src, src.parent / "sub" / "dst")
    assert verify_checksum(src.parent / "sub" / "dst")
    assert is_stale_lock(src)


@pytest.mark.parametrize("same_directory", [True, False])
@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.EIO])
def test_a_source_s_sidecar_that_cannot_be_removed_stays_and_nothing_else_does(
    src: Path, faults: Any, same_directory: bool, exclusive: bool, code: int
) -> None:
    (src.parent / "sub").mkdir()
    dst = src.with_name("dst") if same_directory else src.parent / "sub" / "dst"
    write_atomic_bytes(src, b"moved", write_checksum=True)
    if not exclusive:
        faults.fail("rename_noreplace", errno.EINVAL)
        faults.fail("unlink", code, when=lambda name, **_options: name == "src.sha256")
    faults.fail("rename_noreplace", code, when=lambda name, *_rest: name == "src.sha256")
    faults.fail("rename", code, when=lambda name, *_rest, **_options: name == "src.sha256")
    with pytest.raises(OSError, match="visible and durable with its checksum") as caught:
        move_atomic(src, dst)
    assert caught.value.errno == code
    assert caught.value.filename == f"{src}.sha256"
    assert "cannot remove the source's checksum sidecar" in str(caught.value)
    assert f"{str(src) + '.sha256'!r} stays behind" in str(caught.value)
    assert "visible and durable" in caught.value.__notes__[0]
    assert sorted(os.listdir(src.parent)) == sorted(
        ["src.sha256", "sub"] + (["dst", "dst.sha256"] if same_directory else [])
    )
    assert sorted(os.listdir(dst.parent))[:2] == ["dst", "dst.sha256"]
    assert verify_checksum(dst)


def test_a_linked_source_that_cannot_be_removed_is_told_of(src: Path, faults: Any) -> None:
    faults.fail("rename_noreplace", errno.EINVAL)
    faults.fail("unlink", errno.EPERM, when=lambda name, **_options: name == "src")
    with pytest.raises(PermissionError, match="still has its name") as caught:
        move_atomic(src, src.with_name("dst"))
    assert "visible and durable" in str(caught.value)
    assert sorted(os.listdir(src.parent)) == ["dst", "src"]
