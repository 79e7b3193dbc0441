"""What the doctor sees without writing: every finding brought about for real where possible."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safeatomic_core import _guarantees as guarantees
from safeatomic_core import _inspections as look
from safeatomic_core import _mounts as mounts
from safeatomic_core import (
    release_lock,
    try_acquire_lock,
    write_atomic_bytes,
)
from safeatomic_core._checksum import Checksum, format_record, hash_bytes
from safeatomic_core._environment import parse_mount
from safeatomic_core._inspections import PROBE_PREFIX, SkippedError
from safeatomic_core._place import Place, shown, size_text
from safeatomic_core._posix import intercept

if TYPE_CHECKING:
    from safeatomic_core._guarantees import GuaranteeReport


def report_on(line: str) -> GuaranteeReport:
    mount = parse_mount(line.encode())
    assert mount is not None
    return guarantees._judge(mount, os.makedev(*map(int, mount.device.split(":")))).report


EXT4 = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw")


class Opened:
    """Places that are closed at the end of the test."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    def __call__(self, path: str | Path, report: GuaranteeReport = EXT4) -> Place:
        place = Place(str(path), report.environment)
        self.places.append(place)
        return place


@pytest.fixture
def at() -> Any:
    opened = Opened()
    yield opened
    for place in opened.places:
        place.close()


At = Callable[..., Place]


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

        return other if name == "stat" else call

    return wrap


# ------------------------------------------------------------------------------------ the directory


def test_a_directory_that_is_there_passes(at: At, tmp_path: Path) -> None:
    assert look.parent_exists(at(tmp_path / "f")) == ("pass", f"{tmp_path} is a directory")
    assert look.parent_exists(at(tmp_path))[0] == "pass"


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("missing/f", "create it; the nearest directory that exists is"),
        ("file/f", "a part of the path is a file"),
        ("x" * 300 + "/f", "choose a shorter path"),
        ("loop/f", "a loop of symbolic links"),
    ],
)
def test_a_directory_that_cannot_be_used_fails_with_a_cure(
    at: At, tmp_path: Path, path: str, cure: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    status, detail = look.parent_exists(at(tmp_path / path))
    assert status == "fail"
    assert cure in detail


def test_a_directory_that_may_not_be_searched_fails(
    at: At, tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(mounts, "open_directory", refuse)
    faults.fail("open", errno.EACCES)
    status, detail = look.parent_exists(at(tmp_path / "f"))
    assert status == "fail"
    assert "may not search" in detail


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
    assert "chmod u+wx" in detail


def test_a_directory_that_an_ordinary_user_may_not_write_fails() -> None:
    def body(directory: str) -> bool:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        place = Place(os.path.join(directory, "f"), EXT4.environment)
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


def test_a_read_only_mount_fails(at: At, tmp_path: Path) -> None:
    place = at(tmp_path / "f", report_on("1 1 8:1 / / ro - ext4 /dev/sda1 ro"))
    status, detail = look.parent_writable(place)
    assert status == "fail"
    assert "read-only" in detail


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


def test_somebody_elses_file_in_a_sticky_directory_cannot_be_replaced(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").touch()
    monkeypatch.setattr(os, "geteuid", lambda: ME + 5)
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


# ----------------------------------------------------------------------------------- the filesystem


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("ext4 /dev/sda1 rw", "pass", ["ext4 (local_posix_persistent)"]),
        ("zfs tank/data rw", "warn", ["BestEffort for AtomicVisibility", "zfs"]),
        ("nfs4 filer:/x rw", "fail", ["NonTarget", "network filesystem", "safety='warn'"]),
        ("fuse.s3fs s3fs rw", "fail", ["Unsupported", "objects"]),
        ("whatfs x rw", "fail", ["not known to this library"]),
    ],
)
def test_the_filesystem_is_judged_by_its_guarantees(
    at: At, tmp_path: Path, line: str, status: str, words: list[str]
) -> None:
    report = report_on(f"1 1 8:1 / / rw - {line}")
    found = look.filesystem(at(tmp_path / "f", report), report)
    assert found[0] == status
    assert all(word in found[1] for word in words)


def test_an_undetermined_filesystem_says_to_mount_proc(at: At, tmp_path: Path) -> None:
    report = guarantees.unknown_report()
    status, detail = look.filesystem(at(tmp_path / "f", report), report)
    assert status == "fail"
    assert "mount /proc" in detail


@pytest.mark.parametrize(
    ("line", "status", "word"),
    [
        ("ext4 /dev/sda1 rw", "pass", "nothing was found"),
        ("ext4 /dev/sda1 rw,nobarrier", "fail", "remount with barriers on"),
        ("overlay overlay rw,volatile", "fail", "volatile"),
        ("tmpfs tmpfs rw", "warn", "keep what matters on a disk"),
        ("ext4 /dev/zram0 rw", "warn", "RAM disk"),
        ("zfs tank/data rw", "warn", "sync=disabled"),
        ("nfs4 filer:/x rw", "fail", "use a local filesystem"),
    ],
)
def test_durability_is_judged_with_its_reason(
    at: At, tmp_path: Path, line: str, status: str, word: str
) -> None:
    report = report_on(f"1 1 8:1 / / rw - {line}")
    found = look.durability(at(tmp_path / "f", report), report)
    assert found[0] == status
    assert word in found[1]


@pytest.mark.parametrize(
    ("library", "status"),
    [
        ("/lib/x86_64-linux-gnu/libc.so.6", "pass"),
        ("/lib/ld-musl-x86_64.so.1", "pass"),
        ("/usr/lib/system/libsystem_kernel.dylib", "pass"),
        ("/usr/local/bin/static-python", "pass"),
        ("/usr/lib/libclever.so", "warn"),
    ],
)
def test_the_provider_of_fsync_is_named(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, status: str
) -> None:
    monkeypatch.setattr(mounts, "fsync_provider", lambda: library)
    found = look.fsync_provider(at(tmp_path / "f"))
    assert found[0] == status
    assert library in found[1]


def test_an_fsync_that_is_ignored_fails(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "fsync_is_ignored", lambda: True)
    report = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw")
    assert look.fsync_provider(at(tmp_path / "f", report))[0] == "fail"


def test_write_caches_are_looked_for_under_disks_only(at: At, tmp_path: Path) -> None:
    for line in ("tmpfs tmpfs rw", "nfs4 filer:/x rw"):
        report = report_on(f"1 1 0:50 / / rw - {line}")
        assert look.write_cache(at(tmp_path / "f", report))[0] == "unknown"
    assert look.write_cache(at(tmp_path / "f"))[0] in ("pass", "unknown", "fail")


class Statvfs:
    """Free space as a test wants it."""

    def __init__(self, **values: int) -> None:
        self.f_frsize = 4096
        self.f_blocks = self.f_bavail = 1000
        self.f_files = self.f_favail = 1000
        self.f_namemax = 255
        vars(self).update(values)


def with_statvfs(**values: int) -> intercept:
    return intercept(
        lambda name, call: (lambda _fd: Statvfs(**values)) if name == "fstatvfs" else call
    )


@pytest.mark.parametrize(
    ("blocks", "size", "status", "word"),
    [
        (1000, 0, "pass", "3.9 MiB free"),
        (1000, 5000, "pass", "the file has 4.9 KiB"),
        (300, 100_000, "warn", "tight"),
        (10, 100_000, "fail", "free some space"),
        (0, 0, "fail", "free some space"),
    ],
)
def test_free_space_is_held_against_the_file(
    at: At, target: Path, blocks: int, size: int, status: str, word: str
) -> None:
    os.truncate(target, size)
    with with_statvfs(f_bavail=blocks):
        found = look.free_space(at(target))
    assert found[0] == status
    assert word in found[1]


def test_a_filesystem_without_a_size_is_unknown(at: At, tmp_path: Path) -> None:
    with with_statvfs(f_blocks=0):
        assert look.free_space(at(tmp_path / "f"))[0] == "unknown"


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [(0, 0, "pass"), (100, 0, "fail"), (100, 9, "warn"), (100, 50, "pass")],
)
def test_free_inodes(at: At, tmp_path: Path, total: int, free: int, status: str) -> None:
    with with_statvfs(f_files=total, f_favail=free):
        assert look.free_inodes(at(tmp_path / "f"))[0] == status


NOTHING = (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("user", "group", "status", "word"),
    [
        (NOTHING, None, "pass", "0 bytes, 0 inodes in use"),
        ((10240, 8192, 4096, 0, 0, 3), NOTHING, "pass", "limits 10.0 KiB and 0 inodes"),
        ((0, 0, 4096, 0, 5, 3), NOTHING, "pass", "limits 0 bytes and 5 inodes"),
        ((10240, 8192, 10240, 0, 0, 3), None, "fail", "EDQUOT"),
        ((0, 0, 0, 3, 0, 3), None, "fail", "EDQUOT"),
        ((10240, 8192, 9000, 0, 0, 3), None, "warn", "soft limit"),
        (None, (0, 0, 0, 0, 2, 3), "warn", "group"),
        (None, None, "pass", "no quota"),
    ],
)
def test_a_quota_is_held_against_what_is_used(
    at: At,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: tuple[int, ...] | None,
    group: tuple[int, ...] | None,
    status: str,
    word: str,
) -> None:
    def quota(_device: str, kind: int, _number: int) -> tuple[int, ...]:
        limits = (user, group)[kind]
        if limits is None:
            raise ProcessLookupError(errno.ESRCH, "No such process")
        return limits

    monkeypatch.setattr(mounts, "quota", quota)
    found = look.quota(at(tmp_path / "f"))
    assert found[0] == status
    assert word in found[1]


def test_a_quota_that_may_not_be_asked_for_is_unknown(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> tuple[int, ...]:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(mounts, "quota", refuse)
    assert look.quota(at(tmp_path / "f"))[0] == "unknown"


def test_a_setgid_directory_is_charged_to_its_group(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def quota(_device: str, kind: int, number: int) -> tuple[int, ...]:
        if kind == 1:
            asked.append(number)
        return NOTHING

    monkeypatch.setattr(mounts, "quota", quota)
    with intercept(changed_stat(mode=0o42775, gid=4711)):
        look.quota(at(tmp_path / "f"))
    assert asked == [4711]


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
        "loop": ("fail", "a symbolic link"),
    }
    for name, (status, word) in expected.items():
        found = look.target(at(tmp_path / name))
        assert found[0] == status, name
        assert word in found[1], name
    assert look.target(at(tmp_path)) == (
        "pass",
        "the path is a directory; give a file's path to have the file examined",
    )


@pytest.mark.parametrize(
    ("length", "status", "word"),
    [
        (10, "pass", "sidecars fit"),
        (249, "warn", "no room for a checksum"),
        (252, "warn", "a lock and a checksum"),
        (255, "warn", "a lock and a checksum"),
        (256, "fail", "255 are allowed"),
    ],
)
def test_names_are_measured_with_their_sidecars(
    at: At, tmp_path: Path, length: int, status: str, word: str
) -> None:
    with with_statvfs():
        found = look.name_length(at(tmp_path / ("n" * length)))
    assert found[0] == status
    assert word in found[1]


def test_a_directory_has_no_name_to_measure(at: At, tmp_path: Path) -> None:
    assert look.name_length(at(tmp_path))[0] == "pass"


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
            "1 temporary file of writers at work, no orphan",
        )


def test_files_of_a_killed_doctor_are_reported(at: At, tmp_path: Path) -> None:
    (tmp_path / f"{PROBE_PREFIX}0123456789abcdef-lock").touch()
    status, detail = look.leftovers(at(tmp_path / "f"))
    assert status == "warn"
    assert "1 file named" in detail


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
    assert look.lock(at(target)) == ("pass", "not locked")
    assert look.lock(at(target.parent))[0] == "pass"


def test_a_living_holder_passes(at: At, target: Path) -> None:
    assert try_acquire_lock(target)
    try:
        status, detail = look.lock(at(target))
    finally:
        release_lock(target)
    assert status == "pass"
    assert f"process {os.getpid()}" in detail
    assert "alive" in detail


def test_a_dead_holder_is_taken_over_by_the_next_writer(at: At, target: Path) -> None:
    lock = write_lock(target)
    status, detail = look.lock(at(target))
    assert status == "warn"
    assert "the next writer takes it over" in detail
    assert lock.exists()


def test_a_lock_that_lost_its_payload_in_a_crash_is_taken_over(at: At, target: Path) -> None:
    lock = target.with_name(target.name + ".lock")
    lock.write_bytes(bytes(20))
    lock.chmod(0o1600)
    assert look.lock(at(target))[0] == "warn"


def test_a_dead_lock_of_another_kind_must_be_removed(at: At, target: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    write_lock(target, kernel_lock="", pid=child)
    status, detail = look.lock(at(target))
    assert status == "fail"
    assert "release_stale_lock()" in detail


def test_a_lock_of_another_host_is_unknown(at: At, target: Path) -> None:
    write_lock(target, kernel_lock="", hostname="elsewhere")
    status, detail = look.lock(at(target))
    assert status == "warn"
    assert "elsewhere" in detail


def test_a_corrupt_lock_fails(at: At, target: Path) -> None:
    target.with_name(target.name + ".lock").write_bytes(b"something else")
    status, detail = look.lock(at(target))
    assert status == "fail"
    assert "force_release_lock()" in detail


# ------------------------------------------------------------------------------------- the checksum


def test_no_checksum_and_a_directory_pass(at: At, target: Path) -> None:
    assert look.checksum(at(target))[0] == "pass"
    assert look.checksum(at(target.parent))[0] == "pass"


def test_a_matching_checksum_passes(at: At, target: Path) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True, safety="best_effort")
    assert look.checksum(at(target)) == ("pass", "the content matches its checksum")


def test_damage_fails(at: At, target: Path) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True, safety="best_effort")
    target.write_bytes(b"other")
    status, detail = look.checksum(at(target))
    assert status == "fail"
    assert hash_bytes(b"content", "sha256")[:16] in detail
    assert hash_bytes(b"other", "sha256")[:16] in detail


@pytest.mark.parametrize("current", [b"old", b"new"])
def test_an_interrupted_pair_is_good_and_said_to_be_unsettled(
    at: At, target: Path, current: bytes
) -> None:
    digests = {word: hash_bytes(word, "sha256") for word in (b"old", b"new")}
    record = Checksum("sha256", digests[b"new"], (("sha256", digests[b"old"]),), "now")
    target.with_name(target.name + ".sha256").write_bytes(format_record(target.name, record)[0])
    target.write_bytes(current)
    status, detail = look.checksum(at(target))
    assert status == "warn"
    assert "interrupted" in detail


def test_a_malformed_sidecar_fails(at: At, target: Path) -> None:
    target.with_name(target.name + ".sha256").write_bytes(b"nonsense")
    status, detail = look.checksum(at(target))
    assert status == "fail"
    assert "is no checksum sidecar" in detail


def test_a_sidecar_without_its_file_is_a_warning(at: At, target: Path) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True, safety="best_effort")
    target.unlink()
    assert look.checksum(at(target))[0] == "warn"


def test_an_unknown_algorithm_is_unknown(at: At, target: Path) -> None:
    target.with_name(target.name + ".sha256").write_bytes(
        b"00ff  data.bin\n# algo=rot13\n# timestamp=2026-01-02T03:04:05Z\n"
    )
    status, detail = look.checksum(at(target))
    assert status == "unknown"
    assert "rot13" in detail


# ---------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    "check",
    [
        look.parent_writable,
        look.parent_trust,
        look.free_space,
        look.free_inodes,
        look.quota,
        look.target,
        look.name_length,
        look.leftovers,
        look.lock,
        look.checksum,
    ],
)
def test_a_check_without_a_directory_is_skipped(
    at: At, tmp_path: Path, check: Callable[[Place], object]
) -> None:
    with pytest.raises(SkippedError, match="cannot be opened"):
        check(at(tmp_path / "missing" / "f"))


def test_a_place_that_fails_to_open_leaks_nothing(tmp_path: Path) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*args: Any, **options: Any) -> Any:
            if options.get("dir_fd") is not None:
                raise KeyboardInterrupt
            return call(*args, **options)

        return interrupted if name == "stat" else call

    before = len(os.listdir("/dev/fd"))
    with intercept(wrap), pytest.raises(KeyboardInterrupt):
        Place(str(tmp_path / "f"), EXT4.environment)
    assert len(os.listdir("/dev/fd")) == before


def test_closing_a_place_twice_is_harmless(at: At, tmp_path: Path) -> None:
    place = at(tmp_path)
    place.close()
    place.close()


@pytest.mark.parametrize(
    ("text", "safe"),
    [("plain ä", "plain ä"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("\udcff", "\\udcff")],
)
def test_what_does_not_print_is_escaped(text: str, safe: str) -> None:
    assert shown(text) == safe


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (2 << 30, "2.0 GiB"),
    ],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert size_text(size) == text
