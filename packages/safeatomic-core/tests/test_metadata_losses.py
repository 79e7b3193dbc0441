"""What could not be preserved: a warning where somebody gains or loses access, else a detail."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _metadata, write_atomic_bytes
from safeatomic_core._metadata import preserve
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target
from safeatomic_core._temp_file import Temp

ACL = "system.posix_acl_access"


def written_by_another_user(
    target: Path, monkeypatch: pytest.MonkeyPatch, field: int = stat.ST_UID
) -> None:
    """Write a file whose owner (or group) is another than the temp's, and stays lost."""
    really = kernel.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(really(fd))
        fields[field] += 1
        return os.stat_result(fields)

    with monkeypatch.context() as patched:
        patched.setattr(kernel, "fstat", fstat, raising=False)
        write_atomic_bytes(target, b"new", concurrency="none")


@pytest.mark.parametrize(
    ("mode", "level"),
    [
        (0o660, "DEBUG"),
        (0o640, "WARNING"),
        (0o440, "DEBUG"),
        (0o760, "DEBUG"),
        (0o620, "WARNING"),
    ],
)
def test_an_owner_matters_where_the_group_may_do_less(
    target: Path,
    faults: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mode: int,
    level: str,
) -> None:
    target.chmod(mode)
    if not os.access(target, os.W_OK):
        pytest.skip("this user may not write such a file, so it is not replaced")
    faults.fail("fchown", errno.EPERM)
    written_by_another_user(target, monkeypatch)
    assert level_of(caplog, f"owner {os.geteuid()}") == level


def test_a_group_that_is_lost_is_warned_of_and_so_is_the_bit_that_lends_its_rights(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("fchown", errno.EPERM)
    written_by_another_user(target, monkeypatch, stat.ST_GID)
    assert level_of(caplog, "group") == "WARNING"
    caplog.clear()
    target.chmod(0o2640)
    written_by_another_user(target, monkeypatch, stat.ST_GID)
    assert level_of(caplog, "the set-group-ID bit") == "WARNING"  # of the group it was said before
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_set_id_bits_that_are_refused_are_warned_of(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target.chmod(0o4640)
    monkeypatch.setattr(kernel, "fchown", lambda *_: None, raising=False)
    faults.fail("fchmod", errno.EPERM, when=lambda _fd, mode: mode == 0o4640)
    written_by_another_user(target, monkeypatch)
    assert level_of(caplog, "the set-user-ID and set-group-ID bits") == "WARNING"


def test_a_mode_without_set_id_bits_is_set_once(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "fchown", lambda *_: None, raising=False)
    written_by_another_user(target, monkeypatch)
    assert faults.calls.count("fchmod") == 1


@pytest.mark.parametrize("wanted", [[ACL, "user.note"], ["user.note"]])
def test_an_acl_is_taken_away_from_the_temp_only_if_the_target_has_none_and_it_has_one(
    target: Path, monkeypatch: pytest.MonkeyPatch, wanted: list[str]
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(kernel, "listxattr_at", lambda *_: wanted, raising=False)
    monkeypatch.setattr(kernel, "getxattr_at", lambda *_: b"x", raising=False)
    monkeypatch.setattr(
        kernel, "listxattr", lambda _fd: [ACL] if ACL in wanted else [], raising=False
    )
    monkeypatch.setattr(kernel, "setxattr", lambda _fd, name, _: calls.append(name), raising=False)
    monkeypatch.setattr(kernel, "removexattr", lambda *_: calls.append("removed"), raising=False)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert calls == wanted


def test_what_describes_the_former_content_stays_with_it(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel opens no file whose hash or signature is another content's, where it appraises."""
    calls: list[str] = []
    names = ["security.ima", "user.note", "security.evm"]
    monkeypatch.setattr(kernel, "listxattr_at", lambda *_: names, raising=False)
    monkeypatch.setattr(kernel, "getxattr_at", lambda *_: b"x", raising=False)
    monkeypatch.setattr(kernel, "setxattr", lambda _fd, name, _: calls.append(name), raising=False)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert calls == ["user.note"]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("listxattr_at", errno.ENOTSUP),
        ("listxattr", errno.ENOTSUP),
        ("listxattr_at", errno.ENOENT),  # no /proc
    ],
)
def test_where_attributes_cannot_be_listed_nobody_knows_that_there_is_no_acl(
    target: Path, faults: Any, locate: Callable[[str | Path], Target], entry: str, code: int
) -> None:
    place = locate(target)
    temp = Temp(place.dir_fd)
    temp.create(0o600)
    assert preserve(place, temp)
    faults.fail(entry, code)
    assert not preserve(place, temp)
    temp.discard()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_set_id_bits_that_a_sandbox_refuses_are_lost_and_the_file_is_written(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """As in a service of systemd with ``RestrictSUIDSGID=``, after ``chmod -R g+s``."""
    target.chmod(0o2664)
    if not target.stat().st_mode & 0o2000:
        pytest.skip("this user may not set the bit here")
    faults.fail("fchmod", code, when=lambda _fd, mode: mode & 0o6000)
    write_atomic_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o7777 == 0o664
    assert level_of(caplog, "set-group-ID bits") == "WARNING"


def test_a_set_id_bit_that_would_lend_other_rights_is_warned_of(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target.chmod(0o4660)  # where the owner itself does not matter
    faults.fail("fchown", errno.EPERM)
    written_by_another_user(target, monkeypatch)
    assert level_of(caplog, "the set-user-ID bit") == "WARNING"
    assert target.stat().st_mode & 0o7777 == 0o660


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("user.note", "DEBUG"),
        ("security.selinux", "WARNING"),
        (ACL, "WARNING"),
    ],
)
def test_an_attribute_matters_where_it_decides_on_access(
    target: Path,
    faults: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    level: str,
) -> None:
    monkeypatch.setattr(kernel, "listxattr_at", lambda *_: [name], raising=False)
    monkeypatch.setattr(kernel, "getxattr_at", lambda *_: b"x", raising=False)
    faults.fail("setxattr", errno.EPERM)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert level_of(caplog, name) == level


def test_attributes_that_nobody_can_list_may_have_mattered(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("listxattr_at", errno.EACCES)
    faults.fail("open", errno.EACCES, when=lambda name, *_args, **_options: name == target.name)
    write_atomic_bytes(target, b"new", concurrency="none")
    assert level_of(caplog, "extended attributes") == "WARNING"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("entries", [("listxattr",), ("listxattr", "listxattr_at")])
def test_a_sandbox_that_lists_no_attributes_fails_no_write(
    target: Path, faults: Any, caplog: pytest.LogCaptureFixture, code: int, entries: tuple[str, ...]
) -> None:
    for entry in entries:
        faults.fail(entry, code)
    write_atomic_bytes(target, b"new", write_checksum=True)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o7777 == 0o640
    assert level_of(caplog, "extended attributes") == "WARNING"


def test_an_acl_of_the_directory_s_goes_also_where_a_sandbox_lists_none(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    faults.fail("listxattr", errno.EPERM)
    monkeypatch.setattr(kernel, "removexattr", lambda _fd, name: removed.append(name))
    write_atomic_bytes(target, b"new")
    assert removed == [ACL]


@pytest.mark.parametrize("number", [0, 1000, 65534])
@pytest.mark.parametrize("kind", ["uid", "gid"])
@pytest.mark.parametrize("outcome", ["given", "refused", "no number of its own"])
def test_an_owner_or_group_is_given_or_stays(
    monkeypatch: pytest.MonkeyPatch, faults: Any, number: int, kind: str, outcome: str
) -> None:
    given: list[tuple[int, int]] = []
    asked: list[str] = []

    def known(table: str) -> bool:
        asked.append(table)
        return outcome != "no number of its own"

    def fchown(_fd: int, uid: int, gid: int) -> None:
        if outcome == "refused":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        given.append((uid, gid))

    monkeypatch.setattr(_metadata, "_has_every_number", known)
    kernel.fchown = fchown
    stays = outcome == "refused" or (outcome == "no number of its own" and number == 65534)
    assert _metadata._give(0, number, 77, f"{kind}_map") == (77 if stays else number)
    assert given == ([] if stays else [(number, -1) if kind == "uid" else (-1, number)])
    assert asked == ([f"{kind}_map"] if number == 65534 else [])


def level_of(caplog: pytest.LogCaptureFixture, loss: str) -> str:
    """Return at which level a loss was logged."""
    found = {one.levelname for one in caplog.records if loss in one.getMessage()}
    assert len(found) == 1, found
    return found.pop()
