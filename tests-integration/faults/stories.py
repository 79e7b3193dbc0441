"""The situations and operations for the simulated disk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import safeatomic_core as sa
from safeatomic_core._checksum_record import Checksum, format_record
from safeatomic_core._digests import hash_bytes
from safeatomic_core._lock_payload import payload

from .effects import File
from .oracle import Operation, Version, move, record, world, write
from .recorder import Recorder
from .situations import HAS_XATTRS, XATTR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .effects import Name, State
    from .oracle import World

OLD = b"old, " * 140
NEW = b"new one, " * 90
NEXT = b"and the next, " * 60
OTHER = b"from elsewhere, " * 50
ROTTEN = b"0ld, " * 140

T: Name = (".", "target")
S: Name = (".", "source")
AT: Name = ("a", "source")
BT: Name = ("b", "target")

_XATTRS = frozenset({XATTR}) if HAS_XATTRS else frozenset()


@dataclass(frozen=True)
class Start:
    """The state before the first operation.

    Attributes:
        files: The data files.
        sidecars: For each data file that has one, the contents its sidecar describes: the new one,
            then the previous ones.
        unsynced: Data files that were not flushed.
        dead_locks: Data files with the lock of a dead writer.
        replaced: Data files that another program replaced by a rename without a directory flush.
        flushed: Whether that program flushed the content.
    """

    files: Mapping[Name, Version] = field(default_factory=dict)
    sidecars: Mapping[Name, tuple[bytes, ...]] = field(default_factory=dict)
    unsynced: frozenset[Name] = frozenset()
    dead_locks: frozenset[Name] = frozenset()
    replaced: Mapping[Name, bytes] = field(default_factory=dict)
    flushed: bool = True

    @property
    def not_ours(self) -> frozenset[Name]:
        """Files that a crash may tear, because another program did not flush them.

        This holds until an operation that also flushes them has returned.
        """
        return self.unsynced if self.flushed else self.unsynced | set(self.replaced)

    def state(self) -> State:
        """Return the files of the start, sidecars and locks included."""
        found: State = {}
        for path, file in self.files.items():
            found[path] = File(file.content, file.mode, _OWNER, file.xattrs)
        for (directory, name), contents in self.sidecars.items():
            found[directory, name + ".sha256"] = File(sidecar(name, *contents), 0o644, _OWNER)
        for directory, name in self.dead_locks:
            found[directory, name + ".lock"] = File(payload(None, "0" * 16), 0o1600, _OWNER)
        return found

    def worlds(self) -> set[World]:
        """Return the worlds of the start."""
        before = dict(self.files)
        found = {world(before)}
        for name, content in self.replaced.items():
            found.add(world({**before, name: Version(content)}))
        return found

    def begin(self, root: str) -> Recorder:
        """Make the start in a directory and return a recorder that knows it."""
        os.makedirs(os.path.join(root, "a"))
        os.makedirs(os.path.join(root, "b"))
        state = self.state()
        materialize(root, state)
        recorder = Recorder(root)
        loose = {name: file for name, file in state.items() if name in self.unsynced}
        recorder.adopt({name: file for name, file in state.items() if name not in loose})
        recorder.adopt(loose, durable=False)
        for name, content in self.replaced.items():
            recorder.foreign(name, content, flushed=self.flushed)
        return recorder


_OWNER = (os.geteuid(), os.getegid())


def materialize(root: str, state: State) -> None:
    """Put a state of the disk into a directory."""
    for (directory, name), file in state.items():
        path = os.path.join(root, directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(file.content)
        os.chmod(path, file.mode)
        for xattr in file.xattrs:
            os.setxattr(path, *xattr)


def sidecar(name: str, *contents: bytes) -> bytes:
    """Return the bytes of a sidecar that describes some contents."""
    digests = tuple(("sha256", hash_bytes(one, "sha256")) for one in contents)
    found = Checksum("sha256", digests[0][1], digests[1:])
    return format_record(name, found)[0]


def version(content: bytes, *, checked: bool = False, corrupt: bool = False) -> Version:
    """Return a data file with a mode and attribute of its own."""
    return Version(content, 0o640, _XATTRS, checked, corrupt)


def _path(root: str, name: Name) -> str:
    return os.path.join(root, *name)


def writing(
    content: bytes,
    *,
    checked: bool,
    stream: bool = False,
    lock: bool = True,
    name: Name = T,
) -> Operation:
    """Return a write, of the target unless another name is given."""

    def call(root: str) -> None:
        how = "lock" if lock else "none"
        if not stream:
            sa.write_atomic_bytes(
                _path(root, name),
                content,
                write_checksum=checked,
                concurrency=how,  # type: ignore[arg-type]
            )
            return
        with sa.AtomicWriter(_path(root, name), write_checksum=checked) as file:
            file.write(content[:100])
            file.flush()
            file.write(content[100:])

    kind = "checked" if checked else "unchecked"
    return Operation(kind, call, name, *write(name, content, checked=checked))


def recording() -> Operation:
    """Return a write of the target's checksum file."""
    return Operation("record", lambda root: sa.write_checksum_file(_path(root, T)), T, record(T))


def moving(src: Name, dst: Name, *, force: bool) -> Operation:
    """Return a move."""

    def call(root: str) -> None:
        sa.move_atomic(_path(root, src), _path(root, dst), force=force)

    return Operation("move", call, dst, *move(src, dst))


_NOTHING = Start()
_PLAIN = Start({T: version(OLD)})
_SEALED = Start({T: version(OLD, checked=True)}, {T: (OLD,)})
_UNSEALED = Start({T: version(OLD, checked=True)}, {T: (NEW, OLD)})
_RECORD_ONLY = Start({}, {T: (OTHER,)})
_RECORD_UNSEALED_ONLY = Start({}, {T: (OTHER, OLD)})
_CORRUPT = Start({T: version(ROTTEN, checked=True, corrupt=True)}, {T: (OLD,)})
_CORRUPT_UNSEALED = Start({T: version(ROTTEN, checked=True, corrupt=True)}, {T: (NEW, OLD)})
_REPLACED = Start({T: version(OLD)}, replaced={T: OTHER})
_TORN = Start({T: version(OLD)}, replaced={T: OTHER}, flushed=False)
_MOVABLE = Start({S: version(NEW)}, unsynced=frozenset({S}))
_MOVABLE_SEALED = Start({S: version(NEW, checked=True)}, {S: (NEW,)})
_MOVABLE_UNSEALED = Start({S: version(NEW, checked=True)}, {S: (NEW, OTHER)})
_BOTH = Start({S: version(NEW), T: version(OLD)})
_BOTH_SEALED = Start(
    {S: version(NEW, checked=True), T: version(OLD, checked=True)}, {S: (NEW,), T: (OLD,)}
)
_BOTH_UNSEALED = Start(
    {S: version(NEW, checked=True), T: version(OLD, checked=True)},
    {S: (OTHER, NEW), T: (NEXT, OLD)},
)
_OVER_SEALED = Start({S: version(NEW), T: version(OLD, checked=True)}, {T: (OLD,)})
_ACROSS = Start({AT: version(NEW)})
_ACROSS_SEALED = Start(
    {AT: version(NEW, checked=True), BT: version(OLD, checked=True)}, {AT: (NEW,), BT: (OLD,)}
)
_MOVING_ROT = Start({S: version(ROTTEN, checked=True, corrupt=True)}, {S: (OLD,)})

SINGLE: dict[str, tuple[Start, Operation]] = {
    "new": (_NOTHING, writing(NEW, checked=False)),
    "overwrite": (_PLAIN, writing(NEW, checked=False)),
    "overwrite-unlocked": (_PLAIN, writing(NEW, checked=False, lock=False)),
    "overwrite-after-the-dead": (
        Start({T: version(OLD)}, dead_locks=frozenset({T})),
        writing(NEW, checked=False),
    ),
    "checked-new": (_NOTHING, writing(NEW, checked=True)),
    "checked-over-plain": (_PLAIN, writing(NEW, checked=True)),
    "checked-over-sealed": (_SEALED, writing(NEW, checked=True)),
    "checked-over-unsealed": (_UNSEALED, writing(NEXT, checked=True)),
    "checked-over-record": (_RECORD_ONLY, writing(NEW, checked=True)),
    "checked-over-unsealed-record": (_RECORD_UNSEALED_ONLY, writing(NEW, checked=True)),
    "checked-over-corrupt": (_CORRUPT, writing(NEW, checked=True)),
    "checked-over-corrupt-unsealed": (_CORRUPT_UNSEALED, writing(NEXT, checked=True)),
    "checked-over-foreign": (_REPLACED, writing(NEW, checked=True)),
    "checked-over-unflushed": (_TORN, writing(NEW, checked=True)),
    "unchecked-over-sealed": (_SEALED, writing(NEW, checked=False)),
    "unchecked-over-unsealed": (_UNSEALED, writing(NEXT, checked=False)),
    "stream": (_PLAIN, writing(NEW, checked=False, stream=True)),
    "stream-checked": (_SEALED, writing(NEW, checked=True, stream=True)),
    "record": (_PLAIN, recording()),
    "record-anew": (_CORRUPT, recording()),
    "record-over-foreign": (_REPLACED, recording()),
    "record-over-unflushed": (_TORN, recording()),
    "move": (_MOVABLE, moving(S, T, force=False)),
    "move-unflushed-over": (
        Start({S: version(NEW), T: version(OLD)}, unsynced=frozenset({S})),
        moving(S, T, force=True),
    ),
    "move-sealed-over-foreign": (
        Start({S: version(NEW, checked=True), T: version(OLD)}, {S: (NEW,)}, replaced={T: OTHER}),
        moving(S, T, force=True),
    ),
    "move-sealed": (_MOVABLE_SEALED, moving(S, T, force=False)),
    "move-unsealed": (_MOVABLE_UNSEALED, moving(S, T, force=False)),
    "move-over": (_BOTH, moving(S, T, force=True)),
    "move-sealed-over-sealed": (_BOTH_SEALED, moving(S, T, force=True)),
    "move-unsealed-over-unsealed": (_BOTH_UNSEALED, moving(S, T, force=True)),
    "move-over-sealed": (_OVER_SEALED, moving(S, T, force=True)),
    "move-across": (_ACROSS, moving(AT, BT, force=False)),
    "move-across-sealed": (_ACROSS_SEALED, moving(AT, BT, force=True)),
    "move-corrupt": (_MOVING_ROT, moving(S, T, force=False)),
}


_CHECKED, _UNCHECKED = writing(NEXT, checked=True), writing(NEXT, checked=False)
_TO_SOURCE = writing(NEXT, checked=True, name=S), writing(NEXT, checked=False, name=S)
_TO_AT = writing(NEXT, checked=True, name=AT), writing(NEXT, checked=False, name=AT)
_TO_BT = writing(NEXT, checked=True, name=BT), writing(NEXT, checked=False, name=BT)

# What may follow an operation that was killed, failed, or was ended by a crash.
FOLLOWING: dict[str, tuple[Operation, ...]] = {
    "checked-new": (_CHECKED, _UNCHECKED),
    "checked-over-plain": (_CHECKED, _UNCHECKED, recording()),
    "checked-over-sealed": (_CHECKED, _UNCHECKED, recording()),
    "checked-over-unsealed": (writing(OTHER, checked=True), writing(OTHER, checked=False)),
    "checked-over-record": (_CHECKED, _UNCHECKED),
    "checked-over-corrupt": (_CHECKED, _UNCHECKED),
    "unchecked-over-sealed": (_CHECKED, _UNCHECKED),
    "unchecked-over-unsealed": (writing(OTHER, checked=True), writing(OTHER, checked=False)),
    "record-anew": (_CHECKED, _UNCHECKED),
    "move-sealed": (_CHECKED, _UNCHECKED, *_TO_SOURCE),
    "move-sealed-over-sealed": (_CHECKED, _UNCHECKED, *_TO_SOURCE),
    "move-over-sealed": (_CHECKED, _UNCHECKED, *_TO_SOURCE),
    "move-across-sealed": (*_TO_AT, *_TO_BT),
}
