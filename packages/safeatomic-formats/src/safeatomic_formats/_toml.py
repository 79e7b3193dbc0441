"""TOML documents, read by `tomllib` and written by tomli-w; always UTF-8."""

from __future__ import annotations

from . import _toml_text
from ._documents import check_bool, dump, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from safeatomic_core._types import Concurrency, Safety, StrPath


def atomic_toml_dump(
    path: StrPath,
    obj: Mapping[str, Any],
    *,
    multiline_strings: bool = False,
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
    """Replace a file with a mapping written as TOML, completely or not at all.

    The file is UTF-8, whatever `safeatomic_config` says, because TOML requires it.

    The text is published only if it reads back as the mapping, as far as TOML can represent it: a
    tuple comes back as a list, a `decimal.Decimal` as a float, a subclass as its base. This check
    costs one `tomllib.loads` and a comparison.

    Args:
        path: The file; it need not exist, its directory must.
        obj: A mapping with strings as keys. TOML has no null: None is refused at any depth.
            Comments and layout, such as those of a tomlkit document, are not written: use
            `safeatomic_core.write_atomic` with the text of ``tomlkit.dumps``.
        multiline_strings: Write strings of several lines over several lines. A string with a
            carriage return before a newline is then refused: tomli-w would drop the carriage
            return.
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
        TypeError: The object is not a mapping, has a key that is not a str, or contains a value
            that has no form in TOML; or ``multiline_strings`` is not a bool. The target is
            unchanged.
        ValueError: TOML cannot express a value (an int of more than 64 bits, a time of day with an
            offset, an offset with seconds), or the text would not read back; the message names the
            place. The target is unchanged.
        RecursionError: The object is nested deeper than 1,000 levels (or than the interpreter's
            recursion limit allows, by default some 240; or, in a thread with a small stack, one
            level for every 2 KiB of it), or contains itself. The target is unchanged.
        Exception: Whatever `safeatomic_core.write_atomic` raises; a note says what became of the
            target.
    """
    check_bool("multiline_strings", multiline_strings)
    dump(
        path,
        "TOML",
        obj,
        lambda document: _toml_text.render(document, multiline_strings),
        encoding="utf-8",
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


def atomic_toml_load(
    path: StrPath,
    *,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> dict[str, Any]:
    """Return the content of a TOML file, from one consistent version of it.

    Input that would exhaust memory is refused: a key of more than 1,000 parts, and many keys of
    many parts.

    Args:
        path: The file. A byte order mark is ignored.
        check_checksum: Compare the bytes with the checksum sidecar.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        tomllib.TOMLDecodeError: The text is not TOML (a key that occurs twice is an error there);
            a note names the file.
        RecursionError: The text is nested too deeply, or its keys have too many parts.
        ValueError: An integer has more digits than `sys.set_int_max_str_digits` lets pass.
        UnicodeDecodeError: The bytes are not UTF-8.
        Exception: Whatever `safeatomic_core.read_atomic` raises.
    """
    return load(
        path,
        "TOML",
        _toml_text.parse,
        encoding="utf-8",
        check_checksum=check_checksum,
        checksum_algo=checksum_algo,
        safety=safety,
    )
