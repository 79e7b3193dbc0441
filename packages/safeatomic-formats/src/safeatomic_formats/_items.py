"""Keep the comments of a list at the items with which they were loaded.

ruamel.yaml stores the comments of a list by the numbers of its items. It moves them when an item is
inserted or removed, but mishandles a negative number (`pop()`, ``del items[-1]``), and does not
move them when items change places. So the loaded items of a list are stored beside its line number,
which ruamel.yaml copies with the list. If a comment is at an item that is not its own, all comments
are put back.
"""

from __future__ import annotations

from collections import Counter

from ruamel.yaml.comments import Comment, CommentedBase, CommentedSeq
from ruamel.yaml.tokens import CommentToken

from ._lines import aligned
from ._readback import collections_of, plain, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ATTRIBUTE = "safeatomic_items"


class Items:
    """The loaded items of a list, and their comments; immutable."""

    def __init__(self, sequence: Any) -> None:
        self.names = [_name(item) for item in sequence]
        places = ((place_of(entry), number) for number, entry in sequence.ca.items.items())
        self.numbers = {place: number for place, number in places if place is not None}

    def __deepcopy__(self, _memo: object) -> Items:
        return self


def note(document: object) -> None:
    """Store the items of each list that has comments."""
    for value in collections_of(document):
        if isinstance(value, CommentedSeq) and value.ca.items:
            setattr(value.lc, _ATTRIBUTE, Items(value))


def with_own_comments(sequence: Any) -> Any:
    """Return a list with each comment at its own item: the list itself, or a copy."""
    if not isinstance(sequence, CommentedSeq) or not sequence.ca.items:
        return sequence
    entries = _own(sequence)
    if any(map(_has_header, entries.values())):
        entries = {n: _with_header(entry) for n, entry in entries.items()}
    elif entries is sequence.ca.items:
        return sequence
    comments = Comment()
    comments.comment = sequence.ca.comment
    comments.end = sequence.ca.end
    comments.items.update(entries)
    copy = CommentedSeq(sequence)
    sequence.copy_attributes(copy)
    setattr(copy, Comment.attrib, comments)
    return copy


def _own(sequence: Any) -> Any:
    """Return the comments of a list by the numbers of its items, put back if necessary."""
    loaded = getattr(sequence.lc, _ATTRIBUTE, None)
    if loaded is None:
        return sequence.ca.items
    names = [_name(item) for item in sequence]
    entries = {n: (loaded.numbers.get(place_of(e)), e) for n, e in sequence.ca.items.items()}
    present = set(names)
    if not any(
        _is_astray(number, own, names, loaded.names, present)
        for number, (own, _) in entries.items()
        if own is not None
    ):
        return sequence.ca.items
    now = _numbers_now(loaded.names, names)
    placed = {now[own]: entry for own, entry in entries.values() if own in now}
    return placed | {n: entry for n, (own, entry) in entries.items() if own is None}


class _Header(str):
    """A comment at the mark of a block scalar.

    ruamel.yaml resets the comments of a list before it writes them, and writes none of them if one
    is a text, which has no `reset`.
    """

    __slots__ = ()

    def reset(self) -> None:
        """Do nothing: a text never counts as written."""


def _has_header(entry: Any) -> bool:
    return any(isinstance(part, str) for part in (entry[1] if len(entry) > 1 else None) or ())


def _with_header(entry: Any) -> Any:
    if not _has_header(entry):
        return entry
    above = [_Header(part) if isinstance(part, str) else part for part in entry[1]]
    return [entry[0], above, *entry[2:]]


def _is_astray(
    number: int, own: int, names: list[str], loaded: list[str], present: set[str]
) -> bool:
    """Whether the comments of an item are at another one that has not replaced it."""
    if 0 <= number < len(names) and names[number] == loaded[own]:
        return False
    return number != own or loaded[own] in present


def _numbers_now(loaded: list[str], names: list[str]) -> dict[int, int]:
    """Return the present numbers of items, by the numbers that they were loaded with."""
    now: dict[int, int] = {}
    for i, j, k, m in aligned(loaded, names):
        if j - i == m - k:
            now.update(zip(range(i, j), range(k, m), strict=True))
    counts = [Counter(loaded), Counter(names)]
    places = {name: number for number, name in enumerate(names)}
    for number, name in enumerate(loaded):
        if counts[0][name] == counts[1][name] == 1:
            now[number] = places[name]  # the item may have changed its place
    taken: dict[int, int] = {}
    for number, place in now.items():
        if place not in taken or loaded[number] == names[place]:
            taken[place] = number
    return {number: place for place, number in taken.items()}


def _name(item: Any) -> str:
    """Return a key that identifies an item: its place in the text, or its value."""
    if isinstance(item, CommentedBase) and item.lc.line is not None:
        return f"at {item.lc.line} {item.lc.col}"
    if isinstance(item, dict | list | tuple | set):
        return f"new {id(item)}"
    value = plain(getattr(item, "value", item))
    return f"{type(value).__name__} {value if isinstance(value, str) else shown(value)}"


def place_of(entry: Any) -> tuple[int, int] | None:
    """Return where an item's comments stood in the text; None if the program added them."""
    for part in entry:
        for token in part if isinstance(part, list) else [part]:
            if isinstance(token, CommentToken):
                line = getattr(token.start_mark, "line", None)
                return None if line is None else (line, token.start_mark.column)
    return None
