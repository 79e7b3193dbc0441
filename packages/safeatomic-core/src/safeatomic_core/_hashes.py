"""Hash objects: hashlib's, or the interpreter's own where hashlib can no longer be loaded.

A program may enter a chroot, or give up the right to read its installation, before it hashes for
the first time. hashlib takes as long to load as a quarter of this package, most of it for OpenSSL,
which is faster than the interpreter's own modules; so only SHA-256 is loaded with this one.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

# Where the interpreter has them itself: from Python 3.12 on, and before.
_OWN = {
    "sha256": ("_sha2", "_sha256"),
    "sha224": ("_sha2", "_sha256"),
    "sha512": ("_sha2", "_sha512"),
    "sha384": ("_sha2", "_sha512"),
    "sha1": ("_sha1",),
    "md5": ("_md5",),
    "blake2b": ("_blake2",),
    "blake2s": ("_blake2",),
    "sha3_224": ("_sha3",),
    "sha3_256": ("_sha3",),
    "sha3_384": ("_sha3",),
    "sha3_512": ("_sha3",),
}


def unloadable(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what an ``except`` clause around an import is to catch: not found, or not readable.

    A time-out that a signal handler raises meanwhile is often an OSError as well, without an
    ``errno``. It is to arrive, as `system_error` explains. What ctypes raises has none either.

    Args:
        others: What else it is to catch.
    """
    raised = sys.exception()
    if isinstance(raised, OSError) and raised.errno is None and raised_in(raised) != "ctypes":
        return (ImportError, *others)
    return (ImportError, OSError, *others)


def raised_in(error: BaseException) -> object:
    """Return the name of the module that raised an error: a signal handler is the program's."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else traceback.tb_frame.f_globals.get("__name__")


def new_hash(algo: str) -> _Hash:
    """Return a fresh hash object of a checked algorithm.

    Raises:
        ValueError: This Python does not offer it, or can no longer load it.
    """
    try:
        import hashlib  # see above
    except unloadable():
        return _own(algo)
    if algo == "sha256":  # the default, without the search through OpenSSL's tables
        return hashlib.sha256(usedforsecurity=False)
    return hashlib.new(algo, usedforsecurity=False)


def digest_size(name: str) -> int:
    """Return an algorithm's length in bytes, 0 for one of variable length or not offered."""
    if hashlib_loads():
        import hashlib  # see above

        if name not in hashlib.algorithms_available:  # OpenSSL knows more names than it lists
            return 0
    try:
        return new_hash(name).digest_size
    except ValueError:  # listed, but switched off by the OpenSSL in use
        return 0


def hashlib_loads() -> bool:
    """Tell whether hashlib is loaded, or can be."""
    try:
        import hashlib  # noqa: F401 - see above
    except unloadable():
        return False
    return True


def _own(algo: str) -> _Hash:
    """Return a hash object of the interpreter's own."""
    make = _loaded.get(algo) or _find(algo)
    if make is None:
        raise ValueError(f"{algo} cannot be computed: hashlib cannot be loaded")
    return make()


def _find(algo: str) -> Callable[[], _Hash] | None:
    for name in _OWN.get(algo, ()):
        try:
            return getattr(__import__(name), algo)  # type: ignore[no-any-return]
        except unloadable():
            continue
    return None


_sha256 = _find("sha256")
# An interpreter that is going down imports nothing, not even what is loaded.
_loaded = {} if _sha256 is None else {"sha256": _sha256}
