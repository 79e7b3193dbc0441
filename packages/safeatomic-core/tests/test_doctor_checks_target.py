"""What the doctor sees of the file itself, its lock and checksum, and of leftovers beside it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    LockError,
    _mounts,
    inspect_lock,
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._advice import typed
from safeatomic_core._checksum_record import Checksum, format_record
from safeatomic_core._digests import hash_bytes
from safeatomic_core._doctor import checks as look
from safeatomic_core._doctor import permissions, sidecars
from safeatomic_core._doctor.checks import PROBE_PREFIX
from safeatomic_core._doctor.subject import Place
from safeatomic_core._lock_file import PINNED
from safeatomic_core._posix import kernel

At = Callable[..., Place]


# --------------------------------------------------------------------------------------- the target


def test_targets_of_every_kind(at: At, tmp_path: Path) -> None:
    (tmp_path / "regular").write_bytes(b"12345")
    (tmp_path / "fifo").parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "twin").write_bytes(b"")
    os.link(tmp_path / "twin", tmp_path / "other-twin")
    (tmp_path / "link").symlink_to("regular")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(tmp_path)  # a socket's path is short
            listener.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
    expected = {
        "regular": ("pass", "a regular file of 5 bytes"),
        "absent": ("pass", "does not exist yet"),
        "fifo": ("fail", "a FIFO"),
        "socket": ("fail", "a socket"),
        "twin": ("warn", "2 hard links"),
        "link": ("warn", "a symbolic link, which is followed"),
        "dangling": ("warn", "does not exist yet: a symbolic link"),
        "loop": ("fail", "a loop of symbolic links"),
    }
    for name, (status, word) in expected.items():
        found = look.target(at(tmp_path / name))
        assert found[0] == status, name
        assert word in found[1], name
        assert "[Errno" not in found[1], name
    assert look.target(at(tmp_path)) == (
        "pass",
        "the path is a directory; give a file's path to have the file examined",
    )


# ---------------------------------------------------------------------------------------- leftovers


def temp(directory: Path, number: int, size: int) -> Path:
    path = directory / f".safeatomic-tmp-{number:016x}.tmp"
    path.write_bytes(bytes(size))
    return path


def test_an_empty_directory_has_no_leftovers(at: At, tmp_path: Path) -> None:
    assert look.leftovers(at(tmp_path / "f"))[0] == "pass"


def test_orphans_are_counted_with_their_size_and_left_alone(at: At, tmp_path: Path) -> None:
    orphans = [temp(tmp_path, number, 1500) for number in range(2)]
    status, detail = look.leftovers(at(tmp_path / "f"))
    assert status == "warn"
    assert "2 orphaned temporary files, 2.9 KiB" in detail
    assert "safeatomic clean" in detail
    assert all(path.exists() for path in orphans)
    orphans[0].unlink()
    assert "1 orphaned temporary file," in look.leftovers(at(tmp_path / "f"))[1]


def test_temps_of_living_writers_are_no_orphans(at: At, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with temp(tmp_path, 1, 10).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert look.leftovers(at(tmp_path / "f")) == (
            "pass",
            "1 temporary file of running writers, none orphaned",
        )


def test_a_temp_that_its_writer_is_about_to_flock_is_no_orphan(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    with temp(tmp_path, 1, 0).open("rb") as file:
        monkeypatch.setattr(time, "sleep", lambda _time: fcntl.flock(file, fcntl.LOCK_EX))
        assert look.leftovers(at(tmp_path / "f"))[0] == "pass"


def test_the_copy_of_an_interrupted_write_in_place_is_named(at: At, tmp_path: Path) -> None:
    copy = tmp_path / ".safeatomic-copy-0123456789abcdef.tmp"
    copy.write_bytes(b"complete")
    status, detail = look.leftovers(at(tmp_path / "f"))
    assert status == "warn"
    assert "1 complete copy of what was being written in place" in detail
    assert f"cat {typed(str(copy))} > FILE && sync FILE" in detail


def test_another_programs_file_that_was_moved_aside_is_named(
    at: At, tmp_path: Path, faults: Any
) -> None:
    import fcntl

    displaced = tmp_path / ".safeatomic-sum-0123456789abcdef.tmp"
    displaced.write_bytes(b"two lists\nof another program\n")
    (tmp_path / ".safeatomic-sum-odd").touch()
    status, detail = look.leftovers(at(tmp_path / "f"))
    assert status == "warn"
    assert "1 file of another program" in detail
    assert displaced.name in detail
    with displaced.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # its writer is at work
        assert look.leftovers(at(tmp_path / "f"))[0] == "pass"
    for call in ("open", "flock"):
        place = at(tmp_path / "f")
        faults.fail(call, errno.EACCES)
        assert look.leftovers(place)[0] == "pass"
        faults.rules.clear()


def test_files_of_a_killed_doctor_are_reported(at: At, tmp_path: Path) -> None:
    (tmp_path / f"{PROBE_PREFIX}0123456789abcdef-lock").touch()
    status, detail = look.leftovers(at(tmp_path / "f"))
    assert status == "warn"
    assert "1 directory named" in detail


# ---------------------------------------------------------------------------------------- the lock


def write_lock(target: Path, **changes: object) -> Path:
    payload: dict[str, object] = {
        "version": 1,
        "pid": os.getpid(),
        "hostname": os.uname().nodename,
        "session_hash": None,
        "timestamp": "2026-01-02T03:04:05Z",
        "kernel_lock": "flock",
        "token": "t",
    }
    payload.update(changes)
    lock = target.with_name(target.name + ".lock")
    lock.write_text(json.dumps({key: value for key, value in payload.items() if value != ""}))
    return lock


def test_no_lock_and_a_directory_pass(at: At, target: Path) -> None:
    assert sidecars.lock(at(target)) == ("pass", "not locked")
    assert sidecars.lock(at(target.parent))[0] == "pass"


def test_a_living_holder_passes(at: At, target: Path) -> None:
    assert try_acquire_lock(target)
    try:
        status, detail = sidecars.lock(at(target))
    finally:
        release_lock(target)
    assert status == "pass"
    assert f"process {os.getpid()}" in detail
    assert "alive" in detail


def test_a_dead_holder_is_taken_over_by_the_next_writer(at: At, target: Path) -> None:
    lock = write_lock(target)
    status, detail = sidecars.lock(at(target))
    assert status == "warn"
    assert "the next writer takes it over" in detail
    assert lock.exists()


@pytest.mark.parametrize("content", [b'{"_meta": {}}', b"x" * 5000, b"a\nb\n"])
def test_what_force_would_leave_alone_is_to_be_moved_away(
    at: At, target: Path, content: bytes
) -> None:
    target.with_name(target.name + ".lock").write_bytes(content)
    status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert detail.endswith("if it is not needed, move it away")


def test_a_dead_lock_that_somebody_keeps_blocks_every_writer(at: At, target: Path) -> None:
    with write_lock(target).open() as pin:
        fcntl.flock(pin, fcntl.LOCK_SH)
        status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert detail.endswith(f"which is dead, and {PINNED}")


def test_a_lock_that_lost_its_payload_in_a_crash_is_taken_over(at: At, target: Path) -> None:
    lock = target.with_name(target.name + ".lock")
    lock.write_bytes(bytes(20))
    lock.chmod(0o1600)
    assert sidecars.lock(at(target))[0] == "warn"


def test_a_dead_lock_of_another_kind_must_be_removed(at: At, target: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    write_lock(target, kernel_lock="", pid=child)
    status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert "release_stale_lock()" in detail


def test_a_file_that_may_not_be_written_says_whose_it_is(
    at: At, target: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "access", lambda name, _mode, _fd: name == ".", raising=False)
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: name == target.name)
    status, detail = look.target(at(target))
    assert status == "fail"
    assert "may not write the file (mode 0640" in detail


@pytest.mark.parametrize("reason", ["immutable", "append-only", "mount point", "sticky"])
def test_a_lock_or_a_checksum_that_cannot_be_removed_fails(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    write_atomic_bytes(target, b"x", write_checksum=True)
    write_lock(target)
    place = at(target)
    assert sidecars.lock(place)[0] == "warn"
    assert sidecars.checksum(place)[0] == "pass"
    flags = {"immutable": _mounts.IMMUTABLE, "append-only": _mounts.APPEND_ONLY}.get(reason, 0)
    monkeypatch.setattr(_mounts, "attributes", lambda _fd, _name: flags)
    if reason == "mount point":
        monkeypatch.setattr(sidecars, "is_mount_point", lambda _fd, _name: True)
    if reason == "sticky":
        target.parent.chmod(0o1777)
        monkeypatch.setattr(permissions, "may_replace_in_sticky", lambda *_: False)
    for check in (sidecars.lock, sidecars.checksum):
        status, detail = check(at(target))
        assert status == "fail"
        assert reason in detail


def test_a_lock_of_another_host_is_in_every_writer_s_way(at: At, target: Path) -> None:
    write_lock(target, kernel_lock="", hostname="elsewhere")
    status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert "elsewhere" in detail
    with pytest.raises(LockError):
        write_atomic_bytes(target, b"new")


def test_a_lock_that_may_not_be_read_is_another_user_s(at: At, target: Path, faults: Any) -> None:
    write_lock(target)
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: name.endswith(".lock"))
    status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert "another user" in detail
    assert str(inspect_lock(target)) == f"{target}: locked (alive: unknown)"


def test_a_corrupt_lock_fails(at: At, target: Path) -> None:
    target.with_name(target.name + ".lock").write_bytes(b"something else")
    status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert "force_release_lock()" in detail
    lock = target.with_name(target.name + ".lock")
    lock.unlink()
    lock.mkdir()  # how another tool locks
    status, detail = sidecars.lock(at(target))
    assert status == "fail"
    assert "move it away" in detail


# ------------------------------------------------------------------------------------- the checksum


def test_no_checksum_and_a_directory_pass(at: At, target: Path) -> None:
    assert sidecars.checksum(at(target))[0] == "pass"
    assert sidecars.checksum(at(target.parent))[0] == "pass"


def test_a_matching_checksum_passes(at: At, target: Path) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True, safety="best_effort")
    assert sidecars.checksum(at(target)) == ("pass", "the content matches its checksum")


def test_damage_fails(at: At, target: Path) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True, safety="best_effort")
    target.write_bytes(b"other")
    status, detail = sidecars.checksum(at(target))
    assert status == "fail"
    assert hash_bytes(b"content", "sha256")[:16] in detail
    assert hash_bytes(b"other", "sha256")[:16] in detail


@pytest.mark.parametrize("current", [b"old", b"new"])
def test_an_interrupted_pair_is_good_and_said_to_be_unsettled(
    at: At, target: Path, current: bytes
) -> None:
    digests = {word: hash_bytes(word, "sha256") for word in (b"old", b"new")}
    record = Checksum("sha256", digests[b"new"], (("sha256", digests[b"old"]),))
    target.with_name(target.name + ".sha256").write_bytes(format_record(target.name, record)[0])
    target.write_bytes(current)
    status, detail = sidecars.checksum(at(target))
    assert status == "warn"
    assert "interrupted" in detail


def test_what_a_plain_write_leaves_alone_is_a_warning(at: At, target: Path) -> None:
    sidecar = target.with_name(target.name + ".sha256")
    for content in (b"nonsense", b"", b"00" * 32 + b"  another file\n"):
        sidecar.write_bytes(content)
        status, detail = sidecars.checksum(at(target))
        assert status == "warn"
        assert "is not a checksum sidecar" in detail
    write_atomic_bytes(target, b"new", safety="best_effort")
    assert sidecar.read_bytes() == content


def test_a_list_of_another_program_is_verified_by_its_line(at: At, target: Path) -> None:
    digest = hash_bytes(b"old", "sha256")
    listed = f"{digest}  {target.name}\n{digest}  another\n"
    target.with_name(target.name + ".sha256").write_text(listed)
    assert sidecars.checksum(at(target)) == ("pass", "the content matches its checksum")
    target.write_bytes(b"damaged")
    assert sidecars.checksum(at(target))[0] == "fail"


def test_a_sidecar_without_its_file_is_a_warning(at: At, target: Path) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True, safety="best_effort")
    target.unlink()
    assert sidecars.checksum(at(target))[0] == "warn"


def test_an_unknown_algorithm_is_unknown(at: At, target: Path) -> None:
    target.with_name(target.name + ".sha256").write_bytes(
        b"00ff" * 16 + b"  data.bin\n# algo=rot13\n# timestamp=2026-01-02T03:04:05Z\n"
    )
    status, detail = sidecars.checksum(at(target))
    assert status == "unknown"
    assert "rot13" in detail


@pytest.mark.parametrize(("mode", "kept"), [(0o755, False), (0o1755, True)])
def test_somebody_else_s_sidecar_stays_in_a_sticky_directory_only(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, mode: int, kept: bool
) -> None:
    Path(f"{target}.lock").symlink_to("nowhere")  # the link itself is what stays
    target.parent.chmod(mode)
    monkeypatch.setattr(permissions, "may_replace_in_sticky", lambda *_: False)
    found = sidecars._kept_in_place(at(target), "data.bin.lock")
    assert ("in a sticky directory" in (found or "")) is kept
