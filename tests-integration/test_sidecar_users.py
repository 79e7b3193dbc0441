"""Sidecars between users: who may read one, and whose leftovers are swept."""

from __future__ import annotations

import os
import signal
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import safeatomic_core as sa
from safeatomic_core import _protocol
from safeatomic_core._temp_file import SUM_PREFIX, orphans
from users import ALICE, BOB, CAROL, GROUP, as_user, common_place

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users"),
]
ACL = "system.posix_acl_access"


@pytest.fixture
def place(tally: Counter[str]) -> Iterator[Path]:
    with common_place() as made:
        yield made
    tally["cases between users"] += 1


@pytest.fixture
def shared(place: Path) -> Path:
    """A directory of a group."""
    folder = place / "group"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2770)
    return folder


def reads(path: Path) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            path.read_bytes()
        except PermissionError:
            return False
        return True

    return ask


def killed_in(step: str, work: Callable[[], object]) -> Callable[[], None]:
    """Return a function that is killed when it comes to a step."""

    def run() -> None:
        setattr(_protocol.Write, step, lambda _write: os.kill(os.getpid(), signal.SIGKILL))
        work()

    return run


def die(uid: int, function: Callable[[], None], groups: tuple[int, ...] = ()) -> None:
    with pytest.raises(EOFError):  # nobody is left to answer
        as_user(uid, function, groups)


def test_a_file_in_a_directory_that_may_be_searched_only_is_read(place: Path) -> None:
    folder = place / "closed"
    folder.mkdir()
    path = folder / "f"
    sa.write_atomic_bytes(path, b"x", write_checksum=True, mode=0o644)
    folder.chmod(0o711)

    def ask() -> None:
        assert sa.read_atomic_bytes(path, check_checksum=True) == b"x"
        assert sa.verify_checksum(path)
        assert sa.get_checksum_info(path) is not None
        assert not sa.is_locked(path)
        with sa.AtomicReader(path) as file:
            assert file.read() == b"x"
        with pytest.raises(PermissionError):
            sa.write_atomic_bytes(path, b"y")

    as_user(ALICE, ask)


def test_a_member_s_checked_write_locks_no_other_member_out(shared: Path) -> None:
    path = shared / "f"
    path.write_bytes(b"old")
    os.chown(path, ALICE, GROUP)
    path.chmod(0o660)
    for uid, content in ((ALICE, b"one"), (BOB, b"two"), (CAROL, b"three"), (ALICE, b"four")):
        as_user(
            uid,
            lambda data=content: sa.write_atomic_bytes(path, data, write_checksum=True),  # type: ignore[misc]
            [GROUP],
        )
        for other in (ALICE, BOB, CAROL):
            assert as_user(other, lambda: sa.verify_checksum(path), [GROUP])
    assert sorted(os.listdir(shared)) == ["f", "f.sha256"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o604])
@pytest.mark.parametrize("call", ["write", "record", "move", "put back"])
def test_those_who_can_read_the_data_can_read_the_digest_and_nobody_else(
    place: Path, mode: int, call: str
) -> None:
    folder = place / "open"
    folder.mkdir()
    folder.chmod(0o777)
    path = folder / "f"
    path.write_bytes(b"old")
    os.chown(path, ALICE, GROUP)
    path.chmod(mode)
    side = folder / "f.sha256"
    sa.write_checksum_file(path)
    if call == "write":
        sa.write_atomic_bytes(path, b"new", write_checksum=True)
    elif call == "move":
        sa.move_atomic(path, folder / "g")
        path, side = folder / "g", folder / "g.sha256"
    elif call == "put back":

        def fail(_write: _protocol.Write) -> None:
            raise OSError(5, "the device is broken")

        real, _protocol.Write.publish = _protocol.Write.publish, fail  # type: ignore[method-assign, assignment]
        try:
            with pytest.raises(OSError, match="unchanged"):
                sa.write_atomic_bytes(path, b"new", write_checksum=True)
        finally:
            _protocol.Write.publish = real  # type: ignore[method-assign]
    for uid, groups in ((ALICE, []), (BOB, [GROUP]), (CAROL, [])):
        assert as_user(uid, reads(side), groups) == as_user(uid, reads(path), groups)


def test_between_announce_and_seal_only_who_may_read_both_contents_reads_the_record(
    place: Path,
) -> None:
    folder = place / "open"
    folder.mkdir()
    folder.chmod(0o777)
    path = folder / "f"
    sa.write_atomic_bytes(path, b"secret", write_checksum=True, mode=0o600)
    os.chown(path, 0, GROUP)
    seen: list[bool] = []
    real = _protocol.Write.publish

    def publish(write: _protocol.Write) -> None:
        seen.append(as_user(BOB, reads(folder / "f.sha256"), [GROUP]))
        real(write)

    _protocol.Write.publish = publish  # type: ignore[method-assign, assignment]
    try:
        sa.write_atomic_bytes(
            path, b"public", write_checksum=True, preserve_metadata=False, mode=0o644
        )
    finally:
        _protocol.Write.publish = real  # type: ignore[method-assign]
    assert seen == [False]
    assert as_user(BOB, lambda: sa.verify_checksum(path))


def test_an_acl_s_reader_reads_the_digest(place: Path) -> None:
    folder = place / "open"
    folder.mkdir()
    folder.chmod(0o755)
    path = folder / "f"
    path.write_bytes(b"x")
    path.chmod(0o600)
    none = 2**32 - 1
    entries = [(1, 6, none), (2, 6, BOB), (4, 0, none), (16, 6, none), (32, 0, none)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, ACL, acl)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    sa.write_checksum_file(path)
    assert as_user(BOB, lambda: sa.verify_checksum(path))
    assert not as_user(CAROL, reads(folder / "f.sha256"))

    def write_into() -> None:
        os.close(os.open(folder / "f.sha256", os.O_WRONLY))

    with pytest.raises(PermissionError):
        as_user(BOB, write_into)


@pytest.mark.parametrize("step", ["draft", "harden", "announce", "publish", "settle", "seal"])
def test_another_member_clears_up_behind_a_dead_one(shared: Path, step: str) -> None:
    path = shared / "f"
    path.write_bytes(b"old")
    os.chown(path, ALICE, GROUP)
    path.chmod(0o660)
    as_user(ALICE, lambda: sa.write_atomic_bytes(path, b"one", write_checksum=True), [GROUP])
    die(
        ALICE,
        killed_in(step, lambda: sa.write_atomic_bytes(path, b"dead", write_checksum=True)),
        (GROUP,),
    )
    as_user(BOB, lambda: sa.write_atomic_bytes(path, b"two", write_checksum=True), [GROUP])
    assert as_user(CAROL, lambda: sa.verify_checksum(path), [GROUP])
    assert sorted(os.listdir(shared)) == ["f", "f.sha256"]


def test_a_foreign_file_at_a_temp_s_name_is_swept_by_nobody(shared: Path) -> None:
    aside = shared / f"{SUM_PREFIX}0123456789abcdef.tmp"
    aside.write_bytes(b"a list that was displaced when its writer was killed\n")
    aside.chmod(0o640)
    os.chown(aside, ALICE, ALICE)

    def sweep() -> list[tuple[str, int, int]]:
        fd = os.open(shared, os.O_RDONLY)
        return orphans(fd, remove=True, named=("0123456789abcdef",))

    assert as_user(BOB, sweep, [GROUP]) == []
    assert stat.S_ISREG(aside.stat().st_mode)
