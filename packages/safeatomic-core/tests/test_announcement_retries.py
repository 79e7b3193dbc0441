"""An announcement that starts over because somebody else wrote in between, or gives up."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from replacements import LIST
from safeatomic_core import _announcement as announcement
from safeatomic_core import _retirement as retirement
from safeatomic_core import (
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel

Listing = Callable[[], list[str]]
Around = Callable[..., AbstractContextManager[None]]
Action = Callable[[], object]


def fail(*_args: object) -> None:
    raise OSError(errno.EIO, "the device is broken")


def another_record(side: Path, digest: bytes) -> None:
    side.with_name("x").write_bytes(digest * 64 + b"  data.bin\n")
    side.with_name("x").rename(side)


def test_a_record_that_came_in_between_is_carried_along(
    target: Path, side: Path, steps: Any, listing: Listing, around: Around
) -> None:
    write_checksum_file(target)
    steps.clear()
    with around("rename_exchange", side.name, before=lambda: another_record(side, b"c")):
        write_atomic_bytes(target, b"new", write_checksum=True)
    phases = [facts.get("phase") for step, facts in steps if step == "Announce"]
    assert phases == ["put-back", "record", "barrier"]
    record = next(facts for _, facts in steps if facts.get("phase") == "record")
    assert record["previous"] == ["c" * 64]
    assert verify_checksum(target)
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_record_that_came_during_a_recording_is_replaced_after_all(
    target: Path, side: Path, listing: Listing, around: Around
) -> None:
    with around("rename_noreplace", side.name, before=lambda: another_record(side, b"c")):
        write_checksum_file(target)
    assert verify_checksum(target)
    assert b"previous" not in side.read_bytes()
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_record_that_came_in_between_is_retired_as_well(
    target: Path, side: Path, listing: Listing
) -> None:
    write_checksum_file(target)
    real = kernel.rename_noreplace
    came: list[int] = []

    def rename(src: str, *args: Any) -> None:
        if src == side.name and not came:
            came.append(1)
            another_record(side, b"c")
        real(src, *args)

    kernel.rename_noreplace = rename  # type: ignore[assignment]
    try:
        write_atomic_bytes(target, b"new")
    finally:
        del kernel.rename_noreplace
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("checked", [True, False])
def test_a_sidecar_that_never_rests_is_given_up(
    target: Path, side: Path, checked: bool, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksum_file(target)
    entry = "rename_exchange" if checked else "rename_noreplace"
    real = getattr(kernel, entry)

    def restless(src: str, dst: str, *args: Any) -> None:
        if side.name in (src, dst) and (checked or src == side.name):
            another_record(side, b"c")
        real(src, dst, *args)

    monkeypatch.setattr(kernel, entry, restless, raising=False)
    monkeypatch.setattr(announcement, "ROUNDS", 3)
    monkeypatch.setattr(retirement, "ROUNDS", 3)
    with pytest.raises(FileExistsError, match="again and again"):
        write_atomic_bytes(target, b"new", write_checksum=checked)
    assert target.read_bytes() == b"old"
    assert side.read_bytes() == b"c" * 64 + b"  data.bin\n"
    assert "restore" not in [facts.get("phase") for _, facts in steps]  # nothing of it is there


def test_what_others_wrote_into_the_record_is_not_cut(
    target: Path, side: Path, caplog: pytest.LogCaptureFixture, around: Around
) -> None:
    write_checksum_file(target)
    with around("rename", "data.bin", after=lambda: side.write_bytes(LIST)):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert side.read_bytes() == LIST
    assert "another program wrote into it" in caplog.text


def test_a_fifo_that_the_content_became_is_refused(target: Path, side: Path) -> None:
    real = kernel.open

    def opening(name: str, flags: int, *args: Any, **options: Any) -> int:
        if name == "data.bin" and not flags & os.O_WRONLY:
            target.unlink()
            os.mkfifo(target)
        return real(name, flags, *args, **options)

    kernel.open = opening  # type: ignore[assignment]
    try:
        with pytest.raises(OSError, match="a FIFO, not a regular file"):
            write_atomic_bytes(target, b"new", write_checksum=True, concurrency="none")
    finally:
        del kernel.open
    assert not side.exists()


def test_content_that_may_not_be_read_cannot_be_announced(target: Path, faults: Any) -> None:
    faults.fail("open", errno.EACCES, when=lambda name, flags, *_a, **_k: name == "data.bin")
    with pytest.raises(PermissionError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert caught.value.filename == str(target)


def test_a_list_that_comes_before_the_sidecar_is_taken_away_stays(target: Path, side: Path) -> None:
    write_checksum_file(target)
    real = kernel.rename_noreplace

    def rename(src: str, *args: Any) -> None:
        if src == side.name and side.read_bytes() != LIST:
            side.with_name("x").write_bytes(LIST)
            side.with_name("x").rename(side)
        real(src, *args)

    kernel.rename_noreplace = rename  # type: ignore[assignment]
    try:
        write_atomic_bytes(target, b"new")
    finally:
        del kernel.rename_noreplace
    assert target.read_bytes() == b"new"
    assert side.read_bytes() == LIST


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_an_interrupt_of_a_second_draft_leaves_nothing_behind(
    target: Path, side: Path, listing: Listing, around: Around
) -> None:
    write_checksum_file(target)
    before, number = os.listdir("/proc/self/fd"), 0
    while True:
        number += 1
        try:
            with around("rename_exchange", side.name, before=lambda: another_record(side, b"c")):
                interrupted(number, lambda: write_atomic_bytes(target, b"new", write_checksum=True))
        except KeyboardInterrupt:
            assert listing() == ["data.bin", "data.bin.sha256"], number
            assert os.listdir("/proc/self/fd") == before, number
        else:
            break
    assert number > 5


def interrupted(number: int, work: Action) -> None:
    """Do some work, with an interrupt where the n-th call is made to draft a record again."""
    drafting = announcement.Announcement._draft_again.__code__
    left = number

    def call(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal left
        if event == "call" and frame.f_back is not None and frame.f_back.f_code is drafting:
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(call)
    try:
        work()
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("back", [False, True], ids=["gone", "gone and back"])
def test_content_that_another_program_removes_meanwhile_needs_no_digest(
    target: Path, side: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    really, looks = announcement.Announcement._digest_of_present, list[int]()

    def digest(self: Any, *args: Any) -> Any:
        looks.append(1)
        if len(looks) > 1:
            return really(self, *args)
        target.unlink()
        try:
            return really(self, *args)
        finally:
            if back:
                target.write_bytes(b"of another program")

    monkeypatch.setattr(announcement.Announcement, "_digest_of_present", digest)
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert len(looks) == 1 + back
    assert read_atomic_bytes(target, check_checksum=True) == b"new"
    assert len(side.read_bytes().splitlines()) == 1
