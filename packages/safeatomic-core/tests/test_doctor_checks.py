"""What the doctor sees of the directory, without writing.

Every finding is brought about for real where possible.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _mounts as mounts
from safeatomic_core import doctor
from safeatomic_core._doctor import checks as look
from safeatomic_core._doctor import limits, permissions, process, sidecars, storage
from safeatomic_core._doctor.subject import Place, SkippedError, shown
from safeatomic_core._guarantees import GuaranteeReport
from safeatomic_core._posix import intercept, kernel

At = Callable[..., Place]
ReportOn = Callable[[str], GuaranteeReport]


def changed_stat(**changes: int) -> Callable[[str, Callable[..., Any]], Callable[..., Any]]:
    """Return an interception after which directories look different."""

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def other(*args: Any, **options: Any) -> Any:
            found = call(*args, **options)
            if not stat.S_ISDIR(found.st_mode):
                return found
            values = list(found)
            for index, key in enumerate(("mode", "ino", "dev", "nlink", "uid", "gid")):
                values[index] = changes.get(key, values[index])
            return os.stat_result(values)

        return other if name in ("stat", "fstat") else call

    return wrap


# ------------------------------------------------------------------------------------ the directory


def test_a_directory_that_is_there_passes(at: At, tmp_path: Path) -> None:
    assert look.parent_exists(at(tmp_path / "f")) == (
        "pass",
        f"{shown(str(tmp_path))} is a directory",
    )
    assert look.parent_exists(at(tmp_path))[0] == "pass"


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("missing/f", "create it; the nearest directory that exists is"),
        ("file/f", "a part of the path is a file"),
        ("x" * 300 + "/f", "choose a shorter path"),
        ("loop/f", "a loop of symbolic links"),
    ],
)
def test_a_directory_that_cannot_be_used_fails_with_advice(
    at: At, tmp_path: Path, path: str, fix: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    status, detail = look.parent_exists(at(tmp_path / path))
    assert status == "fail"
    assert fix in detail


def test_a_directory_that_may_not_be_searched_fails(
    at: At, tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(mounts, "open_directory", refuse)
    faults.fail("open", errno.EACCES)
    status, detail = look.parent_exists(at(tmp_path / "f"))
    assert status == "fail"
    assert "this user may not enter it" in detail


def test_a_directory_with_an_unheard_of_error_fails(at: At, tmp_path: Path, faults: Any) -> None:
    faults.fail("open", errno.EIO)
    status, detail = look.parent_exists(at(tmp_path / "f"))
    assert (status, detail.endswith("the directory cannot be used")) == ("fail", True)


def test_a_directory_that_may_be_searched_but_not_listed_is_used(
    at: At, tmp_path: Path, faults: Any
) -> None:
    faults.fail("open", errno.EACCES, at=1)
    place = at(tmp_path / "f")
    assert look.parent_exists(place)[0] == "pass"
    assert look.leftovers(place)[0] == "unknown"


def test_writable_and_not(at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look.parent_writable(at(tmp_path / "f"))[0] == "pass"
    monkeypatch.setattr(os, "access", lambda *_args, **_options: False)
    status, detail = look.parent_writable(at(tmp_path / "f"))
    assert status == "fail"
    assert "read-only snapshot" in detail
    tmp_path.chmod(0o550)
    assert "ask its owner" in look.parent_writable(at(tmp_path / "f"))[1]
    tmp_path.chmod(0o750)


def test_a_directory_that_an_ordinary_user_may_not_write_fails(at: At) -> None:
    def body(directory: str) -> bool:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        place = at(os.path.join(directory, "f"))
        return look.parent_writable(place)[0] == "fail"

    # Not below tmp_path, which is closed to everybody but the user who runs the tests.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o555)
        child = os.fork()
        if child == 0:
            code = 2
            try:
                code = 0 if body(directory) else 1
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.chmod(directory, 0o755)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ro - ext4 /dev/sda1 ro", "mounted read-only"),
        ("rw - ext4 /dev/sda1 rw,emergency_ro", "refuses every write after an error"),
        ("rw - ext4 /dev/sda1 rw,shutdown", "(shutdown)"),
        ("rw - proc proc rw", "nothing can be created in proc"),
    ],
)
def test_a_place_that_takes_no_file_from_anybody_fails(
    at: At, report_on: ReportOn, tmp_path: Path, line: str, words: str
) -> None:
    status, detail = look.parent_writable(at(tmp_path / "f", report_on(f"1 1 8:1 / / {line}")))
    assert status == "fail"
    assert words in detail


@pytest.mark.parametrize(
    ("flag", "words"),
    [(mounts.IMMUTABLE, "immutable"), (mounts.APPEND_ONLY, "append-only")],
)
def test_attributes_that_keep_names_in_place_fail(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, flag: int, words: str
) -> None:
    monkeypatch.setattr(mounts, "attributes", lambda _fd, _name="": flag)
    for found in (look.parent_writable(at(target)), look.target(at(target))):
        assert found[0] == "fail"
        assert words in found[1]
        assert "chattr -" in found[1]


def test_a_file_that_the_machine_swaps_to_fails(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "is_swap_file", lambda _fd, _name: True)
    status, detail = look.target(at(target))
    assert status == "fail"
    assert "'swapoff'" in detail


def test_a_directory_that_may_not_be_read_cannot_be_flushed(
    at: At, tmp_path: Path, faults: Any
) -> None:
    faults.fail("open", errno.EACCES, at=1)
    status, detail = look.parent_writable(at(tmp_path / "f"))
    assert status == "fail"
    assert "opened for reading" in detail


def test_a_file_that_is_a_mount_point_fails(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "is_mount_point", lambda _fd, _name: True)
    status, detail = look.target(at(target))
    assert status == "fail"
    assert "itself a mount point" in detail
    assert "or write in place" in detail


def test_a_mount_point_that_is_read_only_is_not_written_in_place(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, faults: Any
) -> None:
    monkeypatch.setattr(look, "is_mount_point", lambda _fd, _name: True)
    monkeypatch.setattr(kernel, "access", lambda *_args: False, raising=False)
    faults.fail("open", errno.EROFS, when=lambda path, *_args, **_fd: path == target.name)
    status, detail = look.target(at(target))
    assert status == "fail"
    assert "Mount the directory" in detail
    assert "or write in place" not in detail
    assert "Read-only file system (EROFS)" in detail


def test_a_directory_that_is_gone_fails(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    place = at("f")
    gone.rmdir()
    try:
        with intercept(changed_stat(nlink=0)):
            assert "was removed" in look.parent_exists(at(tmp_path / "f"))[1]
        assert look.parent_exists(place)[0] == "pass"  # as it was when it was opened
        status, detail = look.parent_exists(at("f"))
        assert status == "fail"
        assert "the working directory was removed" in detail
        with intercept(changed_stat(nlink=2)):
            assert "the working directory has no path" in look.parent_exists(at("f"))[1]
    finally:
        os.chdir(tmp_path)


def test_a_link_that_may_not_be_read_on_the_way_is_named(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readlink(path: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "readlink", readlink)
    status, detail = look.parent_exists(at("/proc/1/root/f"))
    assert status == "fail"
    assert detail.startswith("/proc/1/root: Permission denied; this user may not enter it")


def test_where_the_place_above_cannot_be_seen_nothing_is_claimed_of_it(
    at: At, tmp_path: Path, faults: Any
) -> None:
    place = at(tmp_path / "missing" / "f")
    faults.fail("stat", errno.EACCES)
    assert "not to be seen from here" in look.parent_exists(place)[1]


ME = os.geteuid()


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"mode": 0o40755, "uid": ME}, "pass", "only its owner"),
        ({"mode": 0o40755, "uid": 0}, "pass", "only its owner"),
        ({"mode": 0o40775, "uid": ME, "gid": 7}, "pass", "group 7"),
        ({"mode": 0o40777, "uid": ME}, "warn", "chmod o-w"),
        ({"mode": 0o41777, "uid": 0}, "warn", "a directory of our own"),
        ({"mode": 0o41775, "uid": 0}, "warn", "a directory of our own"),
        ({"mode": 0o41755, "uid": ME}, "pass", "only its owner"),
        ({"mode": 0o40755, "uid": ME + 5}, "warn", "its owner, not this user"),
    ],
)
def test_who_else_may_replace_files(
    at: At, tmp_path: Path, changes: dict[str, int], status: str, word: str
) -> None:
    with intercept(changed_stat(**changes)):
        found = look.parent_trust(at(tmp_path / "f"))
    assert found[0] == status
    assert word in found[1]


@pytest.mark.parametrize(("me", "told"), [(0, True), (1001, True), (1002, False)])
def test_only_who_can_is_told_to_change_a_directory(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, me: int, told: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: me)
    with intercept(changed_stat(mode=0o40777, uid=1001)):
        status, detail = look.parent_trust(at(tmp_path / "f"))
    assert status == "warn"
    assert ("chmod" in detail) == told
    assert ("ask its owner" in detail) != told


def test_somebody_elses_file_in_a_sticky_directory_cannot_be_replaced(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").touch()
    monkeypatch.setattr(os, "geteuid", lambda: ME + 5)
    monkeypatch.setattr(permissions, "_has_fowner", lambda: False)
    with intercept(changed_stat(mode=0o41777, uid=0)):
        status, detail = look.parent_trust(at(tmp_path / "f"))
    assert status == "fail"
    assert f"belongs to user {ME}" in detail


def test_a_link_on_the_way_is_reported(at: At, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real = Path(os.path.realpath(tmp_path))
    assert look.parent_symlink(at(real / "real" / "f"))[0] == "pass"
    for path in (real / "link" / "f", real / "link"):
        status, detail = look.parent_symlink(at(path))
        assert status == "warn"
        assert str(real / "real") in detail


@pytest.mark.parametrize(("mode", "group"), [(0o42775, 4711), (0o40775, 4712)])
def test_a_setgid_directory_is_charged_to_its_group(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: int
) -> None:
    asked: list[int] = []

    nothing = (0, 0, 0, 0, 0, 0)

    def quota(_device: str, kind: int, number: int) -> tuple[int, ...]:
        if kind == 1:
            asked.append(number)
        return nothing

    monkeypatch.setattr(process, "quota", quota)
    monkeypatch.setattr(os, "getegid", lambda: 4712)
    with intercept(changed_stat(mode=mode, gid=4711)):
        storage.quota(at(tmp_path / "f"))
    assert asked == [group]


# ---------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    "check",
    [
        look.parent_writable,
        look.parent_trust,
        limits.process,
        storage.free_space,
        storage.free_inodes,
        storage.quota,
        look.target,
        look.name_length,
        look.leftovers,
        sidecars.lock,
        sidecars.checksum,
    ],
)
def test_a_check_without_a_directory_is_skipped(
    at: At, tmp_path: Path, check: Callable[[Place], object]
) -> None:
    with pytest.raises(SkippedError, match="cannot be opened"):
        check(at(tmp_path / "missing" / "f"))


def test_an_examination_that_is_interrupted_leaks_nothing(tmp_path: Path) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*args: Any, **options: Any) -> Any:
            if options.get("dir_fd") is not None:
                raise KeyboardInterrupt
            return call(*args, **options)

        return interrupted if name == "stat" else call

    doctor(tmp_path / "f")  # what is remembered of the filesystem keeps a descriptor
    before = len(os.listdir("/dev/fd"))
    with intercept(wrap), pytest.raises(KeyboardInterrupt):
        doctor(tmp_path / "f")
    assert len(os.listdir("/dev/fd")) == before


def test_root_s_directory_is_trusted_by_everybody(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ME + 5)
    with intercept(changed_stat(mode=0o40755, uid=0)):
        assert look.parent_trust(at(tmp_path / "f"))[0] == "pass"
    with intercept(changed_stat(mode=0o40755, uid=1)):
        assert look.parent_trust(at(tmp_path / "f"))[0] == "warn"


def test_a_directory_that_is_not_there_is_neither_writable_nor_not(
    at: At, report_on: ReportOn, tmp_path: Path
) -> None:
    read_only = report_on("1 1 8:1 / / ro - ext4 /dev/sda1 ro")
    with pytest.raises(SkippedError):
        look.parent_writable(at(tmp_path / "missing" / "f", read_only))


def test_a_directory_that_takes_no_file_says_whose_it_is(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o550)
    monkeypatch.setattr(permissions, "may_in_directory", lambda *_: False)
    status, detail = look.parent_writable(at(tmp_path / "f"))
    tmp_path.chmod(0o750)
    assert status == "fail"
    assert f"(mode 0550, owner {ME})" in detail
