"""Check that a rendered document reads back as the object, before anything is touched.

The text of a document is parsed again, and the result is compared with the data. Both are walked
side by side, with a list instead of recursion, so that depth costs no stack. Values are equal if
the format cannot distinguish them: a tuple comes back as a list and a subclass as its base, NaN
equals NaN, and a format may translate keys (JSON makes text of a number). An object may be shared
only where it was shared before: otherwise a later change of one entry would change another one.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from ._interrupts import interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Step = tuple["Step | None", object]
    Difference = tuple["Step | None", str]


def check(
    written: object,
    read: object,
    language: str,
    *,
    scalar: Callable[[Any, Any], bool] | None = None,
    key: Callable[[Any], object] | None = None,
    aliases: bool = False,
) -> None:
    """Compare a document with the one that its text reads back as.

    Args:
        written: The document.
        read: The result of parsing the rendered text.
        language: Name of the format, for the message.
        scalar: Tells whether a scalar came back; by default `same_scalar`.
        key: Returns a key as the format writes it, if that is not the key itself.
        aliases: Whether the format can express that two entries are one object.

    Raises:
        ValueError: They differ; the message names the first place.
    """
    found = _Comparison(scalar or same_scalar, key, aliases).first(written, read)
    if found is not None:
        where, what = found
        raise ValueError(f"{place(where)} would not read back from {language}: {what}")


def collections_of(document: object) -> Iterator[Any]:
    """Yield each mapping, list and tuple of a document once."""
    todo: list[Any] = [document]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            todo += value.values() if isinstance(value, dict) else value
            yield value


def unreadable(
    document: object, language: str, error: object, survives: Callable[[Any], bool]
) -> ValueError:
    """Return the error for a document whose text cannot be parsed at all.

    Args:
        document: The document.
        language: Name of the format, for the message.
        error: The exception of the parser.
        survives: Tells whether a part of the document, written by itself, can be read.
    """
    where = innermost(document, survives)
    reason = str(getattr(error, "problem", None) or error).partition("\n")[0]
    return ValueError(f"{place(where)} would not read back from {language}: {reason}")


def innermost(document: object, survives: Callable[[Any], bool]) -> Step | None:
    """Return the place of the smallest part of a document that does not survive on its own."""
    where: Step | None = None
    part: Any = document
    for _ in range(_MOST_STEPS):
        for step, smaller in _parts(part):
            if not survives(smaller):
                where, part = (where, step), part[step]
                break
        else:
            break
    return where


_MOST_STEPS = 100  # for a deeper place, the error names the entry that contains it


def _parts(value: Any) -> Iterator[tuple[object, object]]:
    """Yield the entries of a collection, each alone in a collection of the same kind."""
    if isinstance(value, Mapping):
        yield from ((key, {key: value[key]}) for key in value)
    elif isinstance(value, list | tuple):
        yield from ((index, [entry]) for index, entry in enumerate(value))


def place(where: Step | None) -> str:
    """Return the path of a value in the document as a Python expression."""
    steps: list[str] = []
    while where is not None:
        where, step = where
        steps.append(f"[{shown(step)}]")
    return "obj" + "".join(reversed(steps))


def plain(value: Any) -> Any:
    """Return a value of a subclass as a value of its plain base class.

    The base's methods are used, because a subclass may override them: `str()` of one enumeration is
    its name, and of another its value.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return bool(number) if isinstance(value, _ruamel_boolean()) else number
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes):
        return bytes.__bytes__(value)
    if isinstance(value, dt.datetime):
        return dt.datetime.combine(value.date(), value.timetz())
    if isinstance(value, dt.date):
        return dt.date(value.year, value.month, value.day)
    if isinstance(value, dt.time):
        clock = (value.hour, value.minute, value.second, value.microsecond)
        return dt.time(*clock, tzinfo=value.tzinfo, fold=value.fold)
    return value


def in_order(elements: Iterable[Any]) -> list[Any]:
    """Return the elements of a set in an order that does not depend on the hash of a text."""
    try:
        return sorted(elements)
    except TypeError:
        return sorted(elements, key=_sort_key)


def _sort_key(element: object) -> str:
    return element if isinstance(element, str) else shown(element)


def _ruamel_boolean() -> Any:
    """Return ruamel.yaml's class of an anchored boolean (an int); nothing if not imported."""
    return getattr(sys.modules.get("ruamel.yaml.scalarbool"), "ScalarBoolean", ())


class _Comparison:
    """A walk over two documents side by side."""

    def __init__(
        self,
        scalar: Callable[[Any, Any], bool],
        key: Callable[[Any], object] | None,
        aliases: bool,
    ) -> None:
        self._scalar = scalar
        self._key = key
        self._aliases = aliases
        self._todo: list[tuple[Any, Any, Step | None]] = []

    def first(self, written: object, read: object) -> Difference | None:
        """Return where the two first differ, and how."""
        todo = self._todo = [(written, read, None)]
        pairs: dict[tuple[int, int], object] = {}  # with the objects, so that no id is reused
        partner: dict[int, int] = {}
        while todo:
            w, r, where = todo.pop()
            kind = type(w)
            if kind is type(r) and kind in _EXACT:
                if w == r or (w != w and r != r):
                    continue
                return where, f"{_short(w)} becomes {_short(r)}"
            if not isinstance(w, list | tuple | Mapping | AbstractSet):
                if self._scalar(w, r):
                    continue
                return where, f"{_short(w)} becomes {_short(r)}"
            pair = (id(w), id(r))
            if pair in pairs:
                continue
            pairs[pair] = (w, r)
            if self._aliases and r and partner.setdefault(id(r), id(w)) != id(w):
                return where, "it becomes one object with another entry"
            if isinstance(w, Mapping):
                found = self._mapping(w, r, where)
            elif isinstance(w, AbstractSet):
                found = self._set(w, r, where)
            else:
                found = self._sequence(w, r, where)
            if found is not None:
                return found
        return None

    def _sequence(self, w: Any, r: Any, where: Step | None) -> Difference | None:
        if not isinstance(r, list | tuple):
            return where, f"{_short(w)} becomes {_short(r)}"
        if len(w) != len(r):
            return where, f"{len(w)} entries become {len(r)}"
        self._todo += [(w[i], r[i], (where, i)) for i in range(len(w) - 1, -1, -1)]
        return None

    def _mapping(self, w: Any, r: Any, where: Step | None) -> Difference | None:
        """Compare the keys of two mappings; leave their values for later."""
        if not isinstance(r, Mapping):
            return where, f"{_short(w)} becomes {_short(r)}"
        entries, others = list(w.items()), list(r.items())  # `len` does not count merged entries
        if len(entries) != len(others):
            return where, f"{len(entries)} keys become {len(others)}"
        values: dict[object, Any] = {}
        for (name, value), (other, their_value) in zip(entries, others, strict=True):
            expected = name if self._key is None else self._key(name)
            if not self._same_key(expected, other):  # sorted, perhaps
                values = values or {key: (key, entry) for key, entry in others}
                found = self._find(expected, values)
                if found is None:
                    return (where, name), "the key is lost"
                self._todo.append((value, found[1], (where, name)))
                continue
            self._todo.append((value, their_value, (where, name)))
        return None

    def _find(self, expected: Any, values: dict[object, Any]) -> Any:
        """Return the key that is the expected one, and its value."""
        found = values.get(expected)
        if found is not None and self._same_key(expected, found[0]):
            return found
        return next((pair for pair in values.values() if self._same_key(expected, pair[0])), None)

    def _set(self, w: Any, r: Any, where: Step | None) -> Difference | None:
        if not isinstance(r, AbstractSet) or len(w) != len(r):
            return where, f"{_short(w)} becomes {_short(r)}"
        for element in w:
            if element not in r and not any(self._same_key(element, other) for other in r):
                return where, f"its element {_short(element)} is lost"
        return None

    def _same_key(self, expected: Any, other: Any) -> bool:
        if type(expected) is str and type(other) is str:
            return bool(expected == other)
        return _Comparison(self._scalar, None, aliases=False).first(expected, other) is None


_EXACT = frozenset({str, int, float, bool, type(None), bytes})


def same_scalar(w: Any, r: Any) -> bool:
    """Whether a scalar came back; a subclass counts as its base."""
    w, r = plain(w), plain(r)
    if type(w) is not type(r):
        return False
    if isinstance(w, dt.datetime):  # `==` ignores the offset, and is False where clocks go back
        local = (moment.replace(tzinfo=None, fold=0) for moment in (w, r))
        return next(local) == next(local) and w.utcoffset() == r.utcoffset()
    return bool(w == r or (w != w and r != r))


def _short(value: object) -> str:
    """Return a value for a message, at most as long as a line."""
    if isinstance(value, list | tuple | AbstractSet | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    return shown(value)


def shown(value: object) -> str:
    """Return a value for a message, even if its `repr()` fails.

    An int may have too many digits, and an object of the program may raise any exception.
    """
    try:
        text = repr(value)
    except Exception as error:
        if interrupted(error):
            raise
        text = f"<{type(value).__name__}>"
        if isinstance(value, int):
            text = f"<{type(value).__name__} of {value.bit_length():,} bits>"
    return text if len(text) <= 60 else f"{text[:57]}..."
