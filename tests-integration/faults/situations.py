"""The definition of a scenario, and the preparation of its situation without the library."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeatomic_core._checksum_record import Checksum, format_record
from safeatomic_core._digests import hash_bytes
from safeatomic_core._lock_payload import payload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OLD = b"old content, " * 50
NEW = b"the new content, " * 60
OTHER = b"what was at the destination, " * 30
# Longer than the stream buffer, so that a streaming write makes several system calls.
STREAMED = bytes(range(256)) * 1200

MODE = 0o640
OWNER = (12345, 12345)  # any other user and group; root may give files away
XATTR = ("user.safeatomic-test", b"kept")


@dataclass(frozen=True)
class Scenario:
    """One public call in one situation.

    Attributes:
        name: Its name in the tests.
        run: Makes the call in a directory; its result is ignored.
        before: Content of the data files at the start; a name that is left out does not exist. By
            default, the old content at "target".
        after: The same after the call has succeeded; by default unchanged.
        checked: Names that have a checksum sidecar after the call has succeeded.
        prepare: Makes further preparations in the directory.
        reads_only: Whether the call must never change anything.
        never_raises: Whether the call reports failures instead of raising them.
        owns_lock: Whether the call takes a lock by name and releases it by name.
        replaces_sidecar: Whether a failure may leave the former sidecar replaced: because the call
            asked for it, or because the former one was unsealed (rule R4).
        may_leave: Dead locks that may be left behind: that of a source whose sidecar a crash could
            still bring back.
        unsupported: Entries of the seam that this machine appears to lack.
    """

    name: str
    run: Callable[[str], object]
    before: Mapping[str, bytes] = field(default_factory=lambda: {"target": OLD})
    after: Mapping[str, bytes] = field(default_factory=lambda: {"target": OLD})
    checked: frozenset[str] = frozenset()
    prepare: Callable[[str], None] | None = None
    reads_only: bool = False
    never_raises: bool = False
    owns_lock: bool = False
    replaces_sidecar: bool = False
    may_leave: frozenset[str] = frozenset({"source.lock", "a/source.lock"})
    unsupported: Mapping[str, int] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the data files, before or after."""
        return tuple(sorted({*self.before, *self.after}))

    def set_up(self, directory: str) -> None:
        """Prepare the situation in a new directory."""
        os.mkdir(directory)
        for name, content in self.before.items():
            path = os.path.join(directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            put(path, content)
        if self.prepare is not None:
            self.prepare(directory)


def put(path: str, content: bytes, mode: int = MODE) -> None:
    """Create a file with an owner, mode and extended attribute that a new file does not get."""
    with open(path, "wb") as file:
        file.write(content)
    if os.geteuid() == 0:
        os.chown(path, *OWNER)
    os.chmod(path, mode)
    if HAS_XATTRS:
        os.setxattr(path, *XATTR)


def _has_xattrs() -> bool:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, *XATTR)
        except OSError:
            return False
    return True


HAS_XATTRS = _has_xattrs()


def seal(directory: str, name: str, content: bytes, *previous: bytes) -> None:
    """Write the sidecar of a content, sealed unless previous contents are given."""
    digests = tuple(("sha256", hash_bytes(old, "sha256")) for old in previous)
    record = Checksum("sha256", hash_bytes(content, "sha256"), digests)
    raw, _ = format_record(os.path.basename(name), record)
    put(os.path.join(directory, name + ".sha256"), raw, 0o640)


def dead_lock(directory: str, name: str = "target") -> None:
    """Leave the lock, and the temp, of a writer that is dead."""
    path = os.path.join(directory, name + ".lock")
    with open(path, "wb") as file:
        file.write(payload(None, "0" * 16))
    os.chmod(path, 0o1600)
    temp = os.path.join(os.path.dirname(path), f".safeatomic-tmp-{0:016x}.tmp")
    with open(temp, "wb") as file:
        file.write(b"half-writ")
