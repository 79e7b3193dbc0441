"""What all formats have in common: options, errors, nothing touched before all is rendered."""

from __future__ import annotations

import codecs
import contextvars
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import safeatomic_formats
from each_format import names
from safeatomic_core import (
    ChecksumMismatchError,
    LockError,
    get_checksum_info,
    release_lock,
    safeatomic_config,
    try_acquire_lock,
)

ruamel_error: type[Exception] | None
try:
    from ruamel.yaml.error import YAMLError
except ModuleNotFoundError:
    ruamel_error = None
else:
    ruamel_error = YAMLError


class Format(NamedTuple):
    dump: Callable[..., None]
    load: Callable[..., Any]
    broken: str
    error: type[Exception]
    unserialisable: Any


class Alien:
    pass


FORMATS = {
    "json": Format(
        safeatomic_formats.atomic_json_dump,
        safeatomic_formats.atomic_json_load,
        "{",
        json.JSONDecodeError,
        {"good": 1, "bad": Alien()},
    ),
    "yaml": Format(
        safeatomic_formats.atomic_yaml_dump,
        safeatomic_formats.atomic_yaml_load,
        "a: [",
        yaml.YAMLError,
        {"good": 1, "bad": Alien()},
    ),
    "toml": Format(
        safeatomic_formats.atomic_toml_dump,
        safeatomic_formats.atomic_toml_load,
        "a = ",
        tomllib.TOMLDecodeError,
        {"good": 1, "bad": Alien()},
    ),
}
if ruamel_error is not None:
    FORMATS["ruamel"] = Format(
        safeatomic_formats.atomic_yaml_dump_ruamel,
        safeatomic_formats.atomic_yaml_load_ruamel,
        "a: [",
        ruamel_error,
        {"good": 1, "bad": Alien()},
    )
DOCUMENT = {"name": "Grüße, 世界", "list": [1, 2.5, True], "nested": {"deep": {"er": "x"}}}


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


def reads_any_number(digits: str) -> bool:
    """Tell whether the interpreter limits no number whose base it finds out, as PyPy."""
    try:
        int(digits, 0)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("name", "text"), [("json", '{{"a": {}}}'), ("toml", "a = {}")])
def test_an_integer_of_more_digits_than_python_reads_is_refused(
    name: str, text: str, target: Path
) -> None:
    digits = "1" * (sys.get_int_max_str_digits() + 1)
    if name == "toml" and reads_any_number(digits):
        pytest.skip("tomllib reads it on this interpreter")
    target.write_text(text.format(digits))
    with pytest.raises(ValueError, match="limit") as caught:
        FORMATS[name].load(target)
    assert str(target) in caught.value.__notes__[0]


def test_a_document_comes_back(kind: Format, target: Path) -> None:
    kind.dump(target, DOCUMENT)
    assert kind.load(target) == DOCUMENT
    assert names(target.parent) == ["document"]


@pytest.mark.parametrize("as_path", [str, bytes, Path], ids=["str", "bytes", "Path"])
def test_every_kind_of_path_is_taken(
    kind: Format, target: Path, as_path: Callable[[Any], Any]
) -> None:
    path = as_path(str(target).encode() if as_path is bytes else target)
    kind.dump(path, DOCUMENT)
    assert kind.load(path) == DOCUMENT


def test_an_object_that_cannot_be_written_leaves_no_trace(kind: Format, target: Path) -> None:
    with pytest.raises(Exception, match=r"Alien|represent|serializable|TOML") as caught:
        kind.dump(target, kind.unserialisable, write_checksum=True)
    assert names(target.parent) == []
    assert any(str(target) in note and "unchanged" in note for note in caught.value.__notes__)


def test_an_object_that_cannot_be_written_leaves_the_old_document(
    kind: Format, target: Path
) -> None:
    kind.dump(target, DOCUMENT, write_checksum=True)
    before = [(name, (target.parent / name).read_bytes()) for name in names(target.parent)]
    with pytest.raises(Exception, match=r"Alien|represent|serializable|TOML"):
        kind.dump(target, kind.unserialisable, write_checksum=True)
    assert before == [(name, (target.parent / name).read_bytes()) for name in names(target.parent)]


def test_a_parse_error_is_the_librarys_own_and_names_the_file(kind: Format, target: Path) -> None:
    target.write_text(kind.broken)
    with pytest.raises(kind.error) as caught:
        kind.load(target)
    assert any(str(target) in note for note in caught.value.__notes__)


def test_a_missing_file_is_a_missing_file(kind: Format, target: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kind.load(target)


@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["marked", "plain"])
def test_a_byte_order_mark_is_no_part_of_the_document(
    kind: Format, target: Path, mark: str
) -> None:
    kind.dump(target, DOCUMENT)
    assert not target.read_bytes().startswith(b"\xef\xbb\xbf")
    target.write_text(mark + target.read_text(encoding="utf-8"), encoding="utf-8")
    assert kind.load(target) == DOCUMENT


def test_lines_may_end_in_carriage_return_and_newline(kind: Format, target: Path) -> None:
    kind.dump(target, DOCUMENT)
    target.write_bytes(target.read_bytes().replace(b"\n", b"\r\n"))
    assert kind.load(target) == DOCUMENT


def test_bytes_in_another_encoding_are_refused_with_the_file_named(
    kind: Format, target: Path
) -> None:
    target.write_bytes("ä = 'ü'".encode("latin-1"))
    with pytest.raises(UnicodeDecodeError) as caught:
        kind.load(target)
    assert any(str(target) in note for note in caught.value.__notes__)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32", "gb18030"])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "toml"])
def test_the_encoding_reaches_the_core(name: str, encoding: str, target: Path) -> None:
    kind = FORMATS[name]
    kind.dump(target, DOCUMENT, encoding=encoding)
    target.read_bytes().decode(encoding)
    assert kind.load(target, encoding=encoding) == DOCUMENT
    with safeatomic_config(encoding=encoding):
        assert kind.load(target) == DOCUMENT


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "toml"])
def test_a_character_that_the_encoding_lacks_leaves_no_trace(name: str, target: Path) -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        FORMATS[name].dump(target, DOCUMENT, encoding="latin-1")
    assert names(target.parent) == []
    assert any("unchanged" in note for note in caught.value.__notes__)


def test_an_encoding_that_gives_another_text_back_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy = codecs.CodecInfo(
        name="lossy",
        encode=lambda text, _errors="strict": (text.encode("latin-1"), len(text)),
        decode=lambda octets, _errors="strict": (
            bytes(octets).decode("ascii", "ignore"),
            len(octets),
        ),
    )
    codecs.register(search := lambda name: lossy if name == "lossy" else None)
    try:
        FORMATS["json"].dump(target, {"a": "a"}, encoding="lossy")
        with pytest.raises(ValueError, match="'lossy' would not give the document back"):
            FORMATS["json"].dump(target, {"a": "ü"}, encoding="lossy")
    finally:
        codecs.unregister(search)
    assert FORMATS["json"].load(target) == {"a": "a"}


def test_toml_is_utf_8_whatever_the_default(target: Path) -> None:
    with safeatomic_config(encoding="latin-1"):
        FORMATS["toml"].dump(target, DOCUMENT)
        assert FORMATS["toml"].load(target) == DOCUMENT
    assert "世界".encode() in target.read_bytes()


def test_a_checksum_is_written_and_checked(kind: Format, target: Path) -> None:
    kind.dump(target, DOCUMENT, write_checksum=True, checksum_algo="sha512")
    info = get_checksum_info(target)
    assert info is not None
    assert info.algo == "sha512"
    assert kind.load(target, check_checksum=True, checksum_algo="sha512") == DOCUMENT
    target.write_bytes(target.read_bytes() + b"\n")
    with pytest.raises(ChecksumMismatchError):
        kind.load(target, check_checksum=True)


def test_a_held_lock_is_respected(kind: Format, target: Path) -> None:
    other = contextvars.Context()
    assert other.run(try_acquire_lock, target)
    try:
        with pytest.raises(LockError):
            kind.dump(target, DOCUMENT)
        kind.dump(target, DOCUMENT, concurrency="none")
    finally:
        other.run(release_lock, target)
    assert kind.load(target) == DOCUMENT


def test_metadata_is_kept_unless_told_otherwise(kind: Format, target: Path) -> None:
    target.touch(mode=0o640)
    target.chmod(0o604)
    kind.dump(target, DOCUMENT)
    assert target.stat().st_mode & 0o777 == 0o604


def test_a_secret_is_made_with_its_own_mode(kind: Format, target: Path) -> None:
    kind.dump(target, DOCUMENT, mode=0o600)
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_document_that_is_there_can_be_kept(kind: Format, target: Path) -> None:
    kind.dump(target, DOCUMENT, overwrite=False)
    before = target.read_bytes()
    with pytest.raises(FileExistsError):
        kind.dump(target, {"other": 1}, overwrite=False)
    assert target.read_bytes() == before


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_an_object_nested_too_deeply_leaves_no_trace(kind: Format, target: Path) -> None:
    # From CPython 3.14 on, json goes as deep as the stack is large: some 60,000 levels, whose text
    # takes gigabytes with the default indentation.
    options = {"indent": None} if kind is FORMATS["json"] else {}
    with pytest.raises(RecursionError) as caught:
        kind.dump(target, {"a": nested(200_000)}, **options)
    assert names(target.parent) == []
    assert any("nested too deeply" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("depth", [100_000])
def test_a_document_nested_too_deeply_is_a_clear_error(
    kind: Format, target: Path, depth: int
) -> None:
    opening = "a = " if kind is FORMATS["toml"] else ""
    target.write_text(opening + "[" * depth + "]" * depth)
    with pytest.raises(RecursionError) as caught:
        kind.load(target)
    assert any(str(target) in note for note in caught.value.__notes__)
    assert any("nested too deeply" in note for note in caught.value.__notes__)
