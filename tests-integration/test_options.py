"""``mode=`` and ``overwrite=`` mean the same in every call that writes, and nothing elsewhere."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import safeatomic as sa

Write = Callable[..., None]

_OLD = b"old: 1\n"


def _stream(path: Path, **options: Any) -> None:
    with sa.AtomicWriter(path, **options) as file:
        file.write(b"a: 1\n")


def _text_stream(path: Path, **options: Any) -> None:
    with sa.AtomicWriter(path, **options) as file:
        file.text().write("a: 1\n")


def _command(path: Path, **options: Any) -> None:
    """Write by the command; an exit code of 2 is a refusal, with its reason on one line."""
    arguments = []
    for name, value in options.items():
        if name == "mode":
            arguments.append(f"--mode={value:o}")
        elif (name, value) == ("overwrite", False):
            arguments.append("--no-clobber")
        elif (name, value) == ("write_checksum", True):
            arguments.append("--checksum")
    command = [sys.executable, "-m", "safeatomic_core", "write", os.fsdecode(path), *arguments]
    done = subprocess.run(
        command, input="a: 1\n", capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        kind = FileExistsError if "exists" in done.stderr else RuntimeError
        raise kind(done.stderr)


WRITES: dict[str, Write] = {
    "write_atomic": lambda path, **options: sa.write_atomic(path, "a: 1\n", **options),
    "write_atomic_bytes": lambda path, **options: sa.write_atomic_bytes(path, b"a: 1\n", **options),
    "AtomicWriter": _stream,
    "AtomicWriter.text": _text_stream,
    "atomic_json_dump": lambda path, **options: sa.atomic_json_dump(path, {"a": 1}, **options),
    "atomic_yaml_dump": lambda path, **options: sa.atomic_yaml_dump(path, {"a": 1}, **options),
    "atomic_yaml_dump_ruamel": (
        lambda path, **options: sa.atomic_yaml_dump_ruamel(path, {"a": 1}, **options)
    ),
    "atomic_toml_dump": lambda path, **options: sa.atomic_toml_dump(path, {"a": 1}, **options),
    "safeatomic write": _command,
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@pytest.fixture(params=[0o022, 0o077, 0o000], ids=lambda mask: f"umask {mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


def bits(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@every_write
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o400])
def test_a_new_file_has_the_mode_asked_for_and_its_sidecar_the_same_readers(
    tmp_path: Path, write: Write, umask: int, mode: int
) -> None:
    path = tmp_path / "new"
    write(path, mode=mode, write_checksum=True)
    assert bits(path) == mode
    assert bits(tmp_path / "new.sha256") == (mode & 0o444) | 0o200
    assert sa.verify_checksum(path)
    assert sorted(os.listdir(tmp_path)) == ["new", "new.sha256"]


@every_write
def test_without_a_mode_the_umask_counts(tmp_path: Path, write: Write, umask: int) -> None:
    write(tmp_path / "new")
    assert bits(tmp_path / "new") == 0o666 & ~umask


@every_write
def test_an_existing_file_keeps_its_mode_unless_it_is_to_be_like_a_new_one(
    tmp_path: Path, write: Write
) -> None:
    path = tmp_path / "old"
    path.write_bytes(_OLD)
    path.chmod(0o640)
    write(path, mode=0o600)
    assert bits(path) == 0o640
    assert path.read_bytes() != _OLD
    if write is _command:
        return  # it always preserves
    write(path, mode=0o604, preserve_metadata=False)
    assert bits(path) == 0o604


@every_write
@pytest.mark.parametrize("checked", [False, True])
def test_what_exists_is_not_overwritten(tmp_path: Path, write: Write, checked: bool) -> None:
    write(tmp_path / "new", overwrite=False, write_checksum=checked)
    made = (tmp_path / "new").read_bytes()
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(FileExistsError):
        write(tmp_path / "new", overwrite=False, write_checksum=checked)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write(tmp_path / "link", overwrite=False, write_checksum=checked)
    assert (tmp_path / "new").read_bytes() == made
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "link"])


BAD = [
    *(("mode", value, TypeError) for value in (True, "600", 6.0, b"600")),
    *(("mode", value, ValueError) for value in (-1, 0o1000, 0o4755, stat.S_IFREG | 0o600)),
    *(("overwrite", value, TypeError) for value in (0, 1, None, "no")),
]


@pytest.mark.parametrize("write", list(WRITES.values())[:-1], ids=list(WRITES)[:-1])
@pytest.mark.parametrize(("option", "value", "error"), BAD)
def test_a_bad_value_is_refused_by_name_before_anything_is_touched(
    tmp_path: Path, write: Write, option: str, value: object, error: type[Exception]
) -> None:
    path = tmp_path / "old"
    path.write_bytes(_OLD)
    with pytest.raises(error, match=f"^{option} must be"):
        write(path, **{option: value})
    assert path.read_bytes() == _OLD
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize("text", ["", "9", "0o", "-1", "1777", "4755", "rw", "0x1ff", "6 0"])
def test_the_command_refuses_what_is_not_octal_permissions(tmp_path: Path, text: str) -> None:
    command = [sys.executable, "-m", "safeatomic_core", "write", "f", f"--mode={text}"]
    done = subprocess.run(
        command, cwd=tmp_path, input="", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "--mode" in done.stderr
    assert os.listdir(tmp_path) == []


OTHERS: dict[str, Callable[..., object]] = {
    "read_atomic": sa.read_atomic,
    "read_atomic_bytes": sa.read_atomic_bytes,
    "AtomicReader": sa.AtomicReader,
    "move_atomic": lambda path, **options: sa.move_atomic(path, f"{path}2", **options),
    "write_checksum_file": sa.write_checksum_file,
    "verify_checksum": sa.verify_checksum,
    "try_acquire_lock": sa.try_acquire_lock,
    "safeatomic_config": lambda _path, **options: sa.safeatomic_config(**options),
}


@pytest.mark.parametrize("call", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("option", ["mode", "overwrite"])
def test_a_call_that_makes_no_file_does_not_take_them(
    tmp_path: Path, call: Callable[..., object], option: str
) -> None:
    path = tmp_path / "old"
    path.write_bytes(_OLD)
    with pytest.raises(TypeError, match=option):
        call(path, **{option: 0o600 if option == "mode" else False})
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize("wish", ["--if-changed", "--parents"])
def test_the_command_s_own_options_keep_to_what_they_say(tmp_path: Path, wish: str) -> None:
    path = tmp_path / ("a/b/f" if wish == "--parents" else "f")
    _shell(path, wish)
    first = path.stat()
    _shell(path, wish)
    second = path.stat()
    unchanged = (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    assert unchanged == (wish == "--if-changed")
    assert path.read_bytes() == b"x"


def _shell(path: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "safeatomic_core", "write", os.fsdecode(path), *arguments]
    subprocess.run(command, input=b"x", check=True, timeout=60)


def test_a_secret_is_never_readable_by_others_not_even_as_a_temp(tmp_path: Path) -> None:
    """From its first byte, under the widest umask and with a checksum."""
    former = os.umask(0)
    try:
        with sa.AtomicWriter(tmp_path / "secret", mode=0o600, write_checksum=True) as file:
            modes = {
                bits(tmp_path / name) & 0o077 for name in os.listdir(tmp_path) if "tmp" in name
            }
            io.TextIOWrapper(file).write("s3cr3t")
    finally:
        os.umask(former)
    assert modes == {0}
