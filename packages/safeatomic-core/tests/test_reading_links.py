"""What is read through links while they are replaced, or what they lead to is removed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicReader,
    compute_hash_file,
    get_checksum_info,
    read_atomic,
    verify_checksum,
    write_checksum_file,
)
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as Kubernetes mounts it: ``f`` leads to ``data/f``, ``data`` to ``v1``."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "f").write_text(version)
        write_checksum_file(tmp_path / version / "f")
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "f").symlink_to("data/f")
    return tmp_path


def swap(volume: Path, removed: str) -> None:
    """Let the volume lead to its second version, and remove the first or a part of it."""
    (volume / "next").symlink_to("v2")
    (volume / "next").rename(volume / "data")
    for path in [*(volume / "v1").glob(removed)]:
        path.unlink()
    if removed == "*":
        (volume / "v1").rmdir()


@pytest.mark.parametrize("call", [read_atomic, get_checksum_info, verify_checksum])
def test_links_that_never_stay_are_not_followed_for_ever(
    volume: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Path], object]
) -> None:
    followed: list[object] = []

    def leads_elsewhere(target: object) -> bool:
        assert len(followed) < 1000
        followed.append(target)
        return True

    monkeypatch.setattr(Target, "leads_elsewhere", leads_elsewhere)
    swap(volume, "*")
    for path in (volume / "v2").iterdir():
        path.unlink()
    if call is get_checksum_info:
        assert call(volume / "f") is None
    else:
        with pytest.raises(FileNotFoundError):
            call(volume / "f")
    assert followed


VERSIONS = {hashlib.sha256(text.encode()).hexdigest(): text for text in ("v1", "v2")}


CALLS: dict[str, Callable[[Path], str]] = {  # which version it finds
    "read": read_atomic,
    "checked read": lambda path: read_atomic(path, check_checksum=True),
    "reader": lambda path: AtomicReader(path, check_checksum=True).read().decode(),
    "digest": lambda path: VERSIONS[compute_hash_file(path)],
    "verify": lambda path: "v2" if verify_checksum(path) else "neither",
    "record": lambda path: VERSIONS[getattr(get_checksum_info(path), "hash", "none")],
}


@pytest.mark.parametrize(
    ("path", "moment"),  # in "data/f" the kernel follows the link, as for open()
    [("f", "data"), ("f", "f"), ("f", "f.sha256"), ("data/f", "f"), ("data/f", "f.sha256")],
)
@pytest.mark.parametrize("removed", ["*", "f", "f.sha256"])
@pytest.mark.parametrize("call", CALLS)
def test_links_that_are_replaced_while_they_are_followed_are_followed_again(
    volume: Path, monkeypatch: pytest.MonkeyPatch, call: str, moment: str, removed: str, path: str
) -> None:
    really, swaps = kernel.open, list[str]()

    def swapping(name: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if str(name).endswith(moment) and not swaps:
            swaps.append(name)
            swap(volume, removed)
            if moment == "data":  # a walk that has read the link already
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return really(name, flags, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", swapping, raising=False)
    found = CALLS[call](volume / path)
    if swaps and (removed == "*" or moment == "data"):
        assert found == "v2"
    else:  # what was opened before is one version as well
        assert found in ("v1", "v2")


def test_what_goes_with_its_directory_is_gone(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.open

    def removing(name: Any, *args: Any, **kwargs: Any) -> int:
        if name in ("f", str(volume / "v1" / "f")):
            shutil.rmtree(volume / "v1", ignore_errors=True)
        return really(name, *args, **kwargs)

    monkeypatch.setattr(kernel, "open", removing, raising=False)
    for path in (volume / "v1" / "f", volume / "f"):
        with pytest.raises(FileNotFoundError):
            read_atomic(path)


def test_what_is_gone_is_gone_wherever_links_lead(volume: Path) -> None:
    swap(volume, "*")
    (volume / "v2" / "f").unlink()
    for path in (volume / "f", volume / "data" / "f"):
        with pytest.raises(FileNotFoundError):
            read_atomic(path)
    (volume / "v2" / "f.sha256").unlink()
    (volume / "v2").rmdir()
    with pytest.raises(FileNotFoundError):
        read_atomic(volume / "f")
    with pytest.raises(FileNotFoundError):
        get_checksum_info(volume / "f")
