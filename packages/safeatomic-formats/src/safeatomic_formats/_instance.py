"""The caller's own `ruamel.yaml.YAML`: one document at a time, and none that leaks into another.

Such a converter keeps the state of a dump in its attributes. A dump that fails leaves its state
there, and the next dump silently goes to the stream of the failed one; two threads mix their
dumps. So one thread at a time uses a converter, and the state of an unfinished dump is set aside.
A text that does not contain the document is refused, because the caller may use the converter
meanwhile.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from weakref import WeakKeyDictionary

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, CommentedSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from typing import Any, TypeVar

    _Made = TypeVar("_Made")


def required(instance: Any) -> Any:
    """Return a converter; anything else is refused."""
    if not isinstance(instance, YAML):
        kind = type(instance).__name__
        raise TypeError(f"yaml_instance must be a ruamel.yaml.YAML or None, not {kind}")
    return instance


def load(instance: Any, text: str) -> object:
    """Return the document that the caller's converter loads from a text."""
    return _in_turn(instance, lambda: instance.load(text))


def dump(instance: Any, document: object, stream: io.StringIO) -> None:
    """Write a document to a stream with the caller's converter."""
    _in_turn(instance, lambda: _dump_afresh(instance, document, stream))


def check(instance: Any, document: object, text: str, reader: Any) -> None:
    """Refuse a text that is empty, or of another kind than the document.

    Nothing else is compared: the caller decides how values are written.

    Args:
        instance: The caller's converter.
        document: The document.
        text: The text that the converter made of it.
        reader: A converter of ours, which this call may use up.

    Raises:
        ValueError: The text cannot be the document's.
    """
    read: Any = reader.load(text)
    if not _by_ruamel(instance, document):
        lost = read is None and document is not None and reader.compose(text) is None
    else:
        lost = _kind(document) != _kind(read)
        if not lost and isinstance(document, _COLLECTIONS):
            lost = len(document) > 0 and not list(read)
    if lost:
        raise ValueError(f"{_named(document)} becomes {_named(read)}")


def _named(value: Any) -> str:
    if value is None:
        return "None"
    of = f" of {len(list(value))}" if isinstance(value, _COLLECTIONS) else ""
    return f"a {type(value).__name__}{of}"


_COLLECTIONS = (Mapping, list, tuple, AbstractSet)
_PLAIN = frozenset(
    {
        *(dict, OrderedDict, list, tuple, set, CommentedMap, CommentedSeq, CommentedSet),
        *(str, int, float, bool, bytes, dt.date, dt.datetime, type(None)),
    }
)


def _by_ruamel(instance: Any, document: object) -> bool:
    """Whether a document is of a plain class for which the caller has no representer."""
    if type(document) not in _PLAIN:
        return False
    representer = instance.representer
    function = representer.yaml_representers.get(type(document))
    for kind in type(document).__mro__:
        function = function or representer.yaml_multi_representers.get(kind)
    return function is None or str(getattr(function, "__module__", "")).startswith("ruamel.")


def _kind(value: object) -> object:
    """Return the kind of a value, as far as kinds are distinguished."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return list
    return next((kind for kind in (Mapping, AbstractSet) if isinstance(value, kind)), object)


class _Turn:
    """The turn to use a converter: it belongs to the thread that holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread = 0


_turns: WeakKeyDictionary[Any, _Turn] = WeakKeyDictionary()
_looking = threading.Lock()


# These functions take the work as an argument. They are not generators for ``with`` statements: an
# interrupt could leave a generator suspended for any length of time.


def _in_turn(instance: Any, work: Callable[[], _Made]) -> _Made:
    """Wait until no other thread uses a converter through this module, then do the work."""
    mine = threading.get_ident()
    with _looking:
        turn = _turns.setdefault(instance, _Turn())
    if turn.lock.locked() and turn.thread == mine:
        raise ValueError("yaml_instance is at work on another document: use a second one")
    with turn.lock:
        turn.thread = mine
        try:
            return work()
        finally:
            turn.thread = 0  # before another thread gets the lock


def _forget_the_parent() -> None:
    """Reset the turns in a forked child, which has no other threads."""
    global _turns, _looking
    _turns, _looking = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):  # POSIX
    os.register_at_fork(after_in_child=_forget_the_parent)


_OF_A_DUMP = ("_context_manager", "_output", "_serializer", "_emitter")
_OF_A_DOCUMENT = ("represented_objects", "object_keeper", "alias_key")


def _dump_afresh(instance: Any, document: object, stream: io.StringIO) -> None:
    """Dump with the state of an unfinished dump set aside; if this dump fails, keep no state of it.

    A dump that the caller has not finished, in a ``with`` statement, continues unaffected.
    """
    unfinished = getattr(instance, "_context_manager", None) is not None
    before = _state(instance) if unfinished else None
    if unfinished:
        _set_state(instance, {}, {})
    done = False
    try:
        instance.dump(document, stream)
        done = True
    finally:
        if before is not None:
            _set_state(instance, *before)
        elif not done:
            _set_state(instance, {}, {})


def _state(instance: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state that a dump keeps in a converter, and a document in its representer."""
    held, memory = vars(instance), vars(getattr(instance, "_representer", _Nothing()))
    return (
        {name: held[name] for name in _OF_A_DUMP if name in held},
        {name: memory[name] for name in _OF_A_DOCUMENT if name in memory},
    )


def _set_state(instance: Any, of_dump: dict[str, Any], of_document: dict[str, Any]) -> None:
    held, memory = vars(instance), vars(getattr(instance, "_representer", _Nothing()))
    for name in _OF_A_DUMP:
        held.pop(name, None)
    held.update({"_context_manager": None, "_output": None} | of_dump)
    memory.update({"represented_objects": {}, "object_keeper": [], "alias_key": None} | of_document)


class _Nothing:
    """Stand-in for the representer of a converter that has not written anything yet."""
