"""TOML text: checked to read back when rendered, and parsed within bounds.

For a dotted key of n parts, `tomllib` stores n names of up to n parts each: a line of 40 kB takes
1.5 GiB. (Since version 2.4.1, tomli limits the parts to 1,000; no `tomllib` of Python 3.11 to 3.14
does.) So the parts are counted before the text is parsed.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from decimal import Decimal

from ._depth import check_object
from ._interrupts import interrupted
from ._plain import without_ruamel
from ._readback import check, place, plain, same_scalar, shown, unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._readback import Step

# Levels of tables and arrays when writing, parts of a key when reading.
MAX_DEPTH = 1_000
# Parts that `tomllib` may remember: 80 MB of references. Two hundred keys of 300 parts fit.
MAX_REMEMBERED = 10_000_000
_MANY = 100  # a line with fewer dots reaches neither bound


def render(obj: object, multiline_strings: bool) -> str:
    """Return a mapping as the text of a TOML document that reads back as that mapping."""
    import tomli_w  # here, so that only writers of TOML load it

    if not isinstance(obj, Mapping):
        raise TypeError(f"obj must be a mapping, not {type(obj).__name__}: TOML is a table")
    check_object(obj)
    document: Any = _plain(without_ruamel(obj), None, 1)

    def text_of(part: Any) -> str:
        return tomli_w.dumps(part, multiline_strings=multiline_strings)

    text = text_of(document)
    try:
        read = parse(text)
    except ValueError as error:
        raise unreadable(document, "TOML", error, lambda part: _survives(part, text_of)) from error
    check(document, read, "TOML", scalar=_same_scalar)
    return text


def parse(text: str) -> dict[str, Any]:
    """Return the document of a TOML text."""
    import tomllib  # here, so that only readers of TOML load it

    _bound_keys(text)
    return tomllib.loads(text)


def _plain(value: Any, where: Step | None, depth: int) -> object:
    """Check every key, and return a value in the classes that tomli-w knows.

    tomli-w writes a subclass of int with `str()`, which for an enumeration is a name.
    """
    if depth > MAX_DEPTH:
        raise RecursionError(f"more than {MAX_DEPTH:,} levels")
    if isinstance(value, Mapping):
        table: dict[str, object] = {}
        for key, entry in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"the key {shown(key)} of {place(where)} is of type {type(key).__name__}: "
                    "TOML has only strings as keys"
                )
            if plain(key) in table:
                raise ValueError(f"two keys of {place(where)} become {key!r} in TOML")
            table[plain(key)] = _plain(entry, (where, key), depth + 1)
        return table
    if isinstance(value, list | tuple):
        return [_plain(entry, (where, index), depth + 1) for index, entry in enumerate(value)]
    value = Decimal(value) if isinstance(value, Decimal) else plain(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(
            f"{place(where)}: {shown(value)} is not an integer of 64 bits, as TOML's are"
        )
    if isinstance(value, dt.datetime) and (value.utcoffset() or dt.timedelta()) % _MINUTE:
        raise ValueError(f"{place(where)}: an offset from UTC with seconds has no form in TOML")
    return value


_MINUTE = dt.timedelta(minutes=1)


def _same_scalar(written: Any, read: Any) -> bool:
    """Whether a value came back; a decimal number comes back as the nearest float."""
    if isinstance(written, Decimal):
        if written.is_finite() and math.isinf(read):
            return False  # outside the range of a float
        written = float(written)
    return same_scalar(written, read)


def _survives(part: object, text_of: Any) -> bool:
    try:
        parse(text_of(part if isinstance(part, dict) else {"": part}))
    except Exception as error:
        if interrupted(error):
            raise
        return False  # any other error counts: this part cannot be rendered
    return True


_QUOTED = r""" "(?: [^"\\\n]++ | \\. )* """
_PART = rf"""(?: [A-Za-z0-9_-]++ | {_QUOTED} " | '[^'\n]*+' )"""
# Strings and comments come first, as a whole: their dots do not separate parts of a key. No group
# is possessive: before 3.11.5 the `re` module loses its way in one (CPython issue 106052).
_TOKEN = re.compile(
    rf"""
      "{{3}} (?: [^"\\]++ | \\. | "(?!"") )* (?: "{{3,5}} | \\? \Z )
    | '{{3}} (?: [^']++ | '(?!'') )* (?: '{{3,5}} | \Z )
    | \# [^\n]*
    | (?P<header> ^ [ \t]* \[\[? [ \t]* )
    | (?P<key> {_PART} (?: [ \t]* \. [ \t]* {_PART} )* )
    | {_QUOTED}  # without an end: else each escaped quote in it would begin another
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_DOT = re.compile(rf""" {_QUOTED} " | '[^'\n]*+' | \. """, re.VERBOSE)


def _bound_keys(text: str) -> None:
    """Refuse keys that would take far more memory than the text."""
    if text.count(".") < _MANY or all(line.count(".") < _MANY for line in text.split("\n")):
        return
    above = remembered = 0
    header = False
    for token in _TOKEN.finditer(text):
        if token["header"] is not None:
            header = True
            continue
        if token["key"] is None:
            continue
        parts = 1 + sum(found[0] == "." for found in _DOT.finditer(token["key"]))
        if parts > MAX_DEPTH:
            raise RecursionError(f"a key of more than {MAX_DEPTH:,} parts")
        if header:
            above, header = max(above, parts), False  # a line of an array also looks like a header
        remembered += (parts - 1) * (above + parts)
        if remembered > MAX_REMEMBERED:
            raise RecursionError("too many keys of many parts")
