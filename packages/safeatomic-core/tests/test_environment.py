"""Finding the mount of a directory, and describing it."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failing_calls import raising
from safeatomic_core import _environment as environment
from safeatomic_core import _mounts as mounts
from safeatomic_core._environment import describe, find_mount, parse_mount

TABLE = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:28 /@home /home rw,relatime shared:15 - btrfs /dev/vdb rw,subvolid=257,subvol=/@home
40 27 8:1 / /srv rw,relatime - xfs /dev/sda1 rw
41 27 8:1 /deep /srv/a/b rw,relatime - xfs /dev/sda1 rw
42 40 0:50 / /srv rw,relatime - tmpfs tmpfs rw
this line is not of that form
"""


def dev(text: str) -> int:
    return os.makedev(*map(int, text.split(":")))


@pytest.fixture(autouse=True)
def forget_what_was_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_suppressor", None)


@pytest.fixture
def no_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_process_findings", tuple)


# -------------------------------------------------------------------------------- the mount table


def test_the_mount_number_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: 41)
    monkeypatch.setattr(mounts, "directory_of", lambda _fd: "/srv/a/b/c")
    mount = find_mount(TABLE, dev("254:0"), 5, "")
    assert mount is not None
    assert (mount.number, mount.point) == (41, "/srv/a/b")


def test_a_mount_number_is_not_mistaken_for_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: 2)
    monkeypatch.setattr(mounts, "directory_of", lambda _fd: "/")
    monkeypatch.setattr(mounts, "statfs", lambda _fd: bytes(4096))
    assert find_mount(TABLE, dev("254:0"), 5, "") is None


@pytest.mark.parametrize(
    ("device", "path", "number"),
    [
        ("254:0", "/etc", 27),
        ("254:0", "/", 27),
        ("8:1", "/srv/a/b", 41),
        ("8:1", "/srv/a/b/c", 41),
        ("8:1", "/srv/a/bc", 40),
        ("8:1", "", 41),
        ("0:99", "/home/user", 31),  # a btrfs subvolume, whose device number no mount has
        ("0:99", "/proc/1", 22),  # the deepest
        ("0:99", "/srv/a", 42),  # of two mounts on one point the later hides the earlier
    ],
)
def test_without_mount_numbers_device_and_path_decide(device: str, path: str, number: int) -> None:
    mount = find_mount(TABLE, dev(device), None, path)
    assert mount is not None
    assert mount.number == number


def test_nothing_is_found_in_an_empty_table() -> None:
    assert find_mount(b"", dev("8:1"), None, "/srv") is None


def test_the_open_directory_tells_its_path_on_an_old_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: None)
    monkeypatch.setattr(mounts, "directory_of", lambda _fd: "/srv/a/b/c")
    mount = find_mount(TABLE, dev("8:1"), 5, "/somewhere/else")
    assert mount is not None
    assert mount.number == 41


def test_an_unreadable_fdinfo_leaves_device_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_proc", raising(errno.EACCES))
    mount = find_mount(TABLE, dev("8:1"), 0, "/srv/a/b")
    assert mount is not None
    assert mount.number == 41


def test_a_shortage_of_descriptors_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_proc", raising(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        find_mount(TABLE, dev("8:1"), 0, "/srv")


def test_mounts_of_one_device_are_counted() -> None:
    lines = TABLE.splitlines()
    assert environment.count_mounts(TABLE, parse_mount(lines[3])) == 2
    assert environment.count_mounts(TABLE, parse_mount(lines[1])) == 1
    assert environment.count_mounts(TABLE, None) == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"/a\\040b", "/a b"),
        (b"/a\\011b\\012c\\134d", "/a\tb\nc\\d"),
        (b"/\\043hash", "/#hash"),
        (b"/\\303\\244", "/ä"),
        (b"/\\377", "/\udcff"),
        (b"/back\\slash", "/back\\slash"),
        (b"/\\9\\04", "/\\9\\04"),
        (b"/\\777", "/\\777"),
        (b"/\\089", "/\\089"),
        (b"/\\081\\018", "/\\081\\018"),
        (b"/\\477", "/\\477"),
        (b"/end\\", "/end\\"),
    ],
)
def test_octal_escapes_are_undone(written: bytes, meant: str) -> None:
    mount = parse_mount(b"1 0 8:1 / " + written + b" rw - ext4 /dev/sda1 rw")
    assert mount is not None
    assert mount.point == meant


def kernel_escape(text: bytes) -> bytes:
    """Escape as seq_escape(m, s, " \\t\\n\\\\#") does."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in text)


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_every_mount_point_survives_the_kernels_escapes(name: bytes) -> None:
    line = b"1 0 8:1 / /" + kernel_escape(name) + b" rw shared:1 - ext4 /dev/sda1 rw"
    mount = parse_mount(line)
    assert mount is not None
    assert os.fsencode(mount.point or "") == b"/" + name


@given(st.binary(max_size=200))
def test_no_line_raises(line: bytes) -> None:
    parse_mount(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"1 2 3",
        b"x 1 8:1 / / rw - ext4 a rw",
        b"1 1 8:1 / / rw - ext4",
        b"1 1 8:1 / / rw ext4 a rw",
    ],
)
def test_a_line_of_another_form_is_no_mount(line: bytes) -> None:
    assert parse_mount(line) is None


def test_a_field_that_a_later_kernel_adds_at_the_end_does_no_harm() -> None:
    mount = parse_mount(b"1 1 8:1 / / rw - ext4 /dev/sda1 rw new")
    assert mount is not None
    assert (mount.fstype, mount.source, mount.options) == ("ext4", "/dev/sda1", ("rw",))


def test_options_of_mount_and_filesystem_are_merged() -> None:
    mount = parse_mount(b"1 1 8:1 / / ro,relatime - ext4 /dev/sda1 rw,relatime,nobarrier")
    assert mount is not None
    assert mount.options == ("ro", "relatime", "rw", "nobarrier")


# -------------------------------------------------------------------------------- the description


@pytest.mark.usefixtures("no_findings")
def test_a_description_reads_well() -> None:
    found = describe(parse_mount(TABLE.splitlines()[1]), dev("254:0"))
    assert str(found) == "ext4 (local_posix_persistent) at /, device 254:0"
    assert found.symlink_policy == "unspecified"
    assert (found.source, found.device, found.mount_point) == ("/dev/vda", "254:0", "/")
    assert found.supports_fsync_file
    assert found.supports_fsync_dir
    assert found.supports_atomic_replace


@pytest.mark.usefixtures("no_findings")
def test_findings_are_part_of_the_description() -> None:
    found = describe(parse_mount(b"1 1 8:1 / /d rw - ext4 /dev/sda1 rw,nobarrier"), dev("8:1"))
    assert "nobarrier" in str(found)
    assert not found.supports_fsync_file
    assert not found.supports_fsync_dir
    assert found.supports_atomic_replace


def test_an_unknown_mount_is_described_as_such() -> None:
    found = describe(None, dev("8:1"))
    assert (found.filesystem, found.filesystem_class) == ("unknown", "unknown")
    assert found.mount_point is None
    assert "at" not in str(found).split()


def test_windows_is_named_and_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "win32")
    monkeypatch.setattr(mounts, "read_proc", raising(errno.ENOENT))
    found = describe(None, 0)
    assert (found.filesystem, found.filesystem_class) == ("unknown", "windows")


def test_a_device_number_without_parts_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "major")
    assert environment.device_text(1234) == "1234"


def test_an_environment_can_be_pickled_and_compared() -> None:
    found = describe(parse_mount(TABLE.splitlines()[1]), dev("254:0"))
    copy = pickle.loads(pickle.dumps(found))
    assert copy == found
    assert hash(copy) == hash(found)
    with pytest.raises(AttributeError, match="immutable"):
        found.filesystem = "xfs"  # type: ignore[misc]


# ---------------------------------------------------------------- what the process itself removes


@pytest.mark.parametrize(
    "library",
    ["libeatmydata.so.1.1.3", "libeatmydata.so", "libnosync.so", "nosync-1.so", "libFakeFsync.so"],
)
def test_a_preloaded_suppressor_is_named(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    maps = f"7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/{library}\n7f02-7f03 rw-p 0 00:00 0\n"
    monkeypatch.setattr(mounts, "read_proc", lambda _path: maps.encode())
    assert describe(None, 0).durability_findings == (
        f"the preloaded library {library} ignores fsync",
    )


def test_a_directory_of_that_name_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = b"7f00-7f01 r-xp 00000000 08:01 1 /opt/nosync/libgood.so\n7f02 /opt/eatmydata.txt\n"
    monkeypatch.setattr(mounts, "read_proc", lambda _path: maps)
    assert describe(None, 0).durability_findings == ()


def test_without_proc_the_environment_variable_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_proc", raising(errno.ENOENT))
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libgood.so:/usr/lib/libeatmydata.so")
    assert "libeatmydata.so" in describe(None, 0).durability_findings[0]
    monkeypatch.delenv("LD_PRELOAD")
    monkeypatch.setattr(environment, "_suppressor", None)
    assert describe(None, 0).durability_findings == ()


def test_libraries_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read_proc(path: str) -> bytes:
        asked.append(path)
        return b""

    monkeypatch.setattr(mounts, "read_proc", read_proc)
    describe(None, 0)
    describe(None, 0)
    assert asked == ["/proc/self/maps"]


def test_a_shortage_while_looking_for_libraries_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_proc", raising(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        describe(None, 0)
    monkeypatch.setattr(mounts, "read_proc", lambda _path: b"")
    assert describe(None, 0).durability_findings == ()


def test_an_fsync_that_is_answered_by_a_filter_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "fsync_is_ignored", lambda: True)
    assert "seccomp" in describe(None, 0).durability_findings[0]


@pytest.mark.usefixtures("no_findings")
@pytest.mark.parametrize(
    ("line", "memory"),
    [
        (b"1 1 1:0 / /d rw - ext4 /dev/ram0 rw", True),
        (b"1 1 252:0 / /d rw - ext4 /dev/zram0 rw", True),
        (b"1 1 0:40 / /d rw - btrfs /dev/ram0 rw", True),
        (b"1 1 11:0 / /d rw - ext4 /dev/sr0 rw", False),
        (b"1 1 8:1 / /d rw - ext4 /dev/sda1 rw", False),
    ],
)
def test_a_ram_disk_is_recognised(line: bytes, memory: bool) -> None:
    mount = parse_mount(line)
    assert mount is not None
    assert environment.lives_in_memory(describe(mount, dev(mount.device))) == memory


def test_this_machines_root_is_found(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/mountinfo"):
        pytest.skip("no /proc/self/mountinfo here")
    table = mounts.read_proc("/proc/self/mountinfo")
    fd = mounts.open_directory(str(tmp_path))
    try:
        mount = find_mount(table, os.fstat(fd).st_dev, fd, "")
    finally:
        os.close(fd)
    shown = mount is not None and mount.point is not None  # in a chroot statfs alone knows it
    if not shown and not any(line.split()[4] == b"/" for line in table.splitlines()):
        pytest.skip("this root is a chroot: the table does not show its mount")
    assert mount is not None
    assert os.path.realpath(tmp_path).startswith(mount.point or "?")


def test_a_directory_that_does_not_tell_its_path_is_found_by_the_path_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: None)
    monkeypatch.setattr(mounts, "directory_of", raising(errno.ENOENT))
    mount = find_mount(TABLE, dev("8:1"), 5, "/srv/a/b/c")
    assert mount is not None
    assert mount.point == "/srv/a/b"


def test_a_shortage_while_a_directory_is_asked_for_its_path_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: None)
    monkeypatch.setattr(mounts, "directory_of", raising(errno.ENFILE))
    with pytest.raises(OSError, match="Too many open files in system"):
        find_mount(TABLE, dev("8:1"), 5, "/srv/a/b/c")


def test_the_first_mount_of_a_table_is_read_whole() -> None:
    mount = find_mount(TABLE, dev("0:21"), 5, "/", 22)
    assert mount is not None
    assert (mount.number, mount.fstype) == (22, "proc")


def test_an_environment_that_is_made_by_hand_can_do_everything() -> None:
    made = environment.Environment("linux", "ext4", "local_posix_persistent")
    assert (made.supports_fsync_file, made.supports_fsync_dir) == (True, True)
    assert made.supports_atomic_replace is True
    assert made.symlink_policy == "unspecified"
