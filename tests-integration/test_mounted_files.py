"""Single files that are mounted, as containers do it: refused, or written in place.

Docker's ``-v file:file`` and Kubernetes' ``subPath`` mount a file over a file. The mounts here are
real, from the same filesystem and from another one, and end with the process that made them.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import mounted
import safeatomic_core as sa
from safeatomic_core._in_place import COPY_PREFIX
from safeatomic_core._posix import intercept

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

T = TypeVar("T")
OLD, NEW = b"old content\n" * 3000, b"something new\n" * 5000
MOUNT_POINT = ["AtomicVisibility", "CrashDurability", "WriterExclusion", "IntegrityDetection"]


def privately(work: Path, function: Callable[[Path], T]) -> T:
    try:
        return mounted.in_private_namespace(work, function)
    except mounted.NotPossibleError as error:
        pytest.skip(str(error))


def mount_a_file(work: Path, other: bool, content: bytes = OLD) -> Path:
    """Mount a file of this filesystem, or of another one, over one in ``work/d``."""
    source = work / "source"
    if other:
        (work / "elsewhere").mkdir()
        mounted.mount("elsewhere", work / "elsewhere", "tmpfs", "size=4m")
        source = work / "elsewhere" / "source"
    source.write_bytes(content)
    target = work / "d" / "f"
    target.parent.mkdir()
    target.write_bytes(b"what the mount hides")
    mounted.mount(str(source), target, "none", flags=0x1000)
    return target


@pytest.mark.parametrize("other", [False, True], ids=["same", "other"])
def test_the_report_says_what_does_not_hold_for_the_file(tmp_path: Path, other: bool) -> None:
    def body(work: Path) -> tuple[list[str], list[str], bool]:
        target = mount_a_file(work, other)
        report = sa.inspect_guarantees(target)
        beside = sa.inspect_guarantees(target.with_name("beside"))
        return (
            [name for name, level in report.guarantees.items() if level == "Unsupported"],
            [name for name, level in beside.guarantees.items() if level == "Unsupported"],
            sa.doctor(target).ok,
        )

    assert privately(tmp_path, body) == (MOUNT_POINT, [], False)


@pytest.mark.parametrize("other", [False, True], ids=["same", "other"])
def test_strict_refuses_and_the_others_write_in_place(tmp_path: Path, other: bool) -> None:
    def body(work: Path) -> None:
        target = mount_a_file(work, other)
        inode = target.stat().st_ino
        for checked in (False, True):
            with pytest.raises(sa.UnsupportedEnvironmentError, match="mount point"):
                sa.write_atomic_bytes(target, NEW, write_checksum=checked)
            assert target.read_bytes() == OLD
            with pytest.warns(sa.UnsupportedEnvironmentWarning, match="mixture"):
                sa.write_atomic_bytes(target, NEW, safety="warn", write_checksum=checked)
            assert target.read_bytes() == NEW
            sa.write_atomic_bytes(target, OLD, safety="best_effort", write_checksum=checked)
            assert target.read_bytes() == OLD
            with sa.AtomicWriter(target, safety="best_effort", write_checksum=checked) as file:
                file.write(NEW)
            assert (target.read_bytes(), target.stat().st_ino) == (NEW, inode)
            assert not checked or sa.verify_checksum(target)
            beside = {"f.sha256"} if checked else set()
            assert set(os.listdir(target.parent)) == {"f"} | beside
            sa.write_atomic_bytes(target, OLD, safety="best_effort")
            assert os.listdir(target.parent) == ["f"], "a checksum that describes other content"

    privately(tmp_path, body)


def test_a_read_only_mount_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        target = mount_a_file(work, other=False)
        mounted.mount("none", target, "none", flags=0x1000 | 32 | 1)
        with pytest.raises(OSError, match="unchanged") as caught:
            sa.write_atomic_bytes(target, NEW, safety="best_effort")
        assert caught.value.errno == errno.EROFS
        assert (target.read_bytes(), os.listdir(target.parent)) == (OLD, ["f"])

    privately(tmp_path, body)


def test_a_filesystem_without_room_for_the_new_content_keeps_the_old(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        target = mount_a_file(work, other=True)  # on 4 MiB
        with pytest.raises(OSError, match="unchanged") as caught:
            sa.write_atomic_bytes(target, b"x" * (8 << 20), safety="best_effort")
        assert caught.value.errno == errno.ENOSPC
        assert (target.read_bytes(), os.listdir(target.parent)) == (OLD, ["f"])

    privately(tmp_path, body)


def test_a_directory_in_which_nothing_can_be_staged_is_an_error(tmp_path: Path) -> None:
    def body(work: Path) -> None:
        target = mount_a_file(work, other=True)
        mounted.mount(str(target.parent), target.parent, "none", flags=0x1000)
        mounted.mount(str(work / "elsewhere" / "source"), target, "none", flags=0x1000)
        mounted.mount("none", target.parent, "none", flags=0x1000 | 32 | 1)
        for concurrency in ("lock", "none"):
            with pytest.raises(OSError, match="unchanged") as caught:
                sa.write_atomic_bytes(target, NEW, safety="best_effort", concurrency=concurrency)
            assert caught.value.errno == errno.EROFS
        assert target.read_bytes() == OLD

    privately(tmp_path, body)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_call_there_is_old_new_or_a_mixture_beside_the_copy(
    tmp_path: Path, tally: Counter[str], checked: bool, when: str
) -> None:
    def body(work: Path) -> tuple[int, list[str]]:
        target = mount_a_file(work, other=True)
        number, wrong = 0, list[str]()
        while True:
            number += 1
            sa.write_atomic_bytes(target, OLD, safety="best_effort", write_checksum=True)
            if not _dies_at(number, when, target, checked):
                return number - 1, wrong
            copies = [n for n in os.listdir(target.parent) if n.startswith(COPY_PREFIX)]
            content = target.read_bytes()
            if content not in (OLD, NEW) and not any(
                (target.parent / copy).read_bytes() == NEW for copy in copies
            ):
                wrong.append(f"call {number}: a mixture, and no copy")
            try:
                if not sa.verify_checksum(target) and content in (OLD, NEW):
                    wrong.append(f"call {number}: a false alarm")
            except FileNotFoundError:
                pass  # retired, as it has to be
            for copy in copies:
                os.unlink(target.parent / copy)
            left = {n for n in os.listdir(target.parent) if n != "f" and "sum" not in n}
            sa.write_atomic_bytes(target, NEW, safety="best_effort")
            if os.listdir(target.parent) != ["f"]:
                wrong.append(f"call {number}: the next writer leaves {left}")

    kills, wrong = privately(tmp_path, body)
    assert kills > 25
    assert not wrong, wrong[:10]
    tally["kills while a mounted file is written in place"] += kills


def _dies_at(number: int, when: str, target: Path, checked: bool) -> bool:
    """Write in a child that dies at its n-th system call; tell whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def wrap(_name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def stand_in(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count == number and when == "before":
                    os._exit(1)
                result = call(*args, **kwargs)
                if count == number:
                    os._exit(1)
                return result

            return stand_in

        with intercept(wrap):
            sa.write_atomic_bytes(target, NEW, safety="best_effort", write_checksum=checked)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 1
