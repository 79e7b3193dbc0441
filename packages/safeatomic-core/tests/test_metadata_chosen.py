"""Modes that a caller chooses: by ``mode=``, or through the descriptor of a stream."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, write_atomic_bytes
from safeatomic_core._acl import (
    ACCESS,
    GROUP_OBJ,
    MASK,
    NOBODY,
    OTHER,
    USER,
    USER_OBJ,
    pack,
    parse,
)
from safeatomic_core._posix import kernel
from safeatomic_core._temp_file import Temp

Listing = Callable[[], list[str]]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    former = os.umask(0o022)
    yield lambda bits: (os.umask(bits), None)[1]
    os.umask(former)


@pytest.fixture
def shared(target: Path) -> Path:
    """A file that an access ACL lets a user read whom its mode does not show."""
    target.chmod(0o640)
    entries = [(USER_OBJ, 6, NOBODY), (USER, 4, 1001), (GROUP_OBJ, 4, NOBODY), (MASK, 4, NOBODY)]
    packed = [struct.pack("<HHI", *entry) for entry in [*entries, (OTHER, 0, NOBODY)]]
    try:
        os.setxattr(target, ACCESS, struct.pack("<I", 2) + b"".join(packed))
    except (AttributeError, OSError) as error:
        pytest.skip(f"no access ACLs here ({error})")
    return target


@pytest.mark.parametrize("exposed", [False, True], ids=["hidden", "exposed"])
def test_a_file_that_vanished_under_a_stream_is_made_as_a_new_one(
    target: Path, listing: Listing, exposed: bool
) -> None:
    model = target.with_name("model")
    model.touch()
    with AtomicWriter(target) as file:
        if exposed:
            file.fileno()
        target.unlink()
    assert mode_of(target) == mode_of(model)
    assert listing() == ["data.bin", "model"]


@pytest.mark.parametrize("there", [False, True], ids=["new", "over a file"])
def test_a_mode_that_is_set_through_the_descriptor_outdoes_the_given_one(
    target: Path, umask: Callable[[int], None], there: bool
) -> None:
    if not there:
        target.unlink()
    umask(0o077)
    with AtomicWriter(target, mode=0o640) as file:
        os.fchmod(file.fileno(), 0o600)
    assert mode_of(target) == 0o600


def test_the_mark_of_an_exposed_descriptor_is_never_published(target: Path) -> None:
    target.unlink()
    with AtomicWriter(target) as file:
        os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode | 0o111)
    assert mode_of(target) & stat.S_ISVTX == 0
    assert mode_of(target) & 0o111


def test_an_acl_lets_nobody_in_whom_the_chosen_mode_keeps_out(shared: Path) -> None:
    with AtomicWriter(shared) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(b"secret")
    assert mode_of(shared) == 0o600
    entries = parse(os.getxattr(shared, ACCESS))
    assert entries[MASK, NOBODY] == 0
    assert entries[USER, 1001] == 4  # for the day that the mode is widened again


@pytest.mark.parametrize("before", [None, "none", "own"], ids=["new", "without an ACL", "with one"])
@pytest.mark.parametrize("closed_first", [True, False])
def test_an_acl_that_is_set_through_the_descriptor_is_that_of_the_file(
    shared: Path, before: str | None, closed_first: bool
) -> None:
    """Its mask stands where the group's bits are: without the ACL they would let the group in."""
    entries = {**parse(os.getxattr(shared, ACCESS)), (GROUP_OBJ, NOBODY): 0, (USER, 1002): 4}
    chosen = pack(entries)
    if before is None:
        shared.unlink()
    elif before == "none":
        os.removexattr(shared, ACCESS)
    with AtomicWriter(shared) as file:
        if closed_first:
            os.fchmod(file.fileno(), 0o600)
        os.setxattr(file.fileno(), ACCESS, chosen)
        file.write(b"secret")
    assert os.getxattr(shared, ACCESS) == chosen
    assert mode_of(shared) == 0o640


def test_an_acl_of_the_directory_s_is_not_taken_for_a_chosen_one(
    shared: Path,
) -> None:
    """A mode that is set changes the ACL that the temporary file was born with."""
    acl = os.getxattr(shared, ACCESS)
    os.removexattr(shared, ACCESS)
    try:
        os.setxattr(shared.parent, "system.posix_acl_default", acl)
    except OSError as error:
        pytest.skip(f"no default ACLs here ({error})")
    with AtomicWriter(shared) as file:
        os.fchmod(file.fileno(), 0o644)
    assert ACCESS not in os.listxattr(shared)
    assert mode_of(shared) == 0o644


@pytest.mark.parametrize(("code", "told"), [(errno.ENODATA, False), (errno.EIO, True)])
def test_an_acl_that_cannot_be_read_is_an_error_where_the_disk_is(
    target: Path, faults: Any, code: int, told: bool
) -> None:
    with AtomicWriter(target) as file:
        faults.fail("getxattr", code)
        if told:
            with pytest.raises(OSError, match=os.strerror(code)):
                file.fileno()
        else:
            file.fileno()
        faults.rules.clear()


def test_no_moment_shows_the_content_to_those_whom_the_chosen_mode_keeps_out(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    setxattr = kernel.setxattr

    def seen(fd: int, name: str, value: bytes) -> None:
        setxattr(fd, name, value)
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))

    monkeypatch.setattr(kernel, "setxattr", seen, raising=False)
    with AtomicWriter(shared) as file:
        os.fchmod(file.fileno(), 0o600)
    assert modes
    assert {mode & 0o077 for mode in modes} == {0}


@needs_root
def test_set_id_bits_that_are_chosen_outlive_the_change_of_the_owner(target: Path) -> None:
    os.chown(target, 1001, 1001)
    with AtomicWriter(target) as file:
        os.fchmod(file.fileno(), 0o4755)
    assert (target.stat().st_uid, mode_of(target)) == (1001, 0o4755)


@needs_root
def test_a_capability_outlives_the_change_of_the_owner(target: Path) -> None:
    raw = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # CAP_NET_BIND_SERVICE
    os.chown(target, 1001, 1001)
    try:
        os.setxattr(target, "security.capability", raw)
    except (AttributeError, OSError) as error:
        pytest.skip(f"no file capabilities here ({error})")
    write_atomic_bytes(target, b"new")
    assert target.stat().st_uid == 1001
    assert os.getxattr(target, "security.capability") == raw


def test_where_nothing_is_made_for_the_mode_the_write_fails_as_a_whole(
    target: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AtomicWriter(target)
    target.unlink()

    def full(_temp: Temp, _mode: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Temp, "create", full)
    with pytest.raises(OSError, match="unchanged") as caught:
        file.commit()
    assert caught.value.errno == errno.ENOSPC
    assert listing() == []


def test_an_interrupt_as_the_descriptor_is_given_marks_no_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.unlink()
    model = target.with_name("model")
    model.touch()
    really = kernel.fchmod

    def interrupted(fd: int, mode: int) -> None:
        really(fd, mode)
        raise KeyboardInterrupt

    file = AtomicWriter(target)
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "fchmod", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            file.fileno()
    file.commit()
    assert mode_of(target) == mode_of(model)
