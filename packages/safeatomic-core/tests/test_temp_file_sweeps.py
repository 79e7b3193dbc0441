"""What a sweep proves of a temp, and what it leaves alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core._posix import kernel
from safeatomic_core._temp_file import Temp, orphans

NAME = ".safeatomic-tmp-0123456789abcdef.tmp"
needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list"
)


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def orphan(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(b"12345")
    return path


@pytest.fixture
def after_flock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], None]:
    """Return what lets something happen right after a descriptor was flocked."""
    real = kernel.flock

    def let(happen: Callable[[int], object]) -> None:
        def flock(fd: int, operation: int) -> None:
            real(fd, operation)
            happen(fd)

        monkeypatch.setattr(kernel, "flock", flock, raising=False)

    return let


def test_what_is_not_proven_is_not_refused_either(dir_fd: int) -> None:
    temp = Temp(dir_fd)
    temp.create(0o600)
    refused: list[OSError] = []
    assert orphans(dir_fd, remove=True, refused=refused) == []
    assert refused == []
    temp.discard()


@pytest.mark.parametrize(("code", "count"), [(errno.EACCES, 1), (errno.ENOENT, 0)])
def test_an_orphan_that_cannot_be_removed_is_refused_unless_it_is_gone(
    orphan: Path, dir_fd: int, faults: Any, code: int, count: int
) -> None:
    faults.fail("unlink", code)
    refused: list[OSError] = []
    assert orphans(dir_fd, remove=True, refused=refused) == []
    assert [(error.errno, error.filename) for error in refused] == [(code, NAME)] * count


def test_a_link_that_took_the_name_of_a_temp_stays(
    orphan: Path, dir_fd: int, after_flock: Callable[[Callable[[int], object]], None]
) -> None:
    def published(_fd: int) -> None:
        orphan.rename(orphan.with_name("data"))
        orphan.symlink_to("data")

    after_flock(published)
    assert orphans(dir_fd, remove=True) == []
    assert os.readlink(orphan) == "data"


@pytest.mark.parametrize("exists", [True, False])
def test_a_sweep_follows_no_link(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    if exists:
        (tmp_path / "data").write_bytes(b"data")
    (tmp_path / NAME).symlink_to("data")
    opened: list[str] = []
    monkeypatch.setattr(kernel, "open", lambda name, *_a, **_k: opened.append(name), raising=False)
    assert orphans(dir_fd, remove=True, named=("0123456789abcdef",)) == []
    assert opened == []
    assert os.readlink(tmp_path / NAME) == "data"


@needs_proc
@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("entry", ["flock", "unlink"])
def test_a_sweep_leaves_no_descriptor(
    orphan: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, remove: bool, entry: str
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    before = os.listdir("/proc/self/fd")
    assert len(orphans(dir_fd, remove=False)) == 1
    assert os.listdir("/proc/self/fd") == before
    monkeypatch.setattr(kernel, entry, interrupt, raising=False)
    if remove or entry == "flock":
        with pytest.raises(KeyboardInterrupt):
            orphans(dir_fd, remove=remove)
    else:
        assert len(orphans(dir_fd, remove=remove)) == 1
    assert os.listdir("/proc/self/fd") == before


def test_what_the_program_opened_under_the_number_of_a_sweep_stays_open(
    orphan: Path,
    dir_fd: int,
    after_flock: Callable[[Callable[[int], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept: list[int] = []
    after_flock(swept.append)
    orphan.with_name("theirs").write_bytes(b"theirs")
    real = kernel.unlink

    def unlink(name: str, *, dir_fd: int) -> None:
        real(name, dir_fd=dir_fd)
        os.close(swept[0])
        swept.append(os.open(orphan.with_name("theirs"), os.O_RDONLY))

    monkeypatch.setattr(kernel, "unlink", unlink, raising=False)
    assert len(orphans(dir_fd, remove=True)) == 1
    assert swept[0] == swept[1]
    assert os.read(swept[1], 6) == b"theirs"
    os.close(swept[1])


def test_what_the_program_opened_under_the_number_of_a_temp_stays_open(
    tmp_path: Path, dir_fd: int
) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    temp = Temp(dir_fd)
    temp.create(0o600)
    os.close(temp.fd)
    theirs = os.open(tmp_path / "theirs", os.O_RDONLY)
    assert theirs == temp.fd
    temp.discard()
    assert os.read(theirs, 6) == b"theirs"
    os.close(theirs)


def test_a_temp_that_its_inode_counts_is_not_looked_up_by_name(dir_fd: int, faults: Any) -> None:
    temp = Temp(dir_fd)
    temp.create(0o600)
    assert faults.calls == ["open", "flock", "fstat"]
    temp.discard()
