"""What the doctor sees of the directory and the filesystem, without writing.

Every finding is brought about for real where possible.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _guarantees as guarantees
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core._doctor import block_device, permissions, process, sidecars, storage
from safeatomic_core._doctor import checks as look
from safeatomic_core._doctor.subject import Place, SkippedError, shown, size_text
from safeatomic_core._guarantees import GuaranteeReport
from safeatomic_core._posix import intercept

At = Callable[..., Place]
ReportOn = Callable[[str], GuaranteeReport]


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

        return other if name in ("stat", "fstat") else call

    return wrap


# ------------------------------------------------------------------------------------ the directory


def test_a_directory_that_is_there_passes(at: At, tmp_path: Path) -> None:
    assert look.parent_exists(at(tmp_path / "f")) == ("pass", f"{tmp_path} is a directory")
    assert look.parent_exists(at(tmp_path))[0] == "pass"


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("missing/f", "create it; the nearest directory that exists is"),
        ("file/f", "a part of the path is a file"),
        ("x" * 300 + "/f", "choose a shorter path"),
        ("loop/f", "a loop of symbolic links"),
    ],
)
def test_a_directory_that_cannot_be_used_fails_with_a_cure(
    at: At, tmp_path: Path, path: str, fix: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    status, detail = look.parent_exists(at(tmp_path / path))
    assert status == "fail"
    assert fix in detail


def test_a_directory_that_may_not_be_searched_fails(
    at: At, tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(mounts, "open_directory", refuse)
    faults.fail("open", errno.EACCES)
    status, detail = look.parent_exists(at(tmp_path / "f"))
    assert status == "fail"
    assert "this user may not enter it" in detail


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
    assert "ask its owner" in detail


def test_a_directory_that_an_ordinary_user_may_not_write_fails(at: At) -> None:
    def body(directory: str) -> bool:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        place = at(os.path.join(directory, "f"))
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ro - ext4 /dev/sda1 ro", "mounted read-only"),
        ("rw - ext4 /dev/sda1 rw,emergency_ro", "refuses every write after an error"),
        ("rw - ext4 /dev/sda1 rw,shutdown", "(shutdown)"),
        ("rw - proc proc rw", "nothing can be created in proc"),
    ],
)
def test_a_place_that_takes_no_file_from_anybody_fails(
    at: At, report_on: ReportOn, tmp_path: Path, line: str, words: str
) -> None:
    status, detail = look.parent_writable(at(tmp_path / "f", report_on(f"1 1 8:1 / / {line}")))
    assert status == "fail"
    assert words in detail


@pytest.mark.parametrize(
    ("flag", "words"),
    [(mounts.IMMUTABLE, "immutable"), (mounts.APPEND_ONLY, "append-only")],
)
def test_attributes_that_keep_names_in_place_fail(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, flag: int, words: str
) -> None:
    monkeypatch.setattr(mounts, "attributes", lambda _fd, _name="": flag)
    for found in (look.parent_writable(at(target)), look.target(at(target))):
        assert found[0] == "fail"
        assert words in found[1]
        assert "'chattr -" in found[1]


def test_a_directory_that_may_not_be_read_cannot_be_flushed(
    at: At, tmp_path: Path, faults: Any
) -> None:
    faults.fail("open", errno.EACCES, at=1)
    status, detail = look.parent_writable(at(tmp_path / "f"))
    assert status == "fail"
    assert "opened for reading" in detail


def test_a_file_that_is_a_mount_point_fails(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "is_mount_point", lambda _fd, _name: True)
    status, detail = look.target(at(target))
    assert status == "fail"
    assert "itself a mount point" in detail


def test_a_directory_that_is_gone_fails(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    place = at("f")
    gone.rmdir()
    try:
        with intercept(changed_stat(nlink=0)):
            assert "was removed" in look.parent_exists(at(tmp_path / "f"))[1]
        assert look.parent_exists(place)[0] == "pass"  # as it was when it was opened
        status, detail = look.parent_exists(at("f"))
        assert status == "fail"
        assert "the working directory was removed" in detail
    finally:
        os.chdir(tmp_path)


def test_where_the_place_above_cannot_be_seen_nothing_is_claimed_of_it(
    at: At, tmp_path: Path, faults: Any
) -> None:
    place = at(tmp_path / "missing" / "f")
    faults.fail("stat", errno.EACCES)
    assert "not to be seen from here" in look.parent_exists(place)[1]


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
    monkeypatch.setattr(permissions, "_has_fowner", lambda: False)
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
    at: At, report_on: ReportOn, tmp_path: Path, line: str, status: str, words: list[str]
) -> None:
    report = report_on(f"1 1 8:1 / / rw - {line}")
    found = storage.filesystem(at(tmp_path / "f", report), report)
    assert found[0] == status
    assert all(word in found[1] for word in words)


def test_options_that_cannot_be_seen_leave_durability_open(at: At, tmp_path: Path) -> None:
    mount = environment.Mount(1, "8:1", "/", None, (), "ext4", "/dev/sda1")
    report = guarantees._report_on(verdicts.judge(mount, os.makedev(8, 1)))
    status, detail = storage.durability(at(tmp_path / "f", report), report)
    assert status == "warn"
    assert "cannot be seen from here" in detail


def test_an_undetermined_filesystem_says_to_mount_proc(at: At, tmp_path: Path) -> None:
    report = guarantees.unknown_report()
    status, detail = storage.filesystem(at(tmp_path / "f", report), report)
    assert status == "fail"
    assert "mount /proc" in detail


@pytest.mark.parametrize(
    ("line", "status", "word"),
    [
        ("ext4 /dev/sda1 rw", "pass", "nothing was found"),
        ("ext4 /dev/sda1 rw,nobarrier", "fail", "Remount with barriers on"),
        ("overlay overlay rw,volatile", "fail", "volatile"),
        ("tmpfs tmpfs rw", "warn", "keep what matters on a disk"),
        ("ext4 /dev/zram0 rw", "warn", "RAM disk"),
        ("vfat /dev/sda1 rw", "fail", "use a local filesystem"),
        ("zfs tank/data rw", "warn", "given under 'filesystem'"),
        ("nfs4 filer:/x rw", "fail", "given under 'filesystem'"),
    ],
)
def test_durability_is_judged_with_its_reason(
    at: At, report_on: ReportOn, tmp_path: Path, line: str, status: str, word: str
) -> None:
    report = report_on(f"1 1 8:1 / / rw - {line}")
    found = storage.durability(at(tmp_path / "f", report), report)
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
    monkeypatch.setattr(process, "fsync_provider", lambda: library)
    found = storage.fsync_provider(at(tmp_path / "f"))
    assert found[0] == status
    assert library in found[1]


def test_an_fsync_that_is_ignored_fails(
    at: At, report_on: ReportOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "fsync_is_ignored", lambda: True)
    report = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw")
    assert storage.fsync_provider(at(tmp_path / "f", report))[0] == "fail"


def test_write_caches_are_looked_for_under_disks_only(
    at: At, report_on: ReportOn, tmp_path: Path
) -> None:
    for line in ("tmpfs tmpfs rw", "nfs4 filer:/x rw"):
        report = report_on(f"1 1 0:50 / / rw - {line}")
        assert storage.write_cache(at(tmp_path / "f", report))[0] == "unknown"
    assert storage.write_cache(at(tmp_path / "f"))[0] in ("pass", "unknown", "fail")


class Statvfs:
    """Free space as a test wants it."""

    def __init__(self, **values: int) -> None:
        self.f_frsize = 4096
        self.f_blocks = self.f_bavail = self.f_bfree = 1000
        self.f_files = self.f_favail = self.f_ffree = 1000
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
        (10, 100_000, "warn", "do not fit at once"),
        (1, 0, "fail", "free some space"),
        (0, 0, "fail", "free some space"),
    ],
)
def test_free_space_is_held_against_the_file(
    at: At, target: Path, blocks: int, size: int, status: str, word: str
) -> None:
    os.truncate(target, size)
    with with_statvfs(f_bavail=blocks, f_bfree=blocks):
        found = storage.free_space(at(target))
    assert found[0] == status
    assert word in found[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not use the reserve")
@pytest.mark.parametrize(("free", "status"), [(655, "fail"), (656, "fail"), (657, "warn")])
def test_what_ext4_keeps_for_itself_is_not_free(
    at: At, target: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    monkeypatch.setattr(block_device, "reserved_by_ext4", lambda _environment: 655)
    with with_statvfs(f_bavail=0, f_bfree=free):
        assert storage.free_space(at(target))[0] == status


def test_a_filesystem_without_a_size_is_unknown(at: At, tmp_path: Path) -> None:
    with with_statvfs(f_blocks=0):
        assert storage.free_space(at(tmp_path / "f"))[0] == "unknown"


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [(0, 0, "pass"), (100, 0, "fail"), (100, 1, "fail"), (100, 9, "warn"), (100, 50, "pass")],
)
def test_free_inodes(at: At, tmp_path: Path, total: int, free: int, status: str) -> None:
    with with_statvfs(f_files=total, f_favail=free, f_ffree=free):
        assert storage.free_inodes(at(tmp_path / "f"))[0] == status


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

    monkeypatch.setattr(process, "quota", quota)
    found = storage.quota(at(tmp_path / "f"))
    assert found[0] == status
    assert word in found[1]


def test_a_quota_that_may_not_be_asked_for_is_unknown(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> tuple[int, ...]:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(process, "quota", refuse)
    assert storage.quota(at(tmp_path / "f"))[0] == "unknown"


def test_a_setgid_directory_is_charged_to_its_group(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def quota(_device: str, kind: int, number: int) -> tuple[int, ...]:
        if kind == 1:
            asked.append(number)
        return NOTHING

    monkeypatch.setattr(process, "quota", quota)
    with intercept(changed_stat(mode=0o42775, gid=4711)):
        storage.quota(at(tmp_path / "f"))
    assert asked == [4711]


@pytest.mark.parametrize(
    ("length", "status", "word"),
    [
        (10, "pass", "sidecars fit"),
        (249, "warn", "no room for a checksum"),
        (252, "fail", "a checksum"),
        (255, "fail", "concurrency='none'"),
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


# ---------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    "check",
    [
        look.parent_writable,
        look.parent_trust,
        storage.free_space,
        storage.free_inodes,
        storage.quota,
        look.target,
        look.name_length,
        look.leftovers,
        sidecars.lock,
        sidecars.checksum,
    ],
)
def test_a_check_without_a_directory_is_skipped(
    at: At, tmp_path: Path, check: Callable[[Place], object]
) -> None:
    with pytest.raises(SkippedError, match="cannot be opened"):
        check(at(tmp_path / "missing" / "f"))


def test_a_place_that_fails_to_open_leaks_nothing(at: At, tmp_path: Path) -> None:
    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*args: Any, **options: Any) -> Any:
            if options.get("dir_fd") is not None:
                raise KeyboardInterrupt
            return call(*args, **options)

        return interrupted if name == "stat" else call

    before = len(os.listdir("/dev/fd"))
    with intercept(wrap), pytest.raises(KeyboardInterrupt):
        at(tmp_path / "f")
    assert len(os.listdir("/dev/fd")) == before


def test_closing_a_place_twice_is_harmless(at: At, tmp_path: Path) -> None:
    place = at(tmp_path)
    place.close()
    place.close()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("two words ä", "'two words ä'"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcff", "\\udcff"),
    ],
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
