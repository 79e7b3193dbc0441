from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_core._checksum_lines import format_line, parse_line

HEX = "0123456789abcdef"
D64, D128 = "ab" * 32, "ab" * 64
ALGORITHMS = {"sha256": D64, "sha3_256": D64, "blake2b": D128, "blake2s": D64, "sha512_256": D64}


@given(st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name))
def test_every_name_survives_every_form_of_line(name: bytes) -> None:
    for algo, digest in ALGORITHMS.items():
        line = format_line(name, algo, digest)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        found = parse_line(line[:-1])
        assert found is not None
        assert (found.name, found.digest) == (name, digest)
        assert found.digests("sha1") == ((algo, digest),)


@pytest.mark.parametrize(
    ("algo", "digits"),
    [("md5", 32), ("sha1", 40), ("sha224", 56), ("sha256", 64), ("sha384", 96), ("sha512", 128)],
)
def test_a_line_without_a_tag_is_of_the_algorithm_that_its_length_names(
    algo: str, digits: int
) -> None:
    text = b"a" * digits + b"  f\n"
    assert format_line(b"f", algo, "a" * digits) == text
    line = parse_line(text[:-1])
    assert line is not None
    assert (algo, "a" * digits) in line.digests("blake2s")


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(text: bytes) -> None:
    parse_line(text)
    parse_line(b"a" * 64 + text)
    parse_line(b"SHA256 (" + text)


@pytest.mark.parametrize(
    ("text", "algo", "name"),
    [
        (f"{D64}  f", "", b"f"),
        (f"{D64} *f", "", b"f"),
        (f"{D64} f", "", b"f"),  # reversed lines of the BSDs
        (f"{D64}", "", None),
        (f"{D64}  ", "", None),
        (f"  {D64}  f", "", b"f"),
        (f"{D64}  f\r", "", b"f"),
        (f"{D64.upper()}  f", "", b"f"),
        (f"SHA256 (f) = {D64}", "sha256", b"f"),
        (f"SHA2-256(f)= {D64}", "sha256", b"f"),
        (f"SHA3-256(f)= {D64}", "sha3_256", b"f"),
        (f"BLAKE2S-256(f)= {D64}", "blake2s", b"f"),
        (f"BLAKE2b (a (b) = c) = {D128}", "blake2b", b"a (b) = c"),
        (f"BLAKE2b-256 (f) = {D64}", "blake2b-256", b"f"),  # not one of this library's
        (f"SHA3_256 (f) = {D64}", "sha3_256", b"f"),
        (f"SHA3-256 (f) = {D64}", "sha3_256", b"f"),
        (f"SHA512_256 (f) = {D64}", "sha512_256", b"f"),
        (f"SHA512/256 (f) = {D64}", "sha512_256", b"f"),  # perl's shasum --tag
        (f"SHA512/224 (f) = {'a' * 56}", "sha512_224", b"f"),
        (f"MD5   (f) = {'a' * 32}", "md5", b"f"),  # rhash --bsd
    ],
)
def test_a_line_of_another_tool_is_understood(text: str, algo: str, name: bytes | None) -> None:
    line = parse_line(text.encode())
    assert line is not None
    assert (line.algo, line.name) == (algo, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "deadbeef  f",
        "# comment",
        D64[:-1] + "B  f",
        D64[:-1] + "g  f",
        f"SHA256 (f) = {D128}",
        f"SHA256 (f = {D64}",
        f"SHA256 () = {D64}",
        f"SHA 256 (f) = {D64}",
        "SHA256 (f) = zz",
        f"\\{D64}  a\\qb",
        f"\\{D64}  a\\",
    ],
)
def test_what_is_not_a_checksum_line_is_none(text: str) -> None:
    assert parse_line(text.encode()) is None


def test_a_tag_of_an_algorithm_that_python_writes_with_an_underscore() -> None:
    line = parse_line(f"SHA512-224 (f) = {'a' * 56}".encode())
    assert line is not None
    assert line.algo == "sha512_224"
    line = parse_line(f"SHAKE-NONE (f) = {'a' * 56}".encode())
    assert line is not None
    assert line.algo == "shake-none"


@pytest.mark.parametrize("blank", [b"\t", b"\t ", b"\t*", b" \t"])
def test_a_tab_behind_the_digest_is_read_as_sha256sum_reads_it(blank: bytes) -> None:
    line = parse_line(b"a" * 64 + blank + b"name")
    assert line is not None
    assert line.name == (b"\tname" if blank == b" \t" else b"name")
