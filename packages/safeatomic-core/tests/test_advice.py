"""What an error recommends: from the step and the object that was hit."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    _mounts,
    _trace,
    force_release_lock,
    is_locked,
    move_atomic,
    try_acquire_lock,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._advice import advise, hinders
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._target import Target

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="no /proc/self/fd to see where a directory is"
)


def write(path: Path | str, **options: Any) -> None:
    write_atomic_bytes(path, b"new", concurrency="none", safety="best_effort", **options)


@pytest.fixture(autouse=True)
def unknown_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody know the attributes of a file: a test may not set them everywhere."""
    monkeypatch.setattr(_mounts, "attributes", lambda _dir_fd, _name="": None)


def advice_of(call: Callable[[], object]) -> str:
    """Return what the error of a call says, with its path."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the caller looks at the text
        call()
    return str(caught.value)


def test_a_directory_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = advice_of(lambda: write(tmp_path / "no" / "f"))
    assert f"The directory '{tmp_path}/no' does not exist; create it first" in text
    monkeypatch.chdir(tmp_path)
    assert "The directory 'no' does not exist; create it first" in advice_of(lambda: write("no/f"))


def test_a_source_that_is_missing_is_not_a_missing_directory(tmp_path: Path) -> None:
    text = advice_of(lambda: move_atomic(tmp_path / "no", tmp_path / "new", safety="best_effort"))
    assert "There is no such file" in text
    assert "create it first" not in text


def test_a_file_to_record_that_is_missing_is_not_a_missing_directory(tmp_path: Path) -> None:
    text = advice_of(lambda: write_checksum_file(tmp_path / "no", safety="best_effort"))
    assert "There is no such file" in text
    assert "create it first" not in text


def test_a_removed_working_directory_is_said_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        for text in (
            advice_of(lambda: write("f")),
            advice_of(lambda: write("deeper/f")),
            advice_of(lambda: try_acquire_lock("f", safety="best_effort")),
        ):
            assert "was removed" in text
            assert "(deleted)" not in text
            assert "immutable" not in text
    finally:
        os.chdir(tmp_path)  # the fixture goes back by a path that it asks for


@needs_proc
@pytest.mark.parametrize("call", ["write", "stream", "move", "record"])
def test_a_directory_that_is_removed_with_its_lock_was_removed_by_nobody_s_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    target = place / "f"
    target.write_bytes(b"old")

    def remove_first(fd: int) -> None:
        shutil.rmtree(place, ignore_errors=True)
        os.fsync(fd)

    def stream() -> None:
        with AtomicWriter(target, safety="best_effort") as file:
            file.write(b"new")
            shutil.rmtree(place)

    monkeypatch.setattr(kernel, "fsync", remove_first, raising=False)
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: write_atomic_bytes(target, b"new", safety="best_effort"),
        "stream": stream,
        "move": lambda: move_atomic(target, place / "g", safety="best_effort"),
        "record": lambda: write_checksum_file(target, safety="best_effort"),
    }
    with pytest.raises(FileNotFoundError) as caught:
        calls[call]()
    assert f"The directory '{place}' was removed; create it again" in str(caught.value)


@needs_proc
def test_a_directory_that_is_removed_meanwhile_is_said_to_be_removed(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def remove_first(path: str, flags: int, *args: Any, **options: Any) -> Any:
            if flags & os.O_CREAT:
                place.rmdir()
            return call(path, flags, *args, **options)

        return remove_first if name == "open" else call

    with intercept(wrap):
        text = advice_of(lambda: write(place / "f"))
    assert "was removed; create it again" in text


def test_a_temporary_file_that_vanished_is_said_to_have_vanished(target: Path) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def without(src: str, dst: str, **options: Any) -> None:
            os.unlink(src, dir_fd=options["src_dir_fd"])
            call(src, dst, **options)

        return without if name == "rename" else call

    with intercept(wrap):
        text = advice_of(lambda: write(target))
    assert "The temporary file was removed during the write" in text
    assert target.read_bytes() == b"old"


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


@pytest.fixture(params=["any descriptor", "descriptor 0"])
def opened(target: Path, request: pytest.FixtureRequest) -> Any:
    place = Target(str(target))
    place.open()
    number, kept = place.dir_fd, os.dup(0)
    if request.param == "descriptor 0":  # as in a daemon without standard input
        place.dir_fd = os.dup2(number, 0)
    yield place
    os.dup2(kept, 0)
    os.close(kept)
    place.dir_fd = number
    place.close()


def test_in_a_sticky_directory_the_owner_of_the_file_is_named(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.fchmod(opened.dir_fd, 0o1777)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    denied = OSError(errno.EPERM, os.strerror(errno.EPERM))
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
    assert f"('lsattr {lock}' shows it)" in advise(denied, _trace.ACQUIRE, opened)
    other = denial(errno.EPERM, ".safeatomic-tmp-0123456789abcdef.tmp")
    assert f"('lsattr -d {lock.parent}' shows it)" in advise(other, _trace.ACQUIRE, opened)
    os.fchmod(opened.dir_fd, 0o1777)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert f"'{lock.name}' belongs to user {owner}" in advise(denied, _trace.ACQUIRE, opened)


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
        (_mounts.IMMUTABLE, "is immutable or append-only ('lsattr"),
        (_mounts.APPEND_ONLY, "is immutable or append-only ('lsattr"),
        (0, "is neither immutable nor append-only"),
        (None, "may be immutable or append-only ('lsattr"),
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
    assert ("security module" in text) == (attributes == 0)
    directory = os.path.dirname(opened.path)
    place = {_trace.STAGE: directory, _trace.ANNOUNCE: f"{opened.path}.sha256"}
    if attributes == 0:
        assert f"({place.get(step, opened.path)!r})" in text


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


def test_a_sidecar_that_may_not_be_read_says_whose_it_is(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Path(f"{opened.path}.sha256")
    refused = OSError(errno.EACCES, "cannot read the checksum sidecar: Permission denied")
    assert advise(refused, _trace.ANNOUNCE, opened) == ""
    side.symlink_to("nowhere")
    assert "security module" in advise(refused, _trace.ANNOUNCE, opened)
    side.unlink()
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
    plain = OSError(errno.EACCES, os.strerror(errno.EACCES), "a")
    assert "hard link" not in advise(plain, _trace.ACQUIRE, opened)


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


def denial(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)


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


def test_a_source_that_vanished_is_not_a_temporary_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(src: str, *_rest: object) -> None:
        raise denial(errno.ENOENT, src)

    monkeypatch.setattr(kernel, "rename_noreplace", vanished, raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        move_atomic(target, target.with_name("new"), concurrency="none", safety="best_effort")
    assert "moved or deleted meanwhile" in str(caught.value)
    assert "temporary file" not in str(caught.value)
    assert caught.value.filename == str(target)


@pytest.mark.parametrize("call", [move_atomic, write_checksum_file], ids=["move", "record"])
def test_nobody_is_told_to_make_the_directory_of_a_missing_file(
    tmp_path: Path, call: Callable[..., object]
) -> None:
    names = [tmp_path / "no" / "f", tmp_path / "g"][: 1 + (call is move_atomic)]
    text = advice_of(lambda: call(*names, safety="best_effort"))
    assert f"There is no such file, and no directory '{tmp_path}/no'" in text
    assert "create it" not in text


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
    text = advice_of(lambda: try_acquire_lock(target, safety="best_effort"))
    assert "cannot take the lock: " in text
    assert "the target is unchanged. The directory is immutable or append-only" in text
    Path(f"{target}.lock").touch()
    monkeypatch.setattr(kernel, "unlink", refuse, raising=False)
    text = advice_of(lambda: force_release_lock(target))
    assert "cannot remove the lock: " in text
    assert "The file or its directory is immutable or append-only" in text
    assert text.endswith(f"'{target}.lock'")


def test_a_directory_that_may_not_be_searched_is_not_one_without_a_lock(
    target: Path, faults: Any
) -> None:
    faults.fail("stat", errno.EACCES, when=lambda name, **_options: name.endswith(".lock"))
    with pytest.raises(PermissionError):
        is_locked(target)
