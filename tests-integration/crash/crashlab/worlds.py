"""The oracle: which states of the files are legitimate at each point of the log.

A *world* defines the value of each name of the workload. An acknowledged operation has happened.
One that has begun may have happened or not, or may show one of its intermediate stages. One whose
process was killed may have reached any stage, but does not continue. With several operations under
way, any order is possible. This is linearizability with crashes, and the tracker below follows it
exactly: it keeps a set of configurations, each a world with the operations under way that have
already taken effect in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias


class Value(NamedTuple):
    """The value of a name.

    Attributes:
        version: Number of the content, which is the number of the operation that wrote it.
        meta: Mode, owner and attributes, as `payload.meta_of` prints them.
        sidecar: Whether a checksum sidecar agrees with the content.
    """

    version: int
    meta: str
    sidecar: bool


if TYPE_CHECKING:
    World: TypeAlias = frozenset[tuple[str, Value | None]]


class Operation(Protocol):
    """An operation of the workload on the files.

    Attributes:
        number: Identifies it in the marks.
    """

    @property
    def number(self) -> int: ...

    def stages(self, world: Mapping[str, Value | None]) -> list[dict[str, Value | None]]:
        """Return the worlds that a crash may show after its beginning, its full effect last.

        Args:
            world: The world in which it took effect.
        """
        ...


class Tracker:
    """Follows the marks of a log and computes the allowed worlds at the current point.

    Args:
        initial: The value of each name before the first operation.
        operations: The workload's operations.
    """

    def __init__(
        self, initial: Mapping[str, Value | None], operations: Iterable[Operation]
    ) -> None:
        self._operations = {operation.number: operation for operation in operations}
        nothing: frozenset[int] = frozenset()
        self._configurations = {(frozenset(initial.items()), nothing)}
        self._under_way: set[int] = set()
        self._acknowledged: set[int] = set()

    def begin(self, number: int) -> None:
        """An operation has begun."""
        self._under_way.add(number)
        self._close()

    def acknowledge(self, number: int) -> None:
        """An operation has returned: it has happened, whatever else is under way."""
        self._under_way.discard(number)
        self._acknowledged.add(number)
        self._configurations = {
            (world, applied - {number})
            for world, applied in self._configurations
            if number in applied
        }

    def give_up(self, number: int) -> None:
        """An operation's process was killed: it stays at the stage that it has reached."""
        operation = self._operations[number]
        stopped = set()
        for world, applied in self._configurations:
            stopped.add((world, applied - {number}))
            if number not in applied:
                before = dict(world)
                stopped |= {
                    (frozenset(stage.items()), applied) for stage in operation.stages(before)
                }
        self._under_way.discard(number)
        self._configurations = stopped
        self._close()

    def allowed(self) -> frozenset[World]:
        """Return every world that a crash may show now."""
        worlds = set()
        for world, applied in self._configurations:
            worlds.add(world)
            for number in self._under_way - applied:
                stages = self._operations[number].stages(dict(world))
                worlds |= {frozenset(stage.items()) for stage in stages}
        return frozenset(worlds)

    def acknowledged(self) -> frozenset[int]:
        """Return the numbers of the operations that have returned."""
        return frozenset(self._acknowledged)

    def _close(self) -> None:
        """Add every configuration in which further operations under way have taken effect."""
        todo = list(self._configurations)
        while todo:
            world, applied = todo.pop()
            for number in self._under_way - applied:
                effect = self._operations[number].stages(dict(world))[-1]
                after = (frozenset(effect.items()), applied | {number})
                if after not in self._configurations:
                    self._configurations.add(after)
                    todo.append(after)


def complaint(
    seen: Mapping[str, Value | None], allowed: frozenset[World], *, sidecars: bool = True
) -> tuple[str, str] | None:
    """Say what is wrong with the state of an image; None if it is legitimate.

    Args:
        seen: The value of each name.
        allowed: The allowed worlds.
        sidecars: Whether to check sidecars as well.

    Returns:
        The kind and a sentence. Kinds: ``lost`` (a name shows a version that it must not show),
        ``mixture`` (each name alone would be legitimate), ``metadata``, ``sidecar``.
    """

    def matches(fields: int) -> bool:
        wanted = _cut(seen.items(), fields)
        return any(_cut(world, fields) == wanted for world in allowed)

    if matches(3 if sidecars else 2):
        return None
    choices = " or ".join(sorted(_print(dict(world)) for world in allowed))
    sentence = f"shows {_print(seen)}; legitimate: {choices}"
    if matches(1):
        return ("sidecar" if matches(2) else "metadata"), sentence
    each_alone = all(
        any(item in _cut(world, 1) for world in allowed) for item in _cut(seen.items(), 1)
    )
    return ("mixture" if each_alone else "lost"), sentence


def _cut(items: Iterable[tuple[str, Value | None]], fields: int) -> frozenset[object]:
    """Reduce each value to its first fields: version, then meta, then sidecar."""
    return frozenset((name, None if value is None else value[:fields]) for name, value in items)


def _print(world: Mapping[str, Value | None]) -> str:
    parts = []
    for name, value in sorted(world.items()):
        if value is None:
            parts.append(f"{name}: absent")
        else:
            mark = " +sidecar" if value.sidecar else ""
            parts.append(f"{name}: v{value.version} [{value.meta}]{mark}")
    return "{" + ", ".join(parts) + "}"
