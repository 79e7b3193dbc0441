"""The options of one call, checked before anything is touched.

Every message names the argument and the values it takes. What a call leaves out comes from
`safeatomic_config`.
"""

from __future__ import annotations

from ._config import check_algorithm, check_delay, check_retries, defaults
from ._types import CONCURRENCY, SAFETY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Concurrency, Safety


class Policy:
    """How one write is to be done; the attributes are the options of the public calls."""

    __slots__ = (
        "algo",
        "delay",
        "lock",
        "preserve_metadata",
        "retries",
        "safety",
        "session",
        "write_checksum",
    )

    def __init__(
        self,
        concurrency: Concurrency,
        preserve_metadata: bool,
        write_checksum: bool,
        checksum_algo: str | None,
        retries: int | None,
        delay: float | None,
        session: str | None,
        safety: Safety,
    ) -> None:
        if concurrency not in CONCURRENCY:
            raise _not_one_of("concurrency", concurrency, CONCURRENCY)
        if safety not in SAFETY:
            raise _not_one_of("safety", safety, SAFETY)
        self.lock = concurrency == "lock"
        self.safety = safety
        self.preserve_metadata = check_flag(preserve_metadata, "preserve_metadata")
        self.write_checksum = check_flag(write_checksum, "write_checksum")
        default = defaults()
        self.algo = (
            default.checksum_algo if checksum_algo is None else check_algorithm(checksum_algo)
        )
        self.retries = default.retries if retries is None else check_retries(retries)
        self.delay = default.delay if delay is None else check_delay(delay)
        self.session = None if session is None else check_session(session)


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


def check_session(session: object) -> str:
    """Refuse a session that is no text."""
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
        return memoryview(data).cast("B")  # type: ignore[arg-type]
    except TypeError:
        kind = type(data).__name__
        raise TypeError(f"data must be a contiguous bytes-like object, not {kind}") from None


def check_text(data: object) -> str:
    """Refuse content that is no text."""
    if not isinstance(data, str):
        kind = type(data).__name__
        raise TypeError(f"data must be a str, not {kind}; use write_atomic_bytes() for bytes")
    return data


def _not_one_of(argument: str, value: object, allowed: tuple[str, ...]) -> Exception:
    names = ", ".join(repr(name) for name in allowed)
    if not isinstance(value, str):
        return TypeError(f"{argument} must be one of {names}, not {type(value).__name__}")
    return ValueError(f"{argument} must be one of {names}, not {value!r}")
