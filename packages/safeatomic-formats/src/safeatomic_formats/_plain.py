"""Turn documents that ruamel.yaml loaded into plain data, which every other format accepts.

ruamel.yaml returns subclasses of dict, list, str and the numbers, which the other libraries accept,
and a few classes that they do not: its own sets and booleans, and values with a tag. The walk is
skipped in programs that have not imported ruamel.yaml.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from ._readback import place, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._readback import Step


def without_ruamel(obj: object) -> object:
    """Return a document without classes of ruamel.yaml; the same object if it has none.

    Raises:
        TypeError: A value has a tag, which is not plain data.
    """
    if "ruamel.yaml.comments" not in sys.modules or not _holds_ruamel(obj):
        return obj
    return _Copy(sys.modules["ruamel.yaml.comments"]).of(obj)


def _holds_ruamel(obj: object) -> bool:
    todo: list[Any] = [obj]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if type(value).__module__.startswith("ruamel.yaml"):
            return True
        if isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            inner = value.values() if isinstance(value, Mapping) else value
            todo += [entry for entry in inner if type(entry) not in _LEAVES]
    return False


_LEAVES = frozenset({str, int, float, bool, type(None), bytes})


class _Copy:
    """A copy in plain classes that shares what the original shares."""

    def __init__(self, comments: Any) -> None:
        self._tagged = comments.TaggedScalar
        self._copies: dict[int, tuple[object, object]] = {}

    def of(self, value: Any, where: Step | None = None) -> object:
        known = self._copies.get(id(value))
        if known is not None:
            return known[1]
        _refuse_tag(value, where)
        if isinstance(value, self._tagged):
            return _of_core_tag(value)
        if isinstance(value, Mapping):
            table: dict[object, object] = {}
            self._copies[id(value)] = value, table
            for key, entry in value.items():
                table[self.of(key, where)] = self.of(entry, (where, key))
            return table
        if isinstance(value, AbstractSet):
            return self._keep(value, {self.of(entry, where) for entry in value})
        if isinstance(value, tuple):
            entries = (self.of(entry, (where, index)) for index, entry in enumerate(value))
            return self._keep(value, tuple(entries))
        if isinstance(value, list):
            copies: list[object] = []
            self._copies[id(value)] = value, copies
            for index, entry in enumerate(value):
                copies.append(self.of(entry, (where, index)))
            return copies
        return plain(moment(value) if hasattr(value, "_yaml") else value)

    def _keep(self, value: object, copy: object) -> object:
        self._copies[id(value)] = value, copy
        return copy


def moment(value: Any) -> Any:
    """Return a time stamp of ruamel.yaml in its own time zone.

    Some versions keep every time stamp in UTC, and its zone beside it; in all others the zone is
    missing from deep copies.
    """
    written = vars(value)["_yaml"]
    if value.tzinfo is not None or written.get("tz") is None:
        return value
    offset = written.get("delta") or dt.timedelta()
    local = plain(value) + offset if loads_utc() else plain(value)
    return local.replace(tzinfo=dt.timezone(offset))


@functools.cache
def loads_utc() -> bool:
    """Whether this ruamel.yaml returns time stamps in UTC, with their zone beside them."""
    from ruamel.yaml import YAML  # an extra; its time stamps exist only where it is installed

    loaded: dt.datetime = YAML(typ="rt", pure=True).load("2001-01-01 01:00:00+01:00")
    return loaded.tzinfo is None


def tag_of(value: Any) -> str | None:
    """Return the tag that a value of ruamel.yaml carries."""
    tag = getattr(value, "__dict__", {}).get("_yaml_tag")  # `__getattr__` may make up any other
    text = getattr(tag, "trval", None) or getattr(tag, "value", None)
    return None if text is None else str(text)


_CORE_TAGS = ("tag:yaml.org,2002:", "!!")


def _refuse_tag(value: Any, where: Step | None) -> None:
    tag = tag_of(value)
    if tag is not None and not tag.startswith(_CORE_TAGS):
        raise TypeError(f"{place(where)} has the tag {tag}, which only ruamel.yaml can write")


def _of_core_tag(value: Any) -> object:
    """Return the value of a scalar such as ``!!int '1'``, which ruamel.yaml returns as text."""
    tag = tag_of(value)
    if tag is None or not isinstance(value.value, str):
        return plain(value.value)
    import yaml  # here, because such scalars are rare

    name = tag.removeprefix("!!").removeprefix("tag:yaml.org,2002:")
    return yaml.safe_load(f"!!{name} {json.dumps(value.value)}")
