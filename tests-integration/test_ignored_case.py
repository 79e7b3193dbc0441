"""Directories that ignore case, as macOS, Windows and ``chattr +F`` make them.

Two spellings of a name are one file there, with one lock and one sidecar. The filesystem of these
tests is one in user space, which stands for those that this kernel may not have.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

import mounted
import safeatomic_core as sa
from mounting import MARKS, privately

pytestmark = MARKS

T = TypeVar("T")
write = functools.partial(sa.write_atomic_bytes, safety="best_effort")
take = functools.partial(sa.try_acquire_lock, safety="best_effort")


def where_case_is_ignored(work: Path, function: Callable[[Path], T]) -> T:
    """Run a function in such a directory, which has a file ``a.txt``."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse on this machine")

    def body(private: Path) -> T:
        place = mounted.mount_fuse(private, "fuse.memory")
        write(place / "a.txt", b"old")
        assert (place / "A.TXT").read_bytes() == b"old"
        return function(place)

    return privately(work, body, fuse=True, ignores_case=True)


def contents(place: Path) -> dict[str, bytes]:
    return {name: (place / name).read_bytes() for name in os.listdir(place)}


@pytest.mark.parametrize("concurrency", ["lock", "none"])
@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_a_file_is_not_moved_to_another_spelling_of_its_own_name(
    tmp_path: Path, concurrency: str, force: bool
) -> None:
    """Both are one entry: the kernel renames nothing, and to unlink one would lose the file."""

    def body(place: Path) -> dict[str, bytes]:
        with pytest.raises(ValueError, match="the same name in this directory"):
            sa.move_atomic(
                place / "a.txt",
                place / "A.TXT",
                force=force,
                concurrency=concurrency,  # type: ignore[arg-type]
                safety="best_effort",
            )
        return contents(place)

    assert where_case_is_ignored(tmp_path, body) == {"a.txt": b"old"}


def test_a_file_gets_another_spelling_by_way_of_a_third_name(tmp_path: Path) -> None:
    def body(place: Path) -> dict[str, bytes]:
        write(place / "a.txt", b"old", write_checksum=True)
        sa.move_atomic(place / "a.txt", place / "third", safety="best_effort")
        sa.move_atomic(place / "third", place / "A.TXT", safety="best_effort")
        assert sa.verify_checksum(place / "a.txt")
        return contents(place)

    assert sorted(where_case_is_ignored(tmp_path, body)) == ["A.TXT", "A.TXT.sha256"]


def test_two_spellings_have_one_sidecar(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[bool, bool, list[str]]:
        write(place / "a.txt", b"first", write_checksum=True)
        first = sa.verify_checksum(place / "A.TXT")
        write(place / "A.TXT", b"second", write_checksum=True)
        second = sa.verify_checksum(place / "a.txt")
        write(place / "A.txt", b"third")
        return first, second, sorted(os.listdir(place))

    assert where_case_is_ignored(tmp_path, body) == (True, True, ["a.txt"])


def test_two_spellings_have_one_lock(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[bool, bool, dict[str, bytes]]:
        take(place / "a.txt")
        locked = sa.is_locked(place / "A.TXT")
        with pytest.raises(sa.LockError):
            write(place / "A.TXT", b"new")
        sa.release_lock(place / "a.txt")
        free = not sa.is_locked(place / "A.TXT")
        return locked, free, contents(place)

    assert where_case_is_ignored(tmp_path, body) == (True, True, {"a.txt": b"old"})


def test_nobody_waits_for_oneself_under_another_spelling(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[bool, bool]:
        begun = time.monotonic()
        take(place / "a.txt")
        taken = take(place / "A.TXT", retries=1, delay=60)
        with pytest.raises(sa.LockError, match="another task or thread"):
            write(place / "A.TXT", b"new", retries=1, delay=60)
        sa.release_lock(place / "a.txt")
        return taken, time.monotonic() - begun < 60

    assert where_case_is_ignored(tmp_path, body) == (False, True)


def test_a_file_is_not_created_under_another_spelling(tmp_path: Path) -> None:
    def body(place: Path) -> dict[str, bytes]:
        with pytest.raises(FileExistsError):
            write(place / "A.TXT", b"new", overwrite=False)
        return contents(place)

    assert where_case_is_ignored(tmp_path, body) == {"a.txt": b"old"}
