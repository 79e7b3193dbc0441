"""Who may open a lock, against who may remove it: nineteen directories, six users."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from safeatomic_core import release_lock, try_acquire_lock

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

GROUP = 4242
NOBODY = 0xFFFFFFFF


class User(NamedTuple):
    """A user id, a primary group and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT = User(0, 0)
MEMBER = User(1001, 1001, (GROUP,))
USERS = {
    "root": ROOT,
    "another member of the group": User(1002, 1002, (GROUP,)),
    "a stranger": User(1003, 1003),
    "1001 outside the group": User(1001, 1001),
    "1005": User(1005, 1005),
    "a member by primary group": User(1006, GROUP),
}


def as_user(user: User, call: Callable[[], object]) -> int:
    """Return 0 if a call succeeds in a process of a user, its errno or 255 otherwise."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            call()
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an ACL as the kernel takes it."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def with_user(uid: int, group: int, other: int, mask: int = 7) -> bytes:
    """Return the ACL of a directory that one more user may write."""
    return acl(
        (1, 7, NOBODY), (2, 7, uid), (4, group, NOBODY), (16, mask, NOBODY), (32, other, NOBODY)
    )


class Place(NamedTuple):
    """A directory, and who makes a lock in it."""

    mode: int
    uid: int
    gid: int
    maker: User
    access: bytes = b""
    default: bytes = b""


PLACES = {
    "group, no setgid": Place(0o770, 0, GROUP, MEMBER),
    "setgid": Place(0o2775, 0, GROUP, MEMBER),
    "everybody's": Place(0o777, 0, GROUP, User(1001, 1001)),
    "everybody's but the group's": Place(0o707, 0, GROUP, User(1001, 1005)),
    "its owner is not in its group": Place(0o770, 1001, GROUP, User(1001, 1005)),
    "sticky": Place(0o1777, 0, 0, MEMBER),
    "somebody's, by root": Place(0o755, 1001, 1001, ROOT),
    "an access ACL": Place(0o750, 0, GROUP, ROOT, access=with_user(1005, 5, 0)),
    "a default ACL": Place(0o2770, 0, GROUP, MEMBER, default=with_user(1005, 7, 0)),
    "both": Place(
        0o770, 0, GROUP, MEMBER, access=with_user(1005, 7, 0), default=with_user(1005, 7, 0)
    ),
    "a default ACL, others search": Place(0o2771, 0, GROUP, MEMBER, default=with_user(1005, 7, 0)),
    "a group directory of an outsider's": Place(0o770, 1005, GROUP, MEMBER),
    "sticky of somebody's": Place(0o1777, 1005, 1005, User(1001, 1001)),
    "sticky of somebody's, by root": Place(0o1777, 1005, 1005, ROOT),
    "an access ACL that its maker may not read": Place(
        0o773, 0, GROUP, User(1003, 1003), access=with_user(1005, 7, 3, mask=5)
    ),
    "a group that may not list": Place(0o730, 1001, GROUP, MEMBER),
    "a group that may not list, of which its owner is none": Place(
        0o730, 1001, GROUP, User(1001, 1005)
    ),
    "its owner may not write": Place(0o570, 1005, GROUP, MEMBER),
    "an access ACL without effect": Place(
        0o707, 0, GROUP, User(1003, 1003), access=with_user(1005, 7, 7, mask=0)
    ),
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user can reach."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def make(directory: Path, place: Place) -> Path:
    made = directory / "d"
    made.mkdir()
    os.chown(made, place.uid, place.gid)
    made.chmod(place.mode)
    try:
        if place.access:
            os.setxattr(made, "system.posix_acl_access", place.access)
        if place.default:
            os.setxattr(made, "system.posix_acl_default", place.default)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("this filesystem has no ACLs")
        raise
    return made


def hold(path: Path) -> None:
    """Take a lock and leave it to the dead."""
    assert try_acquire_lock(path, safety="best_effort")


@needs_root
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_lock_is_readable_by_exactly_those_who_could_remove_it(
    directory: Path, place: Place
) -> None:
    made = make(directory, place)
    assert as_user(place.maker, lambda: hold(made / "f")) == 0
    lock = made / "f.lock"
    status = lock.stat()
    assert status.st_mode & stat.S_ISVTX
    assert not status.st_mode & stat.S_IWOTH

    def opens() -> None:
        os.close(os.open(lock, os.O_RDONLY))

    def removes() -> None:
        lock.rename(made / "away")
        (made / "away").rename(lock)

    for name, user in USERS.items():
        assert status.st_mode & 0o111 == 0
        may_open, may_remove = as_user(user, opens) == 0, as_user(user, removes) == 0
        if user.uid == status.st_uid:
            continue  # its own owner always may, where the directory lets anybody in
        assert may_open == may_remove, f"{name}: opens {may_open}, removes {may_remove}"
        if user.uid not in (0, status.st_uid):
            writing = as_user(user, lambda: os.close(os.open(lock, os.O_WRONLY)))
            assert writing == errno.EACCES, name


@needs_root
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_anyone_who_could_remove_a_dead_lock_gets_past_it(directory: Path, place: Place) -> None:
    made = make(directory, place)
    lock = made / "f.lock"

    def removes() -> None:
        lock.rename(made / "away")
        (made / "away").rename(lock)

    for name, user in USERS.items():
        assert as_user(place.maker, lambda: hold(made / "f")) == 0
        may_remove = as_user(user, removes) == 0
        takes_over = as_user(user, lambda: hold(made / "f")) == 0
        assert takes_over == may_remove, name
        lock.unlink()


@needs_root
def test_root_s_lock_belongs_to_the_directory_s_owner(directory: Path) -> None:
    made = make(directory, PLACES["somebody's, by root"])
    assert try_acquire_lock(made / "f")
    status = (made / "f.lock").stat()
    assert (status.st_uid, status.st_gid) == (1001, 1001)
    assert release_lock(made / "f")


@needs_root
def test_nothing_is_given_to_users_that_are_not_known_here(directory: Path) -> None:
    made = make(directory, Place(0o755, 65534, 65534, ROOT))
    assert try_acquire_lock(made / "f")
    assert (made / "f.lock").stat().st_uid == 0
    assert release_lock(made / "f")


@needs_root
def test_an_owner_who_cannot_be_given_the_lock_can_read_it(directory: Path, faults: Any) -> None:
    made = make(directory, PLACES["somebody's, by root"])
    faults.fail("fchown", errno.EPERM)
    hold(made / "f")
    lock = made / "f.lock"
    assert lock.stat().st_uid == 0
    assert as_user(User(1001, 1001), lambda: os.close(os.open(lock, os.O_RDONLY))) == 0
    assert as_user(User(1003, 1003), lambda: os.close(os.open(lock, os.O_RDONLY))) == errno.EACCES
    release_lock(made / "f")


@needs_root
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("its owner is not in its group", 0o1600),
        ("everybody's but the group's", 0o1600),
        ("everybody's", 0o1644),
        ("an access ACL", 0o1600),
        ("a group directory of an outsider's", 0o1640),
    ],
)
def test_without_acls_a_lock_has_fewer_readers(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: int
) -> None:
    from safeatomic_core._posix import kernel

    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOTSUP, "no ACLs")

    made = make(directory, PLACES[name])
    monkeypatch.setattr(kernel, "setxattr", refuse, raising=False)
    assert as_user(PLACES[name].maker, lambda: hold(made / "f")) == 0
    assert stat.S_IMODE((made / "f.lock").stat().st_mode) == mode


def test_the_umask_does_not_close_a_lock(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0o777)
    try:
        hold(tmp_path / "f")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f.lock").stat().st_mode) == 0o1600
    release_lock(tmp_path / "f")


@needs_root
def test_where_there_is_no_acl_none_need_be_asked_for_in_proc(directory: Path, faults: Any) -> None:
    directory.chmod(0o777)
    faults.fail("getxattr_at", errno.ENOENT)
    assert try_acquire_lock(directory / "f", safety="best_effort")
    assert stat.S_IMODE((directory / "f.lock").stat().st_mode) == 0o1644
    release_lock(directory / "f")


@needs_root
def test_an_acl_that_cannot_be_asked_for_admits_nobody(directory: Path, faults: Any) -> None:
    directory.chmod(0o777)
    faults.fail("getxattr", errno.EBADF)  # as of a directory that is open for searching only
    faults.fail("getxattr_at", errno.ENOENT)  # and there is no /proc
    assert try_acquire_lock(directory / "f", safety="best_effort")
    opening = as_user(
        USERS["a stranger"], lambda: os.close(os.open(directory / "f.lock", os.O_RDONLY))
    )
    assert opening == errno.EACCES
    release_lock(directory / "f")


def test_a_filesystem_without_attributes_has_none_to_drop(tmp_path: Path, faults: Any) -> None:
    tmp_path.chmod(0o770)
    faults.fail("removexattr", errno.ENOTSUP)
    path = tmp_path / "f"
    assert try_acquire_lock(path)
    try:
        assert "removexattr" in faults.calls
        assert not {"fchown", "setxattr"} & set(faults.calls)  # the group is the directory's
        lock = tmp_path / "f.lock"
        assert lock.stat().st_mode & 0o077 == 0o040
    finally:
        release_lock(path)


def test_in_a_sticky_directory_a_lock_needs_neither_a_group_nor_an_acl(
    tmp_path: Path, faults: Any
) -> None:
    tmp_path.chmod(0o1777)
    hold(tmp_path / "f")
    assert not {"fchown", "setxattr"} & set(faults.calls)
    assert stat.S_IMODE((tmp_path / "f.lock").stat().st_mode) == 0o1600
    release_lock(tmp_path / "f")


@needs_root
def test_an_acl_that_brings_no_mode_along_leaves_the_owner_what_it_needs(
    directory: Path, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    from safeatomic_core._posix import kernel

    made = make(directory, Place(0o770, 0, GROUP, ROOT))
    faults.fail("fchown", errno.EPERM)
    monkeypatch.setattr(kernel, "setxattr", lambda *_args: None)
    before = os.umask(0o777)
    try:
        hold(made / "f")
    finally:
        os.umask(before)
    assert stat.S_IMODE((made / "f.lock").stat().st_mode) == 0o1600
    release_lock(made / "f")


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_what_could_not_be_removed_any_more_is_not_given_away(
    directory: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Root without CAP_FOWNER changes no mode of another user's, and links and removes less."""
    from safeatomic_core._posix import kernel

    really = kernel.fchmod

    def fchmod(fd: int, bits: int) -> None:
        if os.fstat(fd).st_uid != 0:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        really(fd, bits)

    made = make(directory, Place(mode, 1001, 1001, ROOT))
    monkeypatch.setattr(kernel, "fchmod", fchmod, raising=False)
    hold(made / "f")
    lock = made / "f.lock"
    assert lock.stat().st_uid == 0
    assert as_user(User(1001, 1001), lambda: os.close(os.open(lock, os.O_RDONLY))) == 0
    assert release_lock(made / "f")
