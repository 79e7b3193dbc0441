"""What stands at a sidecar's name is replaced or taken away; interrupts, and no exchange."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replacements import LIST, replacement
from safeatomic_core import (
    is_stale_lock,
    move_atomic,
    read_atomic_bytes,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._rename import rename_new
from safeatomic_core._replacement import Replacement
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target

Listing = Callable[[], list[str]]
CODES = [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENOTSUP]


@pytest.fixture
def side(target: Path) -> Path:
    return target.with_name("data.bin.sha256")


def look(path: Path) -> tuple[object, ...]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, path.read_bytes()


class Missing:
    """Let system calls be missing, and others be interrupted."""

    def __init__(self) -> None:
        self.missing: dict[str, int] = {}

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if name in self.missing and "lock" not in str(args):
                code = self.missing[name]
                raise OSError(code, os.strerror(code))
            return call(*args, **options)

        return wrapped


@pytest.fixture
def missing() -> Iterator[dict[str, int]]:
    made = Missing()
    with intercept(made.wrap):
        yield made.missing


NO_LINK = {"link": errno.EPERM}


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


@pytest.fixture
def place(target: Path, locate: Callable[[str | Path], Target]) -> Iterator[Target]:
    opened = locate(target)
    yield opened
    opened.close()


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


def test_a_record_of_ours_with_no_free_name_to_go_to_stays(
    place: Target, side: Path, missing: dict[str, int]
) -> None:
    present = Sidecar(place, "sha256")
    made = replacement(place)
    assert made.install(present)
    missing["rename_noreplace"] = errno.EEXIST
    with pytest.raises(FileExistsError, match="no free name"):
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
