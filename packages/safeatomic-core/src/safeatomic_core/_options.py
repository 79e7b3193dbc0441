"""The options of a call: what each may be, what it is when a call leaves it out, and their bundle.

Every message names the argument and the values it takes; nothing is touched before all are checked.

The defaults of the four convenience options are scoped by a `ContextVar`, so that one that is set
in one thread or asyncio task is not seen by another. Only options that do not touch a guarantee can
be set there: what weakens one must be visible at the call that does it.
"""

from __future__ import annotations

import codecs
import io
from _contextvars import ContextVar  # contextvars itself is slow to import

from ._hashes import digest_size, hashlib_loads
from ._types import CONCURRENCY, SAFETY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    from ._types import Concurrency, Safety

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

_IS_GENERATOR, _IS_COROUTINE, _IS_ASYNC_GENERATOR = 0x20, 0x80, 0x200  # inspect.CO_...
_LONGEST = 9223372036.0  # seconds; the interpreter's clock counts 2**63 nanoseconds
_MOST = 2**63 - 1


class Defaults:
    """The values that an option takes when a call leaves it out."""

    __slots__ = ("encoding", "checksum_algo", "retries", "delay", "outer", "given_by")

    def __init__(
        self,
        encoding: str,
        checksum_algo: str,
        retries: int,
        delay: float,
        outer: Defaults | None = None,
        given_by: safeatomic_config | None = None,
    ) -> None:
        self.encoding = encoding
        self.checksum_algo = checksum_algo
        self.retries = retries
        self.delay = delay
        self.outer = outer  # what is in force outside the block that set these
        self.given_by = given_by


_LIBRARY_DEFAULTS = Defaults("utf-8", "sha256", 0, 0.1)
_scope = ContextVar("safeatomic_defaults", default=_LIBRARY_DEFAULTS)


def defaults() -> Defaults:
    """Return the defaults in force for the caller."""
    return _scope.get()


class safeatomic_config:  # noqa: N801 - reads as the function it is used as
    """Set defaults for options that do not affect any guarantee.

    They apply to the calls inside a ``with`` block or a decorated function, in tasks that start
    there, and under `asyncio.to_thread`; not in other threads that start there (unless Python 3.14
    or newer runs with ``-X thread_inherit_context=1``). Several threads and tasks may use one
    object at the same time, and blocks may be nested.

    Args:
        encoding: Text encoding of texts and documents; ``"utf-8"`` where nothing is set.
        checksum_algo: Name of a fixed-length `hashlib` algorithm; ``"sha256"`` if nothing is set.
        retries: How many times to retry when the lock is held, 0 or more; 0 where nothing is set.
        delay: Seconds for each retry, 0 or more; 0.1 where nothing is set. ``retries`` times
            ``delay`` is the longest wait; a lock that becomes free is taken within some 50 ms.

    Raises:
        TypeError: An option that is not one of the four; options that affect a guarantee can be
            given at the call only. Nothing has been touched.
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

    def __enter__(self) -> None:
        outer = defaults()
        inner = {
            name: getattr(outer, name) if value is None else value
            for name, value in self._given.items()
        }
        _scope.set(Defaults(**inner, outer=outer, given_by=self))  # type: ignore[arg-type]

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What was in force is remembered in the context, not in this object, which others use.
        present: Defaults | None = defaults()
        while present is not None:
            if present.given_by is self and present.outer is not None:
                _scope.set(present.outer)
                return
            present = present.outer

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Return a function that runs with these defaults, coroutines and generators included."""
        from functools import partial, update_wrapper  # slow to import, and few programs decorate

        called: Any = function
        while isinstance(called, partial):
            called = called.func
        code = getattr(called, "__code__", None) or getattr(type(called).__call__, "__code__", None)
        kind = getattr(code, "co_flags", 0)
        make = self._plain
        if kind & _IS_COROUTINE:
            make = self._coroutine
        elif kind & _IS_GENERATOR:
            make = self._generator
        elif kind & _IS_ASYNC_GENERATOR:
            make = self._async_generator
        return update_wrapper(make(function), function)

    def _plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return call

    # These defaults are in force while a generator runs, not while its caller does.

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            running = function(*args, **kwargs)
            step, value = running.send, None
            while True:
                try:
                    with self:
                        item = step(value)
                except StopIteration as end:
                    return end.value
                try:
                    step, value = running.send, (yield item)
                except BaseException as error:  # noqa: BLE001 - GeneratorExit too is its own
                    step, value = running.throw, error

        return call

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            running = function(*args, **kwargs)
            step, value = running.asend, None
            while True:
                try:
                    with self:
                        item = await step(value)
                except StopAsyncIteration:
                    return
                try:
                    step, value = running.asend, (yield item)
                except BaseException as error:  # noqa: BLE001 - GeneratorExit too is its own
                    step, value = running.athrow, error

        return call


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
    name = algo.lower()
    length = digest_size(name)
    if length == 0:
        if name != "sha256" and not hashlib_loads():
            raise ValueError(
                f"{argument} {algo!r} cannot be computed, because hashlib can no longer be "
                "loaded; use 'sha256', or import hashlib before the process enters a chroot"
            )
        raise ValueError(
            f"{argument} {algo!r} is not a fixed-length hash of this Python; "
            "use 'sha256', 'sha512', 'blake2b' or another name that hashlib offers"
        )
    _checked_algorithms[algo] = name
    return name


def check_retries(retries: object) -> int:
    """Refuse what is not a whole number of retries."""
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries must be an int, not {type(retries).__name__}")
    if not 0 <= retries <= _MOST:
        raise ValueError(f"retries must be 0 to {_MOST}, not {short(retries)}")
    return retries


def check_delay(delay: object) -> float:
    """Refuse what is not a non-negative number of seconds that the clock can count."""
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise TypeError(f"delay must be a number of seconds, not {type(delay).__name__}")
    if not 0 <= delay <= _LONGEST:
        raise ValueError(f"delay must be 0 to {_LONGEST:.0f} seconds, not {short(delay)}")
    return delay


def short(number: float) -> str:
    """Return a number for a message."""
    try:
        return str(number)
    except ValueError:  # an int with more digits than Python prints
        return "a number of that size" if number > 0 else "a negative number"


class Policy:
    """How one change is to be done; the attributes are the options of the public calls."""

    lock: bool
    safety: Safety
    preserve_metadata: bool
    write_checksum: bool
    algo: str
    retries: int
    delay: float
    session: str | None
    mode: int | None
    overwrite: bool

    @classmethod
    def of(
        cls,
        *,
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
    ) -> Policy:
        """Check the options of a call; a class that is called with keywords takes twice as long."""
        policy = cls()
        if concurrency not in CONCURRENCY:
            raise _not_one_of("concurrency", concurrency, CONCURRENCY)
        if safety not in SAFETY:
            raise _not_one_of("safety", safety, SAFETY)
        policy.lock = concurrency == "lock"
        policy.safety = safety
        policy.preserve_metadata = check_flag(preserve_metadata, "preserve_metadata")
        policy.write_checksum = check_flag(write_checksum, "write_checksum")
        default = defaults()
        algo = default.checksum_algo if checksum_algo is None else check_algorithm(checksum_algo)
        policy.algo = algo
        policy.retries = default.retries if retries is None else check_retries(retries)
        policy.delay = default.delay if delay is None else check_delay(delay)
        policy.session = None if session is None else check_session(session)
        policy.mode = None if mode is None else check_mode(mode)
        policy.overwrite = check_flag(overwrite, "overwrite")
        return policy


def check_safety(safety: Safety) -> Safety:
    """Refuse what is not one of the three answers to a weak environment."""
    if safety not in SAFETY:
        raise _not_one_of("safety", safety, SAFETY)
    return safety


def check_flag(value: object, argument: str) -> bool:
    """Refuse what is not True or False: a truthy string is a mistake, not a wish."""
    if value is True:
        return True
    if value is False:
        return False
    raise TypeError(f"{argument} must be True or False, not {value!r}")


def check_mode(mode: object) -> int:
    """Refuse what is not the nine permission bits of a file."""
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"mode must be an int such as 0o600 or None, not {type(mode).__name__}")
    if not 0 <= mode <= 0o777:
        raise ValueError(f"mode must be permission bits from 0o000 to 0o777, not {mode:#o}")
    return mode


def check_session(session: object) -> str:
    """Refuse a session that is not text."""
    if not isinstance(session, str):
        raise TypeError(f"session must be a str or None, not {type(session).__name__}")
    return session


def check_data(data: object) -> memoryview | bytes:
    """Return the bytes of an object that exports them, refusing text and anything else."""
    if type(data) is bytes:
        return data
    if isinstance(data, str):
        raise TypeError("data must be bytes-like, not str; use write_atomic() for text")
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        return _copied(data)
    try:
        return view.cast("B") if view.nbytes else b""
    except TypeError:
        return _copied(data)
    finally:
        view.release()  # at once, also on interpreters that do not count references


def _copied(data: object) -> bytes:
    """Copy an object that a plain file would take, though it has no view of single bytes.

    An array of dates is one: it exports its bytes, but no format for them.
    """
    copy = io.BytesIO()
    try:
        copy.write(data)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        kind = type(data).__name__
        raise TypeError(f"data must be a contiguous bytes-like object, not {kind}") from None
    return copy.getvalue()


def check_text(data: object) -> str:
    """Refuse content that is not text."""
    if not isinstance(data, str):
        kind = type(data).__name__
        raise TypeError(f"data must be a str, not {kind}; use write_atomic_bytes() for bytes")
    return data


def _not_one_of(argument: str, value: object, allowed: tuple[str, ...]) -> Exception:
    names = ", ".join(repr(name) for name in allowed)
    if not isinstance(value, str):
        return TypeError(f"{argument} must be one of {names}, not {type(value).__name__}")
    return ValueError(f"{argument} must be one of {names}, not {value!r}")
