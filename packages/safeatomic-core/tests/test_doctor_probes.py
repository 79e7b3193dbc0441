"""The probes: each can fail, and none leaves anything behind."""

from __future__ import annotations

import errno
import gc
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safeatomic_core import (
    ChecksumMismatchError,
    LockError,
    SafeAtomicError,
    inspect_guarantees,
    is_locked,
    release_lock,
    write_atomic_bytes,
)
from safeatomic_core._doctor import probes as probes
from safeatomic_core._doctor.probes import Probes
from safeatomic_core._doctor.subject import Place
from safeatomic_core._posix import intercept


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    opened = Place(str(tmp_path / "f"), inspect_guarantees(tmp_path).environment)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def round_of(place: Place) -> Iterator[Probes]:
    made = Probes(place)
    yield made
    made.clean()
    assert os.listdir(place.directory) == []


def run(made: Probes, name: str) -> tuple[str, str]:
    return dict(made.all())[f"probe_{name}"]()


NAMES = (
    "exclusive_create",
    "fsync_file",
    "fsync_directory",
    "replace",
    "no_clobber",
    "flock",
    "lock",
    "checksum",
)


def wrapping(entry: str, other: Callable[..., Any]) -> intercept:
    """Replace one system call; ``other`` gets the real one first."""

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if name != entry:
            return call
        return lambda *args, **options: other(call, *args, **options)

    return intercept(wrap)


@pytest.mark.parametrize("name", NAMES)
def test_a_good_filesystem_passes(round_of: Probes, name: str) -> None:
    assert run(round_of, name)[0] == "pass"


def test_every_probe_is_listed(round_of: Probes) -> None:
    assert [name for name, _ in round_of.all()] == [f"probe_{name}" for name in NAMES]


def test_a_create_that_is_not_exclusive_fails(round_of: Probes) -> None:
    created: list[int] = []

    def without_excl(call: Any, path: str, flags: int, *args: Any, **options: Any) -> Any:
        fd = call(path, flags & ~os.O_EXCL, *args, **options)
        if flags & os.O_EXCL:
            created.append(fd)
        return fd

    with wrapping("open", without_excl):
        status, detail = run(round_of, "exclusive_create")
    assert status == "fail"
    assert "O_EXCL is ignored" in detail
    assert len(created) == 2
    for fd in created:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_filesystem_without_modes_is_a_warning(round_of: Probes) -> None:
    def all_open(call: Any, *args: Any) -> Any:
        values = list(call(*args))
        values[0] = stat.S_IFREG | 0o777
        return os.stat_result(values)

    with wrapping("fstat", all_open):
        status, detail = run(round_of, "exclusive_create")
    assert status == "warn"
    assert "mode 0777" in detail


def test_what_is_flushed_was_written(round_of: Probes, faults: Any) -> None:
    assert run(round_of, "fsync_file")[0] == "pass"
    assert [call for call in faults.calls if call in ("write", "fsync")] == ["write", "fsync"]


@pytest.mark.parametrize(
    ("name", "call"),
    [("fsync_file", "fsync"), ("fsync_directory", "fsync"), ("checksum", "ftruncate")],
)
def test_a_call_that_fails_is_raised(round_of: Probes, name: str, call: str) -> None:
    def refuse(*_args: Any) -> Any:
        raise OSError(errno.EINVAL, "Invalid argument")

    with wrapping(call, refuse), pytest.raises(OSError, match="Invalid argument"):
        run(round_of, name)


def test_a_replacement_that_shows_through_an_open_file_fails(round_of: Probes) -> None:
    def copy_over(call: Any, src: str, dst: str, **options: Any) -> None:
        call(src, dst, **options)
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                if os.readlink(f"/proc/self/fd/{fd}").endswith("/replace (deleted)"):
                    os.lseek(fd, 0, os.SEEK_END)  # the reader finds something else from here on
            except OSError:
                continue

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("no /proc/self/fd here")
    with wrapping("rename", copy_over):
        status, detail = run(round_of, "replace")
    assert status == "fail"
    assert "for its reader" in detail


def test_a_replacement_that_is_not_read_back_fails(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "read_atomic_bytes", lambda _path, **_options: b"stale")
    status, detail = run(round_of, "replace")
    assert status == "fail"
    assert "read back" in detail


def test_a_move_that_replaces_fails(round_of: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "move_atomic", lambda src, dst, **_options: os.replace(src, dst))
    status, detail = run(round_of, "no_clobber")
    assert status == "fail"
    assert "must not replace" in detail


@pytest.mark.parametrize(("reads", "word"), [(1, "a refused move changed"), (2, "moved content")])
def test_a_move_that_changes_content_fails(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch, reads: int, word: str
) -> None:
    real: Callable[..., bytes] = vars(probes)["read_atomic_bytes"]
    count = [0]

    def wrong_at(path: str, **options: Any) -> bytes:
        count[0] += 1
        return b"other" if count[0] == reads else real(path, **options)

    monkeypatch.setattr(probes, "read_atomic_bytes", wrong_at)
    status, detail = run(round_of, "no_clobber")
    assert status == "fail"
    assert word in detail


def test_a_flock_that_excludes_nobody_fails(round_of: Probes) -> None:
    with wrapping("flock", lambda _call, _fd, _operation: None):
        status, detail = run(round_of, "flock")
    assert status == "fail"
    assert "granted twice" in detail


def test_a_lock_without_flock_says_so(round_of: Probes) -> None:
    def missing(_call: Any, _fd: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with wrapping("flock", missing):
        status, detail = run(round_of, "lock")
    assert status == "fail"
    assert "flock" in detail


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ({"try_acquire_lock": [False]}, "was refused"),
        ({"try_acquire_lock": [True, True]}, "granted twice"),
        ({"release_lock": [False]}, "after its release"),
        ({"is_locked": [True]}, "after its release"),
    ],
)
def test_a_lock_that_answers_wrongly_fails(
    round_of: Probes,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, list[bool]],
    word: str,
) -> None:
    for name, given in answers.items():
        real = getattr(probes, name)
        left = iter(given)

        def answer(
            path: str,
            *,
            real: Callable[..., bool] = real,
            left: Iterator[bool] = left,
            **options: Any,
        ) -> bool:
            found = real(path, **options)
            return next(left, found)

        monkeypatch.setattr(probes, name, answer)
    status, detail = run(round_of, "lock")
    assert status == "fail"
    assert word in detail


@pytest.mark.parametrize(
    ("alive", "pid"),
    [("no", os.getpid()), ("yes", os.getpid() + 1)],
    ids=["dead", "another process's"],
)
def test_a_lock_that_is_not_shown_as_ours_fails(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch, alive: str, pid: int
) -> None:
    shown = SimpleNamespace(alive=alive, pid=pid)
    monkeypatch.setattr(probes, "inspect_lock", lambda _path: shown)
    status, detail = run(round_of, "lock")
    assert status == "fail"
    assert "live holder" in detail


def test_a_lock_error_is_its_own_detail(round_of: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, **_options: Any) -> bool:
        raise LockError(path, "because of the weather")

    monkeypatch.setattr(probes, "try_acquire_lock", refuse)
    assert run(round_of, "lock") == ("fail", "because of the weather")


def test_a_checksum_that_blesses_other_content_fails(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "read_atomic_bytes", lambda _path, **_options: b"other")
    assert "its checksum agrees" in run(round_of, "checksum")[1]


def test_damage_that_goes_unnoticed_fails(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "read_atomic_bytes", lambda _path, **_options: probes._NEW)
    assert run(round_of, "checksum") == ("fail", "damage to the content was not noticed")


def test_a_checksum_that_is_wrong_from_the_start_fails(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record_another(path: str, data: bytes, **options: Any) -> None:
        write_atomic_bytes(path, data, **options)
        side = Path(f"{path}.sha256")
        side.write_bytes(b"0" * 64 + side.read_bytes()[64:])

    monkeypatch.setattr(probes, "write_atomic_bytes", record_another)
    with pytest.raises(ChecksumMismatchError):
        run(round_of, "checksum")


@pytest.mark.parametrize("error", [OSError(errno.EINTR, "passing"), KeyboardInterrupt()])
def test_a_release_that_is_cut_short_is_done_once_more(
    round_of: Probes, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    errors = iter([error])

    def release(path: str) -> bool:
        for once in errors:
            raise once
        return release_lock(path)

    monkeypatch.setattr(probes, "release_lock", release)
    if isinstance(error, OSError):
        assert run(round_of, "lock")[0] == "pass"
    else:
        with pytest.raises(KeyboardInterrupt):
            run(round_of, "lock")
    assert not is_locked(round_of._path("lock"))


# ---------------------------------------------------------------------------------------- clean-up


def calls_of(name: str, place: Place) -> list[str]:
    """Return the system calls of a probe, in order."""
    calls: list[str] = []

    def wrap(entry: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            calls.append(entry)
            return call(*args, **options)

        return counted

    made = Probes(place)
    with intercept(wrap):
        run(made, name)
    made.clean()
    return calls


class Injector:
    """Raise once, at the n-th system call."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at = at
        self.error = error
        self.count = 0

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                if name == "close":
                    call(*args, **options)
                raise self.error
            return call(*args, **options)

        return counted


@pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="counts system calls, and there a collector decides when a descriptor is closed",
)
@pytest.mark.parametrize(
    "make",
    [KeyboardInterrupt, lambda: OSError(errno.EIO, "Input/output error")],
    ids=["SIGINT", "EIO"],
)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_behind_whatever_call_fails(
    place: Place, name: str, make: Callable[[], BaseException]
) -> None:
    total = len(calls_of(name, place))
    assert total > 0
    surfaced = 0
    for at in range(1, total + 1):
        made, error = Probes(place), make()
        try:
            with intercept(Injector(at, error).wrap):
                run(made, name)
        except BaseException as raised:
            assert raised is error or isinstance(raised, (OSError, SafeAtomicError))
            surfaced += 1
        finally:
            made.clean()
        assert os.listdir(place.directory) == [], f"call {at}"
    assert surfaced > 0


@pytest.mark.parametrize(("call", "at"), [("unlink", 3), ("listdir", 1), ("rmdir", 1)])
def test_an_interrupt_in_the_clean_up_does_not_end_it(place: Place, call: str, at: int) -> None:
    made = Probes(place)
    for role in probes._ROLES:
        for suffix in ("", ".lock", ".sha256"):
            Path(made._path(role) + suffix).touch()
    interrupt = Injector(at, KeyboardInterrupt()).wrap

    def wrap(name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        return interrupt(name, really) if name == call else really

    gc.collect()  # or the interrupt may fall into a finalizer, which swallows it
    with intercept(wrap), pytest.raises(KeyboardInterrupt):
        made.clean()
    assert os.listdir(place.directory) == []


def test_without_proc_the_probes_go_by_name(
    round_of: Probes, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    assert round_of._path("create") == f"{place.directory}/{round_of._name}/create"
    assert run(round_of, "replace")[0] == "pass"
