"""The indents of the collections of a YAML text: of each one, and the most frequent ones.

ruamel.yaml remembers where a collection stood, but indents all of them alike. So the indent of each
one is stored beside its line number, which ruamel.yaml copies with the collection, and the emitter
uses it. A new collection is indented like most of the document.
"""

from __future__ import annotations

import re
from collections import Counter

from ruamel.yaml.comments import CommentedMap, CommentedSeq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ATTRIBUTE = "safeatomic_indent"


class Indent:
    """The indents of one collection, in columns; immutable.

    Attributes:
        mapping: From the key of a mapping to the keys in it.
        dash: From the key of a list, or the start of an item of the outer list, to its dashes.
        item: From a dash to the start of its item.
    """

    def __init__(self, mapping: int = 2, dash: int = 0, item: int = 2) -> None:
        self.mapping = mapping
        self.dash = dash
        self.item = item

    def __deepcopy__(self, _memo: object) -> Indent:
        return self


def of(collection: object) -> Indent | None:
    """Return the indent that a loaded collection had."""
    return getattr(getattr(collection, "lc", None), _ATTRIBUTE, None)


def measure(document: object, lines: list[str]) -> tuple[Indent, int]:
    """Store the indent of each collection in block style.

    Args:
        document: The loaded document.
        lines: The text.

    Returns:
        The most frequent indent, and the column of the keys or dashes of the outermost collection.
    """
    mappings: Counter[int] = Counter()
    dashes: Counter[int] = Counter()
    items: Counter[int] = Counter()
    found: list[tuple[Any, int | None, int | None, int | None]] = []
    todo: list[tuple[Any, int | None, int | None]] = [(document, None, None)]
    seen: set[int] = set()
    while todo:
        outer, mapping, dash = todo.pop()
        if not _in_block_style(outer) or id(outer) in seen:
            continue
        seen.add(id(outer))
        inside = _inside(outer, lines)
        if isinstance(outer, CommentedMap):
            found.append((outer, mapping, None, None))
            for inner, depth in inside:
                listed = isinstance(inner, CommentedSeq)
                (dashes if listed else mappings)[depth] += 1
                todo.append((inner, None, depth) if listed else (inner, depth, None))
            continue
        item = _most_common(Counter(depth for _, depth in inside), least=2)
        found.append((outer, None, dash, item))
        items.update(depth for inner, depth in inside if isinstance(inner, CommentedMap))
        todo += [(inner, None, depth - (item or depth)) for inner, depth in inside]
    most = Indent(
        _most_common(mappings, least=1) or 2,
        _most_common(dashes, least=0) or 0,
        _most_common(items, least=2) or 2,
    )
    for collection, mapping, dash, item in found:
        own = Indent(
            most.mapping if mapping is None else max(mapping, 1),
            most.dash if dash is None else max(dash, 0),
            most.item if item is None else item,
        )
        setattr(collection.lc, _ATTRIBUTE, own)
    root = _column(document, lines) if _in_block_style(document) else 0
    return most, max(root, 0)


def _inside(outer: Any, lines: list[str]) -> list[tuple[Any, int]]:
    """Return the collections in a collection, and the indent of each one from it."""
    column = _column(outer, lines)
    return [
        (inner, _column(inner, lines) - column)
        for inner in (outer.values() if isinstance(outer, CommentedMap) else outer)
        if _in_block_style(inner) and inner.lc.line >= outer.lc.line  # not an alias
    ]


def _column(value: Any, lines: list[str]) -> int:
    """Return the column of a collection's keys or dashes, even behind an anchor or a tag."""
    line, column = value.lc.line, int(value.lc.col or 0)
    if (
        not isinstance(line, int)
        or not line < len(lines)
        or lines[line][column : column + 1] not in _PROPERTY
    ):
        return column
    if isinstance(value, CommentedMap):
        return min((int(place[1]) for place in (value.lc.data or {}).values()), default=column)
    dashes = (_DASH.match(text) for text in lines[line + 1 :])
    return next((len(dash[1]) for dash in dashes if dash), column)


_PROPERTY = ("&", "!")
_DASH = re.compile(r"( *)-(?:\s|$)")


def _in_block_style(value: object) -> bool:
    return (
        isinstance(value, CommentedMap | CommentedSeq)
        and len(value) > 0  # an empty collection does not show its style
        and not value.fa.flow_style()
        and value.lc.col is not None
    )


def _most_common(found: Counter[int], *, least: int) -> int | None:
    return next((depth for depth, n in found.most_common() if n and depth >= least), None)
