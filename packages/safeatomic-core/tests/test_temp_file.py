from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _temp_file, write_atomic_bytes
from safeatomic_core._checksum_record import CAP
from safeatomic_core._posix import kernel
from safeatomic_core._temp_file import Temp, is_temp_name, orphans, unlink_if_there


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def orphan(directory: Path, content: bytes = b"12345") -> Path:
    path = directory / ".safeatomic-tmp-0123456789abcdef.tmp"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (".safeatomic-tmp-0123456789abcdef.tmp", True),
        (".safeatomic-tmp-0123456789ABCDEF.tmp", False),
        (".safeatomic-tmp-0123456789abcde.tmp", False),
        (".safeatomic-tmp-0123456789abcdef0.tmp", False),
        (".safeatomic-tmp-0123456789abcdef.tmx", False),
        (".safeatomic-tmq-0123456789abcdef.tmp", False),
        ("data.tmp", False),
    ],
)
def test_only_our_own_form_of_name_is_a_temp(name: str, ours: bool) -> None:
    assert is_temp_name(name) is ours


def test_a_temp_is_flocked_and_removed_by_discard(tmp_path: Path, dir_fd: int) -> None:
    temp = Temp(dir_fd)
    temp.create(0o600)
    path = tmp_path / temp.name
    assert is_temp_name(temp.name)
    other = os.open(path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    temp.discard()
    temp.discard()
    assert not path.exists()


def test_a_taken_name_is_not_ours_to_use(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = orphan(tmp_path)
    random = iter([bytes.fromhex("0123456789abcdef"), b"\1" * 8])
    monkeypatch.setattr(os, "urandom", lambda _n: next(random))
    temp = Temp(dir_fd)
    temp.create(0o600)
    assert temp.name == ".safeatomic-tmp-0101010101010101.tmp"
    temp.discard()
    assert taken.read_bytes() == b"12345"


@pytest.mark.parametrize("concurrency", ["lock", "none"])
def test_a_process_without_random_numbers_gets_a_system_error(
    target: Path, monkeypatch: pytest.MonkeyPatch, concurrency: Any
) -> None:
    def refuse(_count: int) -> bytes:
        raise NotImplementedError("/dev/urandom (or equivalent) not found")

    monkeypatch.setattr(os, "urandom", refuse)
    with pytest.raises(OSError, match="cannot get random numbers") as caught:
        write_atomic_bytes(target, b"new", concurrency=concurrency)
    assert caught.value.errno == errno.ENOSYS
    assert os.listdir(target.parent) == [target.name]


def test_names_that_never_come_free_end_in_an_error(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = orphan(tmp_path)
    monkeypatch.setattr(os, "urandom", lambda _n: bytes.fromhex("0123456789abcdef"))
    temp = Temp(dir_fd)
    with pytest.raises(FileExistsError, match="no free name"):
        temp.create(0o600)
    temp.discard()
    assert taken.exists()


@pytest.mark.parametrize("moment", ["during", "before", "examined"])
def test_a_temp_swept_at_birth_is_made_again(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real = kernel.flock
    swept: list[str] = []

    def flock(fd: int, operation: int) -> None:
        if not swept:
            name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
            swept.append(name)
            if moment != "examined":
                os.unlink(tmp_path / name)
            if moment != "before":
                raise BlockingIOError(errno.EWOULDBLOCK, "the sweeper has it")
        real(fd, operation)

    monkeypatch.setattr(kernel, "flock", flock, raising=False)
    temp = Temp(dir_fd)
    temp.create(0o600)
    assert temp.name != swept[0]
    assert (tmp_path / temp.name).exists()
    temp.discard()
    assert os.listdir(tmp_path) == []


def test_a_filesystem_without_flock_has_temps_all_the_same(dir_fd: int, faults: Any) -> None:
    faults.fail("flock", errno.ENOLCK)
    temp = Temp(dir_fd)
    temp.create(0o600)
    temp.discard()


def test_a_filesystem_that_counts_no_links_has_temps_all_the_same(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(real(fd))
        fields[3] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
    temp = Temp(dir_fd)
    temp.create(0o600)
    assert (tmp_path / temp.name).exists()
    temp.discard()


def test_short_writes_are_continued(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernel.write
    monkeypatch.setattr(kernel, "write", lambda fd, data: real(fd, data[:3]), raising=False)
    temp = Temp(dir_fd)
    temp.create(0o600)
    temp.write_all(b"0123456789")
    assert (tmp_path / temp.name).read_bytes() == b"0123456789"
    temp.discard()


def test_a_filesystem_that_takes_no_byte_is_full(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def take_nothing(*_args: object) -> int:
        nonlocal calls
        calls += 1
        assert calls < 10, "repeated for ever"
        return 0

    monkeypatch.setattr(kernel, "write", take_nothing, raising=False)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_an_orphan_is_found_and_removed(tmp_path: Path, dir_fd: int) -> None:
    path = orphan(tmp_path)
    (tmp_path / "other.tmp").write_bytes(b"x")
    assert orphans(dir_fd, remove=False) == [(path.name, 5, os.geteuid())]
    assert path.exists()
    assert orphans(dir_fd, remove=True) == [(path.name, 5, os.geteuid())]
    assert not path.exists()
    assert (tmp_path / "other.tmp").exists()


def test_a_temp_in_flight_is_no_orphan(dir_fd: int) -> None:
    temp = Temp(dir_fd)
    temp.create(0o600)
    assert orphans(dir_fd, remove=True) == []
    temp.discard()


def test_what_only_looks_like_a_temp_is_left_alone(tmp_path: Path, dir_fd: int) -> None:
    directory = tmp_path / ".safeatomic-tmp-0123456789abcdef.tmp"
    directory.mkdir()
    assert orphans(dir_fd, remove=True) == []
    assert directory.is_dir()


def test_a_name_that_changed_hands_is_no_proof(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orphan(tmp_path)
    real = kernel.flock

    def flock(fd: int, operation: int) -> None:
        real(fd, operation)
        (tmp_path / "other").write_bytes(b"precious")
        os.rename(tmp_path / "other", path)

    monkeypatch.setattr(kernel, "flock", flock, raising=False)
    assert orphans(dir_fd, remove=True) == []
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("call", ["open", "flock", "unlink"])
def test_a_sweep_never_fails(tmp_path: Path, dir_fd: int, faults: Any, call: str) -> None:
    path = orphan(tmp_path)
    faults.fail(call, errno.EACCES)
    assert orphans(dir_fd, remove=True) == []
    assert path.exists()


def test_a_close_that_fails_does_not_spoil_a_sweep(
    tmp_path: Path, dir_fd: int, faults: Any
) -> None:
    orphan(tmp_path)
    faults.fail("close", errno.EIO)
    assert len(orphans(dir_fd, remove=True)) == 1


def test_a_clean_up_survives_one_error_and_reports_two(
    tmp_path: Path, dir_fd: int, faults: Any
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    faults.fail("unlink", errno.EIO, at=1)
    unlink_if_there("a", dir_fd)
    assert not (tmp_path / "a").exists()
    unlink_if_there("a", dir_fd)
    faults.fail("unlink", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        unlink_if_there("a", dir_fd)


def test_a_clean_up_finishes_before_an_interrupt_goes_on(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    real, calls = kernel.unlink, []

    def unlink(name: str, *, dir_fd: int) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(kernel, "unlink", unlink, raising=False)
    with pytest.raises(KeyboardInterrupt):
        unlink_if_there("a", dir_fd)
    assert not (tmp_path / "a").exists()


def test_the_module_names_temps_as_documented() -> None:
    assert (_temp_file.PREFIX, _temp_file.SUFFIX) == (".safeatomic-tmp-", ".tmp")


def test_an_interrupt_after_the_name_was_removed_is_no_failure_to_remove_it(
    dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = kernel.unlink
    interrupts = iter([KeyboardInterrupt])

    def unlink(name: str, *, dir_fd: int) -> None:
        really(name, dir_fd=dir_fd)
        for interrupt in interrupts:
            raise interrupt

    temp = Temp(dir_fd)
    temp.create(0o600)
    monkeypatch.setattr(kernel, "unlink", unlink, raising=False)
    with pytest.raises(KeyboardInterrupt):
        temp.discard()
    assert orphans(dir_fd, remove=False) == []


@pytest.mark.parametrize(
    ("content", "swept"),
    [
        (b"", True),
        (b"\0" * 100, True),
        (b"a" * 64 + b"  any file\n", True),
        (b"a" * 64 + b"  f\n# previous=sha256:" + b"b" * 64 + b"\n", True),
        (b"a" * 64 + b"  f\n" + b"b" * 64 + b"  g\n", False),
        (b"notes\n", False),
        (b"\0" * CAP, True),
        (b"\0" * (CAP + 1), False),
    ],
)
def test_at_a_record_s_temp_name_only_records_are_swept(
    tmp_path: Path, content: bytes, swept: bool
) -> None:
    name = f"{_temp_file.SUM_PREFIX}0123456789abcdef.tmp"
    (tmp_path / name).write_bytes(content)
    fd = os.open(tmp_path, os.O_RDONLY)
    found = orphans(fd, remove=True)
    os.close(fd)
    assert found == ([(name, len(content), os.geteuid())] if swept else [])
    assert (tmp_path / name).exists() is not swept


@pytest.mark.parametrize(
    ("prefix", "mode", "named", "swept"),
    [
        (_temp_file.PREFIX, 0o640, True, True),
        (_temp_file.PREFIX, 0o600, False, False),
        (_temp_file.SUM_PREFIX, 0o600, True, True),
        (_temp_file.SUM_PREFIX, 0o640, True, False),
    ],
)
def test_a_temp_that_may_not_be_opened_is_swept_if_a_dead_lock_names_it(
    tmp_path: Path, faults: Any, prefix: str, mode: int, named: bool, swept: bool
) -> None:
    path = tmp_path / f"{prefix}0123456789abcdef.tmp"
    path.write_bytes(b"a draft")
    path.chmod(mode)
    faults.fail("open", errno.EACCES)
    fd = os.open(tmp_path, os.O_RDONLY)
    found = orphans(fd, remove=True, named=("0123456789abcdef",) if named else ())
    os.close(fd)
    assert bool(found) is swept
    assert path.exists() is not swept


@pytest.mark.parametrize(("code", "goes_on"), [(errno.ENOLCK, True), (errno.EIO, False)])
def test_a_flock_that_fails_for_a_real_reason_is_an_error(
    target: Path, faults: Any, code: int, goes_on: bool
) -> None:
    faults.fail("flock", code)
    if goes_on:
        write_atomic_bytes(target, b"new", concurrency="none")
    else:
        with pytest.raises(OSError, match="unchanged"):
            write_atomic_bytes(target, b"new", concurrency="none")
    assert target.read_bytes() == (b"new" if goes_on else b"old")
