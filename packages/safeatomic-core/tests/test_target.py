from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    compute_hash_file,
    move_atomic,
    read_atomic_bytes,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel
from safeatomic_core._target import (
    DIRECTORY_FLAGS,
    Target,
    check_path,
    unchanged,
)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (3, TypeError, "path must be a str, bytes or os.PathLike, not int"),
        (None, TypeError, "path must be"),
        ("", ValueError, "path must not be empty"),
        ("a\0b", ValueError, "NUL"),
    ],
)
def test_bad_paths_are_refused_by_name(path: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_path(path)  # type: ignore[arg-type]


def test_bytes_and_path_objects_are_paths(tmp_path: Path) -> None:
    assert check_path(b"/a\xff") == "/a\udcff"
    assert check_path(tmp_path) == str(tmp_path)


@pytest.mark.parametrize("path", ["/", ".", "..", "a/", "a/.."])
def test_what_can_only_be_a_directory_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    locate: Callable[[str | Path], Target],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError):
        locate(path)


def test_a_bare_name_is_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic_bytes("bare", b"x")
    assert (tmp_path / "bare").read_bytes() == b"x"


def test_a_link_is_followed_to_its_target(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("sub/real")
    write_atomic_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "sub" / "real").read_bytes() == b"new"


def test_a_dangling_link_creates_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    write_atomic_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "missing").read_bytes() == b"new"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("left", ["nothing", "another name", "a decoy", "both"])
def test_an_open_file_whose_name_was_deleted_has_none_to_write_to(
    tmp_path: Path, listing: Callable[[], list[str]], left: str
) -> None:
    gone = tmp_path / "f"
    gone.write_bytes(b"old")
    with gone.open("rb") as file:
        if left in ("another name", "both"):
            os.link(gone, tmp_path / "g")
        if left in ("a decoy", "both"):
            (tmp_path / "f (deleted)").write_bytes(b"not this one")
        gone.unlink()
        before = listing()
        path = f"/proc/self/fd/{file.fileno()}"
        with pytest.raises(OSError, match="whose name was deleted") as caught:
            write_atomic_bytes(path, b"new")
        assert caught.value.errno == errno.EINVAL
    assert listing() == before
    assert all((tmp_path / name).read_bytes() in (b"old", b"not this one") for name in before)


def test_a_link_to_a_name_that_looks_deleted_is_an_ordinary_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("f (deleted)")
    write_atomic_bytes(tmp_path / "link", b"first")
    write_atomic_bytes(tmp_path / "link", b"second")
    assert (tmp_path / "f (deleted)").read_bytes() == b"second"


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there is no eventfd here")
def test_an_open_object_that_is_no_file_is_named(tmp_path: Path) -> None:
    fd = os.eventfd(0)
    try:
        with pytest.raises(OSError, match="an anonymous inode, not a regular file"):
            write_atomic_bytes(f"/proc/self/fd/{fd}", b"x", safety="best_effort")
    finally:
        os.close(fd)


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        write_atomic_bytes(tmp_path / "a", b"x")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("kind", ["directory", "FIFO", "socket", "character device"])
def test_other_kinds_are_refused_by_name_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is limited to 108 bytes
    name = "odd"
    if kind == "directory":
        os.mkdir(name)
    elif kind == "FIFO":
        os.mkfifo(name)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    else:
        name = "/dev/null"
    before = os.stat(name)
    with pytest.raises(OSError, match=kind):
        write_atomic_bytes(name, b"x")
    after = os.stat(name)
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)


SWAPS: dict[str, Callable[[Path], None]] = {
    "FIFO": lambda path: os.mkfifo(path),
    "character device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
}


@pytest.fixture
def swap(kind: str, target: Path) -> Callable[[Path], None]:
    """What puts a file of that kind at a path, where this user can."""
    try:
        SWAPS[kind](target.with_name("tried"))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    target.with_name("tried").unlink()
    return SWAPS[kind]


OPENERS: dict[str, Callable[[Path], object]] = {
    "read": read_atomic_bytes,
    "hash": compute_hash_file,
    "record": write_checksum_file,
    "first checked write": lambda path: write_atomic_bytes(path, b"new", write_checksum=True),
    "move": lambda path: move_atomic(path, path.with_name("moved")),
}


@pytest.mark.parametrize("call", OPENERS)
@pytest.mark.parametrize("kind", SWAPS)
def test_what_is_no_longer_a_regular_file_when_it_is_opened_is_refused(
    target: Path,
    listing: Callable[[], list[str]],
    kind: str,
    swap: Callable[[Path], None],
    call: str,
) -> None:
    real = kernel.open

    def opening(name: str, flags: int, *args: Any, **options: Any) -> int:
        if name in (target.name, str(target)):
            target.unlink()
            swap(target)
        return real(name, flags, *args, **options)

    kernel.open = opening  # type: ignore[assignment]
    try:
        with pytest.raises(OSError, match=f"a {kind}, not a regular file"):
            OPENERS[call](target)  # an endless device would keep it busy for ever
    finally:
        del kernel.open
    assert listing() == ["data.bin"]


def test_a_parent_that_is_swapped_meanwhile_does_not_misdirect(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    (tmp_path / "real").mkdir()
    target = locate(tmp_path / "real" / "file")
    try:
        (tmp_path / "real").rename(tmp_path / "moved")
        (tmp_path / "real").mkdir()
        (tmp_path / "moved" / "file").write_bytes(b"x")
        assert target.look_again() is not None
    finally:
        target.close()
        target.close()  # a second close does nothing


def test_a_failing_look_closes_the_directory(
    tmp_path: Path, faults: Any, locate: Callable[[str | Path], Target]
) -> None:
    faults.fail("stat", errno.EIO)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output"):
        locate(tmp_path / "x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_error_without_a_number_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locate: Callable[[str | Path], Target]
) -> None:
    error = OSError("odd")

    def stat(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(kernel, "stat", stat, raising=False)
    with pytest.raises(OSError, match="odd") as caught:
        locate(tmp_path / "x")
    assert caught.value is error


def test_a_missing_directory_is_named_by_the_path_given_and_nothing_else(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    path = str(tmp_path / "no" / "f")
    with pytest.raises(FileNotFoundError) as caught:
        locate(path)
    assert caught.value.filename == path


@pytest.fixture
def held(tmp_path: Path, locate: Callable[[str | Path], Target]) -> Target:
    """A target that does not exist."""
    return locate(tmp_path / "f")


def test_a_link_is_another_thing_than_what_it_leads_to(tmp_path: Path, held: Target) -> None:
    assert held.shows_what_was_found()
    (tmp_path / "f").symlink_to("nowhere")
    assert not held.shows_what_was_found()
    (tmp_path / "f").unlink()
    (tmp_path / "f").touch()
    assert not held.shows_what_was_found()
    held.look_again()
    assert held.shows_what_was_found()
    (tmp_path / "f").rename(tmp_path / "g")
    (tmp_path / "f").symlink_to("g")
    assert not held.shows_what_was_found()


def test_a_directory_that_cannot_be_flushed_is_not_opened_for_a_change(
    target: Path, faults: Any
) -> None:
    faults.fail("open", errno.EACCES, when=lambda _name, flags, *_, **__: flags == DIRECTORY_FLAGS)
    for flushes in (False, True):
        opened = Target(str(target))
        if flushes:
            with pytest.raises(PermissionError):
                opened.open(flushes=True)
        else:
            opened.open()
        opened.close()


def test_a_directory_at_descriptor_0_may_be_gone_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    fd = os.open(tmp_path / "gone", os.O_RDONLY)
    (tmp_path / "gone").rmdir()
    really = kernel.fstat
    monkeypatch.setattr(kernel, "fstat", lambda number: really(number or fd), raising=False)
    with pytest.raises(FileNotFoundError):
        Target.borrowed("gone/f", "f", 0, None).require_directory()
    os.close(fd)


def test_a_closed_target_shows_no_directory(held: Target) -> None:
    held.close()
    assert held.dir_fd == -1


def test_a_file_is_unchanged_if_it_is_the_same_and_nobody_touched_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.touch()
    other.touch()
    before = one.stat()
    later = os.stat_result((*before[:10],), {"st_ctime_ns": before.st_ctime_ns + 1})
    same_time = os.stat_result((*other.stat()[:10],), {"st_ctime_ns": before.st_ctime_ns})
    assert unchanged(before, one.stat())
    assert unchanged(None, None)
    assert not unchanged(before, None)
    assert not unchanged(None, before)
    assert not unchanged(before, later)
    assert not unchanged(before, same_time)


def test_a_chain_of_links_is_followed_as_far_as_the_kernel_follows_it(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    (tmp_path / "0").write_bytes(b"x")
    for number in range(1, 42):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert (tmp_path / "40").read_bytes() == b"x"
    target = locate(tmp_path / "40")
    assert target.name == "0"
    target.close()
    with pytest.raises(OSError, match="symbolic links"):
        locate(tmp_path / "41")


def test_a_path_that_leads_nowhere_any_more_does_not_lead_elsewhere(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "other").mkdir()
    target = locate(tmp_path / "place" / "f")
    try:
        assert not target.leads_elsewhere()
        (tmp_path / "place").rename(tmp_path / "moved")
        assert not target.leads_elsewhere()
        (tmp_path / "place").symlink_to("other")
        assert target.leads_elsewhere()
    finally:
        target.close()
