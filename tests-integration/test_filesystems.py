"""Every filesystem that can be mounted here, for real; and what changes under a running program."""

from __future__ import annotations

import ctypes
import errno
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

import mounted
import safeatomic_core
from mounted import KINDS, ODD_NAME, Kind, NotPossibleError, in_private_namespace, run_on
from safeatomic_core import (
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
    doctor,
    inspect_guarantees,
    read_atomic_bytes,
    write_atomic_bytes,
)

_T = TypeVar("_T")
ROOT = Path(__file__).parent.parent
SOURCE = Path(safeatomic_core.__file__).parent.parent

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0,
        reason="mounting takes root on Linux",
    ),
]


def load_generator() -> ModuleType:
    path = ROOT / "docs" / "generate_supported_environments.py"
    spec = importlib.util.spec_from_file_location("generate_supported_environments", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generator = load_generator()


def kind_named(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def on(name: str, work: Path, function: Callable[[Path], _T]) -> _T:
    """Run a function on a mounted filesystem, or skip with the reason why it cannot be mounted."""
    try:
        return run_on(kind_named(name), work, function)
    except NotPossibleError as reason:
        pytest.skip(str(reason))


def privately(work: Path, function: Callable[[Path], _T]) -> _T:
    """Run a function with mounts of its own, or skip."""
    try:
        return in_private_namespace(work, function)
    except NotPossibleError as reason:
        pytest.skip(str(reason))


# ------------------------------------------------------------------------------- the whole table

LOCAL, MEMORY = "local_posix_persistent", "local_posix_memory"
YES, SOME, NOT, NO = "Guaranteed", "BestEffort", "NonTarget", "Unsupported"
ALL = (YES, YES, YES, YES)
EXPECTED = {
    "ext4": ("ext4", LOCAL, ALL, "works"),
    "ext4, nobarrier": ("ext4", LOCAL, (YES, NO, YES, SOME), "refused: CrashDurability"),
    "ext4, data=journal": ("ext4", LOCAL, ALL, "works"),
    "ext4, data=writeback": ("ext4", LOCAL, ALL, "works"),
    "ext4, read-only": ("ext4", LOCAL, ALL, "fails: Read-only file system"),
    "ext4, bind mount": ("ext4", LOCAL, ALL, "works"),
    "ext4, odd name": ("ext4", LOCAL, ALL, "works"),
    "ext3": ("ext3", LOCAL, (SOME,) * 4, "works"),
    "ext2": ("ext2", LOCAL, (SOME,) * 4, "works"),
    "xfs": ("xfs", LOCAL, ALL, "works"),
    "btrfs": ("btrfs", LOCAL, ALL, "works"),
    "btrfs, nobarrier": ("btrfs", LOCAL, (YES, NO, YES, SOME), "refused: CrashDurability"),
    "btrfs, subvolume": ("btrfs", LOCAL, ALL, "works"),
    "tmpfs": ("tmpfs", MEMORY, (YES, SOME, YES, YES), "works"),
    "ramfs": ("ramfs", MEMORY, (SOME,) * 4, "works"),
    "overlay": ("overlay", LOCAL, (SOME,) * 4, "works"),
    "overlay, volatile": ("overlay", LOCAL, (SOME, NO, SOME, SOME), "refused: CrashDurability"),
    "fuse, no known server": ("fuse.memory", "unknown", (NOT,) * 4, "refused: AtomicVisibility"),
    "fuse, sshfs": ("fuse.sshfs", "network", (NOT,) * 4, "refused: AtomicVisibility"),
    "fuse, s3fs": ("fuse.s3fs", "object_store", (NO,) * 4, "refused: AtomicVisibility"),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_filesystem_is_what_the_table_says(kind: Kind, tmp_path: Path) -> None:
    try:
        found = generator.measure_kind(kind)
    except NotPossibleError as reason:
        pytest.skip(str(reason))
    filesystem, filesystem_class, levels, strict = EXPECTED[kind.name]
    assert found.filesystem == filesystem
    assert found.filesystem_class == filesystem_class
    assert found.levels == levels
    assert found.strict == strict
    assert bool(found.findings) == ("nobarrier" in kind.name or "volatile" in kind.name)
    # A filesystem that is refused can still be good: the probes say what it does.
    status = "unknown" if "read-only" in kind.name else "pass"
    assert {name: status for name, _ in found.probes} == dict(found.probes)
    assert len(found.probes) == 8
    assert set(found.left) <= {"file", "file.sha256"}
    assert bool(found.left) == (strict == "works")
    page = generator.PAGE.read_text("utf-8")
    assert generator.row_of(page, kind.name) == generator.row(found)


def test_every_kind_is_expected_and_in_the_page() -> None:
    page = generator.PAGE.read_text("utf-8")
    assert set(EXPECTED) == {kind.name for kind in KINDS}
    assert all(generator.row_of(page, kind.name) for kind in KINDS)


def test_the_samples_of_the_page_are_current() -> None:
    page = generator.PAGE.read_text("utf-8")
    assert generator.replaced(page, "samples", generator.sample_rows()) == page


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_every_guarantee_holds_on_tier_1_but_surviving_the_machine_in_memory(
    name: str, tmp_path: Path
) -> None:
    def body(place: Path) -> tuple[str, ...]:
        return inspect_guarantees(place).degraded()

    expected = ("CrashDurability",) if name == "tmpfs" else ()
    assert on(name, tmp_path, body) == expected


# -------------------------------------------------------------------------------- what is reported


def test_a_mount_point_is_reported_as_it_is_spelled(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[str | None, str, bool]:
        report = doctor(place / "f")
        summary = report.summary()
        return (
            report.environment.mount_point,
            summary,
            all(len(line) <= 80 for line in summary.splitlines()),
        )

    point, summary, narrow = on("ext4, odd name", tmp_path, body)
    assert point == str(tmp_path / ODD_NAME)
    assert narrow
    assert "\t" not in summary


def test_a_bind_mount_and_its_origin_are_told_apart(tmp_path: Path) -> None:
    def body(place: Path) -> list[str | None]:
        origin = place.parent / "mnt"
        return [
            inspect_guarantees(path).environment.mount_point
            for path in (place, origin, place, origin)
        ]

    bound, origin = str(tmp_path / "bind"), str(tmp_path / "mnt")
    assert on("ext4, bind mount", tmp_path, body) == [bound, origin, bound, origin]


def test_a_subvolume_has_a_number_that_no_mount_has(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[bool, bool, str]:
        environment = inspect_guarantees(place).environment
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        listed = f" {environment.device} " in table
        again = inspect_guarantees(place / "new").environment
        return listed, again == environment, environment.filesystem

    assert on("btrfs, subvolume", tmp_path, body) == (False, True, "btrfs")


def test_the_write_cache_of_a_loop_device_is_found_with_its_file(tmp_path: Path) -> None:
    def body(place: Path) -> list[str]:
        return [check.detail for check in doctor(place).checks if check.name == "write_cache"]

    for name in ("ext4", "btrfs"):  # by the device number, and by the name of the source
        (detail,) = on(name, tmp_path, body)
        assert "loop" in detail
        assert str(tmp_path / "image") in detail


def test_the_upper_mount_of_two_on_one_point_counts(tmp_path: Path) -> None:
    def body(place: Path) -> list[str]:
        found = [inspect_guarantees(place).environment.filesystem]
        mounted.mount("over", place, "ramfs")
        found.append(inspect_guarantees(place).environment.filesystem)
        mounted.unmount(place)
        found.append(inspect_guarantees(place).environment.filesystem)
        return found

    assert on("tmpfs", tmp_path, body) == ["tmpfs", "ramfs", "tmpfs"]


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


# ---------------------------------------------------------------------------- warn and best effort


def test_warn_and_best_effort_go_on_where_strict_refuses(tmp_path: Path) -> None:
    def body(place: Path) -> tuple[list[str], bytes]:
        target = place / "f"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_atomic_bytes(target, b"warned", write_checksum=True, safety="warn")
            seen = [
                f"{os.path.basename(found.filename)} {found.category.__name__}" for found in caught
            ]
            write_atomic_bytes(target, b"silent", write_checksum=True, safety="best_effort")
            assert len(caught) == len(seen)
        return seen, read_atomic_bytes(target, check_checksum=True, safety="best_effort")

    for name in ("fuse, no known server", "ext4, nobarrier", "overlay, volatile"):
        seen, content = on(name, tmp_path, body)
        assert seen == [f"{Path(__file__).name} {UnsupportedEnvironmentWarning.__name__}"], name
        assert content == b"silent"


# ------------------------------------------------------------------------------ space and quota


def test_a_full_filesystem_is_reported_before_a_write_fails(tmp_path: Path) -> None:
    def body(work: Path) -> list[tuple[str, str]]:
        results: list[tuple[str, str]] = []
        for options in ("size=512k", "nr_inodes=3"):
            point = work / options
            point.mkdir()
            mounted.mount("small", point, "tmpfs", options)
            (point / "f").write_bytes(bytes(100_000))
            if options.startswith("nr"):
                (point / "last").touch()
            else:
                (point / "other").write_bytes(bytes(360_000))
            checks = {check.name: check for check in doctor(point / "f", destructive=True).checks}
            results += [
                (name, checks[name].status) for name in ("free_space", "free_inodes", "probe_lock")
            ]
            assert sorted(path.name for path in point.iterdir())[0] == "f"
            assert len(list(point.iterdir())) == 2
        return results

    assert privately(tmp_path, body) == [
        ("free_space", "fail"),
        ("free_inodes", "pass"),
        ("probe_lock", "pass"),
        ("free_space", "pass"),
        ("free_inodes", "fail"),
        ("probe_lock", "fail"),
    ]


def test_a_quota_that_is_used_up_is_reported_and_its_error_says_what_to_do(tmp_path: Path) -> None:
    def body(work: Path) -> tuple[str, str, str, int]:
        place = mounted.quota_ext4(work, user=65534, limit_kib=64)
        os.setegid(65534)
        os.seteuid(65534)
        target = place / "f"
        write_atomic_bytes(target, bytes(1000))
        before = _check(doctor(target), "quota")
        (place / "filler").write_bytes(bytes(40_000))
        try:
            write_atomic_bytes(target, bytes(60_000))
        except OSError as error:
            code, text = error.errno or 0, str(error)
        with (place / "rest").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                pass  # the quota is used up now
        return before, _check(doctor(target), "quota"), text, code

    before, after, text, code = privately(tmp_path, body)
    assert before.startswith("pass: user 65534")
    assert "limits 64.0 KiB" in before
    assert after.startswith("fail: user 65534")
    assert code == errno.EDQUOT
    assert "quota is used up" in text


def _check(report: safeatomic_core.DoctorReport, name: str) -> str:
    return next(f"{check.status}: {check.detail}" for check in report.checks if check.name == name)


# ------------------------------------------------------------------- who eats fsync in this process

EATER = "int fsync(int fd) { (void)fd; return 0; }\n"
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
def test_a_preloaded_fsync_eater_is_found_whatever_its_name(
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
    (tmp_path / "eater.c").write_text(EATER)
    built = tmp_path / library
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, tmp_path / "eater.c"], check=True)

    def body(place: Path) -> str:
        done = subprocess.run(
            [python, "-c", ASK, place],
            env={**os.environ, "LD_PRELOAD": str(built), "PYTHONPATH": str(SOURCE)},
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
