"""The oracle of the simulated disk: the states that a crash may show.

A *world* defines the content of each data file, and whether its sidecar must exist. The allowed
worlds at a point of a story follow from the operations that have returned, and from those that have
only begun (they are under way, or were killed); `Story` keeps track. `flaw` compares one state of
the disk with these worlds, using the library's own parsers of sidecars and locks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safeatomic_core._checksum_record import MalformedError, agreeing, parse_record
from safeatomic_core._digests import hash_bytes
from safeatomic_core._lock_file import CRASH_MARK
from safeatomic_core._lock_payload import parse
from safeatomic_core._temp_file import is_temp_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from .effects import File, Name, State

SIDECAR = ".sha256"
LOCK = ".lock"


@dataclass(frozen=True)
class Version:
    """The expected state of a data file.

    Attributes:
        content: Its bytes.
        mode: Its permission bits.
        xattrs: Its extended attributes.
        sidecar: Whether the sidecar must exist; if it may be missing, an existing one must still
            agree.
        corrupt: The content does not match its record, and no sidecar may ever match it.
    """

    content: bytes
    mode: int = 0o644
    xattrs: frozenset[tuple[str, bytes]] = frozenset()
    sidecar: bool = False
    corrupt: bool = False


World = frozenset[tuple["Name", Version]]


def world(files: dict[Name, Version]) -> World:
    """Return a world."""
    return frozenset(files.items())


@dataclass(frozen=True)
class Operation:
    """One public call: how to make it, and what it does to a world.

    Attributes:
        name: What the tests call it.
        call: Makes the call in a directory.
        target: The file it writes.
        outcome: The world after it has returned.
        meanwhile: The worlds that may be visible between begin and return, besides both ends.
    """

    name: str
    call: Callable[[str], object]
    target: Name
    outcome: Callable[[dict[Name, Version]], dict[Name, Version]]
    meanwhile: Callable[[dict[Name, Version]], list[dict[Name, Version]]] = lambda _: []


class Story:
    """The allowed worlds, as operations begin and return."""

    def __init__(self, start: set[World]) -> None:
        self.worlds = frozenset(start)
        self._before = self.worlds
        self._begun: frozenset[World] = frozenset()

    def begin(self, operation: Operation) -> None:
        """An operation is under way: its effect may be seen or not."""
        self._before = self.worlds
        self._begun = frozenset(world(operation.outcome(dict(one))) for one in self.worlds)
        if any(operation.target not in dict(one) for one in self.worlds):
            # The file may have been missing (after a move that was not settled), and the operation
            # then makes a new one; a crash may still bring back the world in which it existed.
            for one in self.worlds:
                without = {name: file for name, file in one if name != operation.target}
                new = dict(world(operation.outcome(without))).get(operation.target)
                if new is not None:
                    self._begun |= {world({**dict(one), operation.target: new})}
        between = {world(seen) for one in self.worlds for seen in operation.meanwhile(dict(one))}
        self.worlds = self.worlds | self._begun | between

    def returned(self) -> None:
        """The operation returned: its effect is acknowledged."""
        self.worlds = self._begun

    def failed(self) -> None:
        """The operation reported that nothing has changed."""
        self.worlds = self._before


def write(
    name: Name, content: bytes, *, checked: bool
) -> tuple[
    Callable[[dict[Name, Version]], dict[Name, Version]],
    Callable[[dict[Name, Version]], list[dict[Name, Version]]],
]:
    """Return the effect of a write on a world, and the worlds that may be visible meanwhile."""

    def outcome(before: dict[Name, Version]) -> dict[Name, Version]:
        old = before.get(name, Version(b""))
        new = replace(old, content=content, sidecar=checked, corrupt=False)
        return {**before, name: new}

    def meanwhile(before: dict[Name, Version]) -> list[dict[Name, Version]]:
        old = before.get(name)
        if checked or old is None:
            return []
        return [{**before, name: replace(old, sidecar=False)}]  # retired

    return outcome, meanwhile


def record(name: Name) -> Callable[[dict[Name, Version]], dict[Name, Version]]:
    """Return the effect of writing a checksum file on a world."""

    def outcome(before: dict[Name, Version]) -> dict[Name, Version]:
        return {**before, name: replace(before[name], sidecar=True, corrupt=False)}

    return outcome


def move(
    src: Name, dst: Name
) -> tuple[
    Callable[[dict[Name, Version]], dict[Name, Version]],
    Callable[[dict[Name, Version]], list[dict[Name, Version]]],
]:
    """Return the effect of a move on a world, and the worlds that may be visible meanwhile."""

    def outcome(before: dict[Name, Version]) -> dict[Name, Version]:
        if src not in before:  # an earlier move that was killed had done it
            return before
        after = {**before, dst: before[src]}
        del after[src]
        return after

    def meanwhile(before: dict[Name, Version]) -> list[dict[Name, Version]]:
        if src not in before:
            return []
        moved = before[src]
        seen = [{**before, dst: moved}, {**before, dst: moved, src: replace(moved, sidecar=False)}]
        if dst in before and not moved.sidecar:
            seen.append({**before, dst: replace(before[dst], sidecar=False)})
        return seen

    return outcome, meanwhile


def flaw(state: State, worlds: frozenset[World]) -> str | None:
    """Say what is wrong with a state; None if it is one of the allowed worlds."""
    files = {name: file for name, file in state.items() if _is_data(name)}
    for name, file in state.items():
        if name[1].endswith(LOCK) and not takeable(file):
            return f"{name[1]} would block every writer: {file.content[:40]!r} {file.mode:o}"
    best = "the data is neither old nor new: " + ", ".join(
        f"{name[1]}: {file.content[:24]!r}… of {len(file.content)} bytes, mode {file.mode:o}"
        for name, file in sorted(files.items())
    )
    for one in worlds:
        wanted = dict(one)
        if files.keys() != wanted.keys() or not all(
            _same(files[name], version) for name, version in wanted.items()
        ):
            continue
        wrong = next(
            (
                wrong
                for name, version in wanted.items()
                if (wrong := _pair_flaw(state, name, version)) is not None
            ),
            None,
        )
        if wrong is None:
            return None
        best = wrong
    return best


def takeable(lock: File) -> bool:
    """Tell, by its payload or mark, whether a lock left by a crash will be taken over."""
    if not lock.content.strip(b"\0"):
        return bool(lock.mode & CRASH_MARK)
    fields = parse(lock.content)
    return fields is not None and fields.get("kernel_lock") == "flock"


def _is_data(name: Name) -> bool:
    return not name[1].endswith((SIDECAR, LOCK, ".foreign")) and not is_temp_name(name[1])


def _same(file: File, version: Version) -> bool:
    return (file.content, file.mode, file.xattrs) == (
        version.content,
        version.mode,
        version.xattrs,
    )


def _pair_flaw(state: State, name: Name, version: Version) -> str | None:
    sidecar = state.get((name[0], name[1] + SIDECAR))
    if sidecar is None:
        return f"the sidecar of {name[1]} is missing" if version.sidecar else None
    try:
        found = parse_record(sidecar.content, "sha256")
    except MalformedError as wrong:
        return f"the sidecar of {name[1]} is malformed: {wrong}"
    match = agreeing(found, lambda algo: hash_bytes(version.content, algo))
    if version.corrupt:
        return None if match is None else f"corrupt content of {name[1]} was accepted as good"
    if match is None:
        return f"false alarm: {name[1]} does not match its sidecar"
    return None
