from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_core import (
    ChecksumMismatchError,
    SafeAtomicError,
    get_checksum_info,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._digests import hash_bytes
from safeatomic_core._sidecar_file import Checksum, MalformedError, format_record, parse_record

ODD_NAMES = [
    "plain",
    "two  spaces",
    " leading",
    "new\nline",
    "car\rriage",
    "back\\slash",
    "-leading-dash",
    "*asterisk",
    "# hash",
    "\udcff\udcfe-not-utf-8",
    "naïve",
]
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
DIGESTS = st.tuples(st.just("sha256"), HEX)


@given(st.text(min_size=1, max_size=200), HEX, st.lists(DIGESTS, max_size=5))
def test_a_formatted_record_parses_back(
    name: str, digest: str, previous: list[tuple[str, str]]
) -> None:
    name = name.encode("utf-8", "ignore").decode().replace("\0", "x") or "x"
    record = Checksum("sha256", digest, tuple(previous), "2026-01-02T03:04:05Z")
    raw, sealed_length = format_record(name, record)
    again = parse_record(raw, "sha512")
    assert again.digests == record.digests
    assert again.timestamp == record.timestamp
    sealed = parse_record(raw[:sealed_length], "sha512")
    assert sealed.digests == (("sha256", digest),)


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_a_record_or_malformed(raw: bytes) -> None:
    try:
        parse_record(raw, "sha256")
    except MalformedError as error:
        assert str(error)


@given(HEX, st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_a_damaged_record_is_a_record_or_malformed(digest: str, at: int, junk: bytes) -> None:
    record = Checksum("sha256", digest, (("sha256", digest),), "2026-01-02T03:04:05Z")
    raw, _ = format_record("name", record)
    at %= len(raw)
    try:
        parse_record(raw[:at] + junk + raw[at + len(junk) :], "sha256")
    except MalformedError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("raw", "flaw"),
    [
        (b"", "digest"),
        (b"\0" * 100, "digest"),
        (b"hello", "digest"),
        (b"abc  f\n", "no algorithm"),
        (b"a" * 64 + b" f\n", "form"),
        (b"a" * 63 + b"A" + b"  f\n", "digest"),
        (b"a" * 64 + b"  f\n# algo=sha512\n", "64 digits, sha512 has 128"),
        (b"a" * 64 + b"  f\n# algo=../etc\n", "no name"),
        (b"a" * 64 + b"  f\n# algo=sha256\n# previous=sha256:zz\n", "previous"),
        (b"a" * 64 + b"  f\n# previous=sha256:aa\n", "previous"),
        (b"a" * 64 + b"  f\n" + b"#" * 70000, "longer than"),
    ],
)
def test_what_is_no_record_says_why(raw: bytes, flaw: str) -> None:
    with pytest.raises(MalformedError, match=flaw):
        parse_record(raw, "sha256")


@pytest.mark.parametrize(
    ("raw", "algo"),
    [
        (b"A" * 64, "sha256"),
        (b"a" * 64 + b" *f\n", "sha256"),
        (b"\\" + b"a" * 64 + b"  f\\n\n", "sha256"),
        (b"a" * 64 + b"  f\nalgo=sha256\ntimestamp=2026\n", "sha256"),
        (b"a" * 64 + b"  f\n# algo=SHA256\nnoise\n", "sha256"),
        (b"a" * 64 + b"  f\n# algo=sha256\n\0\0\0\0\0", "sha256"),
        (b"a" * 64 + b"  f\n# algo=sha256\n# previous=sha256:ab\0\0\0", "sha256"),
        (b"a" * 64 + b"  f\n# algo=sha256\n\0\0\0us=sha256:abab\n", "sha256"),
        (b"a" * 128 + b"  f\n", "blake2b"),
        (b"a" * 40 + b"  f\n", "sha1"),
        (b"a" * 64 + b"  f\n# algo=whirlpool9\n", "whirlpool9"),
    ],
)
def test_other_writers_records_are_understood(raw: bytes, algo: str) -> None:
    assert parse_record(raw, "blake2b").algo == algo


@pytest.mark.parametrize("name", ODD_NAMES)
def test_sha256sum_accepts_our_sidecar_without_a_warning(tmp_path: Path, name: str) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    write_atomic_bytes(tmp_path / name, b"content", write_checksum=True)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--warn", "--", os.fsencode(name + ".sha256")],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_we_accept_what_sha256sum_made(tmp_path: Path, name: str) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    (tmp_path / name).write_bytes(b"content")
    made = subprocess.run(
        ["sha256sum", "--", os.fsencode(name)], cwd=tmp_path, capture_output=True, check=True
    )
    (tmp_path / (name + ".sha256")).write_bytes(made.stdout)
    assert verify_checksum(tmp_path / name)
    info = get_checksum_info(tmp_path / name)
    assert info is not None
    assert info.timestamp is None
    (tmp_path / name).write_bytes(b"Content")
    assert not verify_checksum(tmp_path / name)


@pytest.mark.parametrize(("algo", "tool"), [("sha512", "sha512sum"), ("blake2b", "b2sum")])
def test_other_algorithms_check_with_their_tools(tmp_path: Path, algo: str, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} on this machine")
    write_atomic_bytes(tmp_path / "f", b"content", write_checksum=True, checksum_algo=algo)
    done = subprocess.run(
        [tool, "--check", "--strict", "f.sha256"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert verify_checksum(tmp_path / "f")


def test_every_flipped_bit_of_the_data_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "f"
    good = b"some content"
    write_atomic_bytes(path, good, write_checksum=True)
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        with pytest.raises(ChecksumMismatchError):
            read_atomic_bytes(path, check_checksum=True)
    for bad_size in (good[:-1], good + b"\0", b""):
        path.write_bytes(bad_size)
        assert not verify_checksum(path)
    path.write_bytes(good)
    assert verify_checksum(path)


def test_every_flipped_bit_of_the_digest_is_detected(tmp_path: Path) -> None:
    path, sidecar = tmp_path / "f", tmp_path / "f.sha256"
    write_atomic_bytes(path, b"some content", write_checksum=True)
    good = sidecar.read_bytes()
    for bit in range(64 * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        sidecar.write_bytes(bad)
        with pytest.raises(SafeAtomicError):
            read_atomic_bytes(path, check_checksum=True)


def test_a_roll_back_after_seal_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic_bytes(path, b"one", write_checksum=True)
    write_atomic_bytes(path, b"two", write_checksum=True)
    path.write_bytes(b"one")
    with pytest.raises(ChecksumMismatchError) as caught:
        read_atomic_bytes(path, check_checksum=True)
    assert caught.value.expected == hash_bytes(b"two", "sha256")
    assert caught.value.actual == hash_bytes(b"one", "sha256")


def test_the_five_answers_are_different(tmp_path: Path, faults: Any) -> None:
    path, sidecar = tmp_path / "f", tmp_path / "f.sha256"
    path.write_bytes(b"content")
    with pytest.raises(FileNotFoundError) as missing:
        read_atomic_bytes(path, check_checksum=True)
    assert missing.value.filename == str(sidecar)
    with pytest.raises(FileNotFoundError):
        verify_checksum(path)
    sidecar.write_bytes(b"junk")
    with pytest.raises(SafeAtomicError, match="malformed"):
        read_atomic_bytes(path, check_checksum=True)
    with pytest.raises(SafeAtomicError, match="malformed"):
        get_checksum_info(path)
    sidecar.unlink()
    write_checksum_file(path)
    with pytest.raises(ValueError, match="checksum_algo='sha512'"):
        read_atomic_bytes(path, check_checksum=True, checksum_algo="sha512")
    path.write_bytes(b"Content")
    with pytest.raises(ChecksumMismatchError):
        read_atomic_bytes(path, check_checksum=True)
    assert verify_checksum(path) is False
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: str(name).endswith(".sha256"))
    with pytest.raises(PermissionError, match="cannot read the checksum sidecar") as unreadable:
        read_atomic_bytes(path, check_checksum=True)
    assert unreadable.value.filename == str(sidecar)


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_a_sidecar_that_is_no_file_is_malformed(tmp_path: Path, kind: str) -> None:
    path, sidecar = tmp_path / "f", tmp_path / "f.sha256"
    path.write_bytes(b"content")
    if kind == "symlink":
        sidecar.symlink_to("f")
    elif kind == "fifo":
        os.mkfifo(sidecar)
    else:
        sidecar.mkdir()
    with pytest.raises(SafeAtomicError, match="malformed"):
        verify_checksum(path)


def test_an_error_while_reading_the_sidecar_is_no_verdict(tmp_path: Path, faults: Any) -> None:
    path = tmp_path / "f"
    write_atomic_bytes(path, b"content", write_checksum=True)
    faults.fail("pread", errno.EIO, when=lambda _fd, size, _at: size == 65537)
    with pytest.raises(OSError, match="cannot read the checksum sidecar"):
        read_atomic_bytes(path, check_checksum=True)


def test_an_algorithm_this_python_lacks_is_no_mismatch(tmp_path: Path) -> None:
    path, sidecar = tmp_path / "f", tmp_path / "f.sha256"
    path.write_bytes(b"content")
    sidecar.write_bytes(b"a" * 64 + b"  f\n# algo=whirlpool9\n")
    with pytest.raises(SafeAtomicError, match="whirlpool9"):
        read_atomic_bytes(path, check_checksum=True)
    digest = hash_bytes(b"content", "sha256").encode()
    sidecar.write_bytes(b"a" * 64 + b"  f\n# algo=whirlpool9\n# previous=sha256:" + digest + b"\n")
    assert read_atomic_bytes(path, check_checksum=True) == b"content"
