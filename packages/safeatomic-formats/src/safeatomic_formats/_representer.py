"""ruamel.yaml's representer, corrected where its text does not read back.

- comments stand at the entries to which they are attached (`_attached`, `_items`);
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
from ruamel.yaml.comments import Comment, CommentedBase, CommentedSet
from ruamel.yaml.representer import RepresenterError
from ruamel.yaml.scalarstring import FoldedScalarString, ScalarString
from ruamel.yaml.timestamp import TimeStamp

from ._attached import Places, settle, together
from ._indents import Indent
from ._indents import of as indent_of
from ._inherited import Sources
from ._items import with_own_comments
from ._plain import loads_utc
from ._readback import in_order, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLASS: Any = YAML(typ="rt", pure=True).Representer  # it differs between versions
_STR = "tag:yaml.org,2002:str"
_NEEDS_QUOTES = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Representer(_CLASS):  # type: ignore[misc]
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

    def ignore_aliases(self, data: Any) -> Any:
        """Tell whether a value is written again wherever it stands."""
        own = isinstance(data, dict | list) and not isinstance(data, CommentedBase)
        return False if own else super().ignore_aliases(data)

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


# ruamel.yaml asks a collection for attributes such as `tag`. In a class of the program, they may
# mean something else (``namedtuple("Image", "name tag")``), or be made up by `__getattr__`.


def _represent_mapping(representer: Any, value: Any) -> Any:
    loaded = isinstance(value, CommentedBase)
    return representer.represent_dict(value if loaded else dict(value.items()))


def _represent_sequence(representer: Any, value: Any) -> Any:
    loaded = isinstance(value, CommentedBase)
    return representer.represent_list(value if loaded else [*value])


def _represent_set(representer: Any, elements: Any) -> Any:
    return representer.represent_mapping("tag:yaml.org,2002:set", dict.fromkeys(in_order(elements)))


Representer.add_representer(CommentedSet, Representer.represent_commented_set)
Representer.add_representer(FoldedScalarString, Representer.represent_folded_scalarstring)
Representer.add_representer(TimeStamp, Representer.represent_datetime)
Representer.add_representer(bytes, Representer.represent_binary)
for _kind in (bytes, int, float, dt.datetime, dt.date):
    Representer.add_multi_representer(_kind, _represent_subclass)
Representer.add_multi_representer(str, _represent_text)
Representer.add_multi_representer(dict, _represent_mapping)
Representer.add_multi_representer(Mapping, _represent_mapping)
Representer.add_representer(types.MappingProxyType, _represent_mapping)
Representer.add_representer(collections.OrderedDict, _represent_mapping)
Representer.add_multi_representer(list, _represent_sequence)
Representer.add_multi_representer(tuple, _represent_sequence)
Representer.add_representer(set, _represent_set)
Representer.add_multi_representer(set, _represent_set)
