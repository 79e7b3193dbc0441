"""What could not be preserved: a warning where somebody gains or loses access, else a detail."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _metadata, write_atomic_bytes
from safeatomic_core._posix import kernel


def written_by_another_user(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file whose owner is somebody else than the temp's, and stays lost."""
    really = kernel.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(really(fd))
        fields[4] += 1
        return os.stat_result(fields)

    with monkeypatch.context() as patched:
        patched.setattr(kernel, "fstat", fstat, raising=False)
        write_atomic_bytes(target, b"new", concurrency="none")


@pytest.mark.parametrize(("mode", "level"), [(0o660, "DEBUG"), (0o640, "WARNING")])
def test_an_owner_matters_where_the_group_may_do_less(
    target: Path,
    faults: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mode: int,
    level: str,
) -> None:
    target.chmod(mode)
    faults.fail("fchown", errno.EPERM)
    written_by_another_user(target, monkeypatch)
    assert level_of(caplog, f"owner {os.geteuid()}") == level


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
        ("system.posix_acl_access", "WARNING"),
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
