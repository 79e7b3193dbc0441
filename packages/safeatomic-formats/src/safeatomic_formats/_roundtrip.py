"""ruamel.yaml's round-trip classes, corrected where their text does not read back.

- comments stand at the entries to which they are attached (`_attached`, `_items`);
- each collection is indented as it was, and a new one like most of the document;
- a text with a line break of Unicode is quoted: unquoted, it reads back as another line break;
- a merge key is written only if the object has the entries that it brings in, in a deep copy too;
- subclasses of the plain types are written as their base, and an ordered dict as a mapping.
"""

from __future__ import annotations

import base64
import collections
import datetime as dt
import re
import types
from collections.abc import Mapping
from itertools import zip_longest

from ruamel.yaml import YAML
from ruamel.yaml.comments import Comment, CommentedSet
from ruamel.yaml.error import CommentMark
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.representer import RepresenterError
from ruamel.yaml.scalarstring import FoldedScalarString, ScalarString
from ruamel.yaml.timestamp import TimeStamp
from ruamel.yaml.tokens import CommentToken

from . import _depth
from ._attached import Places, left_of_text, settle, together
from ._indents import Indent
from ._indents import of as indent_of
from ._inherited import Sources
from ._items import with_own_comments
from ._plain import loads_utc
from ._readback import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# No line is folded: ruamel.yaml does not record where a long line broke, so a limit would break
# lines at other places.
WIDTH = 2**31 - 1
# Levels, for any size of the stack: the time of ruamel.yaml grows with their square.
MAX_DEPTH = 1_000

_CLASSES: Any = YAML(typ="rt", pure=True)  # the classes differ between versions
_STR = "tag:yaml.org,2002:str"
_NEEDS_QUOTES = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


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
        if not depth:
            own = Indent(own.mapping, self.root_column, own.item)
            if not flow and not sequence:
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
        above = event.comment[1] if event.comment and len(event.comment) > 1 else None
        if isinstance(event, ScalarEvent) and any(isinstance(part, str) for part in above or ()):
            return False
        return super().write_pre_comment(event)

    def expect_block_mapping_key(self, first: bool = False) -> None:
        """Begin an entry on a new line, even after a value in brackets."""
        if (not first or self.mapping_context) and self.column:
            self.no_newline = False
        super().expect_block_mapping_key(first)

    def expect_flow_mapping(self, single: bool | None = False, **options: Any) -> None:
        """Begin a mapping in brackets, with braces where an anchor or a tag would be its key's."""
        bare = self.event.anchor is None and self.event.implicit
        super().expect_flow_mapping(single=single and bare, **options)

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


class Representer(_CLASSES.Representer):  # type: ignore[misc]
    """The representer, for subclasses of the plain types as well."""

    def represent(self, data: object) -> None:
        """Write a document."""
        self._sources = Sources(data)
        self.indents: dict[object, Indent] = {}
        self._places = Places()
        self._nodes: set[object] = set()
        self._of_anchors: dict[Any, Any] = {}
        node = self.represent_data(data)
        for shared, comments in self._of_anchors.items():
            both = zip_longest(shared.comment or (), comments)
            shared.comment = [last or first for last, first in both]
        settle(node, self._places)
        self.serializer.serialize(node)
        self.represented_objects: dict[int, Any] = {}
        self.object_keeper: list[Any] = []
        self.alias_key = None

    def represent_data(self, data: Any) -> Any:
        """Return the node of a value; an alias without comments leaves it those of the anchor."""
        node = super().represent_data(data)
        if node in self._nodes and node.comment and node not in self._of_anchors:
            self._of_anchors[node] = [*node.comment]
        self._nodes.add(node)
        return node

    def represent_mapping(self, tag: Any, mapping: Any, flow_style: Any = None) -> Any:
        """Return the node of a mapping, without the entries that a merge key brings in."""
        written = self._sources.as_written(mapping)
        with _OwnComments(mapping):
            return self._indented(super().represent_mapping(tag, written, flow_style), mapping)

    def represent_omap(self, tag: Any, omap: Any, flow_style: Any = None) -> Any:
        """Return the node of an ordered mapping."""
        with _OwnComments(omap):
            return self._indented(super().represent_omap(tag, omap, flow_style), omap)

    def represent_commented_set(self, setting: Any) -> Any:
        """Return the node of a set that was loaded."""
        with _OwnComments(setting):
            return self._indented(super().represent_set(setting), setting)

    def represent_sequence(self, tag: Any, sequence: Any, flow_style: Any = None) -> Any:
        """Return the node of a list."""
        written = with_own_comments(sequence)
        return self._indented(super().represent_sequence(tag, written, flow_style), written)

    def merge_comments(self, node: Any, comments: Any) -> Any:
        """Give an item the comments of its place, which ruamel.yaml refuses if it has its own."""
        if comments is None:
            return node
        node.comment = together(comments, node.comment or ())
        return node

    def _indented(self, node: Any, collection: object) -> Any:
        if node.comment:
            node.comment = [*node.comment]  # a copy: ruamel.yaml changes it
        self._places.note(collection, node.comment)
        indent = indent_of(collection)
        if indent is not None:
            self.indents[node] = indent
        return node

    def represent_datetime(self, data: Any) -> Any:
        """Return the node of a time stamp, in its zone even if a deep copy has lost the zone."""
        written = vars(data)["_yaml"]
        if data.tzinfo is None and written.get("tz") and not loads_utc():
            value = data.isoformat("T" if written["t"] else " ") + written["tz"]
            return self.represent_scalar("tag:yaml.org,2002:timestamp", value)
        return super().represent_datetime(data)

    def represent_folded_scalarstring(self, data: Any) -> Any:
        """Return the node of a folded text, in which ruamel.yaml marks the folds with BEL."""
        made = not hasattr(data, "fold_pos")  # by the program; line breaks at its end would double
        if _NEEDS_QUOTES.search(data) or (made and data.endswith("\n\n")):
            return self.represent_scalar(_STR, str.__str__(data), anchor=data.yaml_anchor(any=True))
        return super().represent_folded_scalarstring(data)

    def represent_binary(self, data: bytes) -> Any:
        """Return bytes on one line: a block scalar would not fit everywhere."""
        text = base64.b64encode(data).decode("ascii")
        return self.represent_scalar("tag:yaml.org,2002:binary", text)

    def represent_scalar(self, tag: Any, value: Any, style: Any = None, anchor: Any = None) -> Any:
        """Return the node of a scalar, with double quotes if nothing else preserves it."""
        if isinstance(value, str):
            if _SURROGATE.search(value):
                raise RepresenterError(f"half of a surrogate pair is not text: {value!r}")
            if style in ("|", ">") and not value:
                style = "'"  # otherwise a comment below would become its text
            elif style != ">" and _NEEDS_QUOTES.search(value):
                style = '"'
            elif value.startswith(("?", ":")) and style in (None, ""):
                style = "'"  # otherwise, inside brackets, it would become a key or end one
        return super().represent_scalar(tag, value, style=style, anchor=anchor)


class _OwnComments:
    """Leaves a collection's list of comments as it was; ruamel.yaml adds those at its end to it."""

    def __init__(self, collection: Any) -> None:
        self._comments = getattr(getattr(collection, Comment.attrib, None), "comment", None) or []
        self._length = len(self._comments)

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """Take away what was added."""
        del self._comments[self._length :]


def _represent_subclass(representer: Any, value: object) -> Any:
    return representer.represent_data(plain(value))


def _represent_text(representer: Any, value: Any) -> Any:
    if isinstance(value, ScalarString):  # a style that this ruamel.yaml does not know
        return representer.represent_scalar(_STR, value)
    return representer.represent_data(plain(value))


Representer.add_representer(CommentedSet, Representer.represent_commented_set)
Representer.add_representer(FoldedScalarString, Representer.represent_folded_scalarstring)
Representer.add_representer(TimeStamp, Representer.represent_datetime)
Representer.add_representer(bytes, Representer.represent_binary)
for _kind in (bytes, int, float, dt.datetime, dt.date):
    Representer.add_multi_representer(_kind, _represent_subclass)
Representer.add_multi_representer(str, _represent_text)
Representer.add_multi_representer(dict, Representer.represent_dict)
Representer.add_multi_representer(Mapping, Representer.represent_dict)
Representer.add_representer(types.MappingProxyType, Representer.represent_dict)
Representer.add_multi_representer(list, Representer.represent_list)
Representer.add_multi_representer(tuple, Representer.represent_list)
Representer.add_multi_representer(set, Representer.represent_set)
Representer.add_representer(collections.OrderedDict, Representer.represent_dict)


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
