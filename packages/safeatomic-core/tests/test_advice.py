"""What an error recommends: from the step and the object that was hit."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from refusals import advice_of, denial, needs_proc, write
from safeatomic_core import (
    _mounts,
    _trace,
    force_release_lock,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._advice import advise, command, hinders, typed
from safeatomic_core._posix import kernel
from safeatomic_core._target import Target

pytestmark = pytest.mark.usefixtures("unknown_attributes")

ODD_PATHS = [
    *("/srv/app.conf", "/srv/with blanks", "/srv/it's", "/a\\b", "/`id`", "/$HOME", "/~/*?[x]"),
    *("/\u00fcn\u00ef", "/a\nb c\x1b[31m", "/it's\n", "/\udcff", "/\u202e", "/\x7f"),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_path_in_a_command_can_be_typed(path: str) -> None:
    text = typed(path)
    assert text.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf %s {text}"], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    assert done.stdout == os.fsencode(path)
    assert "\\x20" not in text
    quote = "`" if "'" in text else "'"
    assert command("lsattr -d", path) == f"{quote}lsattr -d {text}{quote}"


def test_what_hinders_is_found_without_raising(
    opened: Target, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not hinders(opened)
    monkeypatch.setattr(
        _mounts, "attributes", lambda _fd, name="": None if name else _mounts.APPEND_ONLY
    )
    assert hinders(opened)
    monkeypatch.setattr(_mounts, "attributes", lambda _fd, _name="": 0x40)  # another one
    assert not hinders(opened)
    faults.fail("fstat", errno.EIO)
    assert not hinders(opened)


@pytest.mark.parametrize(
    ("code", "step", "words"),
    [
        (errno.EPERM, _trace.PUBLISH, "immutable or append-only"),
        (errno.EACCES, _trace.PUBLISH, "security module"),
        (errno.ENOSPC, _trace.PUBLISH, "full"),
        (errno.EBUSY, _trace.PUBLISH, "bind-mounted"),
        (errno.EPERM, _trace.STAGE, "lsattr -d"),
        (errno.EPERM, _trace.ANNOUNCE, "sidecar or its directory may be immutable"),
        (errno.EPERM, _trace.GATE, "The file may be immutable"),
        (errno.EPERM, _trace.RELEASE, "immutable or append-only"),
        (errno.EACCES, _trace.STAGE, "security module"),
        (errno.EACCES, _trace.RELEASE, "security module"),
        (errno.EACCES, _trace.GATE, "security module"),
        (errno.EBUSY, _trace.STAGE, ""),
        (errno.EINVAL, _trace.SETTLE, "cannot flush a directory"),
        (errno.ENOSYS, _trace.SETTLE, "safety='warn'"),
        (errno.EINVAL, _trace.HARDEN, ""),
        (errno.EACCES, _trace.FILL, ""),
        (errno.EIO, _trace.HARDEN, "do not trust this disk"),
        (errno.ENOENT, _trace.GATE, "There is no such file"),
        (errno.EMFILE, _trace.GATE, "too many open files"),
        (errno.EFBIG, _trace.FILL, "ulimit -f"),
    ],
)
def test_the_step_tells_what_an_errno_means(
    opened: Target, code: int, step: str, words: str
) -> None:
    found = advise(OSError(code, os.strerror(code)), step, opened)
    assert words in found
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (_mounts.IMMUTABLE, "is immutable or append-only ("),
        (_mounts.APPEND_ONLY, "is immutable or append-only ("),
        (0, "is neither immutable nor append-only"),
        (None, "may be immutable or append-only ("),
    ],
)
@pytest.mark.parametrize("step", [_trace.GATE, _trace.STAGE, _trace.ANNOUNCE, _trace.PUBLISH])
def test_attributes_are_blamed_only_where_they_may_be_set(
    opened: Target,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    attributes: int | None,
    words: str,
) -> None:
    monkeypatch.setattr(_mounts, "attributes", lambda _dir_fd, _name="": attributes)
    text = advise(OSError(errno.EPERM, os.strerror(errno.EPERM)), step, opened)
    assert words in text
    assert ("lsattr" in text) == (attributes != 0)
    assert ("security module" in text) == (attributes == 0)
    directory = os.path.dirname(opened.path)
    place = {_trace.STAGE: directory, _trace.ANNOUNCE: f"{opened.path}.sha256"}
    if attributes == 0:
        assert f"({place.get(step, opened.path)!r})" in text


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EPERM])
def test_where_nothing_can_be_created_nothing_else_is_blamed(opened: Target, code: int) -> None:
    opened.filesystem = "proc"
    refusal = OSError(code, os.strerror(code), ".safeatomic-tmp-0123456789abcdef.tmp")
    for step in (_trace.ACQUIRE, _trace.STAGE, _trace.ANNOUNCE):
        assert advise(refusal, step, opened) == "Nothing can be created in proc; write elsewhere"
    assert "temporary file was removed" in advise(
        OSError(errno.ENOENT, os.strerror(errno.ENOENT), refusal.filename), _trace.PUBLISH, opened
    )


@needs_proc
@pytest.mark.parametrize("concurrency", ["lock", "none"])
def test_a_write_into_proc_says_that_nothing_can_be_created(concurrency: Any) -> None:
    refusals = (FileNotFoundError, PermissionError)  # root's, and everybody else's
    with pytest.raises(refusals, match="Nothing can be created in proc"):
        write_atomic_bytes("/proc/nothing", b"x", safety="best_effort", concurrency=concurrency)


def test_where_the_filesystem_cannot_be_asked_advice_goes_on(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(errno.EMFILE, "no")

    monkeypatch.setattr("safeatomic_core._advice.verdict_on", fail)
    opened.filesystem = ""
    refusal = OSError(
        errno.ENOENT, os.strerror(errno.ENOENT), ".safeatomic-tmp-0123456789abcdef.tmp"
    )
    assert "temporary file was removed" in advise(refusal, _trace.STAGE, opened)


def test_a_file_that_the_machine_swaps_to_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mounts, "attributes", lambda _dir_fd, _name="": 0)
    monkeypatch.setattr(_mounts, "is_swap_file", lambda _dir_fd, _name: True)
    denied = OSError(errno.EPERM, os.strerror(errno.EPERM))
    assert "swaps to that file" in advise(denied, _trace.PUBLISH, opened)
    assert hinders(opened)


@pytest.mark.parametrize(
    ("name", "step", "what"),
    [
        ("data.bin", _trace.PUBLISH, "The file is probably"),
        ("data.bin.sha256", _trace.ANNOUNCE, "The checksum sidecar is probably"),
        ("data.bin.lock", _trace.RELEASE, "The lock file is probably"),
        ("data.bin", _trace.GATE, ""),
        (".safeatomic-tmp-0123456789abcdef.tmp", _trace.STAGE, ""),
    ],
)
def test_only_a_name_that_is_replaced_or_removed_may_be_mounted_over(
    opened: Target, name: str, step: str, what: str
) -> None:
    text = advise(denial(errno.EBUSY, name), step, opened)
    assert what in text
    assert ("bind-mounted" in text) == bool(what)


def test_a_sidecar_that_is_exchanged_may_be_mounted_over(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic_bytes(target, b"old", write_checksum=True)

    def busy(src: str, dst: str, _src_dir: int, _dst_dir: int) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), src, None, dst)

    monkeypatch.setattr(kernel, "rename_exchange", busy, raising=False)
    for call in (
        lambda: write_atomic_bytes(target, b"new", write_checksum=True),
        lambda: write_checksum_file(target),
    ):
        assert "The checksum sidecar is probably a single bind-mounted file" in advice_of(call)
        with pytest.raises(OSError, match="EBUSY") as caught:
            call()
        assert caught.value.filename == f"{target}.sha256"


def test_a_file_that_must_exist_is_said_to_be_gone(opened: Target, tmp_path: Path) -> None:
    missing = OSError(errno.ENOENT, os.strerror(errno.ENOENT), opened.name)
    assert "moved or deleted" not in advise(missing, _trace.PUBLISH, opened)
    opened.must_exist = True
    assert "moved or deleted" in advise(missing, _trace.PUBLISH, opened)
    closed = Target(str(tmp_path / "no" / "f"))
    closed.must_exist = True
    text = advise(missing, _trace.GATE, closed)
    assert f"no such file, and no directory {str(tmp_path / 'no')!r}" in text


def test_an_unsealed_record_asks_for_another_write(opened: Target) -> None:
    broken = OSError(errno.EIO, os.strerror(errno.EIO))
    assert "until the next write" in advise(broken, _trace.SEAL, opened)


def test_a_message_of_our_own_is_not_explained_once_more(opened: Target) -> None:
    assert advise(OSError(errno.EACCES, "what to do"), _trace.STAGE, opened) == ""


@needs_proc
def test_a_file_is_named_by_the_directory_that_is_open(opened: Target) -> None:
    """Whatever number its descriptor has, and wherever its path leads by now."""
    place, opened.path = opened.path, "elsewhere/data.bin"
    denied = denial(errno.EACCES, opened.name)
    assert f"The mode of {place!r} lets this user write it" in advise(denied, _trace.GATE, opened)


def test_advice_never_fails(opened: Target, faults: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> str:
        raise OSError(errno.ENOENT, "no /proc")

    monkeypatch.setattr(_mounts, "directory_of", refuse)
    denied = OSError(errno.EPERM, os.strerror(errno.EPERM))
    faults.fail("stat", errno.EIO)
    assert opened.path in advise(denied, _trace.PUBLISH, opened)
    faults.fail("fstat", errno.EBADF)
    assert advise(denied, _trace.PUBLISH, opened) == ""
    opened.linked = True
    closed = Target(opened.path)
    closed.linked = True
    assert opened.path in advise(denied, _trace.PUBLISH, closed)


def test_a_link_is_said_to_lead_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    (tmp_path / "up").symlink_to("place/..")
    (tmp_path / "loop").symlink_to("loop")
    assert f"is a link to '{tmp_path}/place'" in advice_of(lambda: write(tmp_path / "link"))
    assert f"is a link to '{tmp_path}'" in advice_of(lambda: write(tmp_path / "up"))
    text = advice_of(lambda: write(tmp_path / "loop"))
    assert "is a link to" not in text
    assert "loop of symbolic links" in text


@pytest.mark.parametrize("call", ["exists_at", "open"])
def test_a_sidecar_that_cannot_be_read_keeps_its_words(
    target: Path, faults: Any, call: str
) -> None:
    if call == "open":
        write_checksum_file(target)
    faults.fail(call, errno.EMFILE, when=lambda name, *_a, **_k: name.endswith(".sha256"))
    text = advice_of(lambda: write(target))
    assert "] cannot read the checksum sidecar: " in text
    assert "ulimit -n" in text
    assert text.count("cannot ") == 1


def test_a_lock_that_cannot_be_taken_or_removed_says_why(
    target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, **_options: object) -> None:
        raise denial(errno.EPERM, name)

    monkeypatch.setattr(_mounts, "attributes", lambda _fd, _name="": _mounts.APPEND_ONLY)
    faults.fail("open_anonymous", errno.EPERM)
    faults.fail("open", errno.EPERM, when=lambda *args, **_options: args[1] & os.O_CREAT)
    text = advice_of(lambda: try_acquire_lock(target, safety="best_effort"))
    assert "cannot take the lock: " in text
    assert "the target is unchanged. The directory is immutable or append-only" in text
    Path(f"{target}.lock").touch()
    monkeypatch.setattr(kernel, "unlink", refuse, raising=False)
    text = advice_of(lambda: force_release_lock(target))
    assert "cannot remove the lock: " in text
    assert "The file or its directory is immutable or append-only" in text
    assert text.endswith(f"'{target}.lock'")
