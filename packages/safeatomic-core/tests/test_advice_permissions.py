"""What an error recommends where a user may not do something."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from refusals import advice_of, allow, denial, needs_proc, write
from safeatomic_core import _mounts, _trace, is_locked, move_atomic
from safeatomic_core._advice import advise, command
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target

pytestmark = pytest.mark.usefixtures("unknown_attributes")


def test_a_directory_that_takes_no_file_of_this_user_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    allow(monkeypatch, {".": os.X_OK})
    place = os.path.dirname(opened.path)
    text = advise(denied, _trace.STAGE, opened)
    assert f"may not create files in the directory {place!r}" in text
    for step in (_trace.PUBLISH, _trace.RELEASE):
        assert f"may no longer change {place!r}" in advise(denied, step, opened)


@pytest.mark.parametrize("step", [_trace.GATE, _trace.ACQUIRE, _trace.PUBLISH])
def test_a_directory_that_may_be_listed_and_not_entered_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    allow(monkeypatch, {".": os.R_OK | os.W_OK})
    text = advise(denial(errno.EACCES, opened.name), step, opened)
    assert f"may not enter {os.path.dirname(opened.path)!r} (mode " in text


def test_a_directory_that_may_not_be_read_is_not_flushed_behind_a_dead_writer(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, {".": os.W_OK | os.X_OK})
    text = advise(denial(errno.EACCES, "."), _trace.ACQUIRE, opened)
    assert f"may not read {os.path.dirname(opened.path)!r} (mode " in text
    assert "unlock --stale" in text
    allow(monkeypatch, {".": os.R_OK | os.W_OK | os.X_OK})
    assert "sandbox" in advise(denial(errno.EACCES, "."), _trace.ACQUIRE, opened)


@pytest.mark.parametrize("step", [_trace.GATE, _trace.ACQUIRE])
def test_a_file_that_may_not_be_written_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    allow(monkeypatch, {".": os.R_OK | os.W_OK | os.X_OK, opened.name: os.R_OK})
    text = advise(denial(errno.EACCES, opened.name), step, opened)
    assert "may not write the file (mode 0640" in text
    assert "immutable" in advise(denial(errno.EPERM, opened.name), step, opened)


def test_a_sidecar_that_may_not_be_read_says_whose_it_is(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Path(f"{opened.path}.sha256")
    refused = OSError(errno.EACCES, "cannot read the checksum sidecar: Permission denied")
    assert advise(refused, _trace.ANNOUNCE, opened) == ""
    side.touch(0o600)
    assert "security module" in advise(refused, _trace.ANNOUNCE, opened)
    allow(monkeypatch, {".": os.X_OK})
    text = advise(refused, _trace.ANNOUNCE, opened)
    assert f"may not read {side.name!r} (mode 0600, owner {os.geteuid()})" in text


def test_a_refused_link_is_told_from_a_refused_file(opened: Target) -> None:
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES), "a", None, "b")
    text = advise(denied, _trace.ACQUIRE, opened)
    assert "hard link by which a lock gets its name" in text
    assert "hard link" not in advise(denied, _trace.STAGE, opened)
    assert "hard link" not in advise(denial(errno.EACCES, "a"), _trace.ACQUIRE, opened)


def test_content_that_may_not_be_read_for_its_checksum_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES), opened.name)
    assert "security module" in advise(denied, _trace.ANNOUNCE, opened)
    allow(monkeypatch, {".": os.R_OK | os.W_OK | os.X_OK})
    text = advise(denied, _trace.ANNOUNCE, opened)
    assert "may not read the file" in text


def test_a_file_that_may_not_be_opened_to_be_flushed_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = denial(errno.EACCES, opened.name)
    assert "security module" in advise(denied, _trace.HARDEN, opened)
    allow(monkeypatch, {".": os.R_OK | os.W_OK | os.X_OK})
    assert "may not read the file (mode 0640" in advise(denied, _trace.HARDEN, opened)


@pytest.mark.parametrize("step", [_trace.FILL, _trace.HARDEN, _trace.SEAL])
def test_what_an_open_file_is_refused_is_blamed_on_no_mode(opened: Target, step: str) -> None:
    text = advise(OSError(errno.EPERM, os.strerror(errno.EPERM)), step, opened)
    assert "Nothing about an open file causes this error, so a sandbox or a security" in text


def test_what_a_move_may_not_remove_is_named(opened: Target) -> None:
    side = f"{opened.name}.sha256"
    text = advise(denial(errno.EPERM, side), _trace.SETTLE, opened)
    assert "The file or its directory may be immutable" in text
    assert f"{opened.path}.sha256" in text


def test_the_attributes_of_the_file_count_as_those_of_its_directory(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        _mounts, "attributes", lambda _fd, name="": _mounts.IMMUTABLE if name else 0
    )
    text = advise(OSError(errno.EPERM, os.strerror(errno.EPERM)), _trace.PUBLISH, opened)
    assert "is immutable or append-only (" in text
    assert "lsattr" in text


@pytest.mark.parametrize("supported", [True, False])
def test_the_directory_is_asked_for_the_effective_user_where_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    asked: list[bool] = []

    def access(_path: str, _mode: int, *, effective_ids: bool) -> bool:
        asked.append(effective_ids)
        return True

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "supports_effective_ids", {access} if supported else set())
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    advise(denied, _trace.GATE, Target(str(tmp_path / "f")))
    assert asked == [supported]


def test_a_link_is_named_as_it_was_given_where_nobody_can_follow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone() -> str:
        raise FileNotFoundError(errno.ENOENT, "no working directory")

    closed = Target("link")
    closed.linked = True
    monkeypatch.setattr(os, "getcwd", gone)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "The path is a link to 'link'" in advise(full, _trace.GATE, closed)


def test_a_sidecar_that_is_a_link_is_judged_itself(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(f"{opened.path}.sha256").symlink_to("nowhere")
    allow(monkeypatch, {".": os.X_OK})
    refused = OSError(errno.EACCES, "cannot read the checksum sidecar: Permission denied")
    assert "may not read 'data.bin.sha256'" in advise(refused, _trace.ANNOUNCE, opened)


def test_a_directory_that_may_not_be_read_is_told_from_one_that_may_not_be_entered(
    tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    closed = Target(str(tmp_path / "f"))
    assert "lets this user read it" in advise(denied, _trace.GATE, closed)
    monkeypatch.setattr(os, "access", lambda *_args, **_options: False)
    assert "opened for reading" in advise(denied, _trace.GATE, closed)
    faults.fail("stat", errno.EACCES)
    assert "may not enter" in advise(denied, _trace.GATE, closed)
    assert advise(OSError(errno.EIO, os.strerror(errno.EIO)), _trace.GATE, closed)


@needs_proc
@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_directory_that_may_not_be_written_is_named_behind_a_link(
    tmp_path: Path, faults: Any, code: int
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store/file")
    faults.fail("open_anonymous", code)
    faults.fail("open", code, when=lambda *args, **_options: args[1] & os.O_CREAT)
    text = advice_of(lambda: write(tmp_path / "link"))
    assert f"The path is a link to '{tmp_path}/store/file'" in text
    assert f"{tmp_path}/store" in text.partition("The path is a link")[2].partition(".")[2]
    assert "chmod" not in text


def test_in_a_sticky_directory_the_owner_of_the_file_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    denied = OSError(errno.EPERM, os.strerror(errno.EPERM))
    assert "sticky directory" not in advise(denied, _trace.PUBLISH, opened)
    os.fchmod(opened.dir_fd, 0o1777)
    text = advise(denied, _trace.PUBLISH, opened)
    assert "sticky directory" in text
    assert f"user {owner}" in text
    assert "lsattr" not in text


def test_in_a_sticky_directory_the_owner_of_the_sidecar_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Path(f"{opened.path}.sha256")
    side.touch()
    os.fchmod(opened.dir_fd, 0o1777)
    denied = OSError(errno.EPERM, os.strerror(errno.EPERM))
    assert "lsattr -d" in advise(denied, _trace.ANNOUNCE, opened)  # it is ours
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert f"'{side.name}' belongs to user {owner}" in advise(denied, _trace.ANNOUNCE, opened)
    side.unlink()
    assert "lsattr -d" in advise(denied, _trace.ANNOUNCE, opened)


def test_in_a_sticky_directory_the_owner_of_the_lock_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Path(f"{opened.path}.lock")
    lock.symlink_to("nowhere")
    denied = denial(errno.EPERM, lock.name)
    assert f"({command('lsattr', str(lock))} shows it)" in advise(denied, _trace.ACQUIRE, opened)
    other = denial(errno.EPERM, ".safeatomic-tmp-0123456789abcdef.tmp")
    shown = command("lsattr -d", str(lock.parent))
    assert f"({shown} shows it)" in advise(other, _trace.ACQUIRE, opened)
    os.fchmod(opened.dir_fd, 0o1777)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert f"'{lock.name}' belongs to user {owner}" in advise(denied, _trace.ACQUIRE, opened)


def test_a_directory_that_is_refused_whatever_its_mode_is_not_blamed_on_it(
    tmp_path: Path, faults: Any
) -> None:
    faults.fail("open", errno.EPERM, when=lambda *args, **_options: args[1] & os.O_DIRECTORY)
    text = advice_of(lambda: write(tmp_path / "new"))
    assert f"not about the mode of '{tmp_path}', so a sandbox or a security module" in text


@pytest.mark.parametrize("reason", ["sticky", "immutable", "closed", "missing"])
def test_a_refused_move_is_blamed_on_the_name_that_hinders_it(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    new = place / "new"
    if reason != "missing":
        new.touch()
    real = os.stat

    def of_somebody_else(name: object, **options: Any) -> os.stat_result:
        found = real(name, **options)  # type: ignore[arg-type]
        return os.stat_result((*found[:4], 12345, *found[5:])) if name == "new" else found

    def refused(src: str, dst: str, **_options: object) -> None:
        if reason == "sticky":
            place.chmod(0o1777)
            monkeypatch.setattr(kernel, "stat", of_somebody_else, raising=False)
            monkeypatch.setattr(os, "geteuid", lambda: 54321)
        if reason == "immutable":
            monkeypatch.setattr(
                _mounts, "attributes", lambda _fd, name="": _mounts.IMMUTABLE * (name == "new")
            )
        if reason == "closed":
            allow(monkeypatch, {})
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), src, None, dst)

    monkeypatch.setattr(kernel, "rename", refused, raising=False)
    with pytest.raises(PermissionError) as caught:
        move_atomic(target, new, force=True, concurrency="none", safety="best_effort")
    assert caught.value.filename == str(target if reason == "missing" else new)
    assert ("sticky" in str(caught.value)) == (reason == "sticky")


def test_a_directory_that_may_not_be_searched_is_not_one_without_a_lock(
    target: Path, faults: Any
) -> None:
    faults.fail("stat", errno.EACCES, when=lambda name, **_options: name.endswith(".lock"))
    with pytest.raises(PermissionError):
        is_locked(target)
