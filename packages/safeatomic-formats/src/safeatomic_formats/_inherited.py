"""Merge keys of ruamel.yaml (``<<: *base``), written so that they mean what the object means.

A mapping with a merge key also contains copies of the entries that it inherits, made by the load.
ruamel.yaml writes the merge key and the entries that were set since, even if inherited ones were
removed. And `copy.deepcopy` copies the inherited entries as the mapping's own, and the mapping that
they come from a second time, without its place in the document. So this module determines again
what a mapping inherits. It leaves the merge key out if the key would bring in entries that the
object does not have, or if the mapping that it names is no longer in the document.
"""

from __future__ import annotations

import copy

from ruamel.yaml.comments import CommentedMap, CommentedSeq, merge_attrib

from ._readback import collections_of, same_scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Sources:
    """The mappings of a document that others may inherit from."""

    def __init__(self, document: object) -> None:
        self._named: dict[object, Any] = {}
        for value in collections_of(document):
            name = _name(value)
            if name is not None:
                self._named.setdefault(name, value)

    def as_written(self, mapping: Any) -> Any:
        """Return a mapping for writing: itself, or its own entries and its merge key."""
        merged = getattr(mapping, merge_attrib, None)
        if not merged:
            return mapping
        sources = [self._original(_mapping_of(source)) for source in merged]
        inherited: dict[object, object] = {}
        for source in sources:
            for key, value in source.items():
                inherited.setdefault(key, value)
        entries = dict(mapping.items())
        if inherited.keys() - entries.keys() or not all(map(self._stands, sources)):
            return _AsWritten(mapping, entries, [])
        placed = mapping.lc.data or {}  # the keys that stood in the text
        own = {
            key: value
            for key, value in entries.items()
            if key in placed or key not in inherited or not _same(value, inherited[key])
        }
        return _AsWritten(mapping, own, self._with(merged, sources))

    def _stands(self, source: Any) -> bool:
        """Whether a mapping can be named: it is in the document, or stands at the merge key."""
        name = _name(source)
        return name is None or name in self._named

    def _original(self, source: Any) -> Any:
        """Return the mapping in the document that a deep copy of it stands for."""
        name = _name(source)
        return source if name is None else self._named.get(name, source)

    def _with(self, merged: Any, sources: list[Any]) -> Any:
        """Return the value of a merge key, with other mappings in it."""
        if isinstance(merged, list):  # before 0.18.7: pairs of the place and the mapping
            return [(merged[0][0], source) for source in sources]
        result = copy.copy(merged)
        result.value = sources
        if isinstance(merged.sequence, CommentedSeq):
            sequence = CommentedSeq(sources)
            merged.sequence.copy_attributes(sequence)
            result.sequence = sequence
        elif merged.sequence is not None:
            result.sequence = sources
        return result


class _AsWritten:
    """A mapping with other entries and another merge key."""

    def __init__(self, mapping: Any, entries: dict[object, object], merged: Any) -> None:
        self._mapping = mapping
        self._entries = entries
        setattr(self, merge_attrib, merged)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mapping, name)

    def items(self) -> Any:
        return self._entries.items()

    non_merged_items = items


def _mapping_of(source: Any) -> Any:
    return source[1] if isinstance(source, tuple) else source


def _name(value: Any) -> object:
    """Return a key that identifies a mapping with an anchor, also in a deep copy."""
    if not isinstance(value, CommentedMap) or value.anchor.value is None:
        return None
    return value.anchor.value, value.lc.line, value.lc.col


def _same(value: Any, other: Any) -> bool:
    if value is other:
        return True
    return not isinstance(value, dict | list | set | tuple) and same_scalar(value, other)
