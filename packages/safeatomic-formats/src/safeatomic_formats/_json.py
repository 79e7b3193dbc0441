"""JSON documents, through the standard library."""

from __future__ import annotations

import json

from ._documents import dump, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from safeatomic_core._types import Concurrency, Safety, StrPath


def atomic_json_dump(
    path: StrPath,
    obj: object,
    *,
    indent: int | str | None = 2,
    sort_keys: bool = False,
    ensure_ascii: bool = False,
    encoding: str | None = None,
    concurrency: Concurrency = "lock",
    preserve_metadata: bool = True,
    write_checksum: bool = False,
    checksum_algo: str | None = None,
    retries: int | None = None,
    delay: float | None = None,
    session: str | None = None,
    safety: Safety = "strict",
) -> None:
    """Replace a file by an object written as JSON, completely or not at all.

    The text ends with a newline. Not-a-number and the infinities are refused, since JSON has none
    and few other readers accept what Python would write for them.

    Args:
        path: The file; it need not exist, its directory must.
        obj: What `json.dumps` takes.
        indent: Spaces (or the text) of one level; None for a single line.
        sort_keys: Write the keys of every object in sorted order.
        ensure_ascii: Escape whatever is not ASCII.
        encoding: Text encoding; JSON for others to read is UTF-8.
        concurrency: See `safeatomic_core.write_atomic_bytes`, as for all that follow.
        preserve_metadata: Keep mode, owner, group and extended attributes.
        write_checksum: Keep a checksum sidecar beside the file.
        checksum_algo: Name of a fixed-length `hashlib` algorithm.
        retries: Further attempts to take a held lock.
        delay: Seconds between two attempts.
        session: Text that tells later which run took the lock.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        TypeError: The object, or a key in it, has no form in JSON. The target is unchanged.
        ValueError: A float is not finite, or the object contains itself. The target is unchanged.
        RecursionError: The object is nested too deeply. The target is unchanged.
        UnicodeEncodeError: The encoding lacks a character. The target is unchanged.
        Exception: Whatever `safeatomic_core.write_atomic` raises; a note says what became of the
            target.
    """
    dump(
        path,
        "JSON",
        lambda: (
            json.dumps(
                obj,
                indent=indent,
                sort_keys=sort_keys,
                ensure_ascii=ensure_ascii,
                allow_nan=False,
            )
            + "\n"
        ),
        encoding=encoding,
        concurrency=concurrency,
        preserve_metadata=preserve_metadata,
        write_checksum=write_checksum,
        checksum_algo=checksum_algo,
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
    )


def atomic_json_load(
    path: StrPath,
    *,
    encoding: str | None = None,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> Any:
    """Return what a JSON file says, from one consistent version of it.

    The text is understood as `json.loads` understands it: of a key that occurs twice in one object
    the last value counts, and ``NaN``, ``Infinity`` and ``-Infinity``, which some writers produce,
    are accepted. A byte order mark is ignored.

    Args:
        path: The file.
        encoding: Text encoding.
        check_checksum: Hold the bytes against the checksum sidecar.
        checksum_algo: Insist on this algorithm; by default the recorded one is used.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        json.JSONDecodeError: The text is not JSON; a note names the file.
        RecursionError: The text is nested too deeply.
        UnicodeDecodeError: The bytes are not text in this encoding.
        Exception: Whatever `safeatomic_core.read_atomic` raises.
    """
    return load(
        path,
        "JSON",
        json.loads,
        encoding=encoding,
        check_checksum=check_checksum,
        checksum_algo=checksum_algo,
        safety=safety,
    )
