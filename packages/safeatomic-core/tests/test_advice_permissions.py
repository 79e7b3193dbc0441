"""What an error recommends where a user may not do something."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    _mounts,
    _trace,
)
from safeatomic_core._advice import advise
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target


@pytest.fixture(autouse=True)
def unknown_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody know the attributes of a file: a test may not set them everywhere."""
    monkeypatch.setattr(_mounts, "attributes", lambda _dir_fd, _name="": None)


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


def allow(monkeypatch: pytest.MonkeyPatch, modes: dict[str, int]) -> None:
    """Let the user do just so much with each name, as far as `faccessat` says."""
    monkeypatch.setattr(
        kernel, "access", lambda name, mode, _dir_fd: mode & modes.get(name, 0) == mode
    )


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
    assert "is immutable or append-only ('lsattr" in text


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
    def gone(_path: str, strict: bool = False) -> str:
        raise FileNotFoundError(errno.ENOENT, "no working directory")

    closed = Target("link")
    closed.linked = True
    monkeypatch.setattr(os.path, "realpath", gone)
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


def denial(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)
