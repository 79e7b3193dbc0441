"""What an error recommends where something is missing, or was removed meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from refusals import advice_of, denial, needs_proc, write
from safeatomic_core import (
    AtomicWriter,
    move_atomic,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import intercept, kernel


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    text = advice_of(lambda: write(tmp_path / "no" / "f"))
    assert f"The directory '{tmp_path}/no' does not exist; create it first" in text


def test_a_source_that_is_missing_is_not_a_missing_directory(tmp_path: Path) -> None:
    text = advice_of(lambda: move_atomic(tmp_path / "no", tmp_path / "new", safety="best_effort"))
    assert "There is no such file" in text
    assert "create it first" not in text


def test_a_file_to_record_that_is_missing_is_not_a_missing_directory(tmp_path: Path) -> None:
    text = advice_of(lambda: write_checksum_file(tmp_path / "no", safety="best_effort"))
    assert "There is no such file" in text
    assert "create it first" not in text


def test_a_removed_working_directory_is_said_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        for text in (
            advice_of(lambda: write("f")),
            advice_of(lambda: write("deeper/f")),
            advice_of(lambda: try_acquire_lock("f", safety="best_effort")),
        ):
            assert "was removed" in text
            assert "(deleted)" not in text
            assert "immutable" not in text
    finally:
        os.chdir(tmp_path)  # the fixture goes back by a path that it asks for


@needs_proc
@pytest.mark.parametrize("call", ["write", "stream", "move", "record"])
def test_a_directory_that_is_removed_with_its_lock_was_removed_by_nobody_s_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    target = place / "f"
    target.write_bytes(b"old")

    def remove_first(fd: int) -> None:
        shutil.rmtree(place, ignore_errors=True)
        os.fsync(fd)

    def stream() -> None:
        with AtomicWriter(target, safety="best_effort") as file:
            file.write(b"new")
            shutil.rmtree(place)

    monkeypatch.setattr(kernel, "fsync", remove_first, raising=False)
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: write_atomic_bytes(target, b"new", safety="best_effort"),
        "stream": stream,
        "move": lambda: move_atomic(target, place / "g", safety="best_effort"),
        "record": lambda: write_checksum_file(target, safety="best_effort"),
    }
    with pytest.raises(FileNotFoundError) as caught:
        calls[call]()
    assert f"The directory '{place}' was removed; create it again" in str(caught.value)


@needs_proc
def test_a_directory_that_is_removed_meanwhile_is_said_to_be_removed(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def remove_first(path: str, flags: int, *args: Any, **options: Any) -> Any:
            if flags & os.O_CREAT:
                place.rmdir()
            return call(path, flags, *args, **options)

        return remove_first if name == "open" else call

    with intercept(wrap):
        text = advice_of(lambda: write(place / "f"))
    assert "was removed; create it again" in text


def test_a_temporary_file_that_vanished_is_said_to_have_vanished(target: Path) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def without(src: str, dst: str, **options: Any) -> None:
            os.unlink(src, dir_fd=options["src_dir_fd"])
            call(src, dst, **options)

        return without if name == "rename" else call

    with intercept(wrap):
        text = advice_of(lambda: write(target))
    assert "The temporary file was removed or replaced during the write" in text
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("concurrency", ["lock", "none"])
def test_a_write_in_a_directory_that_was_removed_finds_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrency: Any
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        with pytest.raises(FileNotFoundError, match="was removed; create it again"):
            write_atomic_bytes("file", b"x", concurrency=concurrency)
    finally:
        os.chdir(tmp_path)


def test_a_source_that_vanished_is_not_a_temporary_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(src: str, *_rest: object) -> None:
        raise denial(errno.ENOENT, src)

    monkeypatch.setattr(kernel, "rename_noreplace", vanished, raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        move_atomic(target, target.with_name("new"), concurrency="none", safety="best_effort")
    assert "moved or deleted meanwhile" in str(caught.value)
    assert "temporary file" not in str(caught.value)
    assert caught.value.filename == str(target)


@pytest.mark.parametrize("call", [move_atomic, write_checksum_file], ids=["move", "record"])
def test_nobody_is_told_to_make_the_directory_of_a_missing_file(
    tmp_path: Path, call: Callable[..., object]
) -> None:
    names = [tmp_path / "no" / "f", tmp_path / "g"][: 1 + (call is move_atomic)]
    text = advice_of(lambda: call(*names, safety="best_effort"))
    assert f"There is no such file, and no directory '{tmp_path}/no'" in text
    assert "create it" not in text


def test_a_link_into_a_directory_that_is_missing_names_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("no/such")
    (tmp_path / "chain").symlink_to("link")
    for name in ("link", "chain"):
        text = advice_of(partial(write, tmp_path / name))
        assert f"is a link to '{tmp_path}/no/such'" in text
        assert f"The directory '{tmp_path}/no' does not exist; create it first" in text
    (tmp_path / "no").mkdir()
    write(tmp_path / "chain")


def test_where_the_working_directory_cannot_be_looked_at_it_is_not_said_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    faults.fail("stat", errno.EACCES, when=lambda path, **_options: path == ".")
    text = advice_of(lambda: write("missing/file"))
    assert "The directory 'missing' does not exist; create it first" in text
