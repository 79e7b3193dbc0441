"""The workloads, which change files while the device records.

Each workload defines the initial content of its names, its operations, and how they are performed.
Names are in the directories ``d`` and ``e``. The sizes alternate: small enough for btrfs's tree, a
few blocks, and many blocks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import payload
from .operations import Arrive, DeepWrite, FailedWrite, Move, Write
from .recording import After
from .worlds import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .operations import AnyOperation
    from .recording import Session

DIRECTORIES = ("d", "e")
SMALL, MIDDLE, LARGE = 200, 5000, 70000  # bytes
INITIAL_SIZE = 300  # bytes
# Mode, owner and attribute of the initial files, all different from a new file's.
ONE = "640 1001:1002 one"
OTHER = "604 1003:1004 other"


@dataclass(frozen=True)
class Workload:
    """One workload.

    Attributes:
        name: Its name in reports.
        about: One line.
        initial: The initial value of each name.
        operations: All operations.
        script: Performs them.
        checked: Whether the writes after a crash keep sidecars.
    """

    name: str
    about: str
    initial: Mapping[str, Value | None]
    operations: tuple[AnyOperation, ...]
    script: Callable[[Session], None] = field(repr=False)
    checked: bool = False


def in_turn(
    name: str,
    about: str,
    initial: Mapping[str, Value | None],
    *operations: AnyOperation,
    checked: bool = False,
) -> Workload:
    """Make a workload that performs its operations one after the other."""
    return Workload(name, about, initial, operations, lambda run: run.do(*operations), checked)


def initial_digest(value: Value) -> str:
    """Return the SHA-256 of an initial file."""
    return hashlib.sha256(payload.content(value.version, INITIAL_SIZE)).hexdigest()


def _plain(version: int = 100, meta: str = ONE) -> Value:
    return Value(version, meta, sidecar=False)


def _pair(version: int = 100, meta: str = ONE) -> Value:
    return Value(version, meta, sidecar=True)


OVERWRITE = in_turn(
    "overwrite",
    "plain writes over one file",
    {"d/f": _plain()},
    Write(1, "d/f", SMALL),
    Write(2, "d/f", MIDDLE),
    Write(3, "d/f", LARGE),
)
CREATE = in_turn(
    "create",
    "plain writes to new names",
    {"d/f": None, "d/g": None, "e/h": None},
    Write(1, "d/f", MIDDLE),
    Write(2, "d/g", LARGE),
    Write(3, "e/h", SMALL),
)
PARENTS = in_turn(
    "parents",
    "writes that make the directories above their files",
    {"d/a/b/f": None, "d/a/c/g": None, "e/h/i": None},
    DeepWrite(1, "d/a/b/f", MIDDLE),
    DeepWrite(2, "d/a/c/g", SMALL),
    DeepWrite(3, "e/h/i", LARGE),
)
STREAM = in_turn(
    "stream",
    "streaming writes over a file and to a new name, with and without sidecar",
    {"d/f": _pair(), "d/g": None},
    Write(1, "d/f", LARGE, stream=True, checked=True),
    Write(2, "d/g", LARGE, stream=True),
    checked=True,
)
CHECKED = in_turn(
    "checked",
    "checked writes over a pair",
    {"d/f": _pair()},
    Write(1, "d/f", SMALL, checked=True),
    Write(2, "d/f", LARGE, checked=True),
    Write(3, "d/f", MIDDLE, checked=True),
    checked=True,
)
CHECKED_NEW = in_turn(
    "checked-new",
    "checked writes to a new name and over a file without sidecar",
    {"d/f": None, "d/g": _plain()},
    Write(1, "d/f", MIDDLE, checked=True),
    Write(2, "d/g", SMALL, checked=True),
    Write(3, "d/f", SMALL, checked=True),
    checked=True,
)
RETIRE = in_turn(
    "retire",
    "an unchecked write over a pair, then a checked one, then an unchecked one again",
    {"d/f": _pair()},
    Write(1, "d/f", MIDDLE),
    Write(2, "d/f", SMALL, checked=True),
    Write(3, "d/f", LARGE),
)

ROLLED_BACK = in_turn(
    "rolled-back",
    "checked and unchecked writes over a pair that fail after the sidecar was replaced or retired",
    {"d/f": _pair()},
    FailedWrite(1, "d/f", MIDDLE, checked=True),
    FailedWrite(2, "d/f", SMALL),
    Write(3, "d/f", SMALL, checked=True),
    FailedWrite(4, "d/f", LARGE, checked=True),
    checked=True,
)


def _move_within(run: Session) -> None:
    first, second = MOVE_WITHIN.operations
    run.do(first)
    run.do_refused(Move(3, "d/b", "d/c"), FileExistsError)
    run.do(second)


MOVE_WITHIN = Workload(
    "move-within",
    "moves within a directory: to a new name, refused, by force",
    {"d/a": _plain(100, ONE), "d/b": None, "d/c": _plain(101, OTHER)},
    (Move(1, "d/a", "d/b"), Move(2, "d/b", "d/c", force=True)),
    _move_within,
)
MOVE_ACROSS = in_turn(
    "move-across",
    "moves across directories: to a new name, by force, and back",
    {"d/a": _plain(100, ONE), "e/a": None, "d/c": _plain(101, OTHER)},
    Move(1, "d/a", "e/a"),
    Move(2, "e/a", "d/c", force=True),
)
MOVE_PAIR = in_turn(
    "move-pair",
    "moves of a pair across and within directories, over a pair, over a file, to a new name",
    {"d/a": _pair(100, ONE), "e/a": _pair(101, OTHER), "e/b": _plain(102, OTHER), "d/c": None},
    Move(1, "d/a", "e/a", force=True),
    Move(2, "e/a", "e/b", force=True),
    Move(3, "e/b", "d/c"),
    checked=True,
)
MOVE_ONTO_PAIR = in_turn(
    "move-onto-pair",
    "a move of a file without sidecar over a pair, within and across",
    {"d/a": _plain(100, ONE), "d/b": _pair(101, OTHER), "e/b": _pair(102, OTHER)},
    Move(1, "d/a", "d/b", force=True),
    Move(2, "d/b", "e/b", force=True),
)
MOVE_DIRTY = in_turn(
    "move-dirty",
    "moves of files that were just written and not flushed, to a new name and over a file",
    {"e/a": None, "d/b": _plain(101, OTHER)},
    Arrive(1, "d/a", "e/a", MIDDLE),
    Arrive(2, "d/a", "d/b", LARGE),
)


def _two_writers(run: Session) -> None:
    first, second, third, fourth = TWO_WRITERS.operations
    run.do_at_once((first, second), (third, fourth))


TWO_WRITERS = Workload(
    "two-writers",
    "two processes write one pair, checked",
    {"d/f": _pair()},
    (
        Write(1, "d/f", SMALL, checked=True),
        Write(2, "d/f", MIDDLE, checked=True),
        Write(3, "d/f", MIDDLE, checked=True),
        Write(4, "d/f", SMALL, checked=True),
    ),
    _two_writers,
    checked=True,
)


def _two_names(run: Session) -> None:
    first, second, third, fourth = TWO_NAMES.operations
    run.do_at_once((first, second), (third, fourth))


TWO_NAMES = Workload(
    "two-names",
    "two processes write two files of one directory, one checked",
    {"d/f": _plain(100, ONE), "d/g": _pair(101, OTHER)},
    (
        Write(1, "d/f", MIDDLE),
        Write(2, "d/f", SMALL),
        Write(3, "d/g", SMALL, checked=True),
        Write(4, "d/g", MIDDLE, checked=True),
    ),
    _two_names,
    checked=True,
)


def _killed(
    name: str,
    about: str,
    initial: Mapping[str, Value | None],
    *steps: tuple[AnyOperation, *tuple[After, ...]],
    checked: bool = False,
) -> Workload:
    """Make a workload in which some operations are killed at a step."""

    def script(run: Session) -> None:
        for operation, *after in steps:
            if any(moment.what == "kill" for moment in after):
                run.kill(operation, *after)
            else:
                run.do(operation, after=after)

    operations = tuple(operation for operation, *_ in steps)
    return Workload(name, about, initial, operations, script, checked)


KILLED = _killed(
    "killed",
    "plain writers killed at a step, each followed by one that recovers",
    {"d/f": _plain()},
    (Write(1, "d/f", MIDDLE), After("Fill")),
    (Write(2, "d/f", SMALL),),
    (Write(3, "d/f", SMALL), After("Publish")),
    (Write(4, "d/f", MIDDLE), After("Harden")),
    (Write(5, "d/f", SMALL),),
)
KILLED_CHECKED = _killed(
    "killed-checked",
    "checked writers killed in Announce and Publish, each followed by one that recovers",
    {"d/f": _pair()},
    (Write(1, "d/f", MIDDLE, checked=True), After("Announce", "record")),
    (Write(2, "d/f", SMALL, checked=True),),
    (Write(3, "d/f", SMALL, checked=True), After("Publish")),
    (Write(4, "d/f", SMALL, checked=True),),
    checked=True,
)
# The commits come at the worst moments for btrfs. One separates the dead writer's flush from its
# rename, so that the rename is in no log; the other writes the log with the next writer's record.
KILLED_UNLOCKED = _killed(
    "killed-unlocked",
    "checked writers without lock killed after the rename, each followed by another without lock",
    {"d/f": _pair()},
    (
        Write(1, "d/f", MIDDLE, checked=True, locked=False),
        After("Announce", "barrier", "commit"),
        After("Publish"),
    ),
    (
        Write(2, "d/f", SMALL, checked=True, locked=False),
        After("Announce", "record", "file"),
    ),
    (Write(3, "d/f", SMALL, checked=True, locked=False), After("Publish")),
    (Write(4, "d/f", SMALL, checked=True, locked=False),),
    checked=True,
)
# The same where the dead writer left no record: the next one's is made by a rename. In the images
# above it is exchanged, and there btrfs has not been seen to lose the dead writer's rename.
KILLED_UNRECORDED = _killed(
    "killed-unrecorded",
    "an unchecked writer without lock killed after the rename, then a checked one without lock",
    {"d/f": _plain()},
    (Write(1, "d/f", MIDDLE, locked=False), After("Harden", "", "commit"), After("Publish")),
    (
        Write(2, "d/f", SMALL, checked=True, locked=False),
        After("Announce", "record", "file"),
    ),
    checked=True,
)
KILLED_RETIRE = _killed(
    "killed-retire",
    "an unchecked writer killed right after it has unlinked the sidecar, then another",
    {"d/f": _pair()},
    (Write(1, "d/f", MIDDLE), After("Announce", "retire")),
    (Write(2, "d/f", SMALL),),
)
KILLED_MOVE = _killed(
    "killed-move",
    "moves of a pair killed before and after the rename, followed by writes to both names",
    {"d/a": _pair(100, ONE), "e/b": _pair(101, OTHER)},
    (Move(1, "d/a", "e/b", force=True), After("Announce", "barrier")),
    (Write(2, "d/a", SMALL, checked=True),),
    (Move(3, "d/a", "e/b", force=True), After("Publish")),
    (Write(4, "e/b", MIDDLE, checked=True),),
    checked=True,
)

ALL = {
    workload.name: workload
    for workload in (
        OVERWRITE,
        CREATE,
        PARENTS,
        STREAM,
        CHECKED,
        CHECKED_NEW,
        RETIRE,
        ROLLED_BACK,
        MOVE_WITHIN,
        MOVE_ACROSS,
        MOVE_PAIR,
        MOVE_ONTO_PAIR,
        MOVE_DIRTY,
        TWO_WRITERS,
        TWO_NAMES,
        KILLED,
        KILLED_CHECKED,
        KILLED_UNLOCKED,
        KILLED_UNRECORDED,
        KILLED_RETIRE,
        KILLED_MOVE,
    )
}
