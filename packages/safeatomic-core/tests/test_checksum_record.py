from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
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
from safeatomic_core._checksum_record import Checksum, MalformedError, format_record, parse_record
from safeatomic_core._digests import hash_bytes

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
@example("-", "0" * 64, [])
def test_a_formatted_record_parses_back(
    name: str, digest: str, previous: list[tuple[str, str]]
) -> None:
    name = name.encode("utf-8", "ignore").decode().replace("\0", "x") or "x"
    record = Checksum("sha256", digest, tuple(previous))
    raw, sealed_length = format_record(name, record)
    own = os.fsencode(name)
    again = parse_record(raw, "sha512", lambda named: named in (own, b"./" + own))
    assert again.digests == record.digests
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
    record = Checksum("sha256", digest, (("sha256", digest),))
    raw, _ = format_record("name", record)
    at %= len(raw)
    try:
        parse_record(raw[:at] + junk + raw[at + len(junk) :], "sha256")
    except MalformedError as error:
        assert str(error)


LINE = b"a" * 64 + b"  f\n"


@pytest.mark.parametrize(
    ("raw", "flaw"),
    [
        (b"", "does not start with a checksum line"),
        (b"\0" * 100, "does not start with a checksum line"),
        (b"hello", "does not start with a checksum line"),
        (b"abc  f\n", "does not start with a checksum line"),
        (b"a" * 63 + b"A" + b"  f\n", "does not start with a checksum line"),
        (b"a" * 66 + b"  f\n", "66 digits"),
        (LINE + b"# algo=sha512\n", "64 digits, not as many as sha512"),
        (LINE + b"# algo=../etc\n", "more than one checksum line"),
        (LINE + b"# previous=sha256:zz\n", "previous"),
        (LINE + b"# previous=sha256:aa\n", "previous"),
        (LINE + b"# previous=sha512:" + b"a" * 64 + b"\n", "previous"),
        (LINE + b"# previous=:" + b"a" * 64 + b"\n", "previous"),
        (LINE + b"\n", "more than one checksum line"),
        (LINE + b"# noise\n", "more than one checksum line"),
        (LINE + b"owner=me\n", "more than one checksum line"),
        (LINE + LINE, "more than one checksum line"),
        (LINE + b"#" * 70000, "longer than"),
    ],
)
def test_what_is_no_record_says_why(raw: bytes, flaw: str) -> None:
    with pytest.raises(MalformedError, match=flaw):
        parse_record(raw, "sha256")


def test_a_list_of_other_files_is_told_from_a_record_of_another() -> None:
    for rest, flaw in ((b"", "describes another"), (LINE, "lists other"), (b"# algo=", "another")):
        with pytest.raises(MalformedError, match=flaw):
            parse_record(LINE + rest, "sha256", lambda _name: False)


@pytest.mark.parametrize(
    ("raw", "algo"),
    [
        (b"A" * 64, "sha256"),
        (b"a" * 64 + b"  -\n", "sha256"),
        (b"a" * 64 + b" *f\n", "sha256"),
        (b"a" * 64 + b"  f\r\n", "sha256"),
        (b"\\" + b"a" * 64 + b"  f\\n\n", "sha256"),
        (LINE + b"algo=sha256\ntimestamp=2026\n", "sha256"),
        (LINE + b"# algo=SHA256\r\n# timestamp=2026\r\n", "sha256"),
        (LINE + b"# algo=blake2s\n# timestamp=2026\n", "blake2s"),
        (LINE + b"# algo=sha256\n\0\0\0\0\0", "sha256"),
        (LINE + b"# algo=sha256\n# previous=sha256:ab\0\0\0", "sha256"),
        (LINE + b"# algo=sha256\n\0\0\0us=sha256:abab\n", "sha256"),
        (b"SHA256 (f) = " + b"a" * 64, "sha256"),
        (b"SHA3-256 (f) = " + b"a" * 64 + b"\n# previous=sha3_256:" + b"b" * 64, "sha3_256"),
        (b"a" * 128 + b"  f\n", "sha512"),
        (b"a" * 40 + b"  f\n", "sha1"),
        (LINE + b"# algo=whirlpool9\n", "whirlpool9"),
        (LINE + b"# previous=whirlpool9:" + b"a" * 80 + b"\n", "sha256"),
    ],
)
def test_what_older_releases_and_other_tools_wrote_is_a_record(raw: bytes, algo: str) -> None:
    assert parse_record(raw, "sha256").algo == algo


def test_an_untagged_digest_may_be_the_caller_s_algorithm_s() -> None:
    record = parse_record(b"a" * 128 + b"  f\n", "blake2b")
    assert record.digests == (("sha512", "a" * 128), ("blake2b", "a" * 128))


@pytest.mark.parametrize("algo", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_a_sealed_record_is_what_the_algorithm_s_own_tool_prints(tmp_path: Path, algo: str) -> None:
    tool = f"{algo}sum"
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} on this machine")
    path = tmp_path / "f"
    for content in (b"old", b"new"):
        write_atomic_bytes(path, content, write_checksum=True, checksum_algo=algo)
    printed = subprocess.run([tool, "f"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert (tmp_path / "f.sha256").read_bytes() == printed


@pytest.mark.parametrize("algo", ["blake2b", "sm3"])
def test_other_algorithms_are_what_cksum_prints(tmp_path: Path, algo: str) -> None:
    command = ["cksum", "--algorithm", algo, "f"]
    write_atomic_bytes(tmp_path / "f", b"x", write_checksum=True, checksum_algo=algo)
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if printed.returncode != 0:
        pytest.skip(f"this cksum knows no {algo}: {printed.stderr.decode().splitlines()[:1]}")
    assert (tmp_path / "f.sha256").read_bytes() == printed.stdout


@pytest.mark.parametrize(
    "algo",
    ["blake2b", "blake2s", "sha3_256", "sha3_512", "sha512_256", "ripemd160", "sm3", "md5-sha1"],
)
def test_other_algorithms_have_their_name_in_the_record(tmp_path: Path, algo: str) -> None:
    if algo not in hashlib.algorithms_available:
        pytest.skip(f"this interpreter has no {algo}")
    path = tmp_path / "f"
    write_atomic_bytes(path, b"x", write_checksum=True, checksum_algo=algo)
    info = get_checksum_info(path)
    assert info is not None
    assert info.algo == algo
    assert verify_checksum(path, algo=algo)
    path.write_bytes(b"y")
    assert not verify_checksum(path)


@pytest.mark.parametrize("name", [*ODD_NAMES, "-"])
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
    before = (tmp_path / (name + ".sha256")).read_bytes()
    write_checksum_file(tmp_path / name)
    assert (tmp_path / (name + ".sha256")).read_bytes() == before
    (tmp_path / name).write_bytes(b"Content")
    assert not verify_checksum(tmp_path / name)


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
