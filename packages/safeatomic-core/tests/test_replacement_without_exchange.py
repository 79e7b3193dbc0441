"""A sidecar is replaced where the system cannot exchange two names: by links, or by copies."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST, NO_LINK, look, replacement
from safeatomic_core import (
    move_atomic,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import kernel
from safeatomic_core._replacement import Replacement
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]

CODES = [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENOTSUP]


@pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("links", [True, False])
def test_without_an_exchange_a_sidecar_is_replaced_and_put_back(
    target: Path, side: Path, listing: Listing, missing: dict[str, int], code: int, links: bool
) -> None:
    write_checksum_file(target)
    missing |= {"rename_exchange": code} | ({} if links else NO_LINK)
    write_atomic_bytes(target, b"one", write_checksum=True)
    assert verify_checksum(target)
    assert listing() == ["data.bin", "data.bin.sha256"]
    side.chmod(0o604)
    before = look(side)
    real = kernel.rename

    def rename(src: str, dst: str, **options: Any) -> None:
        if dst == "data.bin":
            raise OSError(errno.EIO, "the device is broken")
        real(src, dst, **options)

    kernel.rename = rename  # type: ignore[assignment]
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"two", write_checksum=True)
    kernel.rename = real
    after = look(side)
    assert after == before if links else after[2] == before[2]
    assert stat.S_IMODE(side.stat().st_mode) == 0o604
    assert read_atomic_bytes(target, check_checksum=True) == b"one"
    assert listing() == ["data.bin", "data.bin.sha256"]


@pytest.mark.parametrize("links", [True, False])
def test_without_any_flag_a_record_is_made_retired_and_moved(
    target: Path, side: Path, listing: Listing, missing: dict[str, int], links: bool
) -> None:
    missing |= {"rename_exchange": errno.EINVAL, "rename_noreplace": errno.EINVAL}
    write_checksum_file(target)  # by a link
    if not links:
        missing |= NO_LINK
    write_atomic_bytes(target, b"new")
    assert listing() == ["data.bin"]
    missing.pop("link", None)
    write_atomic_bytes(target, b"newer", write_checksum=True)
    move_atomic(target, target.with_name("moved"), force=True)
    assert verify_checksum(target.with_name("moved"))


def test_a_copy_that_a_crash_may_leave_is_its_owner_s(
    target: Path, missing: dict[str, int]
) -> None:
    write_checksum_file(target)
    missing |= {"rename_exchange": errno.EINVAL} | NO_LINK
    real, modes = kernel.write, []

    def write(fd: int, data: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return real(fd, data)

    kernel.write = write  # type: ignore[assignment]
    write_atomic_bytes(target, b"one", write_checksum=True, concurrency="none")
    kernel.write = real
    assert modes == [0o600] * 3  # content, record and copy


@pytest.mark.parametrize("written", [LIST, b"0" * 64 + b"  a\n", b"mine\n"])
@pytest.mark.parametrize("links", [True, False])
def test_without_an_exchange_another_program_s_change_is_seen(
    target: Path,
    side: Path,
    listing: Listing,
    missing: dict[str, int],
    links: bool,
    written: bytes,
) -> None:
    write_checksum_file(target)
    missing |= {"rename_exchange": errno.EINVAL} | ({} if links else NO_LINK)
    real = kernel.rename

    def rename(src: str, dst: str, **options: Any) -> None:
        if dst == side.name and side.read_bytes() != written:
            side.write_bytes(written)  # in place, in the last moment
        real(src, dst, **options)

    kernel.rename = rename  # type: ignore[assignment]
    with pytest.raises(FileExistsError):
        write_atomic_bytes(target, b"new", write_checksum=True)
    kernel.rename = real
    assert side.read_bytes() == written
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_link_that_fails_for_a_real_reason_is_an_error(
    target: Path, side: Path, listing: Listing, missing: dict[str, int]
) -> None:
    write_checksum_file(target)
    before = look(side)
    missing |= {"rename_exchange": errno.EINVAL, "link": errno.ENOSPC}
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert caught.value.errno == errno.ENOSPC
    assert look(side) == before
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_a_sidecar_that_vanished_before_the_link_is_looked_for_again(
    place: Target, side: Path, listing: Listing, missing: dict[str, int]
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    side.unlink()
    missing["rename_exchange"] = errno.EINVAL
    made = replacement(place)
    assert not made.install(present)
    made.discard()
    present.close()
    assert listing() == ["data.bin"]


def test_a_name_that_must_be_free_is_asked_for_where_nothing_holds_it(
    place: Target, side: Path, listing: Listing, missing: dict[str, int], monkeypatch: Any
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    missing |= {"rename_noreplace": errno.EINVAL, "link": errno.EPERM}
    made = Replacement(place, "")
    assert made.take_away(present)
    side.write_bytes(LIST)
    made.restore()
    made.discard()
    present.close()
    assert side.read_bytes() == LIST
    missing["link"] = errno.EIO
    again = Sidecar(place, "sha256")
    with pytest.raises(OSError, match="Input/output"):
        made.take_away(again)
    again.close()


def test_without_an_exchange_a_change_before_the_link_is_seen(
    place: Target, side: Path, listing: Listing, missing: dict[str, int]
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    side.write_bytes(LIST)
    missing["rename_exchange"] = errno.EINVAL
    made = replacement(place)
    assert not made.install(present)
    made.discard()
    present.close()
    assert side.read_bytes() == LIST
    assert listing() == ["data.bin", "data.bin.sha256"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_copy_whose_owner_cannot_be_kept_is_ours(
    place: Target, side: Path, missing: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(b"")
    os.chown(side, 4001, 4001)
    present = Sidecar(place, "sha256")
    missing |= {"rename_exchange": errno.EINVAL, "link": errno.EPERM, "fchown": errno.EPERM}
    made = replacement(place)
    with caplog.at_level("DEBUG"):
        assert made.install(present)
    assert "a copy put back is ours" in caplog.text
    made.discard()
    present.close()


@pytest.mark.parametrize("links", [True, False])
def test_without_an_exchange_a_replacement_that_fails_leaves_the_sidecar_and_nothing_else(
    target: Path,
    side: Path,
    listing: Listing,
    missing: dict[str, int],
    links: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_checksum_file(target)
    before = look(side)
    missing |= {"rename_exchange": errno.EINVAL} | ({} if links else NO_LINK)
    real = kernel.rename

    def rename(src: str, dst: str, **options: Any) -> None:
        if dst == side.name:
            raise OSError(errno.EIO, "the device is broken")
        real(src, dst, **options)

    kernel.rename = rename  # type: ignore[assignment]
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    kernel.rename = real
    assert look(side) == before
    assert listing() == ["data.bin", "data.bin.sha256"]
    assert "left as it is" not in caplog.text


def test_a_copy_that_was_made_and_cannot_be_claimed_is_removed(
    target: Path, place: Target, side: Path, listing: Listing, faults: Any
) -> None:
    write_checksum_file(target)
    sidecar, made = Sidecar(place, "sha256"), replacement(place)
    before = side.read_bytes()
    faults.fail("rename_exchange", errno.EINVAL)
    faults.fail("link", errno.EPERM)
    faults.fail("flock", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        made.install(sidecar)
    faults.rules.clear()
    made.restore()
    made.discard()
    sidecar.close()
    assert listing() == ["data.bin", "data.bin.sha256"]
    assert side.read_bytes() == before
