"""PyYAML's safe loaders, made to agree with each other and to withstand hostile input.

PyYAML has a loader in pure Python, and a faster one (some five times) around libyaml. If the two
would read a text differently, either the pure scanner here does what libyaml does, or the pure
loader always reads the text; `DISAGREEMENTS` lists those texts. The classes are subclasses, so
nothing is registered that another user of PyYAML in this process would see.
"""

from __future__ import annotations

import re
import string

import yaml
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent, CollectionStartEvent, ScalarEvent, SequenceStartEvent
from yaml.scanner import ScannerError
from yaml.tokens import ScalarToken, TagToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Levels that are read, and the limit of libyaml itself from 0.2.6 on.
MAX_DEPTH = 1_000
# PyYAML's composer around libyaml recurses in C, with some 310 bytes for each level: 1,000 levels
# need more than a thread has under musl (128 KiB). Deeper documents are composed here, without
# recursion.
MAX_DEPTH_IN_C = 50
# Merge keys copy the entries of other mappings, so that nine lines can ask for 9**9 of them.
MAX_MERGED = 100_000

_MERGE = "tag:yaml.org,2002:merge"
_STR = "tag:yaml.org,2002:str"
_VALUE = "tag:yaml.org,2002:value"

# Texts that libyaml reads differently: one of these characters must be in the text, which is a much
# faster search, and then the pattern must match. The comments say what the pure loader does.
DISAGREEMENTS: dict[str, tuple[str | list[str], str]] = {
    "a tab": ("\t", r"\t"),  # white space in fewer places
    "a byte order mark inside the text": ("\ufeff", r"\ufeff"),  # refused
    "the tag `!` alone": ("!", r"(?:^|[\s\[{,])!(?:[\s,\]}]|$)"),  # null where the value is empty
    "a directive": ("%", r"^%"),  # an unknown one is ignored, and so is the minor version
    "a colon before a flow indicator": (":", r"[^\"'\[\]{},]:[,\[\]{}]"),  # ends the key
    "a colon before a question mark": ([":?"], r":\?"),  # the same
    "the same behind a quote inside a plain text": (
        [f"{quote}:{indicator}" for quote in "\"'" for indicator in ",[]{}"],
        r"(?:^|[\s\[{,])[^\s\[\]{},\"'][^\s\[\]{},]*[\"']:[,\[\]{}]",
    ),
    "a question mark alone": (  # an empty key
        "?",
        r"(?:^|[\s\[{,])\?(?:\s*[,\]}]|[\[{\x85\u2028\u2029])",
    ),
    "a comment at a block scalar's mark": ("#", r"[|>][-+0-9]*#"),  # refused without a space
}
_DISAGREEMENTS = [
    (signs, re.compile(pattern, re.MULTILINE)) for signs, pattern in DISAGREEMENTS.values()
]


def loaders_disagree(text: str) -> bool:
    """Whether libyaml might read a text differently."""
    return any(
        any(sign in text for sign in signs) and pattern.search(text) is not None
        for signs, pattern in _DISAGREEMENTS
    )


def depth_error() -> RecursionError:
    """Return the error for a document of too many levels."""
    return RecursionError(f"more than {MAX_DEPTH:,} levels")


class DeepError(Exception):
    """The document is deeper than may be composed in C."""


class _Bounds:
    """Stop a loader before its input takes more memory than its size warrants."""

    def __init__(self, text: str) -> None:
        super().__init__(text)  # type: ignore[call-arg]
        self._merged = 0
        self._merging: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Copy in the entries that the merge keys name, unless there are too many.

        This replaces PyYAML's own method. Of several sources the first must win
        (https://yaml.org/type/merge.html); in PyYAML 6.0.4 the last one does if the key is longer
        than one character (yaml/pyyaml#953).
        """
        if not any(key.tag == _MERGE or key.tag == _VALUE for key, _ in node.value):
            return
        if id(node) in self._merging:
            return  # it merges itself, which adds nothing
        self._merging.add(id(node))
        merged: list[Any] = []
        own: list[Any] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += self._entries(node, value)
                continue
            if key.tag == _VALUE:
                key.tag = _STR
            own.append((key, value))
        node.value = merged + own  # of equal keys the last one counts
        self._merging.discard(id(node))

    def _entries(self, node: yaml.MappingNode, named: yaml.Node) -> list[Any]:
        """Return the entries of the mappings that a merge key names, the winning ones last."""
        sources: list[Any] = [named]
        if isinstance(named, yaml.SequenceNode):
            sources = named.value[::-1]
        entries: list[Any] = []
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise ConstructorError(
                    "while constructing a mapping",
                    node.start_mark,
                    f"expected a mapping or list of mappings for merging, but found {source.id}",
                    source.start_mark,
                )
            self.flatten_mapping(source)
            self._merged += len(source.value)
            if self._merged > MAX_MERGED:
                raise ConstructorError(
                    None,
                    None,
                    f"merge keys copy more than {MAX_MERGED:,} entries",
                    node.start_mark,
                )
            entries += [(key, value) for key, value in source.value if key.tag != _MERGE]
        return entries


class _WithoutRecursion:
    """Compose nodes from events with a list of the open collections instead of recursion."""

    def get_single_node(self: Any) -> Any:
        """Return the root of the only document, or None."""
        self.anchors: dict[Any, Any] = {}
        self._collections: list[Any] = []
        return Composer.get_single_node(self)

    def compose_document(self: Any) -> Any:
        """Return the root of the next document."""
        return Composer.compose_document(self)

    def compose_node(self: Any, _parent: object, _index: object) -> Any:
        """Return the next node with everything in it."""
        opened: list[Any] = []
        keys: list[Any] = []  # of each open mapping, the key whose value is to come
        while True:
            event: Any = self.get_event()
            anchor = getattr(event, "anchor", None)
            mark: Any = event.start_mark
            if isinstance(event, AliasEvent):
                if anchor not in self.anchors:
                    problem = f"found undefined alias {anchor!r}"
                    raise ComposerError(None, None, problem, mark)
                node = self.anchors[anchor]
            elif isinstance(event, ScalarEvent | CollectionStartEvent):
                if anchor is not None and anchor in self.anchors:
                    raise ComposerError(
                        f"found duplicate anchor {anchor!r}; first occurrence",
                        self.anchors[anchor].start_mark,
                        "second occurrence",
                        mark,
                    )
                if len(opened) >= MAX_DEPTH:
                    raise depth_error()
                node = self._node(event)
                if anchor is not None:
                    self.anchors[anchor] = node
                if isinstance(event, CollectionStartEvent):
                    self._collections.append(node)
                    opened.append(node)
                    keys.append(None)
                    continue
            else:
                node = opened.pop()
                keys.pop()
                node.end_mark = event.end_mark
            if not opened:
                return node
            if isinstance(opened[-1], yaml.SequenceNode):
                opened[-1].value.append(node)
            elif keys[-1] is None:
                keys[-1] = node
            else:
                opened[-1].value.append((keys[-1], node))
                keys[-1] = None

    def dispose(self: Any) -> None:
        """Free the nodes one by one: the interpreter would free the whole tree by recursion."""
        super().dispose()  # type: ignore[misc]
        for node in getattr(self, "_collections", ()):
            node.value = None

    def _node(self: Any, event: Any) -> Any:
        """Return the node of an event; a collection's node is still empty."""
        tag = event.tag
        scalar = isinstance(event, ScalarEvent)
        if scalar:
            kind: Any = yaml.ScalarNode
        elif isinstance(event, SequenceStartEvent):
            kind = yaml.SequenceNode
        else:
            kind = yaml.MappingNode
        if tag is None or tag == "!":
            tag = self.resolve(kind, event.value if scalar else None, event.implicit)
        marks = event.start_mark, event.end_mark
        if scalar:
            return kind(tag, event.value, *marks, style=event.style)
        return kind(tag, [], *marks, flow_style=event.flow_style)


class PureLoader(_Bounds, _WithoutRecursion, yaml.SafeLoader):
    r"""The safe loader in pure Python, with a scanner that agrees with libyaml's.

    A plain text inside ``[]`` or ``{}`` may hold a question mark, a tag there ends at a comma, and
    ``"\udd00"``, half of a surrogate pair, is not a character.
    """

    def scan_plain(self: Any) -> Any:
        """Return a plain text, including question marks, at which PyYAML's own method stops."""
        if not self.flow_level:
            return super().scan_plain()
        chunks: list[str] = []
        start = end = self.get_mark()
        spaces: list[str] = []
        while self.peek() != "#":
            length = 0
            while not self._ends_plain(length):
                length += 1
            if not length:
                break
            self.allow_simple_key = False
            chunks += spaces
            chunks.append(self.prefix(length))
            self.forward(length)
            end = self.get_mark()
            spaces = self.scan_plain_spaces(self.indent + 1, start)
            if not spaces:
                break
        return ScalarToken("".join(chunks), True, start, end)

    def _ends_plain(self: Any, ahead: int) -> bool:
        """Whether a plain text inside brackets ends at this distance from here."""
        character = self.peek(ahead)
        if character == ":":
            return self.peek(ahead + 1) in _BLANK_OR_FLOW
        return character in _BLANK_OR_FLOW

    def scan_tag(self: Any) -> Any:
        """Return a tag without the comma behind it, which PyYAML's own method includes."""
        start = self.get_mark()
        handle: str | None = None
        if self.peek(1) == "<":
            self.forward(2)
            suffix = self.scan_tag_uri("tag", start)
            if self.peek() != ">":
                problem = f"expected '>', but found {self.peek()!r}"
                raise ScannerError("while parsing a tag", start, problem, self.get_mark())
            self.forward()
        elif self.peek(1) in _BLANK:
            suffix = "!"
            self.forward()
        else:
            handle = self._tag_handle(start)
            suffix = self._tag_suffix(start)
        if self.peek() not in _BLANK and not (self.flow_level and self.peek() == ","):
            problem = f"expected ' ', but found {self.peek()!r}"
            raise ScannerError("while scanning a tag", start, problem, self.get_mark())
        return TagToken((handle, suffix), start, self.get_mark())

    def _tag_handle(self: Any, start: Any) -> str:
        ahead = 1
        while self.peek(ahead) in _IN_HANDLE:
            ahead += 1
        if self.peek(ahead) == "!":
            return str(self.scan_tag_handle("tag", start))
        self.forward()
        return "!"

    def _tag_suffix(self: Any, start: Any) -> str:
        chunks: list[str] = []
        while self.peek() in _IN_SUFFIX:
            if self.peek() == "%":
                chunks.append(self.scan_uri_escapes("tag", start))
            else:
                chunks.append(self.peek())
                self.forward()
        if not chunks:
            problem = f"expected URI, but found {self.peek()!r}"
            raise ScannerError("while parsing a tag", start, problem, self.get_mark())
        return "".join(chunks)

    def scan_flow_scalar(self: Any, style: str) -> Any:
        """Return a quoted text, if it is one."""
        token = super().scan_flow_scalar(style)
        if style == '"' and _SURROGATE.search(token.value):
            problem = "found half of a surrogate pair"
            context = "while scanning a double-quoted scalar"
            raise ScannerError(context, token.start_mark, problem, token.start_mark)
        return token


_BLANK = frozenset("\0 \t\r\n\x85\u2028\u2029")
_BLANK_OR_FLOW = _BLANK | frozenset(",[]{}")
_IN_HANDLE = frozenset("-_" + string.ascii_letters + string.digits)
_IN_SUFFIX = _IN_HANDLE | frozenset(";/?:@&=+$.!~*'()%")
_SURROGATE = re.compile("[\ud800-\udfff]")

if yaml.__with_libyaml__:

    class LibyamlLoader(_Bounds, yaml.CSafeLoader):
        """The safe loader around libyaml; gives up on documents too deep for its composer."""

        _depth = 0

        def descend_resolver(self, _node: object, _index: object) -> None:
            """Count one level more; the composer calls this before each node."""
            self._depth += 1
            if self._depth > MAX_DEPTH_IN_C:
                raise DeepError

        def ascend_resolver(self) -> None:
            """Count one level less; the composer calls this after each node."""
            self._depth -= 1

    class DeepLoader(_Bounds, _WithoutRecursion, yaml.CSafeLoader):
        """The safe loader around libyaml's parser, with the composer of this module."""
