"""Comments as ruamel.yaml attaches them to the nodes of a document, made ready to be written.

ruamel.yaml keeps what follows a value, comment and blank lines, in one token with the entry that
the value is of, and writes it as if the value were still of its kind. So it is seen to here that a
collection in the place of another value has them at its end, and that no line break is lost or
added where a block scalar (``|`` or ``>``), which brings its own, goes or comes.
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
    """What is known of comments by where they stood."""

    def __init__(self) -> None:
        self._of_collections: dict[int, Any] = {}  # the objects as well: else a number is reused
        self._behind_blocks: dict[int, Any] = {}

    def note(self, collection: Any, comments: Any) -> None:
        """Take in the comments of a collection.

        Args:
            collection: The collection.
            comments: Its own ones, of which the first stood behind its key.
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
    """Whether a loaded comment stood behind a block scalar, whose last line break is the scalar's.

    Behind any other value, that line break is the first one of the comment.
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
    """Return the comments of an item: those of its place, and its own where that has none."""
    both: list[Any] = []
    for here, there in zip_longest(of_place, own):
        if isinstance(here, list) and isinstance(there, list) and here != there:
            both.append([*here, *there])
        else:
            both.append(there if here is None else here)
    return both


def settle(root: Any, places: Places) -> None:
    """Make the comments of a document ready to be written; nothing of the object is changed.

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
            token.reset()  # what an earlier call wrote counts as not written yet
        if not any(node.comment or ()):
            continue
        if node.value:
            if behind is not None and not node.flow_style and not places.of_collection(behind):
                _end_with(node, node.comment[0])
        elif node is not root:
            _put_behind(node, in_list=id(node) in items)


def _fit_line_break(node: Any, places: Places) -> None:
    """Give what stands behind a value the line break that the value lacks, or has."""
    behind = node.comment[0]
    text = behind.value
    was_block = places.behind_block(behind)
    is_block = getattr(node, "style", None) in ("|", ">")
    if was_block and not is_block:
        text = "\n" + " " * behind.start_mark.column + text
    elif is_block and not was_block:
        text = text.removeprefix("\n")
    if is_block and (node.value == "\n" or node.value.endswith("\n\n")):
        text = text.lstrip("\n")  # blank lines would be the scalar's
    column = behind.start_mark.column if text.startswith("#") and not was_block else 0
    if text != behind.value:
        token = CommentToken(text, CommentMark(column), None) if text else None
        node.comment = [token, *node.comment[1:]]


def left_of_text(comments: Any, indent: int, column: int) -> Any:
    """Return comments behind a block scalar, none of which it takes in.

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
    """Write behind a value what stood behind the mark of a block scalar, which it is no more."""
    above = (node.comment[1] if node.comment and len(node.comment) > 1 else None) or []
    texts = [text for text in above if isinstance(text, str)]
    if not texts or getattr(node, "style", None) in ("|", ">"):
        return
    behind = node.comment[0]
    text = texts[0].strip() + (behind.value if behind is not None else "\n")
    rest = [token for token in above if not isinstance(token, str)]
    node.comment = [CommentToken(text, CommentMark(0), None), rest or None, *node.comment[2:]]


def _end_with(node: Any, behind: Any) -> None:
    """Write at the end of a collection what stood behind the value in whose place it is."""
    line, _, text = behind.value.partition("\n")
    above = node.comment[1] if len(node.comment) > 1 else None
    below = (node.comment[2] if len(node.comment) > 2 else None) or []
    first = CommentToken(f"{line}\n", behind.start_mark, None) if line else None
    if text:
        below = [*below, CommentToken(text, CommentMark(0), None)]
    node.comment = [first, above, below]


def _put_behind(node: Any, *, in_list: bool) -> None:
    """Write the comments of an empty collection behind it; in front, they move it to column 0.

    Above an item of a list they are written before its dash, and stay.
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
