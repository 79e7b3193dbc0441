from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    LockError,
    compute_hash_data,
    compute_hash_file,
    force_release_lock,
    get_checksum_info,
    release_lock,
    safeatomic_config,
    try_acquire_lock,
    verify_checksum,
    write_checksum_file,
)
from safeatomic_core._posix import kernel

UNTYPED_HASH: Any = compute_hash_data
UNTYPED_VERIFY: Any = verify_checksum
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digests_of_known_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert compute_hash_data(b"") == EMPTY
    assert compute_hash_data(memoryview(b"abc")) == ABC
    assert compute_hash_file(tmp_path / "f") == ABC
    assert len(compute_hash_file(tmp_path / "f", algo="sha512")) == 128
    with safeatomic_config(checksum_algo="md5"):
        assert compute_hash_data(b"") == "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda path: UNTYPED_HASH("text"), TypeError, "data must be bytes-like"),
        (lambda path: compute_hash_data(b"", algo="crc"), ValueError, "algo 'crc'"),
        (lambda path: compute_hash_file(path, algo="crc"), ValueError, "algo 'crc'"),
        (lambda path: compute_hash_file(path / "no"), NotADirectoryError, "directory"),
        (lambda path: verify_checksum(path, "abc"), ValueError, "64 hexadecimal digits"),
        (lambda path: verify_checksum(path, "g" * 64), ValueError, "64 hexadecimal digits"),
        (lambda path: UNTYPED_VERIFY(path, 5), TypeError, "expected must be a str"),
        (lambda path: verify_checksum(path, algo="crc"), ValueError, "algo 'crc'"),
        (lambda path: write_checksum_file(path, algo="crc"), ValueError, "algo 'crc'"),
    ],
)
def test_bad_arguments_are_refused(
    target: Path, listing: Any, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(target)
    assert listing() == ["data.bin"]


def test_a_refusal_keeps_no_hold_of_the_data() -> None:
    data = bytearray(b"abc")
    with pytest.raises(ValueError, match="crc") as caught:
        compute_hash_data(data, algo="crc")
    data.extend(b"d")  # which is not possible as long as anything looks at them
    assert caught.tb is not None


def test_what_is_recorded_is_read_once(target: Path, faults: Any) -> None:
    write_checksum_file(target)
    faults.calls.clear()
    assert get_checksum_info(target) is not None
    assert faults.calls.count("pread") == 1


def test_an_expected_digest_needs_no_sidecar(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert verify_checksum(tmp_path / "f", ABC.upper() + "\n") is True
    assert verify_checksum(tmp_path / "f", EMPTY) is False


def test_a_sidecar_is_written_for_what_is_there(target: Path, listing: Any) -> None:
    assert get_checksum_info(target) is None
    assert write_checksum_file(target) == Path(str(target) + ".sha256")
    assert verify_checksum(target)
    target.write_bytes(b"changed on purpose")
    assert not verify_checksum(target)
    write_checksum_file(target, algo="sha1")
    assert verify_checksum(target)
    info = get_checksum_info(target)
    assert info is not None
    assert (info.path, info.algo, info.hash) == (
        str(target),
        "sha1",
        compute_hash_file(target, algo="sha1"),
    )
    assert "recorded 20" in str(info)
    assert os.stat(str(target) + ".sha256").st_mode & 0o777 == 0o640
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_the_time_of_a_record_is_that_of_its_file(target: Path) -> None:
    sidecar = Path(str(target) + ".sha256")
    sidecar.write_text(f"{ABC}  data.bin\n")
    os.utime(sidecar, (86400, 86400))
    info = get_checksum_info(target)
    assert info is not None
    assert str(info) == f"{target}: sha256 {ABC}, recorded 1970-01-02T00:00:00Z"


@pytest.mark.parametrize("seconds", [10**17, -(10**17), 2**38, -(2**38)])
def test_a_time_that_no_calendar_can_write_is_not_known(
    target: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    def fstat(fd: int) -> os.stat_result:
        status = os.fstat(fd)
        return os.stat_result((*status[:8], seconds, status[9]))

    write_checksum_file(target)
    monkeypatch.setattr(kernel, "fstat", fstat, raising=False)  # a tmpfs keeps any time
    info = get_checksum_info(target)
    assert info is not None
    assert info.timestamp is None


def test_a_missing_file_has_no_checksum(tmp_path: Path, listing: Any) -> None:
    with pytest.raises(FileNotFoundError):
        write_checksum_file(tmp_path / "missing")
    assert listing() == []


@pytest.mark.parametrize(
    "call",
    [compute_hash_file, verify_checksum, write_checksum_file],
    ids=lambda call: call.__name__,
)
def test_a_wrong_algorithm_is_refused_before_anything_is_looked_at(
    tmp_path: Path, call: Callable[..., object]
) -> None:
    with pytest.raises(ValueError, match=r"^algo 'md6'"):
        call(tmp_path / "missing", algo="md6")


def test_a_locked_file_is_not_accepted(target: Path, listing: Any) -> None:
    try_acquire_lock(target)
    with pytest.raises(LockError):
        copy_context().run(write_checksum_file, target)
    force_release_lock(target)
    assert not release_lock(target)
    assert listing() == ["data.bin"]


def test_a_file_replaced_meanwhile_is_hashed_again(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, state = kernel.fsync, {"swapped": False}

    def fsync(fd: int) -> None:
        if not state["swapped"]:
            state["swapped"] = True
            other = target.with_name("other")
            other.write_bytes(b"newer")
            other.rename(target)
        real(fd)

    monkeypatch.setattr(kernel, "fsync", fsync, raising=False)
    write_checksum_file(target)
    assert verify_checksum(target)


@pytest.mark.parametrize("call", ["fsync", "rename_exchange"])
def test_a_failure_leaves_the_former_sidecar(
    target: Path, faults: Any, listing: Any, call: str
) -> None:
    write_checksum_file(target)
    before = Path(str(target) + ".sha256").read_bytes()
    target.write_bytes(b"changed")
    faults.fail(call, errno.EIO)
    with pytest.raises(OSError, match="cannot write the checksum sidecar") as caught:
        write_checksum_file(target)
    assert caught.value.errno == errno.EIO
    assert Path(str(target) + ".sha256").read_bytes() == before
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_file_that_cannot_be_read_is_named(target: Path, faults: Any) -> None:
    faults.fail("pread", errno.EIO)
    with pytest.raises(OSError, match="Input/output") as caught:
        compute_hash_file(target)
    assert caught.value.filename == str(target)
