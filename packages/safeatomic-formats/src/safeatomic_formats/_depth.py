"""Limit the depth of a document to the stack of this thread.

The standard library's JSON, tomli-w and ruamel.yaml recurse through C, and the interpreter limits
their levels without regard to the size of the stack. In a thread with a small one (128 KiB under
musl, any size with `threading.stack_size`), a document of a few hundred levels ends the process. So
if the stack is too small for the interpreter's limit, the levels are counted here first, without
recursion. Otherwise nothing is counted.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Bytes allowed for a level. The most that was measured is 610, for tomli-w's arrays (CPython 3.11,
# x86-64); ruamel.yaml and the encoder of JSON take some 430, the decoder 140.
_PER_LEVEL = 1024
# The interpreter's limit for recursion in C from 3.12 on; the recursion limit does not change it.
_LEVELS_IN_C = 10_000 if sys.version_info >= (3, 12) else 0
# CPython's own limits assume this size, and glibc gives it to every thread by default.
_USUAL_STACK = 8 << 20  # bytes


def levels() -> int | None:
    """Return how many levels C may recurse; None if the interpreter's own limit suffices."""
    allowed = max(sys.getrecursionlimit(), _LEVELS_IN_C)
    main = threading.get_ident() == threading.main_thread().ident
    size = _main_stack_size() if main else _stack_size()
    if size * 4 >= allowed * _PER_LEVEL * 3:
        return None
    return size // 2 // _PER_LEVEL  # the caller has used some of it


def _main_stack_size() -> int:
    """Return the size in bytes to which the first thread's stack may grow, or the usual one."""
    try:
        import resource
    except ImportError:  # Windows
        return _USUAL_STACK
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)  # setrlimit(2), 'ulimit -s'
    return _USUAL_STACK if limit == resource.RLIM_INFINITY else min(limit, _USUAL_STACK)


def _stack_size() -> int:
    """Return the size in bytes of this thread's stack; if unknown, the size that musl uses."""
    try:
        import ctypes  # slow to import, and not needed in the main thread

        libc = ctypes.CDLL(None)
        attributes = ctypes.create_string_buffer(256)  # 56 bytes in glibc on x86-64, 64 elsewhere
        size = ctypes.c_size_t()
        if libc.pthread_getattr_np(ctypes.c_void_p(threading.get_ident()), attributes):
            return 128 << 10
        libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
        libc.pthread_attr_destroy(attributes)
    except (ImportError, OSError, AttributeError):
        return 128 << 10
    return size.value


def error(allowed: int) -> RecursionError:
    """Return the error for a document of too many levels."""
    return RecursionError(f"more than {allowed:,} levels, which is what is followed here")


def check_object(obj: object, default: Callable[[Any], object] | None = None) -> Any:
    """Refuse a document that is too deep for this thread.

    Args:
        obj: The document.
        default: The function that turns other objects into plain data; called once for each.

    Returns:
        The function to pass on as ``default``: the same, or one that remembers the results.

    Raises:
        RecursionError: It has too many levels.
    """
    allowed = levels()
    if allowed is None:
        return default
    results: dict[int, tuple[object, object]] = {}
    level: dict[int, Any] = {id(obj): obj}
    for _ in range(allowed + 1):
        inner: dict[int, Any] = {}
        for value in level.values():
            if isinstance(value, Mapping):
                entries: Any = value.values()
            elif isinstance(value, list | tuple):
                entries = value
            elif default is None or isinstance(value, _TEXT_OR_NUMBER):
                continue
            else:
                result = default(value)
                results[id(value)] = value, result
                entries = (result,)
            inner |= {id(entry): entry for entry in entries if type(entry) not in _LEAVES}
        if not inner:
            break
        level = inner
    else:
        raise error(allowed)
    if default is None:
        return None
    return lambda value: results[id(value)][1] if id(value) in results else default(value)


_TEXT_OR_NUMBER = (str, int, float, type(None))
_LEAVES = frozenset({str, int, float, bool, type(None), bytes})


def check_json(text: str) -> None:
    """Refuse a JSON text that is too deep for this thread.

    Raises:
        RecursionError: It has too many levels.
    """
    if text.count("[") + text.count("{") < _FEW:
        return
    allowed = levels()
    if allowed is None:
        return
    # Remove everything but the brackets outside strings; then, in each round, every innermost pair.
    octets = text.encode("utf-8", "surrogatepass").replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(octets.split(b'"')[::2]).translate(_AS_ONE_KIND, _NO_BRACKETS)
    for depth in range(allowed):
        if depth + brackets.count(b"{") <= allowed:
            return
        brackets = brackets.replace(b"{}", b"")
    if brackets:
        raise error(allowed)


_FEW = 16  # levels that the smallest stack has, of 32 KiB
_AS_ONE_KIND = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(octet for octet in range(256) if octet not in b"[]{}")
