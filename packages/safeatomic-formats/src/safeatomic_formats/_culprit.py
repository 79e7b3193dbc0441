"""Find the value in a document that could not be written, after the error.

The libraries name the value that they refuse, but not its place. So each part of the document is
rendered by itself, then each part of the failing part, until none of them fails. This costs as much
as a few renderings, and only after an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ._interrupts import interrupted
from ._readback import innermost, place, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ._readback import Step


def name_place(error: Exception, document: object, render: Callable[[Any], object] | None) -> None:
    """Put the place of the refused value into an error's message.

    Args:
        error: The exception that rendering the document raised.
        document: The document.
        render: Renders a part of it; None if that would call the caller's own code again.
    """
    if interrupted(error):
        return  # the search would render again, although the time is up
    message = _message(error)
    if re.search(r"\bobj\b", message):
        return  # it names the place already
    if isinstance(error, RecursionError) or "ircular" in message:
        circle = _circle(document)
        if circle is not None:
            where, above = circle
            _say(error, f"{place(where)} is {place(above)}, which contains it: {message}")
    elif render is not None:
        where = innermost(document, lambda part: _renders(part, render))
        hint = _hint(message)
        if where is not None or hint:
            _say(error, f"{place(where)}: {message}{hint}")


def misfit(error: Exception) -> tuple[str, Any]:
    """Return the message for a failed constructor of PyYAML or ruamel.yaml, and the place's mark.

    The error has neither: `int("")` does not know where the text stands.
    """
    node: Any = None
    traceback = error.__traceback__
    while traceback is not None:
        inner = traceback.tb_frame.f_locals.get("node")
        node = inner if hasattr(inner, "start_mark") else node
        traceback = traceback.tb_next
    value, tag = getattr(node, "value", None), getattr(node, "tag", None)
    what = str(error)
    if isinstance(value, str):
        short = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
        tells = isinstance(error, ValueError) and len(what) <= 2 * _LONGEST and value not in what
        reason = f" ({what})" if tells else ""
        what = f"{short!r} is not {str(tag).replace('tag:yaml.org,2002:', '!!')}{reason}"
    return f"a value does not fit its type: {what}", getattr(node, "start_mark", None)


_LONGEST = 40  # characters of a value in a message


def unrepresented(error: Exception) -> str | None:
    """Return the message about an object that ruamel.yaml refused, if its `str()` failed."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "represent_undefined" and "data" in frame.f_locals:
            return f"cannot represent an object: {shown(frame.f_locals['data'])}"
        traceback = traceback.tb_next
    return None


def name_text(error: UnicodeEncodeError, document: object) -> None:
    """Note the place of a text with a character that the encoding lacks."""
    for value, where, _ in _walk(document):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for step, entry in entries:
            for text in (step, entry):
                if isinstance(text, str) and error.object[error.start : error.end] in text:
                    error.add_note(f"the text is at {place((where, step))}")
                    return


def _message(error: Exception) -> str:
    """Return an error's message, also if the error keeps the object apart from it."""
    if len(error.args) == 2 and isinstance(error.args[0], str):
        return f"{error.args[0]}: {shown(error.args[1])}"
    return str(error)


def _say(error: Exception, message: str) -> None:
    before, error.args = error.args, (message,)
    if str(error) != message:  # its class does not take the message from `args`
        error.args = before
        error.add_note(message)


def _hint(message: str) -> str:
    if "not JSON serializable" in message:
        return " (default= can return something that is)"
    if "not supported between instances" in message:
        return " (sort_keys=True needs keys of one kind)"
    if "keys must be" in message:
        return " (a key of JSON is a string; default= is not asked for keys)"
    if "NoneType'" in message and "not TOML serializable" in message:
        return " (TOML has no null: leave the key out)"
    if "cannot represent an object" in message or "not TOML serializable" in message:
        return " (convert it to plain data first)"
    return ""


def _renders(part: object, render: Callable[[Any], object]) -> bool:
    try:
        render(part if isinstance(part, Mapping) else {"": part})
    except Exception as error:
        if interrupted(error):
            raise
        return False  # any other error counts: this part cannot be rendered
    return True


def _circle(document: object) -> tuple[Step | None, Step | None] | None:
    """Return where a document contains itself, and the place above of that same object."""
    above: dict[int, Step | None] = {}
    for value, where, done in _walk(document, leave=True):
        if done:
            del above[id(value)]
            continue
        above[id(value)] = where
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for step, entry in entries:
            if id(entry) in above:
                return (where, step), above[id(entry)]
    return None


def _walk(document: object, *, leave: bool = False) -> Iterator[tuple[Any, Step | None, bool]]:
    """Yield each collection of a document once, with its place, and again after its parts."""
    todo: list[tuple[Any, Step | None, bool]] = [(document, None, False)]
    seen: set[int] = set()
    while todo:
        value, where, done = todo.pop()
        if done:
            yield value, where, True
            continue
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        if leave:
            todo.append((value, where, True))
        yield value, where, False
        entries = list(value.items() if isinstance(value, Mapping) else enumerate(value))
        todo += [(entry, (where, step), False) for step, entry in reversed(entries)]
