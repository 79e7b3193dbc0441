"""What holds for every descriptor of the library: how it is opened, its number, and its end."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from held_descriptors import take_number
from safeatomic_core import (
    AtomicReader,
    AtomicWriter,
    SafeAtomicError,
    _writer,
    compute_hash_file,
    doctor,
    force_release_lock,
    get_checksum_info,
    inspect_guarantees,
    inspect_lock,
    is_locked,
    is_stale_lock,
    move_atomic,
    read_atomic_bytes,
    release_lock,
    release_stale_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._cli import main
from safeatomic_core._lock_payload import payload
from safeatomic_core._posix import intercept, kernel

SAFETY: Literal["best_effort"] = "best_effort"  # the tests run anywhere


def write(path: Path) -> None:
    write_atomic_bytes(path, b"new", safety=SAFETY)
    assert path.read_bytes() == b"new"


def create(path: Path) -> None:
    path.unlink()
    write_atomic_bytes(path, b"new", safety=SAFETY, overwrite=False, mode=0o600)
    assert path.read_bytes() == b"new"


def create_beside_a_record(path: Path) -> None:
    write_checksum_file(path, safety=SAFETY)
    path.unlink()
    write_atomic_bytes(path, b"new", safety=SAFETY, write_checksum=True)
    assert verify_checksum(path)


def keep_attributes(path: Path) -> None:
    """Where the way through /proc is closed, the file itself is opened for them."""

    def refuse(*_args: object) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    try:
        os.setxattr(path, "user.note", b"kept")
    except (AttributeError, OSError):
        pytest.skip("no extended attributes here")
    kernel.listxattr_at = kernel.getxattr_at = refuse
    write_atomic_bytes(path, b"new", safety=SAFETY)
    assert os.getxattr(path, "user.note") == b"kept"


def write_checked(path: Path) -> None:
    for content in (b"new", b"newer"):  # without a record, and with one
        write_atomic_bytes(path, content, safety=SAFETY, write_checksum=True)
        assert read_atomic_bytes(path, check_checksum=True, safety=SAFETY) == content
    write_atomic_bytes(path, b"unchecked", safety=SAFETY)
    assert get_checksum_info(path) is None


def stream(path: Path) -> None:
    with AtomicWriter(path, safety=SAFETY, write_checksum=True) as file:
        file.write(b"new")
        file.seek(0)
    with AtomicReader(path, safety=SAFETY, check_checksum=True) as reader:
        assert reader.read() == b"new"


def give_up(path: Path) -> None:
    AtomicWriter(path, safety=SAFETY).abort()
    assert path.read_bytes() == b"old"


def move(path: Path) -> None:
    write_checksum_file(path, safety=SAFETY)
    (path.parent / "elsewhere").mkdir(exist_ok=True)
    there = path.parent / "elsewhere" / "there"
    there.write_bytes(b"overwritten")
    move_atomic(path, there, force=True, safety=SAFETY)
    assert verify_checksum(there)
    move_atomic(there, path, safety=SAFETY)
    assert path.read_bytes() == b"old"


def undo(path: Path) -> None:
    write_checksum_file(path, safety=SAFETY)
    side = Path(f"{path}.sha256")
    recorded = side.stat().st_ino, side.read_bytes()
    rename, exchange = kernel.rename, kernel.rename_exchange
    interrupts = iter([KeyboardInterrupt()])

    def fail(src: str, dst: str, **at: int) -> None:
        if dst == path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(src, dst, **at)

    def interrupted(*args: Any) -> None:
        exchange(*args)
        for interrupt in interrupts:
            raise interrupt

    for entry, call in (("rename", fail), ("rename_exchange", interrupted)):
        setattr(kernel, entry, call)
        with pytest.raises((OSError, KeyboardInterrupt)):
            write_atomic_bytes(path, b"new", safety=SAFETY, write_checksum=True)
        kernel.rename, kernel.rename_exchange = rename, exchange
        assert (side.stat().st_ino, side.read_bytes()) == recorded
    assert read_atomic_bytes(path, check_checksum=True, safety=SAFETY) == b"old"
    assert sorted(os.listdir(path.parent)) == ["data.bin", "data.bin.sha256"]


def record(path: Path) -> None:
    for _ in range(2):
        write_checksum_file(path, safety=SAFETY)
    assert verify_checksum(path)
    assert len(compute_hash_file(path)) == 64


def lock(path: Path) -> None:
    assert try_acquire_lock(path, safety=SAFETY)
    assert is_locked(path)
    assert inspect_lock(path).pid == os.getpid()
    write_atomic_bytes(path, b"under the lock", safety=SAFETY)
    assert release_lock(path)
    assert not is_locked(path)


def take_over(path: Path) -> None:
    dead, orphan = Path(f"{path}.lock"), path.with_name(".safeatomic-tmp-0123456789abcdef.tmp")
    for remove in (release_stale_lock, force_release_lock, write):
        dead.write_bytes(payload(None, "0123456789abcdef"))
        orphan.touch()
        assert is_stale_lock(path)
        assert remove(path) is not False
        assert not dead.exists()
    assert not orphan.exists()


def examine(path: Path) -> None:
    inspect_guarantees(path)
    report = doctor(path, destructive=True)
    assert {check.status for check in report.checks} & {"fail"} == set()


def command(path: Path) -> None:
    name = str(path)
    for arguments in (
        ["checksum", name],
        ["verify", name],
        ["locks", str(path.parent)],
        ["clean", str(path.parent)],
        ["write", str(path.with_name("new") / "file"), "--parents", "--from", name],
    ):
        main(arguments)


CALLS = [
    write,
    create,
    create_beside_a_record,
    keep_attributes,
    write_checked,
    stream,
    give_up,
    move,
    undo,
    record,
    lock,
    take_over,
    examine,
    command,
]
all_calls = pytest.mark.parametrize("call", CALLS, ids=[call.__name__ for call in CALLS])


@all_calls
def test_nothing_is_opened_that_could_lead_elsewhere_or_never_return(
    target: Path, call: Callable[[Path], None]
) -> None:
    opened: list[tuple[str, int]] = []

    def wrap(name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def noted(path: str, flags: int, *args: Any, **options: Any) -> Any:
            opened.append((path, flags))
            return really(path, flags, *args, **options)

        return noted if name == "open" else really

    with intercept(wrap):
        call(target)
    assert opened
    for path, flags in opened:
        if path == "/" or flags & (os.O_DIRECTORY | getattr(os, "O_PATH", 0)):
            continue  # nothing else than a directory is opened, or nothing at all
        assert flags & os.O_NOFOLLOW, f"{path} could be a link"
        is_new = flags & os.O_CREAT and flags & os.O_EXCL
        assert is_new or flags & os.O_NONBLOCK, f"{path} could be a FIFO"


class Zero:
    """Give one of the files that a call opens the number 0, as a daemon without standard input has.

    Args:
        number: Which of them, from 1.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.opened = 0
        self.in_use = False
        self._nothing = os.open(os.devnull, os.O_RDONLY)

    def wrap(self, name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def opening(*args: Any, **options: Any) -> int:
            fd: int = really(*args, **options)
            if args[0] == "/":  # what the command fills closed standard streams with
                return fd
            self.opened += 1
            if self.opened != self.number:
                return fd
            os.dup2(fd, 0, inheritable=False)
            os.close(fd)
            self.in_use = True
            return 0

        def closing(fd: int) -> None:
            if fd != 0:
                really(fd)
                return
            assert self.in_use, "the standard input was closed"
            os.dup2(self._nothing, 0)
            self.in_use = False

        standing_in: dict[str, Callable[..., Any]] = {
            "open": opening,
            "open_anonymous": opening,
            "close": closing,
        }
        return standing_in.get(name, really)

    def end(self) -> None:
        os.dup2(self._nothing, 0)
        os.close(self._nothing)


@pytest.fixture
def standard_input() -> Iterator[None]:
    kept = os.dup(0)
    yield
    os.dup2(kept, 0)
    os.close(kept)


@pytest.mark.skipif(
    sys.implementation.name != "cpython",
    reason="elsewhere what other tests dropped is closed at any time, and takes part",
)
@all_calls
@pytest.mark.usefixtures("standard_input")
def test_any_descriptor_may_have_the_number_zero(
    tmp_path: Path, call: Callable[[Path], None]
) -> None:
    opened = number = 1
    while number <= opened:
        path = tmp_path / f"{number}" / "data.bin"
        path.parent.mkdir()
        path.write_bytes(b"old")
        zero = Zero(number)
        try:
            with intercept(zero.wrap):
                call(path)
            assert not zero.in_use, f"number {number} of {zero.opened} was left open"
        finally:
            zero.end()
        opened = zero.opened
        number += 1
    assert number > 2


def numbers() -> set[int]:
    listed = os.listdir("/proc/self/fd")  # and with them the one that lists, closed by now
    return {int(number) for number in listed if os.path.lexists(f"/proc/self/fd/{number}")}


def end_lock(path: Path) -> None:
    release_lock(path)
    Path(f"{path}.lock").unlink(missing_ok=True)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
@pytest.mark.filterwarnings("ignore::safeatomic_core.UnsupportedEnvironmentWarning")
@pytest.mark.parametrize("kind", ["reader", "writer", "checked writer", "writer in place", "lock"])
def test_what_the_program_has_put_at_our_numbers_is_not_closed(
    target: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "writer in place":
        request.getfixturevalue("seen")
    before = numbers()
    end: Callable[[], object]
    if kind == "reader":
        end = AtomicReader(target, safety=SAFETY).close
    elif kind == "lock":
        assert try_acquire_lock(target, safety=SAFETY)
        end = partial(end_lock, target)
    else:
        safety = "warn" if kind == "writer in place" else SAFETY
        end = AtomicWriter(target, safety=safety, write_checksum="checked" in kind).abort
    theirs = tmp_path / "theirs"
    theirs.touch()
    ours = {fd for fd in numbers() - before if not is_watch(fd)}
    for fd in ours:
        take_number(fd, theirs)
    with contextlib.suppress(OSError, SafeAtomicError):
        end()
    assert ours
    for fd in ours:
        assert os.path.samestat(os.fstat(fd), theirs.stat())
        os.close(fd)
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_a_full_buffer_goes_into_no_file_that_the_program_has_put_at_our_number(
    target: Path, tmp_path: Path
) -> None:
    before = numbers()
    file = AtomicWriter(target, safety=SAFETY)
    file.write(bytes(_writer._BUFFER))
    theirs = tmp_path / "theirs"
    theirs.touch()
    ours = {fd for fd in numbers() - before if not is_watch(fd)}
    for fd in ours:
        take_number(fd, theirs, os.O_RDWR)
    with pytest.raises(OSError, match="closed a descriptor of this writer"):
        file.write(b"x")
    with contextlib.suppress(OSError, SafeAtomicError):
        file.abort()
    for fd in ours:
        os.close(fd)
    assert theirs.read_bytes() == b""


def is_watch(fd: int) -> bool:
    """Tell whether a number was that of the listing itself, or shows the table of mounts."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}").endswith("/mountinfo")
    except OSError:
        return True
