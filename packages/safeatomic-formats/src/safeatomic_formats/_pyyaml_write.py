"""PyYAML's safe dumpers, made to write the same text.

The emitters in pure Python and around libyaml disagree in rare cases; in one of them libyaml writes
a date that reads back as text. libyaml does the work where both agree, and pure Python the rest;
the code that recognises a case describes it. The classes are subclasses, so nothing is registered
that another user of PyYAML in this process would see.
"""

from __future__ import annotations

import datetime as dt
import re
import types
from collections.abc import Mapping

import yaml
from yaml.representer import RepresenterError, SafeRepresenter

from ._readback import in_order, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# libyaml's serializer recurses in C, so deeper documents are left to the one in Python.
MAX_DEPTH_IN_C = 50

_STR = "tag:yaml.org,2002:str"


class DisagreementError(Exception):
    """The two emitters would write this document differently."""


# Characters that YAML 1.1 treats as line breaks or a byte order mark. Only double quotes keep them:
# with the style that PyYAML chooses, a next-line character in a key is lost.
_NEEDS_QUOTES = re.compile("[\x85\u2028\u2029\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _represent_str(dumper: SafeRepresenter, text: str) -> yaml.ScalarNode:
    if text.isascii():
        return dumper.represent_scalar(_STR, text)
    if _SURROGATE.search(text):
        raise RepresenterError(f"half of a surrogate pair is not text: {text!r}")
    style = '"' if _NEEDS_QUOTES.search(text) else None
    return dumper.represent_scalar(_STR, text, style=style)


def _represent_datetime(dumper: SafeRepresenter, moment: dt.datetime) -> yaml.ScalarNode:
    offset = moment.utcoffset()
    if offset is not None and offset % dt.timedelta(minutes=1):
        raise RepresenterError(f"an offset from UTC with seconds has no form in YAML: {moment!r}")
    return dumper.represent_datetime(moment)


def _represent_subclass(dumper: SafeRepresenter, value: object) -> yaml.Node:
    """Represent a value of a subclass as its base: YAML's plain data has no other form for it."""
    return dumper.represent_data(plain(value))


def _represent_set(dumper: SafeRepresenter, elements: Any) -> yaml.MappingNode:
    return dumper.represent_set(in_order(elements))


_SUBCLASSES: dict[type, Any] = {
    **dict.fromkeys((str, bytes, int, float, dt.datetime, dt.date), _represent_subclass),
    Mapping: SafeRepresenter.represent_dict,
    dict: SafeRepresenter.represent_dict,
    list: SafeRepresenter.represent_list,
    tuple: SafeRepresenter.represent_list,
    set: _represent_set,
}


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
PureDumper.add_representer(set, _represent_set)
PureDumper.add_representer(types.MappingProxyType, SafeRepresenter.represent_dict)
for _kind, _representer in _SUBCLASSES.items():
    PureDumper.add_multi_representer(_kind, _representer)

if yaml.__with_libyaml__:
    # libyaml escapes what is beyond the Basic Multilingual Plane.
    _BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")

    class LibyamlDumper(yaml.CSafeDumper):
        """The safe dumper around libyaml; gives up if it would differ from the pure one."""

        _depth = 0

        def represent_data(self, data: Any) -> yaml.Node:
            """Represent a text directly: most nodes are texts, and no text becomes an alias."""
            if type(data) is not str:
                return super().represent_data(data)
            self.alias_key = None
            if data.isascii():
                return yaml.ScalarNode(_STR, data)
            if _BEYOND_BMP.search(data):
                raise DisagreementError
            return _represent_str(self, data)

        def represent_sequence(
            self, tag: str, sequence: Any, flow_style: bool | None = None
        ) -> yaml.SequenceNode:
            """Count the levels."""
            self._descend()
            node = super().represent_sequence(tag, sequence, flow_style)
            self._depth -= 1
            return node

        def represent_mapping(
            self, tag: str, mapping: Any, flow_style: bool | None = None
        ) -> yaml.MappingNode:
            """Give up on keys that only one of the two would write before a plain colon.

            These are keys near the longest that may stand there (127 characters with the tag for
            the pure emitter, 128 bytes for libyaml), and keys with a carriage return, which only
            libyaml treats as a line break.
            """
            self._descend()
            node = super().represent_mapping(tag, mapping, flow_style)
            self._depth -= 1
            for key, _ in node.value:
                text = key.value
                if isinstance(text, str) and "\r" in text:
                    raise DisagreementError
                if isinstance(text, str) and len(text) > 28:  # 4 bytes each, at most
                    octets = len(text.encode())
                    if octets > 112 and (len(text) < 128 or octets <= 128):
                        raise DisagreementError
            return node

        def _descend(self) -> None:
            self._depth += 1
            if self._depth > MAX_DEPTH_IN_C:
                raise DisagreementError

    def _represent_agreed_datetime(dumper: SafeRepresenter, moment: dt.datetime) -> yaml.ScalarNode:
        # Inside {} or [] libyaml quotes it for its colon and drops the tag: it reads back as text.
        if dumper.default_flow_style is not False:
            raise DisagreementError
        return _represent_datetime(dumper, moment)

    LibyamlDumper.add_representer(dt.datetime, _represent_agreed_datetime)
    LibyamlDumper.add_representer(set, _represent_set)
    LibyamlDumper.add_representer(types.MappingProxyType, SafeRepresenter.represent_dict)
    for _kind, _representer in _SUBCLASSES.items():
        LibyamlDumper.add_multi_representer(_kind, _representer)
