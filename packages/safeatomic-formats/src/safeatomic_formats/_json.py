"""JSON documents, through the standard library."""

from __future__ import annotations

import json

from ._depth import check_json, check_object
from ._documents import check_bool, dump, load
from ._plain import without_ruamel
from ._readback import check, place, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from safeatomic_core._types import Concurrency, Safety, StrPath


def atomic_json_dump(
    path: StrPath,
    obj: object,
    *,
    indent: int | str | None = 2,
    sort_keys: bool = False,
    ensure_ascii: bool = False,
    allow_nan: bool = False,
    default: Callable[[Any], object] | None = None,
    cls: type[json.JSONEncoder] | None = None,
    encoding: str | None = None,
    concurrency: Concurrency = "lock",
    preserve_metadata: bool = True,
    write_checksum: bool = False,
    checksum_algo: str | None = None,
    retries: int | None = None,
    delay: float | None = None,
    session: str | None = None,
    safety: Safety = "strict",
    mode: int | None = None,
    overwrite: bool = True,
) -> None:
    """Replace a file with an object written as JSON, completely or not at all.

    The text ends with a newline. Not-a-number and the infinities are refused by default, because
    JSON does not have them, and few other readers accept what Python writes for them.

    The text is published only if it reads back as the object, as far as JSON can represent it: a
    tuple comes back as a list, a number as a key as a string, and a subclass as its base. This
    check costs one `json.loads` and a comparison.

    Args:
        path: The file; it need not exist, its directory must.
        obj: What `json.dumps` takes.
        indent: Spaces (or the white space) of one level; None for a single line.
        sort_keys: Write the keys of every object in sorted order.
        ensure_ascii: Escape all characters that are not ASCII.
        allow_nan: Write ``NaN``, ``Infinity`` and ``-Infinity``, which `atomic_json_load` reads.
        default: Called with each object that has no form in JSON; returns one that has; see
            `json.dumps`. With ``default`` or ``cls``, the text need not read back as the object: it
            must be JSON, and no two keys of one object may be equal.
        cls: The subclass of `json.JSONEncoder` to use.
        encoding: Text encoding; JSON for others to read is UTF-8.
        concurrency: See `safeatomic_core.write_atomic_bytes`, as for all that follow.
        preserve_metadata: Keep mode, owner, group and extended attributes.
        write_checksum: Keep a checksum sidecar beside the file.
        checksum_algo: Name of a fixed-length `hashlib` algorithm.
        retries: How many times to retry when the lock is held; by default 0.
        delay: Seconds for each retry; by default 0.1. ``retries`` times ``delay`` is the longest
            wait in seconds; a lock that becomes free earlier is taken within about 50 ms.
        session: Text identifying the run that takes the lock.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.
        mode: Permission bits of a new file; None for what the umask leaves of 0o666.
        overwrite: False to fail with FileExistsError if the file exists.

    Raises:
        TypeError: The object, or a key in it, has no form in JSON; an option has the wrong type; or
            ``sort_keys`` finds keys that have no order. The target is unchanged.
        ValueError: ``indent`` is a text other than white space, a float is not finite, the object
            contains itself, or the text would not read back (for example because an object has the
            keys ``1`` and ``"1"``); the message names the place. The target is unchanged.
        RecursionError: The object is nested too deeply: for the interpreter's recursion limit, or,
            in a thread with a small stack, at more than one level for every 2 KiB of it (levels
            that your ``cls`` adds are not counted). The target is unchanged.
        UnicodeEncodeError: The encoding lacks a character. The target is unchanged.
        Exception: Whatever `safeatomic_core.write_atomic` raises; a note says what became of the
            target.
    """
    for name, value in (
        ("sort_keys", sort_keys),
        ("ensure_ascii", ensure_ascii),
        ("allow_nan", allow_nan),
    ):
        check_bool(name, value)
    _check_indent(indent)
    _check_callbacks(default, cls)
    dump(
        path,
        "JSON",
        obj,
        lambda document: _render(
            document,
            indent=indent,
            sort_keys=sort_keys,
            ensure_ascii=ensure_ascii,
            allow_nan=allow_nan,
            default=default,
            cls=cls,
        ),
        foreign=default is not None or cls is not None,
        encoding=encoding,
        concurrency=concurrency,
        preserve_metadata=preserve_metadata,
        write_checksum=write_checksum,
        checksum_algo=checksum_algo,
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
        mode=mode,
        overwrite=overwrite,
    )


def atomic_json_load(
    path: StrPath,
    *,
    encoding: str | None = None,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> Any:
    """Return the content of a JSON file, from one consistent version of it.

    The text is understood as by `json.loads`: if a key occurs twice in one object, the last value
    counts, and ``NaN``, ``Infinity`` and ``-Infinity``, which some writers produce, are accepted. A
    byte order mark is ignored.

    Args:
        path: The file.
        encoding: Text encoding; by default ``"utf-8"``.
        check_checksum: Compare the bytes with the checksum sidecar.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        json.JSONDecodeError: The text is not JSON; a note names the file.
        RecursionError: The text is nested too deeply: for the interpreter's recursion limit, or, in
            a thread with a small stack, at more than one level for every 2 KiB of it.
        ValueError: An integer has more digits than `sys.set_int_max_str_digits` lets pass.
        UnicodeDecodeError: The bytes are not text in this encoding.
        Exception: Whatever `safeatomic_core.read_atomic` raises.
    """
    return load(
        path,
        "JSON",
        _parse,
        encoding=encoding,
        check_checksum=check_checksum,
        checksum_algo=checksum_algo,
        safety=safety,
    )


def _parse(text: str) -> Any:
    check_json(text)
    return json.loads(text)


def _render(obj: object, **options: Any) -> str:
    """Return an object as JSON that reads back as that object."""
    default, cls = options["default"], options["cls"]
    options["default"] = check_object(obj, default)
    obj = without_ruamel(obj)
    try:
        text = json.dumps(obj, **options)
    except ValueError as error:
        if not options["allow_nan"] and "JSON compliant" in str(error):
            raise ValueError(f"{error} (allow_nan=True writes it anyway)") from error
        raise
    if not isinstance(text, str):
        raise TypeError(f"cls must encode to a str, not {type(text).__name__}")
    if default is not None or cls is not None:
        _parse_uniquely(text)
    elif not _equal(obj, text):  # a tuple, perhaps, or a number as a key
        check(obj, _parse_uniquely(text), "JSON", key=_key)
    return text + "\n"


def _check_indent(indent: object) -> None:
    if not isinstance(indent, int | str | None):
        raise TypeError(f"indent must be an int, a str or None, not {type(indent).__name__}")
    if isinstance(indent, str) and indent.strip(" \t\n\r"):
        raise ValueError(f"indent must be white space, not {indent!r}: it would not be JSON")


def _check_callbacks(default: object, cls: object) -> None:
    if default is not None and not callable(default):
        raise TypeError(f"default must be callable or None, not {type(default).__name__}")
    if cls is not None and not (isinstance(cls, type) and issubclass(cls, json.JSONEncoder)):
        raise TypeError(f"cls must be a subclass of json.JSONEncoder or None, not {cls!r}")


def _equal(obj: object, text: str) -> bool:
    """Whether a text loads as an equal object, by one comparison in C."""
    return bool(json.loads(text) == obj)


def _parse_uniquely(text: str) -> object:
    """Return the document of a rendered text; no two keys of one object may be equal."""
    doubtful: list[object] = []

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            seen: set[str] = set()
            double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            doubtful.append((entries, double))
        return entries

    try:
        read = json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:  # an encoder's own output
        raise ValueError(f"the rendered text is not JSON: {error}") from error
    if doubtful:
        raise ValueError(_collision(read, doubtful[0]))
    return read


def _collision(read: object, doubtful: Any) -> str:
    """Return the message for an object in which two keys became equal."""
    entries, key = doubtful
    todo: list[tuple[Any, Any]] = [(read, None)]
    while todo:
        value, where = todo.pop()
        if value is entries:
            return f"two keys of {place(where)} become {key!r} in JSON, and one entry would be lost"
        if isinstance(value, dict):
            todo += [(entry, (where, name)) for name, entry in value.items()]
        elif isinstance(value, list):
            todo += [(entry, (where, index)) for index, entry in enumerate(value)]
    return f"two keys of one mapping become {key!r} in JSON, and one entry would be lost"


def _key(key: Any) -> str:
    """Return a key as the standard library's encoder writes it."""
    key = plain(key)
    if isinstance(key, str):
        return key
    return json.dumps(key)
