from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import AtomicWriter, _metadata, _mounts, verify_checksum, write_atomic_bytes
from safeatomic_core._posix import kernel
from safeatomic_core._temp_file import Temp

ACL = "system.posix_acl_access"


@pytest.mark.parametrize("group_too", [False, True])
def test_an_owner_that_cannot_be_kept_is_logged_once(
    target: Path,
    faults: Any,
    caplog: pytest.LogCaptureFixture,
    group_too: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target.chmod(0o6755)
    real_fstat = kernel.fstat

    def fstat(fd: int) -> Any:
        fields = list(real_fstat(fd))
        fields[4] += 1
        fields[5] += int(group_too)
        return os.stat_result(fields)

    faults.fail("fchown", errno.EPERM, when=lambda _fd, uid, _gid: group_too or uid != -1)
    monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
    write_atomic_bytes(target, b"new", concurrency="none")
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(messages) == 1
    assert "could not preserve" in messages[0]
    assert f"owner {os.geteuid()}" in messages[0]
    assert "set-user-ID" in messages[0]
    assert ("group" in messages[0]) is group_too
    mode = stat.S_IMODE(target.stat().st_mode)
    assert mode == (0o755 if group_too else 0o2755)


def test_losing_the_owner_of_a_plain_mode_says_only_that(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fstat = kernel.fstat

    def fstat(fd: int) -> Any:
        fields = list(real_fstat(fd))
        fields[4] += 1
        fields[5] += 1
        return os.stat_result(fields)

    faults.fail("fchown", errno.EPERM)
    monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert "set-" not in caplog.text
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_filesystem_without_attributes_is_no_obstacle(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("listxattr_at", errno.ENOTSUP)
    write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert "extended attributes" not in caplog.text


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES])
@pytest.mark.parametrize("readable", [True, False])
def test_without_proc_attributes_are_those_of_the_open_file(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture, code: int, readable: bool
) -> None:
    try:
        os.setxattr(target, "user.note", b"kept")
    except OSError:
        pytest.skip("this filesystem has no attributes for users")
    for entry in ("listxattr_at", "getxattr_at"):
        faults.fail(entry, code)
    if not readable:
        faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: name == target.name)
    write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert (os.listxattr(target) == ["user.note"]) is readable
    assert ("extended attributes" in caplog.text) is not readable


@pytest.mark.parametrize("entry", ["listxattr_at", "getxattr_at"])
def test_a_target_that_vanishes_while_its_attributes_are_copied_has_lost_none(
    target: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture, entry: str
) -> None:
    try:
        os.setxattr(target, "user.note", b"kept")
    except OSError:
        pytest.skip("this filesystem has no attributes for users")
    real = getattr(kernel, entry)

    def vanish(*args: Any) -> Any:
        target.unlink()
        return real(*args)

    monkeypatch.setattr(kernel, entry, vanish, raising=False)
    write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert "extended attributes" not in caplog.text


def test_an_attribute_that_vanishes_without_its_file_is_an_error(target: Path, faults: Any) -> None:
    try:
        os.setxattr(target, "user.note", b"kept")
    except OSError:
        pytest.skip("this filesystem has no attributes for users")
    faults.fail("getxattr_at", errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        write_atomic_bytes(target, b"new")
    assert os.getxattr(target, "user.note") == b"kept"


def test_an_error_while_listing_attributes_is_one(target: Path, faults: Any) -> None:
    faults.fail("listxattr_at", errno.EIO)
    with pytest.raises(OSError, match="cannot prepare and flush"):
        write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(("code", "forgiven"), [(errno.EPERM, True), (errno.EIO, False)])
def test_an_attribute_that_cannot_be_set(
    target: Path,
    faults: Any,
    caplog: pytest.LogCaptureFixture,
    code: int,
    forgiven: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel, "listxattr_at", lambda *_args: ["user.a"], raising=False)
    monkeypatch.setattr(kernel, "getxattr_at", lambda *_args: b"1", raising=False)
    faults.fail("setxattr", code)

    def setxattr(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel, "setxattr", setxattr, raising=False)
    if forgiven:
        write_atomic_bytes(target, b"new")
        assert "user.a" in caplog.text
    else:
        with pytest.raises(OSError, match="unchanged"):
            write_atomic_bytes(target, b"new")


@pytest.mark.parametrize(("code", "forgiven"), [(None, True), (errno.EPERM, True)])
def test_an_inherited_acl_the_target_lacks_is_removed(
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int | None,
    forgiven: bool,
) -> None:
    removed: list[str] = []

    def removexattr(_fd: int, name: str) -> None:
        removed.append(name)
        if code is not None:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel, "listxattr", lambda _fd: [ACL, "security.selinux"], raising=False)
    monkeypatch.setattr(kernel, "removexattr", removexattr, raising=False)
    write_atomic_bytes(target, b"new")
    assert removed == [ACL]
    assert (ACL in caplog.text) is (code is not None)


def test_a_default_acl_applies_to_a_new_file_only(tmp_path: Path) -> None:
    default = (  # version 2; user::rwx user:1000:rw- group::r-x mask::rwx other::--- (acl(5))
        b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x04\0\x05\0\xff\xff\xff\xff"
        b"\x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
    )
    old = tmp_path / "old"
    old.write_bytes(b"old")
    old.chmod(0o644)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", default)
    except OSError as error:
        pytest.skip(f"no POSIX ACLs on this filesystem ({error})")
    (tmp_path / "plain").write_bytes(b"")
    write_atomic_bytes(tmp_path / "new", b"new")
    assert os.getxattr(tmp_path / "new", ACL) == os.getxattr(tmp_path / "plain", ACL)
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    write_atomic_bytes(old, b"newer")
    assert ACL not in os.listxattr(old)
    assert stat.S_IMODE(old.stat().st_mode) == 0o644


def test_an_acl_of_the_target_is_kept(tmp_path: Path) -> None:
    acl = (
        b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff"
        b"\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
    )
    path = tmp_path / "f"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, ACL, acl)
    except OSError as error:
        pytest.skip(f"no POSIX ACLs on this filesystem ({error})")
    mode = path.stat().st_mode
    write_atomic_bytes(path, b"new")
    assert os.getxattr(path, ACL) == acl
    assert path.stat().st_mode == mode


def test_an_error_while_the_group_is_kept_is_one(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Temp, "owner", property(lambda _self: (-1, -1), lambda *_: None))
    faults.fail("fchown", errno.EIO, when=lambda _fd, uid, _gid: uid == -1)
    with pytest.raises(OSError, match="unchanged"):
        write_atomic_bytes(target, b"new", concurrency="none")
    assert target.read_bytes() == b"old"


def test_losing_the_group_alone_says_only_that(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fstat = kernel.fstat

    def fstat(fd: int) -> Any:
        fields = list(real_fstat(fd))
        fields[5] += 1
        return os.stat_result(fields)

    faults.fail("fchown", errno.EPERM)
    monkeypatch.setattr(kernel, "fstat", fstat, raising=False)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert "could not preserve group" in caplog.text


def test_a_sidecar_whose_owner_cannot_be_kept_is_written_all_the_same(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Temp, "owner", property(lambda _self: (-1, -1), lambda *_: None))
    faults.fail("fchown", errno.EPERM)
    with caplog.at_level("DEBUG"):
        write_atomic_bytes(target, b"new", write_checksum=True)
    assert verify_checksum(target)
    assert "the record keeps our owner" in caplog.text


def test_an_owner_that_is_right_already_is_not_set_again(target: Path, faults: Any) -> None:
    faults.fail("fchown", errno.EIO)
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert target.read_bytes() == b"new"


def seen_as(
    monkeypatch: pytest.MonkeyPatch, target: Path, *, uid: int, mode: int | None = None
) -> None:
    """Let the target belong to somebody else."""
    really = kernel.stat

    def look(path: Any, **kwargs: Any) -> os.stat_result:
        status = really(path, **kwargs)
        if path != target.name:
            return status
        fields = list(status)
        fields[stat.ST_UID] = uid
        if mode is not None:
            fields[stat.ST_MODE] = stat.S_IFREG | mode
        return os.stat_result(fields)

    monkeypatch.setattr(kernel, "stat", look, raising=False)


def test_an_owner_without_a_number_here_is_not_given_to_anybody(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 65534:
        pytest.skip("this user's number is the one that stands for having none")
    seen_as(monkeypatch, target, uid=65534)
    for table, calls in ((b"0 1000 1\n", 0), (b"0 0 4294967295\n", 1)):
        faults.calls.clear()
        monkeypatch.setattr(_mounts, "read_proc", lambda _path, _table=table: _table)
        faults.rules.clear()
        faults.fail("fchown", errno.EPERM)
        write_atomic_bytes(target, b"new", concurrency="none")
        assert faults.calls.count("fchown") == calls

    def missing(_path: str) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "no")

    monkeypatch.setattr(_mounts, "read_proc", missing)
    assert _metadata._has_every_number("uid_map") is False


@pytest.mark.parametrize("code", [errno.EPERM, errno.EIO])
def test_set_id_bits_go_on_last_and_may_be_refused(
    target: Path,
    faults: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    seen_as(monkeypatch, target, uid=os.geteuid() + 1, mode=0o4755)
    monkeypatch.setattr(kernel, "fchown", lambda *_: None, raising=False)
    faults.fail("fchmod", code, when=lambda _fd, mode: mode == 0o4755)
    if code == errno.EPERM:
        write_atomic_bytes(target, b"new", concurrency="none")
        assert "set-user-ID" in caplog.text
        assert target.read_bytes() == b"new"
    else:
        with pytest.raises(OSError, match="unchanged"):
            write_atomic_bytes(target, b"new", concurrency="none")


def test_a_chosen_mode_stays_when_the_owner_changes(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_as(monkeypatch, target, uid=os.geteuid() + 1)
    faults.fail("fchown", errno.EPERM)
    with AtomicWriter(target, concurrency="none") as file:
        os.fchmod(file.fileno(), 0o604)
    assert stat.S_IMODE(target.stat().st_mode) == 0o604


@pytest.mark.parametrize("mode", [0, 0o600, 0o640])
def test_any_mode_that_is_set_through_the_descriptor_stays(target: Path, mode: int) -> None:
    target.chmod(0o644)
    with AtomicWriter(target) as file:
        os.fchmod(file.fileno(), mode)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_replacement_is_its_owner_s_alone_while_it_is_written(target: Path) -> None:
    target.chmod(0o644)
    with AtomicWriter(target) as file:
        assert stat.S_IMODE(os.fstat(file.raw.fileno()).st_mode) == 0o600
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
