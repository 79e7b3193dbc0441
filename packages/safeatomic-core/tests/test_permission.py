"""Whether the caller may replace what stands at a name; other users are simulated by the seam.

`tests-integration/test_users.py` tries the same between real users.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, move_atomic, read_atomic, write_atomic
from safeatomic_core._posix import kernel

ME = os.geteuid()
SOMEBODY = 12345


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let writing the target be refused, with the errno that opening it gives."""

    def refuse(code: int) -> None:
        really = kernel.open

        def no(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if path == "data.bin" and flags & os.O_WRONLY:
                raise OSError(code, os.strerror(code), path)
            return really(path, flags, *args, **kwargs)

        monkeypatch.setattr(kernel, "access", lambda *_: False, raising=False)
        monkeypatch.setattr(kernel, "open", no, raising=False)

    return refuse


@contextmanager
def owned_by(
    monkeypatch: pytest.MonkeyPatch, *, file: int, directory: int, mode: int = 0o755
) -> Iterator[None]:
    """Let the target, its links and their directory have other owners."""
    really_stat, really_fstat = kernel.stat, kernel.fstat

    def changed(status: os.stat_result, uid: int, bits: int) -> os.stat_result:
        fields = list(status)
        fields[stat.ST_UID] = uid
        fields[stat.ST_MODE] = stat.S_IFMT(status.st_mode) | bits
        return os.stat_result(fields)

    def see(path: Any, **kwargs: Any) -> os.stat_result:
        status = really_stat(path, **kwargs)
        return changed(status, file, stat.S_IMODE(status.st_mode))

    def see_open(fd: int) -> os.stat_result:
        status = really_fstat(fd)
        return changed(status, directory, mode) if stat.S_ISDIR(status.st_mode) else status

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "stat", see, raising=False)
        patch.setattr(kernel, "fstat", see_open, raising=False)
        yield


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_target_that_may_not_be_written_is_refused_with_the_error_of_open(
    target: Path, refused: Callable[[int], None], listing: Callable[[], list[str]], code: int
) -> None:
    refused(code)
    for write in (write_atomic, lambda path, text: AtomicWriter(path).write(text)):
        with pytest.raises(OSError, match="unchanged") as caught:
            write(target, "new")
        assert caught.value.errno == code
        assert any("Gate failed" in note for note in caught.value.__notes__)
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_a_forced_move_counts_its_destination_as_a_target(
    target: Path, refused: Callable[[int], None]
) -> None:
    source = target.with_name("source")
    source.write_bytes(b"new")
    refused(errno.EACCES)
    with pytest.raises(PermissionError):
        move_atomic(source, target, force=True)
    assert (target.read_bytes(), source.read_bytes()) == (b"old", b"new")


def test_a_target_that_became_read_only_meanwhile_is_refused(
    target: Path, refused: Callable[[int], None]
) -> None:
    file = AtomicWriter(target)
    file.write(b"new")
    refused(errno.EACCES)
    with pytest.raises(PermissionError):
        file.commit()
    assert target.read_bytes() == b"old"


def test_a_running_program_may_be_replaced(target: Path, refused: Callable[[int], None]) -> None:
    refused(errno.ETXTBSY)
    write_atomic(target, "new")
    assert target.read_bytes() == b"new"


def test_a_no_of_the_kernel_that_opening_does_not_confirm_is_none(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "access", lambda *_: False, raising=False)
    write_atomic(target, "new")
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("file", "directory", "mode", "allowed"),
    [
        (0, SOMEBODY, 0o755, True),  # after a run under sudo
        (0, SOMEBODY, 0o775, True),
        (0, SOMEBODY, 0o1755, True),
        (0, SOMEBODY, 0o1775, False),  # a shared directory
        (0, SOMEBODY, 0o1777, False),
        (SOMEBODY, SOMEBODY, 0o755, False),  # read-only by its owner's own wish
        (0, 0, 0o777, False),
    ],
)
def test_only_the_owner_of_a_directory_may_replace_others_read_only_files(
    target: Path,
    refused: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    file: int,
    directory: int,
    mode: int,
    allowed: bool,
) -> None:
    refused(errno.EACCES)
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    with owned_by(monkeypatch, file=file, directory=directory, mode=mode):
        if allowed:
            write_atomic(target, "new", concurrency="none", preserve_metadata=False)
        else:
            with pytest.raises(PermissionError):
                write_atomic(target, "new", concurrency="none", preserve_metadata=False)
    assert target.read_bytes() == (b"new" if allowed else b"old")


def test_a_root_that_is_refused_is_no_owner_who_may_replace_all_the_same(
    target: Path, refused: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root is refused by something else than the mode."""
    refused(errno.EACCES)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with owned_by(monkeypatch, file=SOMEBODY, directory=0), pytest.raises(PermissionError):
        write_atomic(target, "new", concurrency="none", preserve_metadata=False)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("file", "directory", "allowed"), [(ME, 0, True), (777, 777, True), (777, 778, False)]
)
def test_other_users_files_in_a_sticky_directory_are_not_replaced(
    target: Path, monkeypatch: pytest.MonkeyPatch, file: int, directory: int, allowed: bool
) -> None:
    with owned_by(monkeypatch, file=file, directory=directory, mode=0o1777):
        if allowed:
            write_atomic(target, "new", concurrency="none", preserve_metadata=False)
        else:
            with pytest.raises(PermissionError, match="sticky"):
                write_atomic(target, "new", concurrency="none")
        assert read_atomic(target) == ("new" if allowed else "old")


@pytest.mark.parametrize(
    ("link", "directory", "mode", "allowed"),
    [
        (ME, 0, 0o1777, True),
        (777, 777, 0o1777, True),
        (777, 778, 0o1777, False),
        (777, 778, 0o755, True),
        (777, 778, 0o1775, True),
    ],
)
def test_other_users_links_in_a_sticky_directory_are_not_followed(
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    link: int,
    directory: int,
    mode: int,
    allowed: bool,
) -> None:
    at = target.with_name("link")
    at.symlink_to("data.bin")
    with owned_by(monkeypatch, file=link, directory=directory, mode=mode):
        if allowed:
            assert read_atomic(at) == "old"
        else:
            with pytest.raises(PermissionError, match="symbolic link"):
                read_atomic(at)
            with pytest.raises(PermissionError, match="symbolic link"):
                write_atomic(at, "new")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("concurrency", ["lock", "none"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_another_program_removes_meanwhile_is_created(
    target: Path, monkeypatch: pytest.MonkeyPatch, concurrency: Any, times: int
) -> None:
    """A consumer deletes what it has read; ``open(path, "w")`` does not fail then."""
    really, looks = kernel.access, []

    def access(name: str, mode: int, dir_fd: int) -> bool:
        looks.append(name)
        if len(looks) <= times:
            target.unlink()
        return really(name, mode, dir_fd)

    def look(path: Any, **options: Any) -> os.stat_result:
        if path == target.name and len(looks) < times:
            target.touch()  # it comes back, to be removed once more
        return os.stat(path, **options)

    monkeypatch.setattr(kernel, "access", access, raising=False)
    monkeypatch.setattr(kernel, "stat", look, raising=False)
    write_atomic(target, "new", concurrency=concurrency)
    assert len(looks) == times
    assert target.read_text() == "new"


@pytest.mark.parametrize("checked", [False, True])
def test_a_file_that_can_be_seen_and_never_opened_is_an_error(
    target: Path, refused: Callable[[int], None], faults: Any, checked: bool
) -> None:
    """A file server may answer so; nobody asks it for ever."""
    if checked:
        faults.fail("open", errno.ENOENT, when=lambda path, *_args, **_fd: path == target.name)
    else:
        refused(errno.ENOENT)
    with pytest.raises(FileNotFoundError, match="the target is unchanged"):
        write_atomic(target, "new", write_checksum=checked)
    assert target.read_bytes() == b"old"
