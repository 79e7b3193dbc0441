"""A `ruamel.yaml.YAML` of the caller's own: one document at a time, and none that shows in another.

Such a converter keeps the state of a dump in its attributes. A dump that fails leaves it there, and
whatever is dumped next goes to the stream of the failed one, in silence; two threads take each
other's. So a converter is used by one thread at a time, what an unfinished dump has left is put
aside, and a text that does not hold the document is refused: what the caller's own calls do to the
converter meanwhile is not known here.
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
    """Return what a text says to the caller's converter."""
    return _in_turn(instance, lambda: instance.load(text))


def dump(instance: Any, document: object, stream: io.StringIO) -> None:
    """Write a document to a stream with the caller's converter."""
    _in_turn(instance, lambda: _dump_afresh(instance, document, stream))


def check(instance: Any, document: object, text: str, reader: Any) -> None:
    """Refuse a text that holds nothing, or something of another kind than the document.

    No more is compared: how the caller writes what is the caller's affair.

    Args:
        instance: The caller's converter.
        document: The document.
        text: What the converter made of it.
        reader: A converter of ours, which may be used up.

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
    """Whether a document is of a plain class that the caller has given no form of their own."""
    if type(document) not in _PLAIN:
        return False
    representer = instance.representer
    function = representer.yaml_representers.get(type(document))
    for kind in type(document).__mro__:
        function = function or representer.yaml_multi_representers.get(kind)
    return function is None or str(getattr(function, "__module__", "")).startswith("ruamel.")


def _kind(value: object) -> object:
    """Return which of the kinds that are told apart a value is."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return list
    return next((kind for kind in (Mapping, AbstractSet) if isinstance(value, kind)), object)


class _Turn:
    """Whose turn it is to use a converter: the thread's that holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread = 0


_turns: WeakKeyDictionary[Any, _Turn] = WeakKeyDictionary()
_looking = threading.Lock()


# Functions that are handed the work, not generators: an interrupt before a ``with`` statement has
# reached a generator's end leaves it suspended, for as long as an interpreter likes.


def _in_turn(instance: Any, work: Callable[[], _Made]) -> _Made:
    """Do a converter's work when no other thread uses it through this module; wait until then."""
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
            turn.thread = 0  # before the lock is another's


def _forget_the_parent() -> None:
    """Start anew in a forked child, in which no other thread goes on."""
    global _turns, _looking
    _turns, _looking = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):  # POSIX
    os.register_at_fork(after_in_child=_forget_the_parent)


_OF_A_DUMP = ("_context_manager", "_output", "_serializer", "_emitter")
_OF_A_DOCUMENT = ("represented_objects", "object_keeper", "alias_key")


def _dump_afresh(instance: Any, document: object, stream: io.StringIO) -> None:
    """Dump with what an unfinished dump has left put aside; leave nothing of this one if it fails.

    A dump that the caller is still at, in a ``with`` statement, goes on as if nothing had been.
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
    """Return what a dump keeps in a converter, and a document in its representer."""
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
    """Stands for the representer of a converter that has not written anything yet."""
