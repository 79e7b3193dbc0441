"""What the kernel will refuse: attributes, owners in sticky directories, capabilities, id maps."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import pytest

from safeatomic_core import _mounts as mounts
from safeatomic_core._doctor import permissions

ME = os.geteuid()
OVERFLOW = 65534


def test_a_command_that_takes_root_says_so_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert permissions.as_root("'chattr -i f'") == "'chattr -i f'"
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    assert permissions.as_root("'chattr -i f'") == "as root: 'chattr -i f'"


@pytest.mark.parametrize(
    ("by_path", "real", "may"), [(True, ME, True), (False, ME, False), (True, ME + 1, False)]
)
def test_a_no_is_confirmed_by_path_for_the_real_user(
    monkeypatch: pytest.MonkeyPatch, by_path: bool, real: int, may: bool
) -> None:
    def access(path: str, mode: int, **_options: object) -> bool:
        assert mode == os.W_OK
        return by_path and path == "/proc/self/fd/7"

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "getuid", lambda: real)
    assert permissions.may_in_directory(os.W_OK, 7) is may


@pytest.mark.parametrize("supported", [True, False])
def test_the_effective_user_is_asked_for_where_that_can_be(
    monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    asked: list[bool] = []

    def access(_path: str, _mode: int, *, dir_fd: int, effective_ids: bool) -> bool:
        assert dir_fd == 7
        asked.append(effective_ids)
        return True

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "supports_effective_ids", {access} if supported else set())
    assert permissions.may_in_directory(os.W_OK, 7)
    assert asked == [supported]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (None, None),
        (0, None),
        (0x40, None),  # STATX_ATTR_NODUMP, which keeps nothing in place
        (mounts.IMMUTABLE, ("immutable", "i")),
        (mounts.APPEND_ONLY, ("append-only", "a")),
    ],
)
def test_an_attribute_that_keeps_a_file_is_named(
    monkeypatch: pytest.MonkeyPatch, flags: int | None, found: tuple[str, str] | None
) -> None:
    monkeypatch.setattr(mounts, "attributes", lambda _dir_fd, _name: flags)
    assert permissions.attribute(7, "f") == found


def owned(user: int, group: int = 0) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | 0o644, 1, 1, 1, user, group, 0, 0, 0, 0))


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let ``/proc`` say what capabilities a process has, and which ids have a number."""

    def say(capabilities: str = "0000000000000000", uids: str = "0 0 4294967295") -> None:
        files = {
            "/proc/thread-self/status": f"Name:\tx\nCapEff:\t{capabilities}\n",
            "/proc/thread-self/uid_map": uids,
            "/proc/thread-self/gid_map": uids,
            "/proc/sys/kernel/overflowuid": str(OVERFLOW),
            "/proc/sys/kernel/overflowgid": str(OVERFLOW),
        }
        monkeypatch.setattr(mounts, "read_proc", lambda path: files[path].encode())

    return say


WITH_FOWNER, WITHOUT = "0000000000000008", "fffffffffffffff7"
ONE_USER = "         0       3002          1"


@pytest.mark.parametrize(
    ("capabilities", "uids", "directory", "file", "may"),
    [
        (WITHOUT, "0 0 4294967295", 7, ME, True),  # the file is ours
        (WITHOUT, "0 0 4294967295", ME, 7, True),  # the directory is
        (WITHOUT, "0 0 4294967295", 7, 8, False),
        (WITH_FOWNER, "0 0 4294967295", 7, 8, True),
        (WITH_FOWNER, ONE_USER, 7, OVERFLOW, False),  # nobody that this namespace knows
        (WITH_FOWNER, "0 0 4294967295", 7, OVERFLOW, True),  # the user nobody
        (WITH_FOWNER, f"{OVERFLOW} 0 1", 7, OVERFLOW, True),
        (WITH_FOWNER, f"0 0 {OVERFLOW}", 7, OVERFLOW, False),
    ],
)
def test_who_may_replace_a_file_in_a_sticky_directory(
    proc: Callable[..., None], capabilities: str, uids: str, directory: int, file: int, may: bool
) -> None:
    proc(capabilities, uids)
    assert permissions.may_replace_in_sticky(owned(directory), owned(file)) is may


def test_a_group_without_a_number_is_nobodys_to_replace(proc: Callable[..., None]) -> None:
    proc(WITH_FOWNER, ONE_USER)
    assert permissions.may_replace_in_sticky(owned(7), owned(ME + 1, 0))
    assert not permissions.may_replace_in_sticky(owned(7), owned(ME + 1, OVERFLOW))


def test_nobody_is_not_taken_for_a_user_without_a_number(
    proc: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OVERFLOW)
    proc(WITHOUT, ONE_USER)
    assert not permissions.may_replace_in_sticky(owned(7), owned(OVERFLOW))


def test_without_proc_root_is_believed_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "no")

    monkeypatch.setattr(mounts, "read_proc", refuse)
    for user in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert permissions.may_replace_in_sticky(owned(7), owned(8)) == (user == 0)
    monkeypatch.setattr(mounts, "read_proc", lambda _path: b"1\n")
    assert not permissions.may_replace_in_sticky(owned(7), owned(8))
