"""ruamel.yaml's round-trip classes: a converter with our representer, emitter and bounds.

The emitter indents each collection as it was, and a new one like most of the document, and writes
comments where ruamel.yaml's own emitter would change the data or lose them.
"""

from __future__ import annotations

from ruamel.yaml import YAML
from ruamel.yaml.error import CommentMark
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.tokens import CommentToken

from . import _depth
from ._attached import left_of_text
from ._indents import Indent
from ._representer import Representer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# No line is folded: ruamel.yaml does not record where a long line broke, so a limit would break
# lines at other places.
WIDTH = 2**31 - 1
# Levels, for any size of the stack: the time of ruamel.yaml grows with their square.
MAX_DEPTH = 1_000

_CLASSES: Any = YAML(typ="rt", pure=True)  # the classes differ between versions


class Serializer(_CLASSES.Serializer):  # type: ignore[misc]
    """The serializer; it passes each collection's indent to the emitter, and keeps anchors."""

    anchors_of_text: frozenset[str] = frozenset()

    def serialize_node(self, node: Any, parent: Any, index: Any) -> None:
        """Write a node and all below it."""
        if parent is None:
            self._keep_anchors()
        self.emitter.indent_of_next = self.dumper.representer.indents.get(node)
        super().serialize_node(node, parent, index)

    def _keep_anchors(self) -> None:
        """Keep the anchors of the text that no alias names, if each belongs to one node."""
        named: dict[str, list[Any]] = {}
        for node in self.anchors:
            anchor = getattr(node.anchor, "value", None)
            if anchor in self.anchors_of_text:
                named.setdefault(anchor, []).append(node)
        for anchor, nodes in named.items():
            if len(nodes) == 1:
                self.anchors[nodes[0]] = anchor


class Emitter(_CLASSES.Emitter):  # type: ignore[misc]
    """The emitter, with an indent for each collection."""

    most = Indent()
    root_column = 0
    indent_of_next: Indent | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._given: dict[object, Indent] = {}  # by the event that begins a collection
        self._open: list[Indent] = []  # of the open collections

    def emit(self, event: Any) -> None:
        """Take the next event."""
        if self.indent_of_next is not None and isinstance(event, CollectionStartEvent):
            self._given[event] = self.indent_of_next
        super().emit(event)

    def increase_indent(
        self, flow: bool = False, sequence: bool | None = None, indentless: bool = False
    ) -> None:
        """Go one level deeper."""
        self._indent_as_the_innermost()
        depth = len(self.indents.values)
        own = self._given.get(self.event, self.most)
        self.best_map_indent = own.mapping
        super().increase_indent(flow=flow, sequence=sequence, indentless=indentless)
        if not depth and not flow:
            own = Indent(own.mapping, self.root_column, own.item)
            if not sequence:
                self.indent = self.root_column
        self._open[depth:] = [own]

    def _indent_as_the_innermost(self) -> None:
        depth = len(self.indents.values)
        innermost = self._open[depth - 1] if depth else self.most
        self.sequence_dash_offset = innermost.dash
        self.best_sequence_indent = innermost.dash + innermost.item

    def expect_block_sequence(self) -> None:
        """Begin a list below its key, even if a comment has been written after the key."""
        if self.mapping_context and self.column:
            self.no_newline = False
        super().expect_block_sequence()

    def expect_block_sequence_item(self, first: bool = False) -> None:
        """Begin an item on a new line, even after an item that is empty brackets."""
        if not first and self.column:
            self.no_newline = False
        self._indent_as_the_innermost()
        if not isinstance(self.event, CollectionEndEvent):
            self._left_of_the_item((self.indent or 0) + self.sequence_dash_offset)
        super().expect_block_sequence_item(first)

    def _left_of_the_item(self, dash: int) -> None:
        """Move comments above an item to its dash: further right, a block scalar takes them in."""
        comment = self.event.comment
        if not comment or len(comment) < 2 or not comment[1]:
            return
        above = [
            CommentToken(token.value, CommentMark(dash), None)
            if isinstance(token, CommentToken) and token.start_mark.column > dash
            else token
            for token in comment[1]
        ]
        self.event.comment = [comment[0], above, *comment[2:]]

    def write_pre_comment(self, event: Any) -> Any:
        """Write the comments above a node, but not a comment at a block scalar's mark."""
        above = (event.comment[1] if event.comment and len(event.comment) > 1 else None) or ()
        if isinstance(event, ScalarEvent) and any(isinstance(part, str) for part in above):
            return False
        if any(map(self._stood_in_brackets, above)):
            return False
        return super().write_pre_comment(event)

    def write_post_comment(self, event: Any) -> Any:
        """Write the comment behind a node."""
        if self._stood_in_brackets(event.comment[0]):
            return False
        return super().write_post_comment(event)

    def _stood_in_brackets(self, comment: Any) -> bool:
        """Whether a comment was loaded inside brackets, and is there still.

        ruamel.yaml loads only some of those, and breaks the line at each one that it writes. So
        none is written: `_brackets` keeps all of them.
        """
        if not self.flow_level or not hasattr(getattr(comment, "start_mark", None), "line"):
            return False
        depth = len(self.indents.values) - isinstance(self.event, ScalarEvent)  # it counts as one
        return self._open[depth - 1] is self.most  # a collection in block style had its own indent

    def expect_block_mapping_key(self, first: bool = False) -> None:
        """Begin an entry on a new line, even after a value in brackets."""
        if (not first or self.mapping_context) and self.column:
            self.no_newline = False
        super().expect_block_mapping_key(first)

    def expect_flow_mapping(self, **options: Any) -> None:
        """Begin a mapping in brackets with braces, also if it has one entry in a list."""
        super().expect_flow_mapping(**(options | {"single": False}))

    def choose_scalar_style(self) -> Any:
        """Return the style of a scalar; a folded text inside brackets loses its folds."""
        style = super().choose_scalar_style()
        if self.event.style == ">" != style and "\a" in self.event.value:
            self.event.value, self.analysis = self.event.value.replace("\a", ""), None
            style = super().choose_scalar_style()
        return style

    def determine_block_hints(self, text: Any) -> Any:
        """Return the hints behind a block scalar's mark; ruamel.yaml assumes an indent of 2."""
        hints, indent, indicator = super().determine_block_hints(text)
        outer = self._outer_column()
        if hints[:1].isdigit() and outer is not None:
            hints = f"{self.indent - outer}{indicator}"
        return hints, indent, indicator

    def process_scalar(self) -> None:
        """Write a scalar; comments behind a block scalar stay left of its text."""
        comment = self.event.comment
        if self.style in ("|", ">") and comment and comment[0]:
            behind = left_of_text(comment[0], self.indent or 0, self._outer_column() or 0)
            self.event.comment = [behind, *comment[1:]]
        super().process_scalar()

    def _outer_column(self) -> Any:
        """Return where the key or the dash of a scalar stands; None at the root."""
        column = self.indents.values[-1][0] if self.indents.values else None
        if column is not None and self.indents.last_seq():
            column += self._open[len(self.indents.values) - 2].dash
        return column

    def expect_node(self, root: bool = False, **context: Any) -> None:
        """Write a node; comments above a document in brackets get lines of their own."""
        event = self.event
        if root and isinstance(event, CollectionStartEvent) and event.flow_style:
            comment = event.comment
            if comment and len(comment) > 1 and comment[1]:
                self.write_pre_comment(event)
                event.comment = [comment[0], None, *comment[2:]]
        self._indent_as_the_innermost()
        super().expect_node(root=root, **context)


class Resolver(_CLASSES.Resolver):  # type: ignore[misc]
    """The resolver, which counts the levels."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._levels = min(_depth.levels() or MAX_DEPTH, MAX_DEPTH)
        self._depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Count one level more; composer and serializer call this before each node."""
        self._depth += 1
        if self._depth > self._levels + 1:  # a scalar does not count
            raise _depth.error(self._levels)
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        """Count one level less; composer and serializer call this after each node."""
        self._depth -= 1
        super().ascend_resolver()


def converter(anchors: frozenset[str] = frozenset(), **attributes: Any) -> Any:
    """Return a fresh converter (it keeps state, so threads must not share one).

    Args:
        anchors: The anchors that are written even if no alias names them.
        **attributes: Set on the emitter.
    """
    yaml: Any = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.Resolver = Resolver
    yaml.Representer = Representer
    yaml.Serializer = type("Serializer", (Serializer,), {"anchors_of_text": anchors})
    yaml.Emitter = type("Emitter", (Emitter,), attributes)
    return yaml
