from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core._posix import kernel
from safeatomic_core._rename import are_one_entry, rename_new
from safeatomic_core._target import Target


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_bytes(b"x")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES])
def test_where_no_rename_refuses_to_replace_a_link_does(
    dir_fd: int, tmp_path: Path, faults: Any, code: int
) -> None:
    faults.fail("rename_noreplace", code)
    assert rename_new("a", "b", dir_fd, dir_fd)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("answers", [True, False], ids=["empty name refused", "taken"])
def test_a_rename_that_is_forbidden_is_not_replaced_with_a_link(
    dir_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, answers: bool, code: int
) -> None:
    """What may not be removed (sticky, immutable, append-only) can be linked all the same."""

    def rename(src: str, *_args: object) -> None:
        if src:
            raise PermissionError(code, os.strerror(code), src)
        if answers:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), src)

    monkeypatch.setattr(kernel, "rename_noreplace", rename, raising=False)
    with pytest.raises(PermissionError):
        rename_new("a", "b", dir_fd, dir_fd)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("bits", [0o755, 0o1777])
def test_a_symbolic_link_is_given_the_name_itself(
    dir_fd: int, tmp_path: Path, faults: Any, bits: int
) -> None:
    os.fchmod(dir_fd, bits)
    (tmp_path / "link").symlink_to("nowhere")
    faults.fail("rename_noreplace", errno.EINVAL)
    assert rename_new("link", "b", dir_fd, dir_fd)
    assert os.readlink(tmp_path / "b") == "nowhere"


def test_where_everybody_may_remove_anything_a_link_is_made_of_anybody_s_file(
    dir_fd: int, tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.fchmod(dir_fd, 0o777)
    faults.fail("rename_noreplace", errno.EINVAL)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert rename_new("a", "b", dir_fd, dir_fd)
    assert (tmp_path / "b").exists()


@pytest.mark.parametrize(("others", "links"), [(True, False), (False, True)])
def test_a_link_is_not_made_whose_other_name_would_stay(
    dir_fd: int,
    tmp_path: Path,
    faults: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    others: bool,
    links: bool,
) -> None:
    os.fchmod(dir_fd, 0o1777)
    faults.fail("rename_noreplace", errno.EINVAL)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + others)
    if links:
        assert rename_new("a", "b", dir_fd, dir_fd)
    else:
        with pytest.raises(PermissionError) as caught:
            rename_new("a", "b", dir_fd, dir_fd)
        assert (caught.value.errno, caught.value.filename) == (errno.EPERM, "a")
    assert (tmp_path / "b").exists() == links


@pytest.mark.parametrize("moves", [1, 3])
def test_names_between_which_others_move_a_file_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """What is looked at one after the other looks like one entry, if a rename comes in between."""
    src, dst = Target(str(tmp_path / "a")), Target(str(tmp_path / "b"))
    (tmp_path / "b").touch()
    src.open()
    dst.open()
    left, really = [moves], kernel.stat

    def stat_of(path: str, **options: Any) -> os.stat_result:
        if path == "a" and left[0]:
            left[0] -= 1
            return really("b", **options)
        return really(path, **options)

    monkeypatch.setattr(kernel, "stat", stat_of, raising=False)
    assert not are_one_entry(src, dst)
    assert left == [0]
    src.close()
    dst.close()
