"""Where links lead: by their texts, or by ``/proc`` to open files that have no name here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mount_tables import with_own_mounts
from safeatomic_core import (
    AtomicReader,
    AtomicWriter,
    compute_hash_data,
    compute_hash_file,
    read_atomic_bytes,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._posix import kernel

needs_fd = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")


@needs_fd
def test_an_open_file_that_has_no_name_can_be_read(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.write_bytes(b"still there")
    with gone.open("rb") as file:
        gone.unlink()
        path = f"/proc/self/fd/{file.fileno()}"
        assert read_atomic_bytes(path) == b"still there"
        assert compute_hash_file(path) == compute_hash_data(b"still there")
        with AtomicReader(path) as reader:
            assert reader.read() == b"still there"
        with pytest.raises(OSError, match="no name here"):
            read_atomic_bytes(path, check_checksum=True)


@needs_fd
def test_a_link_whose_text_leads_to_another_file_is_not_followed_by_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a process in another mount namespace does, which sees other files."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.write_bytes(b"theirs")
    ours.write_bytes(b"ours")
    with theirs.open("rb") as file:
        monkeypatch.setattr(kernel, "readlink", lambda *_args, **_options: str(ours), raising=False)
        path = f"/proc/self/fd/{file.fileno()}"
        assert read_atomic_bytes(path) == b"theirs"
        calls: list[Callable[[], object]] = [
            lambda: write_atomic_bytes(path, b"new"),
            lambda: AtomicWriter(path),
            lambda: try_acquire_lock(path),
        ]
        for call in calls:
            with pytest.raises(OSError, match="mount namespace"):
                call()
    assert ours.read_bytes() == b"ours"
    assert sorted(os.listdir(tmp_path)) == ["ours", "theirs"]


def test_a_file_that_is_replaced_while_its_link_is_followed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link, really = tmp_path / "f", tmp_path / "link", kernel.stat
    target.write_bytes(b"old")
    link.symlink_to("f")

    def replaced(path: Any, **options: Any) -> Any:
        if path == str(link) and not options:
            (tmp_path / "new").write_bytes(b"new")
            os.replace(tmp_path / "new", target)
        return really(path, **options)

    monkeypatch.setattr(kernel, "stat", replaced, raising=False)
    write_atomic_bytes(link, b"ours")
    assert target.read_bytes() == b"ours"


def test_a_chain_of_links_may_be_longer_than_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("./" * 900 + "b")
    (tmp_path / "b").symlink_to("./" * 900 + "c")
    (tmp_path / "c").symlink_to("./" * 900 + "f")
    (tmp_path / "f").write_bytes(b"old")
    assert read_atomic_bytes(tmp_path / "a") == b"old"
    write_atomic_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_no_link_is_followed_on_a_mount_that_forbids_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def body(mount: Callable[..., bool]) -> None:
        assert mount("none", place, "tmpfs", 256)  # MS_NOSYMFOLLOW, Linux 5.10
        (place / "file").write_bytes(b"old")
        link = place / "link"
        link.symlink_to("file")
        try:
            link.read_bytes()
        except OSError as error:
            assert error.errno == errno.ELOOP
        else:
            return  # an older kernel
        calls: list[Callable[[], object]] = [
            lambda: read_atomic_bytes(link),
            lambda: write_atomic_bytes(link, b"new"),
            lambda: try_acquire_lock(link),
        ]
        for call in calls:
            with pytest.raises(OSError, match="symbolic links") as caught:
                call()
            assert caught.value.errno == errno.ELOOP
        assert (place / "file").read_bytes() == b"old"

    with_own_mounts(body)
