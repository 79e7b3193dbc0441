"""Who may read a record: the readers of the data, no one else, between Announce and Seal too."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    move_atomic,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core import _protocol as protocol
from safeatomic_core._announcement import Announcement
from safeatomic_core._posix import kernel
from safeatomic_core._readership import Readers, readers_at, readers_of
from safeatomic_core._readership import _give_names as give_names
from safeatomic_core._readership import _naming as naming
from safeatomic_core._target import Target
from safeatomic_core._temp_file import Temp

ACL = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
READ = 0o444


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


# owner rw-, user 4001 rwx, group r--, mask rwx, other ---
NAMED = acl(
    (1, 6, 2**32 - 1), (2, 7, 4001), (4, 4, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)
)
NAMED_READ = acl(
    (1, 6, 2**32 - 1), (2, 4, 4001), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)
)


def with_acl(path: Path, value: bytes, name: str = ACL) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")


def acl_of(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, ACL)
    except OSError:
        return None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def announced(side: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes | None]]:
    """Record mode and ACL of the announced record, just before Publish."""
    seen: list[tuple[int, bytes | None]] = []
    real = protocol.Write.publish

    def publish(write: protocol.Write) -> None:
        seen.append((mode(side), acl_of(side)))
        real(write)

    monkeypatch.setattr(protocol.Write, "publish", publish)
    return seen


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644, 0o664, 0o444, 0o400, 0o755, 0o604])
def test_a_record_is_read_by_the_data_s_readers(target: Path, side: Path, bits: int) -> None:
    target.chmod(bits)
    write_checksum_file(target)
    assert mode(side) == bits & READ | 0o200
    target.chmod(bits | 0o600)
    side.unlink()
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert mode(side) == (bits | 0o600) & READ | 0o200
    move_atomic(target, target.with_name("moved"))
    assert mode(target.with_name("moved.sha256")) == (bits | 0o600) & READ | 0o200


def test_a_new_file_s_mode_is_its_record_s(tmp_path: Path) -> None:
    write_atomic_bytes(tmp_path / "secret", b"x", write_checksum=True, mode=0o600)
    assert mode(tmp_path / "secret.sha256") == 0o600


def test_a_mode_that_the_caller_sets_on_the_stream_counts(tmp_path: Path) -> None:
    with AtomicWriter(tmp_path / "f", write_checksum=True) as file:
        file.write(b"x")
        os.fchmod(file.fileno(), 0o640)
    assert mode(tmp_path / "f") == 0o640
    assert mode(tmp_path / "f.sha256") == 0o640


def test_two_contents_with_two_modes_have_the_readers_of_both(
    target: Path, side: Path, announced: list[Any]
) -> None:
    write_checksum_file(target)  # 0640
    before = os.umask(0o022)
    try:
        write_atomic_bytes(target, b"new", write_checksum=True, preserve_metadata=False, mode=0o604)
    finally:
        os.umask(before)
    assert announced == [(0o600, None)]
    assert mode(side) == 0o604


def test_a_crash_before_seal_leaves_fewer_readers_and_the_next_write_repairs_it(
    target: Path, side: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.chmod(0o644)
    write_checksum_file(target)
    with monkeypatch.context() as context:
        context.setattr(protocol.Write, "seal", lambda _write: None)
        write_atomic_bytes(target, b"x", write_checksum=True, preserve_metadata=False, mode=0o640)
    assert mode(side) == 0o640
    write_atomic_bytes(target, b"y", write_checksum=True, preserve_metadata=False, mode=0o644)
    assert mode(side) == 0o644


def test_the_record_is_flushed_between_truncation_and_widening(
    target: Path, side: Path, faults: Any
) -> None:
    write_checksum_file(target)
    write_atomic_bytes(target, b"x", write_checksum=True, preserve_metadata=False, mode=0o644)
    tail = faults.calls[faults.calls.index("ftruncate") :]
    assert tail.index("ftruncate") < tail.index("fsync") < tail.index("fchmod")
    faults.calls.clear()
    write_atomic_bytes(target, b"y", write_checksum=True)
    tail = faults.calls[faults.calls.index("ftruncate") :]
    assert "fsync" not in tail


def test_an_acl_is_carried_without_the_right_to_write(
    target: Path, side: Path, announced: list[Any]
) -> None:
    with_acl(target, NAMED)
    write_checksum_file(target)
    assert acl_of(side) == NAMED_READ
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert announced == [(0o640, NAMED_READ)]
    assert acl_of(side) == NAMED_READ


def test_where_one_content_has_an_acl_its_owner_alone_reads_both(
    target: Path, side: Path, announced: list[Any]
) -> None:
    write_checksum_file(target)
    with_acl(target, NAMED)
    write_atomic_bytes(target, b"new", write_checksum=True, preserve_metadata=False, mode=0o644)
    assert announced == [(0o600, None)]
    assert (mode(side), acl_of(side)) == (0o644, None)


def test_a_default_acl_that_the_record_inherited_admits_nobody(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    path.chmod(0o640)
    with_acl(tmp_path, NAMED, DEFAULT)
    write_checksum_file(path)
    assert (mode(tmp_path / "f.sha256"), acl_of(tmp_path / "f.sha256")) == (0o640, None)


def test_an_acl_that_cannot_be_set_leaves_the_owner_alone(
    target: Path, side: Path, faults: Any
) -> None:
    with_acl(target, NAMED)
    faults.fail("setxattr", errno.ENOSPC)
    write_checksum_file(target)
    assert (mode(side), acl_of(side)) == (0o600, None)


def test_an_acl_that_cannot_be_read_admits_no_other_reader(
    target: Path, side: Path, faults: Any, announced: list[Any]
) -> None:
    write_checksum_file(target)
    for call in ("listxattr_at", "getxattr_at"):
        faults.fail(call, errno.EACCES)
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert announced == [(0o600, None)]
    assert mode(side) == 0o640


def test_an_acl_that_is_in_no_list_of_attributes_is_not_asked_for(
    target: Path, side: Path, faults: Any, announced: list[Any]
) -> None:
    write_checksum_file(target)
    faults.fail("getxattr_at", errno.EIO)
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert announced == [(0o640, None)]
    with_acl(target, NAMED)
    with pytest.raises(OSError, match="Input/output"):
        write_atomic_bytes(target, b"newer", write_checksum=True)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_a_file_without_an_acl_is_read_by_its_mode(target: Path, faults: Any, code: int) -> None:
    faults.fail("getxattr", code)
    fd = os.open(target, os.O_RDONLY)
    try:
        if code == errno.EIO:
            with pytest.raises(OSError, match="Input/output"):
                readers_of(fd)
        else:
            assert readers_of(fd).acl is None
    finally:
        os.close(fd)


def test_what_is_not_there_has_no_readers(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    place = locate(tmp_path / "missing")
    assert readers_at(place, without_acl=False) is None
    place.close()


def test_readers_are_compared_by_what_they_may_read(target: Path) -> None:
    one = Readers(1, 2, 0o664, None)
    assert one == Readers(1, 2, 0o644, None)
    assert one != Readers(1, 3, 0o644, None)
    assert (one == object()) is False
    assert one.restricted(Readers(1, 2, 0o755, None)) is one
    assert one.restricted(Readers(9, 2, 0o604, None)).mode == 0o604
    assert one.restricted(Readers(1, 3, 0o644, None)).mode == 0o600
    assert one.restricted(None).mode == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_are_the_data_s(target: Path, side: Path) -> None:
    os.chown(target, 4001, 4002)
    target.chmod(0o640)
    write_checksum_file(target)
    status = side.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (4001, 4002, 0o640)
    write_atomic_bytes(target, b"new", write_checksum=True)
    status = side.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (4001, 4002, 0o640)
    assert verify_checksum(target)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("denied", ["group", "owner"])
def test_what_cannot_be_given_away_admits_nobody_else(
    target: Path, side: Path, faults: Any, denied: str
) -> None:
    os.chown(target, 4001, 4002)
    at = 0 if denied == "owner" else 1

    def gives(_fd: int, owner: int, group: int) -> bool:
        return (owner, group)[1 - at] == -1

    faults.fail("fchown", errno.EPERM, when=gives)
    faults.fail("setxattr", errno.ENOTSUP)
    write_checksum_file(target)
    assert mode(side) == (0o640 if denied == "owner" else 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("denied", ["group", "owner", "both"])
def test_what_cannot_be_given_away_names_the_data_s_owner_and_group(
    target: Path, side: Path, faults: Any, denied: str
) -> None:
    with_acl(target, NAMED)
    os.removexattr(target, ACL)
    os.chown(target, 4001, 4002)
    target.chmod(0o640)

    def gives(_fd: int, owner: int, _group: int) -> bool:
        return denied == "both" or (denied == "owner") == (owner != -1)

    faults.fail("fchown", errno.EPERM, when=gives)
    write_checksum_file(target)
    owner = () if denied == "group" else ((2, 4, 4001),)
    of_group, group = (4, ()) if denied == "owner" else (0, ((8, 4, 4002),))
    rest = ((16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    expected = acl((1, 6, 2**32 - 1), *owner, (4, of_group, 2**32 - 1), *group, *rest)
    if denied == "group":  # root gives the owner afterwards: named for the time until then
        expected = acl((1, 6, 2**32 - 1), (2, 4, 4001), (4, 0, 2**32 - 1), *group, *rest)
    assert acl_of(side) == expected


def test_a_group_that_others_can_read_beside_is_not_let_in(faults: Any) -> None:
    """Modes such as 0604 keep the group out; the record's own group must not get in for it."""
    entries = naming(Readers(4001, 4002, 0o604, None), owner=4001, group=4003)
    assert entries[8, 4002] == 0
    assert entries[4, 2**32 - 1] == 0
    assert entries[32, 2**32 - 1] == 4


@pytest.mark.parametrize("mask", [0, 2, 4])
def test_a_mask_that_permits_no_reading_keeps_named_readers_out(
    target: Path, side: Path, mask: int
) -> None:
    """With an empty mask the kernel ignores an ACL: a mask of -w- must not become one."""
    wide = ((2, 4, 4001), (4, 4, 2**32 - 1), (16, mask, 2**32 - 1), (32, 4, 2**32 - 1))
    with_acl(target, acl((1, 6, 2**32 - 1), *wide))
    write_checksum_file(target)
    got = acl_of(side)
    assert got is not None
    if mask == 0:  # others and 4001 read both, the group neither
        assert mode(side) == 0o604
    else:
        entry = mask & 4
        narrow = ((2, entry, 4001), (4, entry, 2**32 - 1), (16, 4, 2**32 - 1), (32, 4, 2**32 - 1))
        assert got == acl((1, 6, 2**32 - 1), *narrow)


def test_an_owner_that_this_namespace_does_not_know_is_not_named(target: Path) -> None:
    record = Temp(-1)
    assert not give_names(record, Readers(65534, 4002, 0o640, None))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("bits", "found"), [(0o644, 0o644), (0o664, 0o644), (0o604, 0o600)])
def test_what_everybody_reads_has_a_digest_for_everybody_whatever_its_group(
    target: Path, side: Path, faults: Any, bits: int, found: int
) -> None:
    os.chown(target, 4001, 4002)
    target.chmod(bits)
    faults.fail("fchown", errno.EPERM)
    faults.fail("setxattr", errno.ENOTSUP)
    write_checksum_file(target)
    assert mode(side) == found


def test_a_put_back_sidecar_has_the_readers_it_had(target: Path, side: Path, faults: Any) -> None:
    write_checksum_file(target)
    side.chmod(0o604)
    faults.fail("rename", errno.EIO, when=lambda _src, dst, **_k: dst == "data.bin")
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert mode(side) == 0o604


def test_a_draft_is_nobody_s_but_the_writer_s(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real = Announcement.harden

    def look(record: Announcement, data_fd: int, *, without_acl: bool = False) -> None:
        modes.append(stat.S_IMODE(kernel.fstat(record.fd).st_mode))
        real(record, data_fd, without_acl=without_acl)

    monkeypatch.setattr(Announcement, "harden", look)
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert modes == [0o600]


def test_a_widening_that_is_not_permitted_any_more_leaves_fewer_readers(
    target: Path, side: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_checksum_file(target)
    faults.fail("fchmod", errno.EPERM, when=lambda _fd, bits: "ftruncate" in faults.calls)
    write_atomic_bytes(target, b"x", write_checksum=True, preserve_metadata=False, mode=0o644)
    assert mode(side) == 0o640
    assert "keeps fewer readers" in caplog.text
    assert verify_checksum(target)


@pytest.mark.parametrize("entry", ["getxattr_at", "removexattr", "setxattr"])
def test_a_broken_device_is_an_error(target: Path, faults: Any, entry: str) -> None:
    write_checksum_file(target)
    if entry in ("setxattr", "getxattr_at"):
        with_acl(target, NAMED)
    if entry == "removexattr":
        with_acl(target.parent, NAMED, DEFAULT)
    faults.fail(entry, errno.EIO)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_where_a_sandbox_hides_the_acl_of_the_data_fewer_may_read_the_record(
    target: Path, side: Path, faults: Any, code: int
) -> None:
    for entry in ("getxattr", "setxattr"):
        faults.fail(entry, code)
    write_checksum_file(target)
    assert stat.S_IMODE(side.stat().st_mode) & 0o077 == 0
    assert verify_checksum(target)
