"""Correct the comments behind anchors, tags and aliases of a loaded YAML document.

ruamel.yaml repeats the comment of an anchor at each alias, takes a comment behind an alias for one
above the next entry, and writes one behind an anchor or a tag on a line of its own.
"""

from __future__ import annotations

import re

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.tokens import CommentToken

from ._items import place_of
from ._readback import collections_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def correct(document: object) -> None:
    """Put comments behind anchors and tags where they stood, and drop those of aliases.

    A comment behind an alias then stays on its line (`_merge`).
    """
    for value in collections_of(document):
        if not isinstance(value, CommentedMap | CommentedSeq):
            continue
        _drop_comments_of_anchors(value)
        _join_comments_behind_marks(value)
        for comments in (value.ca.comment or (), *value.ca.items.values(), [value.ca.end]):
            for part in comments:
                if isinstance(part, list):
                    part[:] = _without_those_behind_aliases(part)


def _drop_comments_of_anchors(collection: Any) -> None:
    """Drop comments of values that stand above the value's entry: they are those of an anchor."""
    at = 2 if isinstance(collection, CommentedMap) else 0
    least = collection.lc.line
    for key, (line, *_) in (collection.lc.data or {}).items():
        least = line if at else least
        entry = collection.ca.items.get(key)
        place = place_of(entry[at : at + 2]) if entry else None
        if place is not None and place[0] < least:
            collection.ca.items[key] = [*entry[:at], None, None, *entry[at + 2 :]]
        least = max(least, line)


def _without_those_behind_aliases(comments: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for token in comments:
        if isinstance(token, CommentToken) and _stands_behind(_ALIAS, token):
            blank_lines = token.value.partition("\n")[2]
            if blank_lines:
                kept.append(CommentToken(blank_lines, token.start_mark, None))
        else:
            kept.append(token)
    return kept


def _join_comments_behind_marks(collection: Any) -> None:
    """Make one comment of those behind an anchor or a tag and above the first entry of its value.

    ruamel.yaml writes it where it stood, as it does behind a key, and the others on other lines.
    """
    at = 2 if isinstance(collection, CommentedMap) else 0
    for key, entry in collection.ca.items.items():
        above = (entry[at + 1] if len(entry) > at + 1 else None) or [None]
        first, value = above[0], collection[key]
        if (
            not isinstance(first, CommentToken)
            or not isinstance(value, CommentedMap | CommentedSeq)
            or not _stands_behind(_MARK, first)
        ):
            continue
        rest = (" " * token.start_mark.column + token.value for token in above[1:])
        token = CommentToken(first.value + "".join(rest), first.start_mark, None)
        collection.ca.items[key] = [*entry[:at], token, None, *entry[at + 2 :]]
        value.ca.comment = [token, None]
        if at and key in (collection.lc.data or ()):
            collection.lc.data[key][2] = first.start_mark.line + 1  # its entries begin below


def _stands_behind(kind: re.Pattern[str], token: Any) -> bool:
    """Whether a loaded comment stands behind a mark of some kind."""
    text, end = token.start_mark.buffer, token.start_mark.pointer
    return kind.search(text, max(text.rfind("\n", 0, end), 0), end) is not None


_MARK = re.compile(r"(?:^|[\s:-])[&!]\S*[ ]+\Z")
_ALIAS = re.compile(r"(?:^|[\s:-])\*\S+[ ]+\Z")
