"""YAML documents through PyYAML: plain data only, at libyaml's speed if it is present."""

from __future__ import annotations

from ._documents import check_bool, dump, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from safeatomic_core._types import Concurrency, Safety, StrPath


def atomic_yaml_dump(
    path: StrPath,
    obj: object,
    *,
    default_flow_style: bool | None = False,
    sort_keys: bool = False,
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
    """Replace a file with an object written as YAML, completely or not at all.

    Only plain data is written (what `yaml.safe_dump` takes, and subclasses of it); non-ASCII text
    is not escaped. The text is the same whether PyYAML was built with libyaml or not.

    The text is published only if `atomic_yaml_load` reads it back as the object, as far as YAML can
    represent it: a tuple comes back as a list, and a subclass as its base. This check costs one
    load and a comparison.

    Args:
        path: The file; it need not exist, its directory must.
        obj: Plain data: dict, list, tuple, set, str, bytes, int, float, bool, date, datetime, None;
            also subclasses, such as enumerations of strings, or a document from
            `atomic_yaml_load_ruamel`.
        default_flow_style: False for one item per line, True for ``{a: 1, b: [2]}``, None for this
            style in the innermost collections only.
        sort_keys: Write the keys of every mapping in sorted order, if they have one.
        encoding: Text encoding; YAML for others to read is UTF-8.
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
        TypeError: A value that ruamel.yaml loaded has a tag, or an option has the wrong type. The
            target is unchanged.
        yaml.YAMLError: The object contains a value that has no safe form in YAML. The target is
            unchanged.
        ValueError: The text would not read back (for example because a key is a tuple); the message
            names the place. The target is unchanged.
        RecursionError: The object is nested too deeply: at some 300 levels with the interpreter's
            default recursion limit, at 1,000 with any. The target is unchanged.
        UnicodeEncodeError: The encoding lacks a character. The target is unchanged.
        Exception: Whatever `safeatomic_core.write_atomic` raises; a note says what became of the
            target.
    """
    from . import _pyyaml  # here, so that only users of YAML load it

    check_bool("default_flow_style", default_flow_style, none=True)
    check_bool("sort_keys", sort_keys)
    dump(
        path,
        "YAML",
        obj,
        lambda document: _pyyaml.render(document, default_flow_style, sort_keys),
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


def atomic_yaml_load(
    path: StrPath,
    *,
    encoding: str | None = None,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> Any:
    """Return the content of a YAML file, from one consistent version of it.

    The text is understood as by `yaml.safe_load` (YAML 1.1; if a key occurs twice, the last value
    counts), with or without libyaml. Tags for anything but plain data are refused. Aliases of one
    anchor give one shared object. Input that would exhaust the machine is refused: more than 1,000
    levels, and merge keys (``<<``) that copy more than 100,000 entries in all. A deep document
    takes no more stack than a flat one.

    Args:
        path: The file. A byte order mark is ignored.
        encoding: Text encoding; by default ``"utf-8"``.
        check_checksum: Compare the bytes with the checksum sidecar.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        yaml.YAMLError: The text is not YAML, has more than one document, a tag that is not plain
            data, or a value that does not fit its type; a note names the file.
        RecursionError: The text is nested too deeply.
        UnicodeDecodeError: The bytes are not text in this encoding.
        Exception: Whatever `safeatomic_core.read_atomic` raises.
    """
    from . import _pyyaml  # here, so that only users of YAML load it

    return load(
        path,
        "YAML",
        _pyyaml.parse,
        encoding=encoding,
        check_checksum=check_checksum,
        checksum_algo=checksum_algo,
        safety=safety,
    )
