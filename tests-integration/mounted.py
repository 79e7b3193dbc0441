"""Real filesystems for the tests and for the table in the documentation.

A child process makes, mounts and uses each one in a mount namespace of its own, on a tmpfs that
only this namespace has. When the child ends, for any reason, the kernel unmounts everything,
detaches the loop devices and frees the images: nothing can be left behind.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
import shutil
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import memory_fuse

_T = TypeVar("_T")
_NEWNS = 0x20000  # CLONE_NEWNS
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RDONLY, _MS_REMOUNT = 0x1000, 0x4000, 0x40000, 1, 32
ODD_NAME = "a mount point\nwith a newline,\ta tab and a \\"

libc = ctypes.CDLL(None, use_errno=True)


class Kind(NamedTuple):
    """One filesystem that can be mounted here.

    Attributes:
        name: What the table calls it.
        make: Makes and mounts it under a work directory; returns the directory to use.
        needs: Programs and files without which it is skipped.
        note: What is special about it.
    """

    name: str
    make: Callable[[Path], Path]
    needs: tuple[str, ...]
    note: str


class NotPossibleError(Exception):
    """This machine cannot do it; the message says why."""


def mount(source: str, point: Path, fstype: str, options: str = "", flags: int = 0) -> None:
    """Call mount(2)."""
    if (
        libc.mount(
            source.encode(),
            os.fsencode(point),
            fstype.encode(),
            ctypes.c_ulong(flags),
            options.encode(),
        )
        != 0
    ):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"mount {fstype} {options}")


def unmount(point: Path) -> None:
    """Call umount(2)."""
    if libc.umount(os.fsencode(point)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(point))


def remount(point: Path, options: str, *, readonly: bool = False) -> None:
    """Change the options of a mounted filesystem."""
    mount("none", point, "none", options, _MS_REMOUNT | (_MS_RDONLY if readonly else 0))


def leave_mount_namespace() -> None:
    """Enter a mount namespace of our own, from which nothing spreads."""
    if libc.unshare(_NEWNS) != 0:
        code = ctypes.get_errno()
        raise NotPossibleError(f"no mount namespace of our own: {os.strerror(code)}")
    mount("none", Path("/"), "none", flags=_MS_REC | _MS_PRIVATE)


def in_private_namespace(
    work: Path,
    function: Callable[[Path], _T],
    *,
    fuse: bool = False,
    ignores_case: bool = False,
) -> _T:
    """Run a function in a child process with mounts of its own, and return its result.

    Args:
        work: An empty directory; the child sees a tmpfs there.
        function: Called with that directory; what it returns must pickle.
        fuse: Start a FUSE server first, for `mount_fuse`.
        ignores_case: Names of its files that differ in case only are one.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        start = functools.partial(memory_fuse.start, ignores_case=ignores_case) if fuse else None
        _run_child(writer, work, function, start)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        raise RuntimeError(f"the child ended with status {status} and said nothing")
    kind, value = pickle.loads(answer)
    if kind == "result":
        return cast(_T, value)
    if kind == "impossible":
        raise NotPossibleError(value)
    raise RuntimeError(f"in the child:\n{value}")


_fuse_fds = (-1, -1)


def _run_child(
    writer: int,
    work: Path,
    function: Callable[[Path], _T],
    start_fuse: Callable[[], tuple[int, int]] | None,
) -> None:
    global _fuse_fds
    answer: tuple[str, object]
    try:
        memory_fuse.die_with_parent()
        if start_fuse is not None:
            _fuse_fds = start_fuse()
        leave_mount_namespace()
        mount("work", work, "tmpfs", "size=1g,mode=755")
        answer = ("result", function(work))
    except NotPossibleError as error:
        answer = ("impossible", str(error))
    except BaseException:
        answer = ("error", traceback.format_exc())
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
    finally:
        os._exit(0)


def run_on(kind: Kind, work: Path, function: Callable[[Path], _T]) -> _T:
    """Make a filesystem, run a function in a directory on it, and return its result."""
    for need in kind.needs:
        if not (os.path.exists(need) if need.startswith("/") else shutil.which(need)):
            raise NotPossibleError(f"{need} is missing")

    def body(place: Path) -> _T:
        return function(kind.make(place))

    return in_private_namespace(work, body, fuse=kind.name.startswith("fuse"))


# ----------------------------------------------------------------------------- how each is made


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotPossibleError(f"{command[0]}: {done.stderr.strip() or done.returncode}")


def _on_loop(
    work: Path, mkfs: tuple[str, ...], fstype: str, options: str = "", size_mb: int = 32
) -> Path:
    image, point = work / "image", work / "mnt"
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    point.mkdir()
    _run(*mkfs, image)
    # mount(8) attaches the loop device with autoclear: it goes with the last mount.
    _run("mount", "-t", fstype, "-o", "loop" + ("," + options if options else ""), image, point)
    return point


def _ext(work: Path, *features: str, fstype: str = "ext4", options: str = "") -> Path:
    return _on_loop(work, (f"mkfs.{fstype}", "-q", "-F", *features), fstype, options)


def _no_journal(work: Path) -> Path:
    return _ext(work, "-O", "^has_journal")


def _xfs(work: Path) -> Path:
    return _on_loop(work, ("mkfs.xfs", "-q", "-f"), "xfs", size_mb=320)


def _btrfs(work: Path, options: str = "") -> Path:
    return _on_loop(work, ("mkfs.btrfs", "-q", "-f"), "btrfs", options, size_mb=128)


def _btrfs_subvolume(work: Path) -> Path:
    place = _btrfs(work) / "subvolume"
    _run("btrfs", "subvolume", "create", place)
    return place


def _memory(work: Path, fstype: str) -> Path:
    point = work / "mnt"
    point.mkdir()
    mount("memory", point, fstype)
    return point


def _overlay(work: Path, options: str = "") -> Path:
    for name in ("lower", "upper", "scratch", "mnt"):
        (work / name).mkdir()
    layers = f"lowerdir={work}/lower,upperdir={work}/upper,workdir={work}/scratch"
    mount("overlay", work / "mnt", "overlay", f"{layers},{options}" if options else layers)
    return work / "mnt"


def _bind(work: Path) -> Path:
    point = _ext(work)
    (point / "inside").mkdir()
    (work / "bind").mkdir()
    mount(str(point / "inside"), work / "bind", "none", flags=_MS_BIND)
    return work / "bind"


def _odd_name(work: Path) -> Path:
    point = _ext(work)
    (work / ODD_NAME).mkdir()
    mount(str(point), work / ODD_NAME, "none", flags=_MS_BIND)
    unmount(point)
    return work / ODD_NAME


def _read_only(work: Path) -> Path:
    point = _ext(work)
    remount(point, "", readonly=True)
    return point


def mount_fuse(work: Path, subtype: str) -> Path:
    """Mount the filesystem of the server that was started for this child."""
    point = work / "mnt"
    point.mkdir()
    options = (
        f"fd={_fuse_fds[0]},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    )
    mount(subtype.partition(".")[2] or "memory", point, subtype, options)
    for fd in _fuse_fds:
        os.close(fd)
    return point


def quota_ext4(work: Path, *, user: int, limit_kib: int) -> Path:
    """Mount an ext4 on which a user may use so much space, in a directory that is theirs."""
    try:
        point = _ext(work, "-O", "quota", options="usrquota")
    except NotPossibleError as error:
        raise NotPossibleError("this kernel mounts no ext4 with quotas") from error
    place = point / "home"
    place.mkdir()
    os.chown(place, user, user)
    number = point.stat().st_dev
    device = next(
        line.split(" - ")[1].split()[1]
        for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
        if f" {os.major(number)}:{os.minor(number)} " in line
    )
    block = (ctypes.c_uint64 * 9)(limit_kib, limit_kib, 0, 0, 0, 0, 0, 0, 1)
    set_quota = 0x800008 << 8  # QCMD(Q_SETQUOTA, USRQUOTA), the limits of space
    if libc.quotactl(set_quota, device.encode(), user, ctypes.byref(block)) != 0:
        code = ctypes.get_errno()
        raise NotPossibleError(f"no quota on ext4 here: {os.strerror(code)}")
    return place


def quota_btrfs(work: Path, *, limit_kib: int) -> Path:
    """Mount a btrfs with a subvolume in which everybody together may use so much space."""
    place = _btrfs_subvolume(work)
    _run("btrfs", "quota", "enable", place)
    _run("btrfs", "qgroup", "limit", f"{limit_kib}K", place)
    return place


_EXT4 = ("mkfs.ext4",)
KINDS = (
    Kind("ext4", _ext, _EXT4, "default options"),
    Kind("ext4, nobarrier", functools.partial(_ext, options="nobarrier"), _EXT4, ""),
    Kind("ext4, data=journal", functools.partial(_ext, options="data=journal"), _EXT4, ""),
    Kind("ext4, data=writeback", functools.partial(_ext, options="data=writeback"), _EXT4, ""),
    Kind("ext4, no journal", _no_journal, _EXT4, ""),
    Kind("ext4, read-only", _read_only, _EXT4, ""),
    Kind("ext4, bind mount", _bind, _EXT4, "a directory of an ext4 mounted elsewhere as well"),
    Kind(
        "ext4, odd name", _odd_name, _EXT4, "mount point with spaces, a newline, a tab, a backslash"
    ),
    Kind("ext3", functools.partial(_ext, fstype="ext3"), ("mkfs.ext3",), ""),
    Kind("ext2", functools.partial(_ext, fstype="ext2"), ("mkfs.ext2",), "no journal"),
    Kind("xfs", _xfs, ("mkfs.xfs",), ""),
    Kind("btrfs", _btrfs, ("mkfs.btrfs",), ""),
    Kind("btrfs, nobarrier", functools.partial(_btrfs, options="nobarrier"), ("mkfs.btrfs",), ""),
    Kind(
        "btrfs, subvolume", _btrfs_subvolume, ("mkfs.btrfs", "btrfs"), "a device number of its own"
    ),
    Kind("tmpfs", functools.partial(_memory, fstype="tmpfs"), (), ""),
    Kind("ramfs", functools.partial(_memory, fstype="ramfs"), (), ""),
    Kind("overlay", _overlay, (), "upper layer on tmpfs"),
    Kind("overlay, volatile", functools.partial(_overlay, options="volatile"), (), ""),
    Kind(
        "fuse, no known server",
        functools.partial(mount_fuse, subtype="fuse.memory"),
        ("/dev/fuse",),
        "",
    ),
    Kind(
        "fuse, sshfs",
        functools.partial(mount_fuse, subtype="fuse.sshfs"),
        ("/dev/fuse",),
        "by name",
    ),
    Kind(
        "fuse, s3fs", functools.partial(mount_fuse, subtype="fuse.s3fs"), ("/dev/fuse",), "by name"
    ),
)
