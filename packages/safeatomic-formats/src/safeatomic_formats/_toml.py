"""TOML documents: read by `tomllib`, written by tomli-w. They are UTF-8, always."""

from __future__ import annotations

from collections.abc import Mapping

from ._documents import dump, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from safeatomic_core._types import Concurrency, Safety, StrPath


def atomic_toml_dump(
    path: StrPath,
    obj: Mapping[str, Any],
    *,
    concurrency: Concurrency = "lock",
    preserve_metadata: bool = True,
    write_checksum: bool = False,
    checksum_algo: str | None = None,
    retries: int | None = None,
    delay: float | None = None,
    session: str | None = None,
    safety: Safety = "strict",
) -> None:
    """Replace a file by a mapping written as TOML, completely or not at all.

    The file is UTF-8, whatever `safeatomic_config` says, because TOML is.

    Args:
        path: The file; it need not exist, its directory must.
        obj: A mapping with text keys. TOML has no null: None is refused at any depth.
        concurrency: See `safeatomic_core.write_atomic_bytes`, as for all that follow.
        preserve_metadata: Keep mode, owner, group and extended attributes.
        write_checksum: Keep a checksum sidecar beside the file.
        checksum_algo: Name of a fixed-length `hashlib` algorithm.
        retries: Further attempts to take a held lock.
        delay: Seconds between two attempts.
        session: Text that tells later which run took the lock.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        TypeError: The object is no mapping, or holds what TOML has no form for. The target is
            unchanged.
        ValueError: A value is out of TOML's range, such as a time of day with an offset. The
            target is unchanged.
        RecursionError: The object is nested too deeply or contains itself. The target is
            unchanged.
        Exception: Whatever `safeatomic_core.write_atomic` raises; a note says what became of the
            target.
    """
    dump(
        path,
        "TOML",
        lambda: _render(obj),
        encoding="utf-8",
        concurrency=concurrency,
        preserve_metadata=preserve_metadata,
        write_checksum=write_checksum,
        checksum_algo=checksum_algo,
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
    )


def atomic_toml_load(
    path: StrPath,
    *,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> dict[str, Any]:
    """Return what a TOML file says, from one consistent version of it.

    Args:
        path: The file. A byte order mark is ignored.
        check_checksum: Hold the bytes against the checksum sidecar.
        checksum_algo: Insist on this algorithm; by default the recorded one is used.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        tomllib.TOMLDecodeError: The text is not TOML (a key that occurs twice is an error there);
            a note names the file.
        RecursionError: The text is nested too deeply.
        UnicodeDecodeError: The bytes are not UTF-8.
        Exception: Whatever `safeatomic_core.read_atomic` raises.
    """
    return load(
        path,
        "TOML",
        _parse,
        encoding="utf-8",
        check_checksum=check_checksum,
        checksum_algo=checksum_algo,
        safety=safety,
    )


def _render(obj: object) -> str:
    import tomli_w  # only the writers of TOML pay for it

    if not isinstance(obj, Mapping):
        raise TypeError(f"obj must be a mapping, not {type(obj).__name__}: TOML is a table")
    return tomli_w.dumps(obj)


def _parse(text: str) -> dict[str, Any]:
    import tomllib  # only the readers of TOML pay for it

    return tomllib.loads(text)
