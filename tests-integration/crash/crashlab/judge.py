"""Mount one crash image, describe what it shows, and write to it again.

This module mainly describes an image; `worlds` decides whether that is legitimate at the moment of
the crash. Rules that hold at every moment are checked here: the image mounts, a file is whole, an
existing sidecar agrees, and the next write needs no help, keeps the metadata and, when it takes
over a dead writer's lock, leaves none of that writer's temps.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import safeatomic_core
from safeatomic_core import _checksum_record, _temp_file
from safeatomic_core._cli import commands
from safeatomic_core._lock_file import CRASH_MARK

from . import loop, payload
from .images import BLOCK, Blocks
from .isolation import mount, unmount
from .workloads import DIRECTORIES, MIDDLE
from .worlds import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .filesystems import Filesystem
    from .images import Image, Unit

RECOVERY_VERSION = 9999


@dataclass
class Findings:
    """What one image shows.

    Attributes:
        seen: What stands at each name of the workload.
        defects: What no crash may show, whenever it happens: kind and sentence.
        digests: By name, for the models: the SHA-256 of the data, and the digests that the sidecar
            records; None for what is not there.
        locks: The lock files: ``complete``, ``lost payload`` (empty or NULs, with the crash mark),
            ``other``.
        temps: How many temporary files there are.
        takeovers: How many locks of dead writers the next writes took over.
        swept: How many temps those removed.
        left: How many temps stayed because no lock was left with them; `safeatomic clean` then
            removed them.
    """

    seen: dict[str, Value | None] = field(default_factory=dict)
    defects: list[tuple[str, str]] = field(default_factory=list)
    digests: dict[str, tuple[str | None, list[str] | None]] = field(default_factory=dict)
    locks: list[str] = field(default_factory=list)
    temps: int = 0
    takeovers: int = 0
    swept: int = 0
    left: int = 0


class Judge:
    """Judges the images of one log, best in their order.

    Args:
        filesystem: The kind of filesystem.
        options: The mount options of the recording.
        units: What was written to the device.
        names: The workload's names.
        checked: Whether the write after the crash keeps a sidecar.
        scratch: A directory on a tmpfs, for this judge alone.
        tag: What marks our loop devices.
        library: Whether the files were written by safeatomic, so that all of its promises hold;
            otherwise only the content is looked at.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        options: str,
        units: Sequence[Unit],
        names: Sequence[str],
        *,
        checked: bool,
        scratch: str,
        tag: str,
        library: bool = True,
    ) -> None:
        self._filesystem = filesystem
        self._options = ",".join(part for part in (options, filesystem.clone_options) if part)
        self._units = units
        self._names = names
        self._checked = checked
        self._tag = tag
        self._library = library
        self._file = f"{scratch}/image"
        self._root = f"{scratch}/mounted"
        self._base = Blocks()
        self._applied = 0
        os.makedirs(self._root, exist_ok=True)

    def examine(self, image: Image) -> Findings:
        """Write an image out, mount it, look, write to it, unmount."""
        self._build(image)
        findings = Findings()
        with loop.attached(self._file, self._tag) as device:
            try:
                mount(device, self._root, self._filesystem.type, options=self._options)
            except OSError as error:
                code = errno.errorcode.get(error.errno or 0, "?")
                findings.defects.append(("unmountable", code))
                return findings
            try:
                self._look(findings)
                if self._library:
                    self._write_again(findings)
            finally:
                unmount(self._root)
        return findings

    def _build(self, image: Image) -> None:
        """Write the image to a sparse file."""
        if image.base < self._applied:
            self._base, self._applied = Blocks(), 0
        while self._applied < image.base:
            self._base.apply(self._units[self._applied])
            self._applied += 1
        blocks = self._base
        if image.extra:
            blocks = self._base.copy()
            for index in image.extra:
                blocks.apply(self._units[index])
        fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(fd, self._filesystem.size)
            for number, contents in blocks.runs():
                os.pwritev(fd, contents, number * BLOCK)
        finally:
            os.close(fd)
        if self._filesystem.repair:
            # Its status says whether there was something to repair: here there always is.
            subprocess.run([*self._filesystem.repair, self._file], check=False, capture_output=True)

    def _look(self, findings: Findings) -> None:
        """Describe the image; the library's own readers read the sidecars."""
        for directory in DIRECTORIES:
            for name in os.listdir(f"{self._root}/{directory}"):
                if name.endswith(".lock"):
                    findings.locks.append(_describe_lock(f"{self._root}/{directory}/{name}"))
                elif _temp_file.is_temp_name(name):
                    findings.temps += 1
        for name in self._names:
            with _as_defect(findings, "unreadable", name):
                self._look_at(findings, name)

    def _look_at(self, findings: Findings, name: str) -> None:
        """Describe what stands at one name."""
        path = f"{self._root}/{name}"
        data = _read(path)
        recorded = _recorded(path)
        digest = None if data is None else hashlib.sha256(data).hexdigest()
        findings.digests[name] = (digest, recorded)
        if data is None:
            findings.seen[name] = None
            return
        version = payload.version_of(data)
        if isinstance(version, str):
            findings.defects.append(("torn", f"{name}: {version}"))
            return
        findings.seen[name] = Value(version, payload.meta_of(path), recorded is not None)
        if recorded is not None and self._library:
            with _as_defect(findings, "false alarm", name):
                safeatomic_core.read_atomic_bytes(path, check_checksum=True)

    def _write_again(self, findings: Findings) -> None:
        """Write to every name that a lock was left for, or to the first one."""
        locked = [
            f"{directory}/{name.removesuffix('.lock')}"
            for directory in DIRECTORIES
            for name in sorted(os.listdir(f"{self._root}/{directory}"))
            if name.endswith(".lock")
        ]
        data = payload.content(RECOVERY_VERSION, MIDDLE)
        for name in locked or self._names[:1]:
            with _as_defect(findings, "not recovered", name):
                self._write_once(findings, name, data)
        if findings.defects:
            return
        for directory in DIRECTORIES:
            path = f"{self._root}/{directory}"
            left = [name for name in os.listdir(path) if name.endswith(".lock")]
            if left:
                findings.defects.append(("lock left", f"{directory}: {left}"))
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                findings.left += len(_temp_file.orphans(fd, remove=True))
            finally:
                os.close(fd)
            if any(_temp_file.is_temp_name(name) for name in os.listdir(path)):
                findings.defects.append(("temp left", f"{directory}: not swept by clean"))

    def _write_once(self, findings: Findings, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            commands.make_parents(path, [])
        meta = payload.meta_of(path) if os.path.lexists(path) else payload.NEW_FILE
        locked = os.path.lexists(f"{path}.lock")
        temps = _temps_in(directory)
        safeatomic_core.write_atomic_bytes(path, data, write_checksum=self._checked)
        if self._checked:
            found = safeatomic_core.read_atomic_bytes(path, check_checksum=True)
        else:
            found = safeatomic_core.read_atomic_bytes(path)
            if os.path.lexists(f"{path}.sha256"):
                findings.defects.append(("sidecar", f"{name}: not retired by the next write"))
        if found != data:
            findings.defects.append(("not recovered", f"{name}: reads back differently"))
        if payload.meta_of(path) != meta:
            sentence = f"{name}: {payload.meta_of(path)} after the next write, {meta} before"
            findings.defects.append(("metadata", sentence))
        if locked:
            findings.takeovers += 1
            findings.swept += temps
            if _temps_in(directory):
                findings.defects.append(("temp left", f"{name}: not swept after the takeover"))


def _describe_lock(path: str) -> str:
    with open(path, "rb") as file:
        content = file.read()
    if content.endswith(b"}\n"):
        return "complete"
    marked = os.stat(path).st_mode & CRASH_MARK
    return "lost payload" if marked and not content.strip(b"\0") else "other"


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _recorded(path: str) -> list[str] | None:
    """Return the digests that a file's sidecar records, None without a sidecar."""
    raw = _read(f"{path}.sha256")
    if raw is None:
        return None
    try:
        return [digest for _, digest in _checksum_record.parse_record(raw, "sha256").digests]
    except _checksum_record.MalformedError:
        return ["malformed"]


def _temps_in(directory: str) -> int:
    return sum(_temp_file.is_temp_name(name) for name in os.listdir(directory))


@contextlib.contextmanager
def _as_defect(findings: Findings, kind: str, name: str) -> Iterator[None]:
    """Turn what the library raises into a defect of the image."""
    try:
        yield
    except (OSError, safeatomic_core.SafeAtomicError) as error:
        findings.defects.append((kind, f"{name}: {type(error).__name__}: {error}"))
