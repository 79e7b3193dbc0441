"""Prepare the comments that ruamel.yaml attaches to the nodes of a document for writing.

ruamel.yaml keeps the comment and the blank lines behind a value in one token at the value's entry,
and writes them as if the value had not changed its kind. This module puts them at the end of a
collection that replaces another value. It also keeps the number of line breaks where a block scalar
(``|`` or ``>``), which ends with its own, replaces another value or is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from ruamel.yaml.error import CommentMark
from ruamel.yaml.nodes import CollectionNode, MappingNode, SequenceNode
from ruamel.yaml.tokens import CommentToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Places:
    """Comments by the kind of value behind which they stood."""

    def __init__(self) -> None:
        self._of_collections: dict[int, Any] = {}  # with the objects, so that no id is reused
        self._behind_blocks: dict[int, Any] = {}

    def note(self, collection: Any, comments: Any) -> None:
        """Record the comments of a collection.

        Args:
            collection: The collection.
            comments: Its own comments; the first one stood behind its key.
        """
        if comments:
            self._of_collections[id(comments[0])] = comments[0]
        places = getattr(getattr(collection, "lc", None), "data", None)
        if not places:
            return
        for key, entry in collection.ca.items.items():
            place = places.get(key)
            token = entry[2 if isinstance(collection, Mapping) else 0]
            if place is None or not isinstance(token, CommentToken):
                continue
            line = getattr(token.start_mark, "line", None)
            if line is None:
                continue  # added by the program
            if len(place) > 2 and line < place[2]:
                self._of_collections[id(token)] = token  # a value below its key is a collection
            elif _is_behind_block(token):
                self._behind_blocks[id(token)] = token

    def of_collection(self, token: Any) -> bool:
        """Whether a comment stood behind the key of a collection."""
        return id(token) in self._of_collections

    def behind_block(self, token: Any) -> bool:
        """Whether a comment stood behind a block scalar."""
        return id(token) in self._behind_blocks


def _is_behind_block(token: Any) -> bool:
    """Whether a loaded comment stood behind a block scalar.

    A block scalar includes its last line break; behind any other value, the comment does.
    """
    mark, text = token.start_mark, getattr(token.start_mark, "buffer", None)
    if text is None:  # loaded by the program from a stream
        return bool(mark.column == 0)
    start = mark.pointer
    while start and text[start - 1] in " \n":
        start -= 1
    breaks: int = text.count("\n", start, mark.pointer)
    return breaks > len(token.value) - len(token.value.lstrip("\n"))


def together(of_place: Sequence[Any], own: Sequence[Any]) -> list[Any]:
    """Return the comments of an item: those of its place, and its own where the place has none."""
    both: list[Any] = []
    for here, there in zip_longest(of_place, own):
        if isinstance(here, list) and isinstance(there, list) and here != there:
            both.append([*here, *there])
        else:
            both.append(there if here is None else here)
    return both


def settle(root: Any, places: Places) -> None:
    """Prepare the comments of a document for writing; the object itself is not changed.

    Args:
        root: Its node.
        places: Where they stood.
    """
    todo = [root]
    items: set[int] = set()
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        behind = node.comment[0] if node.comment else None
        if behind is not None:
            _fit_line_break(node, places)
        _leave_header(node)
        if not isinstance(node, CollectionNode):
            continue
        if isinstance(node, SequenceNode):
            todo += node.value
            items |= set(map(id, node.value))
        elif isinstance(node, MappingNode):
            todo += (part for pair in node.value for part in pair)
        for token in _tokens(node.comment or ()):
            token.reset()  # an earlier call may have marked it as written
        if not any(node.comment or ()):
            continue
        if node.value:
            if behind is not None and not node.flow_style and not places.of_collection(behind):
                _end_with(node, node.comment[0])
        elif node is not root:
            _put_behind(node, in_list=id(node) in items)


def _fit_line_break(node: Any, places: Places) -> None:
    """Add the line break that a value lacks to the text behind it, or remove one too many."""
    behind = node.comment[0]
    text = behind.value
    was_block = places.behind_block(behind)
    is_block = getattr(node, "style", None) in ("|", ">")
    if was_block and not is_block:
        text = "\n" + " " * behind.start_mark.column + text
    elif is_block and not was_block:
        text = text.removeprefix("\n")
    if is_block and (node.value == "\n" or node.value.endswith("\n\n")):
        text = text.lstrip("\n")  # blank lines would become part of the scalar
    column = behind.start_mark.column if text.startswith("#") and not was_block else 0
    if text != behind.value:
        token = CommentToken(text, CommentMark(column), None) if text else None
        node.comment = [token, *node.comment[1:]]


def left_of_text(comments: Any, indent: int, column: int) -> Any:
    """Move comments behind a block scalar left so far that it does not take them in.

    Args:
        comments: The token.
        indent: Where the text of the scalar stands.
        column: Where comments are moved that stand there or further in.
    """
    lines = (" " * comments.start_mark.column + comments.value).split("\n")
    left = [line.lstrip(" ") for line in lines]
    depths = [len(a) - len(b) for a, b in zip(lines, left, strict=True)]
    depths = [depth if depth < indent else column for depth in depths]
    moved = [" " * depth + line for depth, line in zip(depths[1:], left[1:], strict=True)]
    return CommentToken("\n".join([left[0], *moved]), CommentMark(depths[0]), None)


def _leave_header(node: Any) -> None:
    """Move the comment from the mark of a former block scalar to the end of its value."""
    above = (node.comment[1] if node.comment and len(node.comment) > 1 else None) or []
    texts = [text for text in above if isinstance(text, str)]
    if not texts or getattr(node, "style", None) in ("|", ">"):
        return
    behind = node.comment[0]
    text = texts[0].strip() + (behind.value if behind is not None else "\n")
    rest = [token for token in above if not isinstance(token, str)]
    node.comment = [CommentToken(text, CommentMark(0), None), rest or None, *node.comment[2:]]


def _end_with(node: Any, behind: Any) -> None:
    """Move the text from behind a replaced value to the end of the collection in its place."""
    line, _, text = behind.value.partition("\n")
    above = node.comment[1] if len(node.comment) > 1 else None
    below = (node.comment[2] if len(node.comment) > 2 else None) or []
    first = CommentToken(f"{line}\n", behind.start_mark, None) if line else None
    if text:
        below = [*below, CommentToken(text, CommentMark(0), None)]
    node.comment = [first, above, below]


def _put_behind(node: Any, *, in_list: bool) -> None:
    """Move the comments of an empty collection behind it; in front, they move it to column 0.

    Comments above an item of a list are written before its dash, and stay there.
    """
    behind, text = node.comment[0], ""
    above = node.comment[1] if in_list else None
    for token in _tokens(node.comment[1 if above is None else 2 :]):
        text += " " * (0 if token.value.startswith("\n") else token.start_mark.column)
        text += token.value
    if text:
        line = "\n" if behind is None else behind.value
        mark = CommentMark(0) if behind is None else behind.start_mark
        behind = CommentToken(line + text, mark, None)
    node.flow_style = True
    node.comment = [behind, above]


def _tokens(comments: Any) -> Any:
    for comment in comments:
        if isinstance(comment, list):
            yield from _tokens(comment)
        elif comment is not None:
            yield comment
