"""How far to the right the collections of a YAML text stand, each of them and most of them.

ruamel.yaml remembers where a collection stood, and indents all of them alike. So what each one has
of its own is noted beside its line number, which ruamel.yaml copies along with it, and the emitter
asks for it. What is new is indented as most of the document is.
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
    """How far to the right things stand, in columns. It does not change.

    Attributes:
        mapping: The keys of a mapping, from the key that it is the value of.
        dash: The dashes of a list, from that key, or from where an item of the outer list begins.
        item: What begins behind a dash, from the dash.
    """

    def __init__(self, mapping: int = 2, dash: int = 0, item: int = 2) -> None:
        self.mapping = mapping
        self.dash = dash
        self.item = item

    def __deepcopy__(self, _memo: object) -> Indent:
        return self


def of(collection: object) -> Indent | None:
    """Return what a loaded collection has of its own."""
    return getattr(getattr(collection, "lc", None), _ATTRIBUTE, None)


def measure(document: object, lines: list[str]) -> tuple[Indent, int]:
    """Note at each collection in block style how it is indented.

    Args:
        document: What the text says.
        lines: The text.

    Returns:
        How most of them are, and where the keys or dashes of the outermost one stand.
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
    """Return the collections in a collection, and how far to the right of it each one stands."""
    column = _column(outer, lines)
    return [
        (inner, _column(inner, lines) - column)
        for inner in (outer.values() if isinstance(outer, CommentedMap) else outer)
        if _in_block_style(inner) and inner.lc.line >= outer.lc.line  # not an alias
    ]


def _column(value: Any, lines: list[str]) -> int:
    """Return where the keys or dashes of a collection stand, which an anchor or a tag may hide."""
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
        and len(value) > 0  # empty brackets say nothing of their style
        and not value.fa.flow_style()
        and value.lc.col is not None
    )


def _most_common(found: Counter[int], *, least: int) -> int | None:
    return next((depth for depth, n in found.most_common() if n and depth >= least), None)
