"""What was displaced: who may have it back, what is removed, and what the log says of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST, replacement
from safeatomic_core import write_atomic_bytes, write_checksum_file
from safeatomic_core._checksum_record import CAP
from safeatomic_core._posix import kernel
from safeatomic_core._replacement import Replacement
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]
BOTH = ["data.bin", "data.bin.sha256"]


@pytest.fixture
def present(place: Target, side: Path) -> Iterator[Sidecar]:
    """An empty sidecar, recognised."""
    side.write_bytes(b"")
    sidecar = Sidecar(place, "sha256")
    yield sidecar
    sidecar.close()


def open_descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_what_was_taken_away_is_removed_if_another_program_made_a_new_one(
    place: Target,
    present: Sidecar,
    side: Path,
    listing: Listing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Replacement(place, "")
    assert made.take_away(present)
    side.write_bytes(LIST)
    made.restore()
    assert listing() == BOTH
    made.discard()
    assert side.read_bytes() == LIST
    assert "left as it is: another program made a new one meanwhile" in caplog.text


def test_a_record_that_another_program_wrote_into_is_said_to_stay(
    place: Target,
    present: Sidecar,
    side: Path,
    listing: Listing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = replacement(place)
    assert made.install(present)
    side.write_bytes(LIST)
    made.restore()
    made.discard()
    assert side.read_bytes() == LIST
    assert listing() == BOTH
    assert "left as it is: another program wrote into it meanwhile" in caplog.text


def test_an_exchange_that_fails_displaces_nothing_that_others_could_have_written_into(
    target: Path, side: Path, listing: Listing, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_checksum_file(target)
    sealed = side.read_bytes()
    side.write_bytes(sealed + b"# previous=sha256:" + b"f" * 64 + b"\n")  # which never comes back
    faults.fail("rename_exchange", errno.ENOSPC)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert listing() == BOTH
    assert caplog.messages == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_a_copy_of_what_was_displaced_is_closed(
    place: Target, present: Sidecar, listing: Listing, faults: Any
) -> None:
    before = open_descriptors()
    faults.fail("rename_exchange", errno.EINVAL)
    faults.fail("link", errno.EPERM)
    made = replacement(place)
    assert made.install(present)
    made.discard()
    assert open_descriptors() == before
    assert listing() == BOTH


def test_a_copy_has_the_mode_of_what_it_stands_for(
    place: Target, present: Sidecar, side: Path, faults: Any
) -> None:
    side.chmod(0o604)
    again = Sidecar(place, "sha256")
    faults.fail("rename_exchange", errno.EINVAL)
    faults.fail("link", errno.EPERM)
    made = replacement(place)
    assert made.install(again)
    made.restore()
    made.discard()
    again.close()
    assert stat.S_IMODE(side.stat().st_mode) == 0o604


def test_a_clean_up_that_was_interrupted_twice_is_done_by_the_next_one(
    place: Target, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    made = replacement(place)
    with monkeypatch.context() as patched:
        patched.setattr(kernel, "unlink", interrupt, raising=False)
        with pytest.raises(KeyboardInterrupt):
            made.discard()
    assert len(listing()) == 2
    made.discard()
    assert listing() == ["data.bin"]


@pytest.mark.parametrize("noted", [True, False])  # or an interrupt came right after the call
def test_a_record_without_a_standard_input_goes_when_what_it_displaced_comes_back(
    place: Target, present: Sidecar, side: Path, listing: Listing, noted: bool
) -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        made = replacement(place)
        assert made.record.fd > 2
        temp = made.record.name
        assert made.install(present)
        assert side.read_bytes() != b""
        if not noted:
            made.record.name = temp
        made.restore()
        made.discard()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert side.read_bytes() == b""
    assert listing() == BOTH


@pytest.mark.parametrize("raw", ["longest", "NULs"])
def test_without_an_exchange_what_is_as_long_as_a_record_may_be_is_seen_to_be_unchanged(
    place: Target, side: Path, listing: Listing, faults: Any, raw: str
) -> None:
    line = b"a" * 64 + b"  data.bin\n# timestamp="
    side.write_bytes(line.ljust(CAP, b"x") if raw == "longest" else bytes(CAP + 10))
    sidecar = Sidecar(place, "sha256")
    assert sidecar.kind == ("ours" if raw == "longest" else "no record")
    faults.fail("rename_exchange", errno.EINVAL)
    made = replacement(place)
    assert made.install(sidecar)
    made.discard()
    sidecar.close()
    assert listing() == BOTH


def test_without_an_exchange_a_symbolic_link_is_not_followed(
    place: Target, present: Sidecar, side: Path, listing: Listing, faults: Any
) -> None:
    (side.parent / "theirs").write_bytes(b"theirs")
    side.unlink()
    side.symlink_to("theirs")
    faults.fail("rename_exchange", errno.EINVAL)
    real, linked = kernel.link, list[str]()

    def link(src: str, dst: str, **options: Any) -> None:
        real(src, dst, **options)
        linked.append(os.readlink(side.with_name(dst)))

    kernel.link = link
    try:
        made = replacement(place)
        assert not made.install(present)
        made.discard()
    finally:
        del kernel.link
    assert linked == ["theirs"]
    assert listing() == [*BOTH, "theirs"]


def test_what_was_written_into_the_displaced_file_is_kept_and_named(
    place: Target, side: Path, listing: Listing, caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    with side.open("ab") as theirs:  # they had it open before
        made = replacement(place)
        assert made.install(present)
        theirs.write(LIST)
    made.drop()
    (aside,) = (name for name in listing() if name.startswith(".safeatomic-sum-"))
    assert side.with_name(aside).read_bytes() == LIST
    assert aside in caplog.text
    made.discard()
    present.close()


def test_a_record_written_into_the_displaced_file_is_of_no_more_use(
    place: Target, side: Path, listing: Listing
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    with side.open("ab") as theirs:
        made = replacement(place)
        assert made.install(present)
        theirs.write(b"b" * 64 + b"  data.bin\n")
    made.discard()
    present.close()
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_what_is_left_to_others_is_named(
    place: Target, side: Path, listing: Listing, caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    made.leave("for a reason")
    made.discard()
    present.close()
    (aside,) = (name for name in listing() if name.startswith(".safeatomic-sum-"))
    assert f"for a reason; the one that was there before is {aside!r}" in caplog.text


def test_a_former_sidecar_that_cannot_be_removed_is_logged(
    place: Target, side: Path, missing: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    missing["unlink"] = errno.EIO
    made.drop()
    assert "could not remove the former sidecar" in caplog.text
    made.discard()
    present.close()


def test_a_stranger_s_file_at_the_name_of_what_was_displaced_stays(
    target: Path, place: Target, side: Path
) -> None:
    write_checksum_file(target)
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    there = side.with_name(made._aside)
    side.with_name("notes").write_bytes(b"notes")
    side.with_name("notes").rename(there)
    made.drop()
    made.discard()
    present.close()
    assert there.read_bytes() == b"notes"


def test_what_is_left_before_anything_was_exchanged_keeps_no_name(
    place: Target, side: Path, listing: Listing
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    made.leave("for a reason")
    made.discard()
    present.close()
    assert listing() == ["data.bin"]


def test_what_was_not_exchanged_is_not_said_to_be_displaced(
    place: Target, side: Path, listing: Listing, caplog: pytest.LogCaptureFixture, missing: Any
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    missing["rename_exchange"] = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        made.install(present)
    made.leave("for a reason")
    made.discard()
    present.close()
    assert listing() == ["data.bin", "data.bin.sha256"]
    assert "for a reason" in caplog.text
    assert "that was there before" not in caplog.text
