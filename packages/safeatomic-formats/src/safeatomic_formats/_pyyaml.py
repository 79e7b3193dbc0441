"""PyYAML with and without libyaml, made to give the same results and to bear hostile input.

PyYAML comes in pure Python, and, some five times faster, around libyaml. The two disagree in
corners, in one of which libyaml writes a date that reads back as text; and libyaml ends the process
on deep nesting. Here libyaml does the work where both agree, and pure Python the rest; the corners
are listed where they are recognised. The classes are subclasses, so nothing is registered that
another user of PyYAML in this process would see.
"""

from __future__ import annotations

import datetime as dt
import re

import yaml
from yaml.constructor import ConstructorError
from yaml.representer import RepresenterError, SafeRepresenter
from yaml.scanner import ScannerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# PyYAML's composer around libyaml is recursive C without a check: 40,000 levels overflow an 8 MiB
# stack, and `- - - ...` takes as many bytes as the square of its depth. 1,000 need 0.3 MiB of it.
MAX_DEPTH = 1_000
# Merge keys copy the entries of other mappings, so that nine lines can ask for 9**9 of them.
MAX_MERGED = 100_000

_MERGE = "tag:yaml.org,2002:merge"
_STR = "tag:yaml.org,2002:str"
_VALUE = "tag:yaml.org,2002:value"

# No line is folded: the emitters fold at different places, and a folded text makes a noisy diff.
WIDTH = 2**31 - 1


def render(obj: object, default_flow_style: bool | None, sort_keys: bool) -> str:
    """Return an object as the text of one YAML document."""
    options: dict[str, Any] = {
        "default_flow_style": default_flow_style,
        "sort_keys": sort_keys,
        "allow_unicode": True,
        "width": WIDTH,
    }
    text: str
    if yaml.__with_libyaml__:
        try:
            text = yaml.dump(obj, Dumper=LibyamlDumper, **options)
        except _DisagreementError:
            pass
        else:
            return text
    text = yaml.dump(obj, Dumper=PureDumper, **options)
    return text.removesuffix("...\n")  # the pure emitter ends a lone plain scalar so


def parse(text: str) -> Any:
    """Return what the only document in a text says."""
    agreed = yaml.__with_libyaml__ and not _LOADERS_DISAGREE.search(text)
    try:
        return yaml.load(text, LibyamlLoader if agreed else PureLoader)  # noqa: S506 - safe loaders
    except ScannerError as error:
        if error.problem == _TOO_DEEP:
            raise _depth_error() from error
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # How PyYAML fails on `!!int ''`, `!!timestamp never` or a month 13: an error of the input.
        raise ConstructorError(None, None, f"a value does not fit its type: {error}") from error


_TOO_DEEP = "exceeded maximum nesting depth"  # libyaml's own limit from 0.2.6 on, 1,000 as well


def _depth_error() -> RecursionError:
    return RecursionError(f"more than {MAX_DEPTH:,} levels")


# Where the loaders disagree: libyaml takes a tab for white space in more places, skips a byte order
# mark inside the text, and reads the tag `!` alone as '' instead of null.
_LOADERS_DISAGREE = re.compile(r"[\t\ufeff]|(?:^|[\s\[{,])!(?:[\s,\]}]|$)", re.MULTILINE)


class _DisagreementError(Exception):
    """The two emitters would write this document differently."""


class _Bounds:
    """Stop a loader before its input takes more stack or memory than its size warrants."""

    def __init__(self, text: str) -> None:
        super().__init__(text)  # type: ignore[call-arg]
        self._depth = 0
        self._merged = 0
        self._merging: set[int] = set()

    def descend_resolver(self, _node: object, _index: object) -> None:
        """Count one level more; composers call this before each node."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _depth_error()

    def ascend_resolver(self) -> None:
        """Count one level less; composers call this after each node."""
        self._depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Copy in what the merge keys name, unless it is too much.

        Not PyYAML's own: of several sources the first is to win (https://yaml.org/type/merge.html),
        and in PyYAML 6.0.4 the last does if the key is longer than one character (yaml/pyyaml#953).
        """
        if id(node) in self._merging:
            return  # merges itself, which adds nothing
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
        """Return the entries of the mappings that a merge key names, those that win at the end."""
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


class PureLoader(_Bounds, yaml.SafeLoader):
    """The safe loader in pure Python."""


# Characters that YAML 1.1 takes for line breaks or a byte order mark. Only double quotes keep them:
# PyYAML's own choice of style loses a next-line character in a key.
_NEEDS_QUOTES = re.compile("[\x85\u2028\u2029\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _represent_str(dumper: SafeRepresenter, text: str) -> yaml.ScalarNode:
    if text.isascii():
        return dumper.represent_scalar(_STR, text)
    if _SURROGATE.search(text):
        raise RepresenterError(f"half of a surrogate pair is no text: {text!r}")
    style = '"' if _NEEDS_QUOTES.search(text) else None
    return dumper.represent_scalar(_STR, text, style=style)


def _represent_datetime(dumper: SafeRepresenter, moment: dt.datetime) -> yaml.ScalarNode:
    offset = moment.utcoffset()
    if offset is not None and offset % dt.timedelta(minutes=1):
        raise RepresenterError(f"an offset from UTC with seconds has no form in YAML: {moment!r}")
    return dumper.represent_datetime(moment)


class PureDumper(yaml.SafeDumper):
    """The safe dumper in pure Python."""

    def check_simple_key(self) -> bool:
        """Write an empty key as ``'': value``, like libyaml, not as ``? ''``."""
        if isinstance(self.event, yaml.ScalarEvent) and not self.event.value:
            return True
        simple: bool = super().check_simple_key()
        return simple


PureDumper.add_representer(str, _represent_str)
PureDumper.add_representer(dt.datetime, _represent_datetime)

if yaml.__with_libyaml__:
    # libyaml escapes what is beyond the Basic Multilingual Plane.
    _BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")

    class LibyamlLoader(_Bounds, yaml.CSafeLoader):
        """The safe loader around libyaml."""

    class LibyamlDumper(yaml.CSafeDumper):
        """The safe dumper around libyaml; gives up where it would differ from the pure one."""

        def represent_data(self, data: Any) -> yaml.Node:
            """Represent a text by itself: most nodes are one, and none of them becomes an alias."""
            if type(data) is not str:
                return super().represent_data(data)
            self.alias_key = None
            if data.isascii():
                return yaml.ScalarNode(_STR, data)
            if _BEYOND_BMP.search(data):
                raise _DisagreementError
            return _represent_str(self, data)

        def represent_mapping(
            self, tag: str, mapping: Any, flow_style: bool | None = None
        ) -> yaml.MappingNode:
            """Give up on keys that only one of the two would write before a plain colon.

            Those are keys about as long as may stand there, which is 127 characters with its tag
            for the pure emitter and 128 bytes for libyaml, and keys with a carriage return, which
            libyaml alone takes for a line break.
            """
            node = super().represent_mapping(tag, mapping, flow_style)
            for key, _ in node.value:
                text = key.value
                if isinstance(text, str) and "\r" in text:
                    raise _DisagreementError
                if isinstance(text, str) and len(text) > 28:  # 4 bytes each, at most
                    octets = len(text.encode())
                    if octets > 112 and (len(text) < 128 or octets <= 128):
                        raise _DisagreementError
            return node

    def _represent_agreed_datetime(dumper: SafeRepresenter, moment: dt.datetime) -> yaml.ScalarNode:
        # Inside {} or [] libyaml quotes it for its colon and drops the tag: it reads back as text.
        if dumper.default_flow_style is not False:
            raise _DisagreementError
        return _represent_datetime(dumper, moment)

    LibyamlDumper.add_representer(dt.datetime, _represent_agreed_datetime)
