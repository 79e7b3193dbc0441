"""The doctor's verdict and a real write agree, and its probes stay where they belong.

Each place is made for real, in a mount namespace of its own, and asked twice: is the doctor's
report ``ok``, and does a plain write go through? The two answers are the same, and neither raises
anything that is not an error of the system or of this library.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mounted
from mounting import MARKS, privately
from safeatomic_core import SafeAtomicError, _mounts, doctor, write_atomic_bytes
from safeatomic_core._doctor import subject

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        shutil.which("setpriv") is None or shutil.which("mkfs.ext4") is None,
        reason="setpriv and mkfs.ext4 are needed",
    ),
]
OTHER, STRANGER = 3001, 3002


def become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def chattr(flag: str, path: Path) -> None:
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise mounted.NotPossibleError(f"no attributes here: {done.stderr}")


def target_in(place: Path, *, mode: int = 0o755, owner: int = 0, content: bytes = b"old") -> Path:
    """Make a directory with a file in it; ``mode`` is the directory's, ``owner`` the file's."""
    place.mkdir()
    target = place / "f"
    target.write_bytes(content)
    target.chmod(0o666)
    os.chown(target, owner, owner)
    place.chmod(mode)
    return target


# ------------------------------------------------------------------------------------- the places


def ordinary(work: Path) -> Path:
    return target_in(work / "d")


def absent(work: Path) -> Path:
    return target_in(work / "d").with_name("new")


def missing_directory(work: Path) -> Path:
    return work / "no" / "f"


def below_a_file(work: Path) -> Path:
    return target_in(work / "d") / "f"


def a_fifo(work: Path) -> Path:
    os.mkfifo(work / "fifo")
    return work / "fifo"


def a_dangling_link(work: Path) -> Path:
    (work / "link").symlink_to("nowhere")
    return work / "link"


def a_loop_of_links(work: Path) -> Path:
    (work / "loop").symlink_to("loop")
    return work / "loop"


def only_a_directory_by_its_name(work: Path) -> Path:
    return Path(f"{work}/new/")


def a_name_without_room_for_its_lock(work: Path) -> Path:
    return work / ("n" * 252)


def a_name_without_room_for_a_checksum(work: Path) -> Path:
    return work / ("n" * 249)


def immutable_file(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+i", target)
    return target


def append_only_file(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+a", target)
    return target


def immutable_directory(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+i", target.parent)
    return target


def append_only_directory(work: Path) -> Path:
    target = target_in(work / "d")
    chattr("+a", target.parent)
    return target


def a_file_that_is_mounted(work: Path) -> Path:
    target = target_in(work / "d")
    (work / "source").write_bytes(b"above")
    mounted.mount(str(work / "source"), target, "none", flags=0x1000)
    return target


def beside_a_file_that_is_mounted(work: Path) -> Path:
    return a_file_that_is_mounted(work).with_name("beside")


def read_only_mount(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    mounted.mount("none", point, "tmpfs")
    (point / "f").write_bytes(b"old")
    mounted.remount(point, "", readonly=True)
    return point / "f"


def without_an_inode(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    mounted.mount("none", point, "tmpfs", "nr_inodes=2")
    (point / "f").write_bytes(b"old")
    return point / "f"


def full(work: Path) -> Path:
    point = work / "m"
    point.mkdir()
    mounted.mount("none", point, "tmpfs", "size=64k")
    (point / "f").write_bytes(bytes(65536))
    return point / "f"


def somebody_elses_file_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777, owner=OTHER)
    become(STRANGER)
    return target


def own_file_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777, owner=OTHER)
    become(OTHER)
    return target


def in_a_directory_that_may_not_be_written(work: Path) -> Path:
    target = target_in(work / "d")
    become(STRANGER)
    return target


def in_a_directory_that_may_not_be_read(work: Path) -> Path:
    target = target_in(work / "d", mode=0o733)
    become(STRANGER)
    return target


def in_a_directory_that_may_not_be_entered(work: Path) -> Path:
    target = target_in(work / "d", mode=0o700)
    become(STRANGER)
    return target


def in_a_group_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o2775, owner=OTHER)
    os.chown(target.parent, 0, STRANGER)
    become(STRANGER)
    return target


def a_file_that_may_not_be_written(work: Path) -> Path:
    target = target_in(work / "d", mode=0o777)
    target.chmod(0o644)
    become(STRANGER)
    return target


def in_proc(_work: Path) -> Path:
    return Path("/proc/foo")


def in_sys(_work: Path) -> Path:
    return Path("/sys/foo")


def in_a_removed_working_directory(work: Path) -> Path:
    (work / "gone").mkdir()
    os.chdir(work / "gone")
    (work / "gone").rmdir()
    return Path("f")


def a_lock_of_another_tool(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.lock").mkdir()
    return target


def another_programs_list_at_the_sidecars_name(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.sha256").write_text(f"{'0' * 64}  another\n{'1' * 64}  one\n")
    return target


def a_directory_at_the_sidecars_name(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.sha256").mkdir()
    return target


GOOD = [
    ordinary,
    another_programs_list_at_the_sidecars_name,
    a_directory_at_the_sidecars_name,
    absent,
    a_dangling_link,
    a_name_without_room_for_a_checksum,
    beside_a_file_that_is_mounted,
    own_file_in_a_sticky_directory,
    in_a_group_directory,
]
BAD = [
    missing_directory,
    below_a_file,
    a_fifo,
    a_loop_of_links,
    only_a_directory_by_its_name,
    a_name_without_room_for_its_lock,
    immutable_file,
    append_only_file,
    immutable_directory,
    append_only_directory,
    a_file_that_is_mounted,
    read_only_mount,
    without_an_inode,
    full,
    somebody_elses_file_in_a_sticky_directory,
    in_a_directory_that_may_not_be_written,
    in_a_directory_that_may_not_be_read,
    in_a_directory_that_may_not_be_entered,
    a_file_that_may_not_be_written,
    in_proc,
    in_sys,
    in_a_removed_working_directory,
    a_lock_of_another_tool,
]


@pytest.mark.parametrize("make", [*GOOD, *BAD], ids=lambda make: make.__name__)
def test_the_doctor_and_a_write_agree(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    def body(work: Path) -> tuple[bool, str, list[str]]:
        root = work / "ext4"
        root.mkdir()
        if "tmpfs" not in make.__name__:
            mounted.mount("none", root, "tmpfs")  # whatever the test directory is on
            disk = root / "disk"
            with disk.open("wb") as file:
                file.truncate(32 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
            root = root / "m"
            root.mkdir()
            subprocess.run(["mount", "-o", "loop", disk, root], check=True)
        target = make(root)
        text = os.fspath(target) + ("/" if make is only_a_directory_by_its_name else "")
        report = doctor(text)
        failures = [str(check) for check in report.checks if check.status == "fail"]
        try:
            write_atomic_bytes(text, b"new")
        except (OSError, SafeAtomicError) as error:
            return report.ok, f"{type(error).__name__}: {error}", failures
        return report.ok, "", failures

    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(above.stat().st_mode | 0o111)
    ok, refused, failures = privately(tmp_path, body)
    assert ok == (not refused), (refused, failures)
    assert ok == (make in GOOD), (refused, failures)


# ------------------------------------------------------------------------ probes by a stronger user


def test_probes_by_root_in_somebodys_directory_write_nothing_outside_it(tmp_path: Path) -> None:
    """Whoever owns the directory puts links in the place of everything that appears in it."""
    yard, outside = tmp_path / "yard", tmp_path / "outside"
    yard.mkdir()
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    os.chown(yard, OTHER, OTHER)
    before = snapshot(outside)
    stop = threading.Event()
    swapped = 0

    def swap() -> None:
        nonlocal swapped
        while not stop.is_set():
            for name in os.listdir(yard):
                try:
                    os.rename(yard / name, tmp_path / f"taken-{swapped}")
                    os.symlink(outside, yard / name)
                    swapped += 1
                except OSError:
                    continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(20):
            doctor(yard / "f", destructive=True)
            for name in os.listdir(yard):
                with contextlib.suppress(OSError):
                    (yard / name).unlink()
    finally:
        stop.set()
        swapper.join()
    assert snapshot(outside) == before
    assert swapped > 0


def test_probes_follow_no_link_to_a_directory_that_was_swapped_in(tmp_path: Path) -> None:
    yard, outside = tmp_path / "yard", tmp_path / "outside"
    for place in (yard, outside):
        place.mkdir()
    before = snapshot(outside)

    def swap(_path: str) -> bool:  # asked between the resolution of the path and its opening
        yard.rename(tmp_path / "moved")
        yard.symlink_to(outside)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "_is_directory", swap)
        report = doctor(yard / "f", destructive=True)
    assert yard.is_symlink()
    assert not report.ok
    assert snapshot(outside) == before


def snapshot(place: Path) -> list[tuple[str, bytes, int]]:
    return [
        (path.name, path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in (place, *sorted(place.rglob("*")))
    ]


def test_attributes_are_seen_on_what_may_not_be_read(tmp_path: Path) -> None:
    def body(work: Path) -> int:
        target = target_in(work / "d")
        target.chmod(0o600)
        chattr("+a", target)
        fd = os.open(target.parent, os.O_RDONLY)
        try:
            become(STRANGER)
            return _mounts.attributes(fd, "f") or 0
        finally:
            os.close(fd)

    try:
        assert privately(tmp_path, body) & _mounts.APPEND_ONLY
    finally:
        subprocess.run(["chattr", "-R", "-f", "-a", tmp_path], check=False)
