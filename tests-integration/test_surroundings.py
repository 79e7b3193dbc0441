"""What surrounds a running program: mounts that change, namespaces, chroots, who eats its fsync."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mounted
import safeatomic_core
from mounted import NotPossibleError
from mounting import MARKS, on, privately
from safeatomic_core import (
    UnsupportedEnvironmentError,
    doctor,
    inspect_guarantees,
    read_atomic_bytes,
    write_atomic_bytes,
)

SOURCE = Path(safeatomic_core.__file__).parent.parent

pytestmark = MARKS


# --------------------------------------------------------------------- what changes while we run


def test_a_device_number_that_goes_to_another_filesystem_is_looked_at_anew(tmp_path: Path) -> None:
    def body(work: Path) -> tuple[list[str], bool]:
        point = work / "mnt"
        point.mkdir()
        names, numbers = [], []
        for fstype in ("tmpfs", "ramfs", "tmpfs"):
            mounted.mount("memory", point, fstype)
            numbers.append(point.stat().st_dev)
            names += [inspect_guarantees(point).environment.filesystem for _ in range(2)]
            mounted.unmount(point)
        return names, len(set(numbers)) == 1

    for _ in range(10):
        names, reused = privately(tmp_path, body)
        assert names == ["tmpfs", "tmpfs", "ramfs", "ramfs", "tmpfs", "tmpfs"]
        if reused:
            return
    pytest.skip("the kernel gave every mount another device number")


def test_barriers_that_are_switched_off_stop_the_next_write(tmp_path: Path) -> None:
    def body(place: Path) -> list[str]:
        target = place / "f"
        seen = []
        for options in ("", "nobarrier", "barrier"):
            if options:
                mounted.remount(place, options)
            try:
                write_atomic_bytes(target, options.encode())
                seen.append("written")
            except UnsupportedEnvironmentError as error:
                seen.append(error.guarantee)
        return [*seen, target.read_text("utf-8")]

    assert on("ext4", tmp_path, body) == ["written", "CrashDurability", "written", "barrier"]


def test_a_program_that_closed_all_its_descriptors_goes_on(tmp_path: Path) -> None:
    def body(place: Path) -> list[str]:
        target = place / "f"
        write_atomic_bytes(target, b"before")
        keep = {0, 1, 2, *_pipes()}
        for fd in set(map(int, os.listdir("/proc/self/fd"))) - keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the listing's own
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]  # they get the numbers
        mounted.remount(place, "nobarrier")
        try:
            write_atomic_bytes(target, b"after")
        except UnsupportedEnvironmentError as error:
            return [error.guarantee, *(os.readlink(f"/proc/self/fd/{fd}") for fd in others)]
        return ["written"]

    found = on("ext4", tmp_path, body)
    assert found == ["CrashDurability", *["/dev/null"] * 20]


def _pipes() -> list[int]:
    """Return the descriptors by which this child answers."""
    return [
        fd
        for fd in map(int, os.listdir("/proc/self/fd"))
        if os.path.lexists(f"/proc/self/fd/{fd}")
        and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    ]


def test_a_process_that_enters_another_namespace_sees_what_is_mounted_there(
    tmp_path: Path,
) -> None:
    def body(place: Path) -> list[str]:
        seen = [inspect_guarantees(place).environment.filesystem]
        mounted.leave_mount_namespace()
        mounted.mount("over", place, "ramfs")
        seen.append(inspect_guarantees(place).environment.filesystem)
        return seen

    assert on("tmpfs", tmp_path, body) == ["tmpfs", "ramfs"]


def test_in_a_chroot_the_filesystem_is_known_but_not_its_options(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[str, str, str, bool]:
        inside = place / "inside"
        (inside / "proc").mkdir(parents=True)
        mounted.mount("proc", inside / "proc", "proc")
        os.chroot(inside)
        os.chdir("/")
        write_atomic_bytes("/f", b"content", write_checksum=True)
        report = inspect_guarantees("/f")
        return (
            report.environment.filesystem,
            report.guarantees["CrashDurability"],
            report.guarantees["AtomicVisibility"],
            read_atomic_bytes("/f", check_checksum=True) == b"content",
        )

    for name in ("ext4", "xfs", "btrfs"):
        assert on(name, tmp_path, body) == (name, "BestEffort", "Guaranteed", True)


def test_without_proc_everything_is_unknown_and_strict_refuses(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[str, str, bool]:
        doctor(place.parent)  # on another device: this imports what cannot be found later
        (place / "inside").mkdir()
        os.chroot(place / "inside")
        os.chdir("/")
        report = doctor("/f")
        try:
            write_atomic_bytes("/f", b"")
        except UnsupportedEnvironmentError as error:
            hint = next(check.detail for check in report.checks if check.name == "filesystem")
            return error.filesystem, report.environment.filesystem_class, "mount /proc" in hint
        return "", "", False

    assert on("ext4", tmp_path, body) == ("an unknown filesystem", "unknown", True)


# ------------------------------------------------------------------- who eats fsync in this process

SUPPRESSOR = "int fsync(int fd) { (void)fd; return 0; }\n"
ASK = """
import sys
from safeatomic_core import UnsupportedEnvironmentError, doctor, write_atomic_bytes
report = doctor(sys.argv[1])
for check in report.checks:
    if check.name in ("durability", "fsync_provider"):
        print(check.status, check.detail)
try:
    write_atomic_bytes(sys.argv[1] + "/f", b"")
except UnsupportedEnvironmentError as error:
    print(error.guarantee, error.level)
"""


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
@pytest.mark.parametrize("library", ["libeatmydata.so", "libharmless.so"])
def test_a_preloaded_fsync_suppressor_is_found_whatever_its_name(
    tmp_path: Path, library: str, python: str
) -> None:
    # The system's interpreter is often not position-independent, which hides the provider.
    asked = "import sys; print(sys.version_info >= (3, 11))"
    if (
        not os.path.exists(python)
        or subprocess.run([python, "-c", asked], capture_output=True, check=False).stdout
        != b"True\n"
    ):
        pytest.skip(f"no {python} of version 3.11 or newer")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the library with")
    source, built = tmp_path / "suppressor.c", tmp_path / library
    source.write_text(SUPPRESSOR)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, source], check=True)

    def body(place: Path) -> str:
        done = subprocess.run(
            [python, "-c", ASK, place],
            # A relative path: blanks separate the libraries of LD_PRELOAD.
            env={**os.environ, "LD_PRELOAD": f"./{library}", "PYTHONPATH": str(SOURCE)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    (tmp_path / "work").mkdir()
    durability, provider, refused = on("ext4", tmp_path / "work", body).splitlines()
    assert durability.startswith("fail")
    assert (library in durability) == (library == "libeatmydata.so")
    assert provider.startswith("fail")
    assert library in provider
    assert refused == "CrashDurability Unsupported"


def test_a_seccomp_filter_that_answers_fsync_is_found(tmp_path: Path) -> None:
    # What systemd-nspawn --suppress-sync and SystemCallFilter=~@sync:0 install.
    numbers = {"x86_64": 74, "aarch64": 82}
    number = numbers.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of fsync is not known for this machine")

    def body(place: Path, number: int) -> list[str]:
        write_atomic_bytes(place / "f", b"before")
        if not _suppress(number):
            raise NotPossibleError("no seccomp filters here")
        os.fsync(2**31 - 1)  # would raise EBADF
        mounted.remount(place, "")  # the verdict of before was right; a new one is asked for
        try:
            write_atomic_bytes(place / "f", b"after")
        except UnsupportedEnvironmentError as error:
            return [error.guarantee, error.reason]
        return []

    guarantee, reason = on("ext4", tmp_path, functools.partial(body, number=number))
    assert guarantee == "CrashDurability"
    assert "seccomp" in reason


def _suppress(number: int) -> bool:
    """Let a system call of this process return 0 without being made (seccomp(2))."""

    class Instruction(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_uint16),
            ("jt", ctypes.c_uint8),
            ("jf", ctypes.c_uint8),
            ("k", ctypes.c_uint32),
        )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction)))

    code = (Instruction * 4)(
        Instruction(0x20, 0, 0, 0),  # load the system call's number
        Instruction(0x15, 0, 1, number),  # is it this one?
        Instruction(0x06, 0, 0, 0x00050000),  # SECCOMP_RET_ERRNO with errno 0
        Instruction(0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    program = Program(4, code)
    prctl = mounted.libc.prctl
    allowed: int = prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return allowed == 0 and bool(prctl(22, 2, ctypes.byref(program), 0, 0) == 0)
