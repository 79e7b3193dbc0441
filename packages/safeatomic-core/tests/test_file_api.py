from __future__ import annotations

import enum
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    read_atomic,
    read_atomic_bytes,
    safeatomic_config,
    verify_checksum,
    write_atomic,
    write_atomic_bytes,
)
from safeatomic_core._posix import kernel

Listing = Callable[[], list[str]]
# The public calls without their types, to be called wrongly.
WRITE: Any = write_atomic
WRITE_BYTES: Any = write_atomic_bytes
READ: Any = read_atomic
READ_BYTES: Any = read_atomic_bytes


@pytest.mark.parametrize("concurrency", ["lock", "none"])
@pytest.mark.parametrize("checksum", [False, True])
def test_what_was_written_is_read(
    tmp_path: Path, listing: Listing, concurrency: Any, checksum: bool
) -> None:
    path = tmp_path / "f"
    for content in (b"", b"one", bytes(range(256)) * 4096):
        write_atomic_bytes(path, content, concurrency=concurrency, write_checksum=checksum)
        assert read_atomic_bytes(path, check_checksum=checksum) == content
        assert listing() == (["f", "f.sha256"] if checksum else ["f"])


def test_text_is_encoded_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    assert read_atomic(path) == "größe\n"
    write_atomic(path, "größe", encoding="latin-1")
    assert read_atomic(path, encoding="latin-1") == "größe"
    with safeatomic_config(encoding="utf-16"):
        write_atomic(path, "größe")
        assert read_atomic(path) == "größe"


def test_text_that_cannot_be_encoded_touches_nothing(target: Path, listing: Listing) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "größe", encoding="ascii")
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("data", [bytearray(b"xy"), memoryview(b"axyb")[1:3]])
def test_any_contiguous_bytes_are_data(tmp_path: Path, data: Any) -> None:
    write_atomic_bytes(tmp_path / "f", data)
    assert (tmp_path / "f").read_bytes() == b"xy"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: WRITE(p, b"x"), TypeError, "data must be a str"),
        (lambda p: WRITE_BYTES(p, "x"), TypeError, "data must be bytes-like"),
        (lambda p: WRITE_BYTES(p, 5), TypeError, "contiguous bytes-like"),
        (lambda p: WRITE_BYTES(p, memoryview(b"abcd")[::2]), TypeError, "contiguous"),
        (lambda p: WRITE_BYTES(3, b""), TypeError, "path must be"),
        (lambda p: WRITE_BYTES(p, b"", concurrency="x"), ValueError, "'lock', 'none'"),
        (lambda p: WRITE_BYTES(p, b"", concurrency=1), TypeError, "concurrency"),
        (lambda p: WRITE_BYTES(p, b"", safety="x"), ValueError, "'strict', 'warn'"),
        (lambda p: WRITE_BYTES(p, b"", preserve_metadata=1), TypeError, "preserve"),
        (lambda p: WRITE_BYTES(p, b"", write_checksum="y"), TypeError, "write_checksum"),
        (lambda p: WRITE_BYTES(p, b"", checksum_algo="x"), ValueError, "checksum_algo"),
        (lambda p: WRITE_BYTES(p, b"", retries=-1), ValueError, "retries"),
        (lambda p: WRITE_BYTES(p, b"", delay=-1), ValueError, "delay"),
        (lambda p: WRITE_BYTES(p, b"", session=b""), TypeError, "session"),
        (lambda p: WRITE(p, "", encoding="x"), ValueError, "encoding 'x'"),
        (lambda p: READ(p, encoding="x"), ValueError, "encoding 'x'"),
        (lambda p: READ_BYTES(p, check_checksum=1), TypeError, "check_checksum"),
        (lambda p: READ_BYTES(p, checksum_algo="x"), ValueError, "checksum_algo"),
        (lambda p: READ_BYTES(p, safety="x"), ValueError, "safety"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_touched(
    target: Path,
    listing: Listing,
    faults: Any,
    call: Callable[[Path], object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        call(target)
    assert faults.calls == []
    assert listing() == ["data.bin"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(("concurrency", "length"), [("none", 255), ("none", 249), ("lock", 250)])
def test_a_name_that_leaves_no_room_for_a_sidecar_can_be_written_without_one(
    tmp_path: Path, concurrency: Any, length: int
) -> None:
    path = tmp_path / ("n" * length)
    for content in (b"new", b"over it"):
        write_atomic_bytes(path, content, concurrency=concurrency)
        assert path.read_bytes() == content


def test_a_given_mode_is_not_narrowed_by_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic_bytes(tmp_path / "f", b"x", mode=0o664, safety="best_effort")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o664


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_open_gives(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "plain").write_bytes(b"")
        write_atomic_bytes(tmp_path / "ours", b"", write_checksum=True)
        (tmp_path / "old").write_bytes(b"")
        (tmp_path / "old").chmod(0o755)
        write_atomic_bytes(tmp_path / "old", b"", preserve_metadata=False)
    finally:
        os.umask(before)
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    for name in ("ours", "old"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == expected
    # Nobody but its owner is to write the record.
    assert stat.S_IMODE((tmp_path / "ours.sha256").stat().st_mode) == expected & 0o644


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o4755, 0o2755, 0o400])
def test_an_overwritten_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(mode)
    if not os.access(path, os.W_OK):
        pytest.skip("this user may not write such a file, so it is not replaced")
    write_atomic_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_temp_is_never_more_readable_than_the_target(tmp_path: Path, steps: Any) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    modes: list[int] = []
    real = kernel.write

    def write(fd: int, data: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode) & 0o777)
        return real(fd, data)

    kernel.write = write  # type: ignore[assignment]
    try:
        write_atomic_bytes(path, b"new", concurrency="none")
    finally:
        del kernel.write
    assert modes == [0o600]


def test_an_overwritten_file_keeps_its_attributes_but_not_its_time(target: Path) -> None:
    try:
        os.setxattr(target, "user.origin", b"here")
    except OSError as error:
        pytest.skip(f"no user attributes on this filesystem ({error})")
    os.utime(target, (1, 1))
    write_atomic_bytes(target, b"new")
    assert os.getxattr(target, "user.origin") == b"here"
    assert target.stat().st_mtime > 1000


def test_the_steps_are_reported_in_their_order(target: Path, steps: Any) -> None:
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert list(dict.fromkeys(step for step, _ in steps)) == [
        "Gate",
        "Acquire",
        "Stage",
        "Fill",
        "Announce",
        "Harden",
        "Publish",
        "Settle",
        "Seal",
        "Release",
    ]
    phases = [facts["phase"] for step, facts in steps if step == "Announce"]
    assert phases == ["resolve", "record", "barrier"]
    steps.clear()
    write_atomic_bytes(target, b"newer", write_checksum=True)
    phases = [facts["phase"] for step, facts in steps if step == "Announce"]
    assert phases == ["record", "barrier"]
    steps.clear()
    write_atomic_bytes(target, b"plain")
    phases = [facts["phase"] for step, facts in steps if step == "Announce"]
    assert phases == ["retire", "barrier"]


def test_corruption_that_was_there_is_not_accepted_by_an_announce(target: Path) -> None:
    write_atomic_bytes(target, b"good", write_checksum=True)
    target.write_bytes(b"rotten")
    seen: list[bool] = []
    real = kernel.rename

    def rename(src: str, dst: str, **kwargs: Any) -> None:
        if dst == "data.bin":
            seen.append(verify_checksum(target))
        real(src, dst, **kwargs)

    kernel.rename = rename  # type: ignore[assignment]
    try:
        write_atomic_bytes(target, b"next", write_checksum=True)
    finally:
        del kernel.rename
    assert seen == [False]
    assert verify_checksum(target)


def test_an_interrupted_pair_is_resolved_by_the_next_write(target: Path, faults: Any) -> None:
    write_atomic_bytes(target, b"one", write_checksum=True)
    faults.fail("ftruncate", errno.EIO, at=1)
    with pytest.raises(OSError, match="cannot seal"):
        write_atomic_bytes(target, b"two", write_checksum=True)
    write_atomic_bytes(target, b"three", write_checksum=True)
    sidecar = Path(f"{target}.sha256").read_bytes()
    assert b"previous" not in sidecar
    assert verify_checksum(target)


def test_digests_are_carried_while_the_data_matches_none(target: Path, faults: Any) -> None:
    write_atomic_bytes(target, b"one", write_checksum=True)
    faults.fail("ftruncate", errno.EIO)
    with pytest.raises(OSError, match="cannot seal"):
        write_atomic_bytes(target, b"two", write_checksum=True)
    target.write_bytes(b"rotten")
    with pytest.raises(OSError, match="cannot seal"):
        write_atomic_bytes(target, b"three", write_checksum=True)
    sidecar = Path(f"{target}.sha256").read_bytes()
    assert sidecar.count(b"# previous=") == 2
    target.unlink()
    with pytest.raises(OSError, match="cannot seal"):
        write_atomic_bytes(target, b"four", write_checksum=True)
    assert Path(f"{target}.sha256").read_bytes().count(b"# previous=") == 3


def test_a_reader_that_meets_a_moving_writer_tries_again(
    target: Path, monkeypatch: pytest.MonkeyPatch, steps: Any
) -> None:
    write_atomic_bytes(target, b"one", write_checksum=True)
    real, state = kernel.open, {"done": False}

    def opening(name: str, *args: Any, **options: Any) -> int:
        fd: int = real(name, *args, **options)
        if name == target.name and not state["done"]:
            state["done"] = True
            write_atomic_bytes(target, b"two", write_checksum=True)
            write_atomic_bytes(target, b"three", write_checksum=True)
        return fd

    monkeypatch.setattr(kernel, "open", opening, raising=False)
    assert read_atomic_bytes(target, check_checksum=True) == b"three"
    verdicts = [facts["verdict"] for step, facts in steps if facts.get("phase") == "verdict"]
    assert verdicts == ["retry", "good"]


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_atomic_bytes(tmp_path / "missing")
    assert caught.value.filename == str(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read_atomic_bytes(tmp_path)


def test_a_file_that_grows_or_has_no_size_is_read_to_its_end() -> None:
    assert b"Name:" in read_atomic_bytes("/proc/self/status", safety="best_effort")


def test_reading_errors_name_the_path(target: Path, faults: Any) -> None:
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: name == str(target))
    with pytest.raises(PermissionError) as caught:
        read_atomic_bytes(target)
    assert caught.value.filename == str(target)


def test_a_roll_back_keeps_what_resolving_has_ruled_out(target: Path, faults: Any) -> None:
    write_atomic_bytes(target, b"one", write_checksum=True)
    faults.fail("ftruncate", errno.EIO, at=1)
    with pytest.raises(OSError, match="cannot seal"):
        write_atomic_bytes(target, b"two", write_checksum=True)
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"three", write_checksum=True)
    assert target.read_bytes() == b"two"
    assert verify_checksum(target)
    target.write_bytes(b"one")
    assert not verify_checksum(target)


@pytest.mark.parametrize(
    "shown", [memoryview, lambda buffer: memoryview(buffer).toreadonly()], ids=["rw", "ro"]
)
def test_a_buffer_that_changes_while_it_is_written_is_recorded_as_it_was_written(
    target: Path, monkeypatch: pytest.MonkeyPatch, shown: Callable[[bytearray], memoryview]
) -> None:
    buffer, really = bytearray(b"x" * 400_000), kernel.write

    def changing(fd: int, data: Any) -> int:
        buffer[0] ^= 1
        done: int = really(fd, data)
        buffer[-1] ^= 1
        return done

    monkeypatch.setattr(kernel, "write", changing, raising=False)
    write_atomic_bytes(target, shown(buffer), write_checksum=True)
    assert verify_checksum(target)


def test_a_path_of_another_kind_of_text_is_that_text(tmp_path: Path) -> None:
    class Name(enum.StrEnum):
        FILE = str(tmp_path / "f")

    write_atomic_bytes(Name.FILE, b"x")
    with AtomicWriter(Name.FILE) as file:
        assert type(file.name) is str
        assert "<Name" not in repr(file)
