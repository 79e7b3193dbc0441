"""How a write into a file that is a mount point ends: its checksum, its copy, its descriptors."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from held_descriptors import take_number
from safeatomic_core import AtomicWriter, verify_checksum, write_atomic_bytes, write_checksum_file
from safeatomic_core._in_place import COPY_PREFIX
from safeatomic_core._posix import kernel

# Gate sees a mount point only where it looks, and then it warns.
pytestmark = pytest.mark.filterwarnings("ignore::safeatomic_core.UnsupportedEnvironmentWarning")

Listing = Callable[[], list[str]]
SIDE = "data.bin.sha256"


def numbers() -> list[str]:
    gc.collect()  # what earlier tests dropped
    return sorted(os.listdir("/proc/self/fd"))


def in_file(path: Path) -> Callable[..., bool]:
    return lambda fd, *_: os.path.samestat(os.fstat(fd), path.stat())


@pytest.fixture
def found_by_rename(target: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Return what makes the target a mount point that no table shows, with or without a checksum.

    The table and the checksum are written before; no rename would be needed for them afterwards.
    """

    def make(*, recorded: bool) -> Path:
        write_atomic_bytes(target, b"old", safety="best_effort", write_checksum=recorded)
        path: Path = request.getfixturevalue("mounted")
        return path

    return make


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_failure_before_the_file_changes_leaves_the_checksum_as_it_was(
    found_by_rename: Callable[..., Path],
    faults: Any,
    listing: Listing,
    checked: bool,
    recorded: bool,
) -> None:
    path = found_by_rename(recorded=recorded)
    side = path.with_name(SIDE)
    before = side.read_bytes() if recorded else b""
    faults.fail("posix_fallocate", errno.ENOSPC)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(path, b"new", safety="best_effort", write_checksum=checked)
    assert path.read_bytes() == b"old"
    assert listing() == ["data.bin", *([SIDE] if recorded else [])]
    assert not recorded or side.read_bytes() == before


def test_a_former_record_that_cannot_be_put_back_is_not_left_under_another_name(
    found_by_rename: Callable[..., Path], faults: Any, listing: Listing
) -> None:
    path = found_by_rename(recorded=True)
    faults.fail("rename_exchange", errno.EIO, at=2)
    write_atomic_bytes(path, b"new", safety="best_effort", write_checksum=True)
    assert faults.raised
    assert verify_checksum(path)
    assert not [name for name in listing() if name.startswith(".")]


def test_beside_a_mixture_no_checksum_comes_back(seen: Path, faults: Any, listing: Listing) -> None:
    write_checksum_file(seen, safety="warn")
    faults.fail("pwrite", errno.EIO, when=in_file(seen))
    with pytest.raises(OSError, match="mixture"):
        write_atomic_bytes(seen, b"new", safety="warn")
    assert SIDE not in listing()


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()])
def test_what_is_complete_is_new_whether_or_not_its_copy_can_be_removed(
    seen: Path, monkeypatch: pytest.MonkeyPatch, listing: Listing, error: BaseException
) -> None:
    """The checksum of the old content must not come back beside it."""
    write_checksum_file(seen, safety="warn")
    really = kernel.unlink

    def fail(name: str, **at: int) -> None:
        if name.startswith(COPY_PREFIX):
            raise error
        really(name, **at)

    monkeypatch.setattr(kernel, "unlink", fail, raising=False)
    with pytest.raises(type(error)) as caught:
        write_atomic_bytes(seen, b"new", safety="warn")
    (copy,) = (name for name in listing() if name.startswith(COPY_PREFIX))
    assert "the new content is visible" in caught.value.__notes__[0]
    assert f"may be left at '{seen.with_name(copy)}'" in caught.value.__notes__[0]
    assert seen.read_bytes() == b"new"
    assert SIDE not in listing()


def test_a_checksum_that_cannot_be_recorded_leaves_the_new_content(seen: Path, faults: Any) -> None:
    faults.fail("open", errno.ENOSPC, when=lambda name, *_a, **_k: ".safeatomic-sum-" in str(name))
    with pytest.raises(OSError, match="the new content is visible and durable"):
        write_atomic_bytes(seen, b"new", safety="warn", write_checksum=True)
    assert seen.read_bytes() == b"new"


def test_a_file_that_takes_a_few_bytes_at_a_time_gets_them_all(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.pwrite
    monkeypatch.setattr(
        kernel, "pwrite", lambda fd, data, at: really(fd, data[:5], at), raising=False
    )
    write_atomic_bytes(seen, b"more than can be taken at once", safety="warn")
    assert seen.read_bytes() == b"more than can be taken at once"


def whole(path: Path) -> None:
    write_atomic_bytes(path, b"new", safety="warn", write_checksum=True)
    assert verify_checksum(path)


def stream(path: Path) -> None:
    with AtomicWriter(path, safety="warn", write_checksum=True) as file:
        file.write(b"new")
    assert verify_checksum(path)


def give_up(path: Path) -> None:
    AtomicWriter(path, safety="warn").abort()
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
@pytest.mark.parametrize("fixture", ["mounted", "seen"])
@pytest.mark.parametrize("call", [whole, stream, give_up])
def test_no_descriptor_stays_open(
    target: Path, request: pytest.FixtureRequest, fixture: str, call: Callable[[Path], None]
) -> None:
    write_atomic_bytes(target, b"old", safety="warn")  # opens what stays open
    path: Path = request.getfixturevalue(fixture)
    before = numbers()
    call(path)
    assert numbers() == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_nothing_is_written_into_what_the_program_has_put_at_the_file_s_number(
    seen: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.touch()
    file = AtomicWriter(seen, safety="warn")
    file.write(b"new")
    (ours,) = (int(fd) for fd in numbers() if leads_to(fd, seen))
    take_number(ours, theirs, os.O_RDWR)
    with pytest.raises(OSError, match="closed a descriptor of this writer"):
        file.commit()
    os.close(ours)
    assert (seen.read_bytes(), theirs.read_bytes()) == (b"old", b"")


def leads_to(fd: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == str(path)
    except OSError:  # that of the listing itself
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_a_file_that_was_just_opened_is_closed_whatever_comes_then(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.fstat
    interrupts = iter([KeyboardInterrupt])

    def interrupt(fd: int) -> os.stat_result:
        status = really(fd)
        if os.path.samestat(status, seen.stat()):
            for error in interrupts:
                raise error
        return status

    AtomicWriter(seen.with_name("another"), safety="warn").abort()  # opens what stays open
    before = numbers()
    monkeypatch.setattr(kernel, "fstat", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        AtomicWriter(seen, safety="warn")
    assert numbers() == before


def test_an_interrupt_right_after_the_copy_has_its_name_leaves_none(
    seen: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.rename

    def interrupted(src: str, dst: str, **options: Any) -> None:
        really(src, dst, **options)
        if dst.startswith(COPY_PREFIX):
            raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "rename", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        write_atomic_bytes(seen, b"new", safety="best_effort")
    assert seen.read_bytes() == b"old"
    assert listing() == ["data.bin"]
