"""What stands at a sidecar's name is replaced or taken away, and comes back if that is undone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST, look, replacement
from safeatomic_core import (
    is_stale_lock,
    read_atomic_bytes,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._rename import rename_new
from safeatomic_core._replacement import Replacement
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]


def test_an_exchange_that_fails_for_a_real_reason_is_an_error(
    target: Path, side: Path, listing: Listing, missing: dict[str, int]
) -> None:
    write_checksum_file(target)
    before = look(side)
    missing["rename_exchange"] = errno.ENOSPC
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert caught.value.errno == errno.ENOSPC
    assert look(side) == before
    assert listing() == ["data.bin", "data.bin.sha256"]


class Interrupts:
    """Raise KeyboardInterrupt after the n-th call of those that change names."""

    NAMES = ("rename_exchange", "rename_noreplace", "rename", "link", "unlink")

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.came = False

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            result = call(*args, **options)
            if name in self.NAMES and not any(str(one).endswith(".lock") for one in args):
                self.count += 1
                if self.count == self.number:
                    self.came = True
                    raise KeyboardInterrupt
            return result

        return wrapped


@pytest.mark.parametrize(
    "gone", [(), ("rename_exchange",), ("rename_exchange", "rename_noreplace")]
)
@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("checked", [True, False])
def test_an_interrupt_after_any_change_of_names_leaves_a_good_pair(
    tmp_path: Path, gone: tuple[str, ...], had: bool, checked: bool
) -> None:
    for number in range(1, 20):
        path = tmp_path / str(number) / "f"
        path.parent.mkdir()
        write_atomic_bytes(path, b"old", write_checksum=had)
        interrupts = Interrupts(number)
        with intercept(interrupts.wrap):
            for name in gone:

                def missing(*_args: Any, _name: str = name) -> None:
                    raise OSError(errno.EINVAL, _name)

                setattr(kernel, name, missing)
            try:
                write_atomic_bytes(path, b"new", write_checksum=checked)
            except KeyboardInterrupt:
                assert interrupts.came
        left = sorted(os.listdir(path.parent))
        content = path.read_bytes()
        assert content in (b"old", b"new")
        if "f.lock" in left:  # published, and not settled: the next writer is to know
            assert content == b"new"
            assert is_stale_lock(path)
            left.remove("f.lock")
        has = had if content == b"old" else checked
        assert left == (["f", "f.sha256"] if has else ["f"]), (number, content)
        if has:
            assert read_atomic_bytes(path, check_checksum=True) == content
        if not interrupts.came:
            assert number > 1
            return
    pytest.fail("there is no end to it")


# ------------------------------------------------------------------------------- step by step


def test_a_sidecar_that_vanished_before_the_exchange_is_looked_for_again(
    place: Target, side: Path, listing: Listing
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    side.unlink()
    made = replacement(place)
    assert not made.install(present)
    made.discard()
    present.close()
    assert listing() == ["data.bin"]


def test_a_sidecar_that_vanished_before_it_was_taken_away_is_gone(
    place: Target, side: Path, listing: Listing
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    side.unlink()
    made = Replacement(place, "")
    assert made.take_away(present)
    made.restore()
    made.discard()
    present.close()
    assert listing() == ["data.bin"]


def test_a_name_for_what_is_taken_away_is_taken_by_nobody_else(
    place: Target, side: Path, listing: Listing
) -> None:
    side.write_bytes(b"")
    token = "0123456789abcdef"
    taken = side.with_name(f".safeatomic-sum-{token}.tmp")
    taken.write_bytes(LIST)
    present = Sidecar(place, "sha256")
    made = Replacement(place, token)
    assert made.take_away(present)
    assert len(listing()) == 3
    made.restore()
    assert side.exists()
    made.discard()
    present.close()
    assert taken.read_bytes() == LIST


def test_a_record_whose_name_was_removed_makes_way_for_the_former_one(
    place: Target, side: Path, listing: Listing
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    side.unlink()
    made.restore()
    assert side.read_bytes() == b""
    made.discard()
    present.close()
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_our_own_record_that_vanished_needs_no_undoing(
    place: Target, side: Path, listing: Listing
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    side.unlink()
    made.restore()
    made.discard()
    present.close()
    assert listing() == ["data.bin"]


def test_a_rename_to_a_free_name_says_whether_the_former_one_is_left(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "a").write_bytes(b"x")
    assert not rename_new("a", "b", fd, fd)
    with pytest.raises(FileNotFoundError):
        rename_new("a", "c", fd, fd)
    os.close(fd)


def test_a_sidecar_that_is_there_and_cannot_be_renamed_is_an_error(
    place: Target, side: Path, missing: dict[str, int]
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    missing["rename_noreplace"] = errno.ENOENT
    with pytest.raises(FileNotFoundError):
        Replacement(place, "").take_away(present)
    present.close()


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EIO])
def test_an_exchange_back_that_fails_is_a_removed_record_or_an_error(
    place: Target, side: Path, missing: dict[str, int], code: int
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    missing["rename_exchange"] = code
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            made.restore()
    else:
        side.unlink()
        made._give_back()
        assert side.read_bytes() == b""
    made.discard()
    present.close()


def test_a_record_that_others_wrote_into_in_the_last_moment_goes_back_to_its_name(
    place: Target, side: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    real = kernel.rename_noreplace
    came: list[int] = []

    def late(*args: Any) -> None:
        if not came:
            came.append(1)
            side.write_bytes(LIST)
        real(*args)

    monkeypatch.setattr(kernel, "rename_noreplace", late, raising=False)
    made.restore()
    made.discard()
    present.close()
    assert side.read_bytes() == LIST


def test_a_third_file_in_the_last_moment_stays_and_is_said_in_the_log(
    place: Target, side: Path, missing: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    real, third = kernel.rename_exchange, iter([LIST])

    def late(*args: Any) -> None:
        for content in third:
            side.with_name("third").write_bytes(content)
            side.with_name("third").rename(side)
        real(*args)

    kernel.rename_exchange = late  # type: ignore[assignment]
    made.restore()
    kernel.rename_exchange = real
    made.discard()
    present.close()
    assert side.read_bytes() == LIST
    assert "left as it is: another program replaced it meanwhile" in caplog.text


def test_a_sidecar_that_was_replaced_after_an_unnoted_exchange_is_not_ours_any_more(
    place: Target, side: Path, listing: Listing, caplog: pytest.LogCaptureFixture
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    temp = made.record.name
    assert made.install(present)
    made.record.name = temp  # as if an interrupt had come right after the call
    side.with_name("x").write_bytes(LIST)
    side.with_name("x").rename(side)
    made.restore()
    made.discard()
    present.close()
    assert side.read_bytes() == LIST
    assert "left as it is: another program replaced it meanwhile" in caplog.text
    assert listing() == ["data.bin", "data.bin.sha256"]


def test_where_no_name_is_free_nothing_is_moved_and_no_stranger_s_file_removed(
    place: Target, side: Path, listing: Listing, missing: dict[str, int]
) -> None:
    side.write_bytes(b"")
    present = Sidecar(place, "sha256")
    made = replacement(place)
    missing["rename_noreplace"] = errno.EEXIST
    with pytest.raises(FileExistsError, match="no free name"):
        made.take_away(present)
    missing.clear()
    made.restore()
    made.discard()
    present.close()
    assert listing() == ["data.bin", "data.bin.sha256"]


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_as_our_record_is_taken_away_does_not_leave_it(
    place: Target, listing: Listing, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    real = kernel.rename_noreplace

    def interrupted(*args: Any) -> None:
        if after:
            real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(kernel, "rename_noreplace", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            made.restore()
    made.restore()  # as `finish` does it
    made.discard()
    present.close()
    assert listing() == ["data.bin"]


def test_a_record_of_ours_with_no_free_name_to_go_to_stays(
    place: Target, side: Path, missing: dict[str, int]
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    missing["rename_noreplace"] = errno.EEXIST
    with pytest.raises(FileExistsError):
        made.restore()
    missing["rename_noreplace"] = errno.ENOENT  # removed in this very moment
    made.restore()
    made.discard()
    present.close()
    assert side.exists()


def test_a_name_that_cannot_be_looked_at_is_an_error(
    place: Target, side: Path, missing: dict[str, int]
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    missing["stat"] = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        made.restore()
    missing.clear()
    made.restore()
    made.discard()
    present.close()
    assert not side.exists()
