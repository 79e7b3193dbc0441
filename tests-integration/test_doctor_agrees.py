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
from places import BAD, GOOD
from places.making import OTHER, STRANGER, become, chattr, target_in
from places.names import only_a_directory_by_its_name
from safeatomic_core import SafeAtomicError, _mounts, doctor, write_atomic_bytes
from safeatomic_core._doctor import subject

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        shutil.which("setpriv") is None or shutil.which("mkfs.ext4") is None,
        reason="setpriv and mkfs.ext4 are needed",
    ),
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
    doctor(tmp_path)  # loads what a user whom a place makes of this one may not read any more
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
