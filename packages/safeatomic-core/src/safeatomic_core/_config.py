"""Defaults for the four convenience options, scoped by a context manager.

The scope is a `ContextVar`, so that a default set in one thread or asyncio task is not seen by
another. Only options that do not touch a guarantee can be set here: what weakens one must be
visible at the call that does it.
"""

from __future__ import annotations

import codecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import ContextVar, Token
    from types import TracebackType


class Defaults:
    """The values that an option takes when a call leaves it out."""

    __slots__ = ("encoding", "checksum_algo", "retries", "delay")

    def __init__(self, encoding: str, checksum_algo: str, retries: int, delay: float) -> None:
        self.encoding = encoding
        self.checksum_algo = checksum_algo
        self.retries = retries
        self.delay = delay


_LIBRARY_DEFAULTS = Defaults("utf-8", "sha256", 0, 0.1)
_made: dict[str, ContextVar[Defaults]] = {}  # the scope, once somebody has set a default


def defaults() -> Defaults:
    """Return the defaults in force for the caller."""
    return _made["scope"].get() if _made else _LIBRARY_DEFAULTS


def _scope() -> ContextVar[Defaults]:
    """Return the variable behind the scopes, the same one to every thread that comes first."""
    from contextvars import ContextVar  # slow to import, and most programs set no default

    return _made.setdefault("scope", ContextVar("safeatomic_defaults", default=_LIBRARY_DEFAULTS))


class safeatomic_config:  # noqa: N801 - reads as the function it is used as
    """Set the default of convenience options for the calls inside a ``with`` block.

    Args:
        encoding: Text encoding of `read_atomic`, `write_atomic` and the format helpers.
        checksum_algo: Name of a fixed-length `hashlib` algorithm.
        retries: Further attempts to take a held lock, 0 or more.
        delay: Seconds between two attempts, 0 or more.

    Raises:
        TypeError: An option that is not one of the four. ``safety``, ``concurrency``,
            ``preserve_metadata`` and ``write_checksum`` are given at the call only. Nothing has
            been touched.
        ValueError: A value that the option does not allow. Nothing has been touched.

    Example:
        >>> with safeatomic_config(retries=20, delay=0.05):
        ...     pass
    """

    def __init__(
        self,
        *,
        encoding: str | None = None,
        checksum_algo: str | None = None,
        retries: int | None = None,
        delay: float | None = None,
    ) -> None:
        self._given = {
            "encoding": None if encoding is None else check_encoding(encoding),
            "checksum_algo": None if checksum_algo is None else check_algorithm(checksum_algo),
            "retries": None if retries is None else check_retries(retries),
            "delay": None if delay is None else check_delay(delay),
        }
        self._tokens: list[Token[Defaults]] = []

    def __enter__(self) -> None:
        outer = defaults()
        inner = {
            name: getattr(outer, name) if value is None else value
            for name, value in self._given.items()
        }
        self._tokens.append(_scope().set(Defaults(**inner)))  # type: ignore[arg-type]

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _scope().reset(self._tokens.pop())


def resolve_encoding(encoding: str | None) -> str:
    """Return a checked encoding: the one given, else the default in force."""
    return defaults().encoding if encoding is None else check_encoding(encoding)


def resolve_algorithm(algo: str | None, argument: str = "checksum_algo") -> str:
    """Return a checked algorithm name: the one given, else the default in force."""
    return defaults().checksum_algo if algo is None else check_algorithm(algo, argument)


def check_encoding(encoding: object) -> str:
    """Refuse what is not the name of a text encoding."""
    if not isinstance(encoding, str):
        raise TypeError(f"encoding must be a str, not {type(encoding).__name__}")
    try:
        codec = codecs.lookup(encoding)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding {encoding!r} is not known to Python; use a name such as 'utf-8'"
        ) from None
    if not codec._is_text_encoding:  # noqa: SLF001 - bytes.decode() asks the same
        raise ValueError(f"encoding {encoding!r} is not a text encoding; use one such as 'utf-8'")
    return encoding


_checked_algorithms: dict[str, str] = {}


def check_algorithm(algo: object, argument: str = "checksum_algo") -> str:
    """Refuse what is not the name of a fixed-length hash; return its canonical lower-case name."""
    if not isinstance(algo, str):
        raise TypeError(f"{argument} must be a str, not {type(algo).__name__}")
    known = _checked_algorithms.get(algo)
    if known is not None:
        return known
    import hashlib  # a quarter of the package's import time, and not every program hashes

    name = algo.lower()
    length = 0
    if name in hashlib.algorithms_available:
        try:
            length = hashlib.new(name, usedforsecurity=False).digest_size
        except ValueError:  # listed, but switched off by the OpenSSL in use
            length = 0
    if length == 0:
        raise ValueError(
            f"{argument} {algo!r} is not a fixed-length hash of this Python; "
            "use 'sha256', 'sha512', 'blake2b' or another name that hashlib offers"
        )
    _checked_algorithms[algo] = name
    return name


def check_retries(retries: object) -> int:
    """Refuse what is not a whole number of further attempts."""
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries must be an int, not {type(retries).__name__}")
    if retries < 0:
        raise ValueError(f"retries must be 0 or more, not {retries}")
    return retries


def check_delay(delay: object) -> float:
    """Refuse what is not a finite, non-negative number of seconds."""
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise TypeError(f"delay must be a number of seconds, not {type(delay).__name__}")
    if not 0 <= delay < float("inf"):
        raise ValueError(f"delay must be 0 or more seconds and finite, not {delay}")
    return delay
