"""YAML text through ruamel.yaml, with the layout that ruamel.yaml itself does not keep.

ruamel.yaml drops comments above the ``---`` marker, the marker itself and the directives (without
``%YAML 1.1`` an octal ``012`` would read back as twelve), indents every list the same way, and
loses some comments. So the text stays with the document's root object. An unchanged document is
written as it was loaded; in a changed one, the lines outside the change are. Every text is parsed
again before it is written, and must mean what the document means.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Mapping

from ruamel.yaml.comments import CommentedBase, CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RepresenterError

from . import _depth, _instance
from ._comments import above_what_follows
from ._culprit import misfit, unrepresented
from ._indents import measure
from ._interrupts import interrupted
from ._items import note
from ._marks import correct
from ._merge import merge
from ._plain import moment, tag_of
from ._readback import check, same_scalar, unreadable
from ._roundtrip import converter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

_ATTRIBUTE = "safeatomic_layout"


class Layout:
    """The layout of a document that its own objects do not keep; copies share it."""

    def __init__(self, text: str = "", document: object = None) -> None:
        self.original = text
        self.line_end = _line_end(text)
        self.text = _LINE_END.sub("\n", text)
        self.base: str | None = None  # the text that ruamel.yaml makes of it, once rendered
        lines = self.text.split("\n")
        start = next((i for i, line in enumerate(lines) if _CONTENT.match(line)), len(lines))
        self.marked = start < len(lines) and _MARKER.match(lines[start]) is not None
        head = lines[:start] if self.marked else []
        self.comments = [line for line in head if not line.startswith("%")]
        self.version: tuple[int, ...] | None = None
        self.tags: dict[str, str] = {}
        for directive, *words in (line.split() for line in head if line.startswith("%")):
            if directive == "%YAML" and words:
                self.version = tuple(map(int, words[0].split(".")))
            elif directive == "%TAG" and len(words) > 1:
                self.tags[words[0]] = words[1]
        self.collections = _collections(document)
        self.anchors = frozenset(_ANCHOR.findall(self.text))
        self.indent, self.root_column = measure(document, lines)

    def __deepcopy__(self, _memo: object) -> Layout:
        return self


def load(text: str, instance: Any = None) -> object:
    """Return the document of a text, with its layout on the root object.

    Args:
        text: The text.
        instance: A configured `ruamel.yaml.YAML`, used as it is; it alone keeps the layout.
    """
    if instance is not None:
        given = _instance.required(instance)
        if _depth.levels() is not None:
            _bound(text)
        return _instance.load(given, text)
    document = _loaded(_LINE_END.sub("\n", text))
    if _ESCAPED_SURROGATE.search(text):
        _refuse_surrogates(document)
    if isinstance(document, CommentedMap | CommentedSeq):
        # On the object with the line numbers, because ruamel.yaml copies that with the document.
        layout = Layout(text, document)
        setattr(document.lc, _ATTRIBUTE, layout)
        correct(document)
        note(document)
    return document


_LINE_END = re.compile("\r\n?")  # https://yaml.org/spec/1.2.2/#54-line-break-characters


def _line_end(text: str) -> str:
    """Return the most frequent line end of a text."""
    both = text.count("\r\n")
    found = {"\n": text.count("\n") - both, "\r\n": both, "\r": text.count("\r") - both}
    return max(found, key=lambda line_end: found[line_end])


def _loaded(text: str) -> object:
    loaded: object
    try:
        loaded = converter().load(text)
    except (ValueError, *_SLIPS) as error:
        if interrupted(error):
            raise
        problem, mark = misfit(error)
        raise ConstructorError(None, None, problem, mark) from error
    return loaded


def _bound(text: str) -> None:
    """Refuse a text that is too deep for this thread; ignore its other errors."""
    with contextlib.suppress(*_FAILURES):
        _reader().compose(text)


def render(document: object, present: Callable[[], str], instance: Any = None) -> str:
    """Return text in the layout of the loaded document that reads back as the document.

    Args:
        document: The document.
        present: Returns the file's text; called only for a document that cannot keep a layout.
        instance: A configured `ruamel.yaml.YAML`, used as it is.
    """
    _depth.check_object(document)
    if instance is not None:
        return _render_by(_instance.required(instance), document)
    layout: Layout | None = None
    if isinstance(document, CommentedMap | CommentedSeq):
        layout = getattr(document.lc, _ATTRIBUTE, None)
    elif not isinstance(document, Mapping | list | tuple):
        text = _unchanged(document, present)
        if text is not None:
            return text
    if layout is None:
        return _first_readable(document, [_emit(document, Layout())])
    return _render_loaded(document, layout)


def _render_loaded(document: Any, layout: Layout) -> str:
    rendered = _emit(document, layout)
    loaded: object = None
    if layout.base is None:
        loaded = _reader().load(layout.text)
        measure(loaded, layout.text.split("\n"))
        correct(loaded)
        note(loaded)
        layout.base = _base(loaded, layout)
    if rendered != layout.base:
        whole = layout.collections <= _collections(document)
        text = _first_readable(document, _merged(layout, layout.base, rendered, all_kept=not whole))
    elif loaded is not None and _agree(document, loaded):
        return layout.original
    else:
        text = _first_readable(document, [layout.text, rendered])
    if text is layout.text:
        return layout.original
    return text.replace("\n", layout.line_end)


def _merged(layout: Layout, base: str, changed: str, *, all_kept: bool) -> Iterator[str]:
    """Yield texts for a changed document; in each one, more lines are written again."""
    settle = functools.partial(above_what_follows, all_kept=all_kept)
    yield merge(base, layout.text, changed, settle=settle, by_word=True)
    yield merge(base, layout.text, changed, settle=settle, goes_on=True)
    yield merge(base, layout.text, changed)
    for levels in range(_LEVELS, 0, -1):
        yield merge(base, layout.text, changed, _entries(base, levels), settle)
    yield changed


_LEVELS = 3


def _entries(text: str, levels: int) -> list[int]:
    """Return the lines in which the entries of a document's outer levels begin."""
    lines: set[int] = set()
    try:
        inside: list[Any] = [_reader().load(text)]
    except RecursionError:
        raise
    except _FAILURES:  # ruamel.yaml wrote wrong text, so the lines are unknown
        return []
    for _ in range(levels):
        inside = [value for value in inside if isinstance(value, CommentedMap | CommentedSeq)]
        lines |= {place[0] for value in inside for place in (value.lc.data or {}).values()}
        inside = [e for v in inside for e in (v.values() if isinstance(v, CommentedMap) else v)]
    return sorted(lines)


def _collections(document: object) -> frozenset[tuple[int, int]]:
    """Return the places of a document's collections in the text."""
    todo: list[Any] = [document]
    seen: dict[int, Any] = {}
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen[id(value)] = value
            todo += value.values() if isinstance(value, Mapping) else value
    places = (value.lc for value in seen.values() if isinstance(value, CommentedBase))
    return frozenset((at.line, at.col) for at in places if at.line is not None)


def _base(loaded: object, layout: Layout) -> str:
    """Return the text that ruamel.yaml makes of the loaded one; empty if it cannot write it."""
    try:
        return _emit(loaded, layout)
    except ValueError:
        return ""


def _agree(document: object, loaded: object) -> bool:
    try:
        check(document, loaded, "YAML", scalar=_same_scalar, aliases=True)
    except ValueError:
        return False
    return True


def _first_readable(document: object, candidates: Iterable[str]) -> str:
    """Return the first text that reads back as the document."""
    failure: Exception | None = None
    tried: set[str] = set()
    for text in candidates:
        if text in tried:
            continue
        tried.add(text)
        try:
            read = _reader().load(text)
            check(document, read, "YAML", scalar=_same_scalar, aliases=True)
        except RecursionError:
            raise
        except _FAILURES as error:
            failure = error
        else:
            return text
    if isinstance(failure, ValueError):
        raise failure
    raise unreadable(document, "YAML", failure, _survives) from failure


def _reader() -> Any:
    """Return a converter that does not warn of a reused anchor: the caller's own load did."""
    yaml = converter()
    yaml.composer.warn_double_anchors = False
    return yaml


# The failures of ruamel.yaml: its own errors, and the exceptions of its bugs.
_SLIPS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, TypeError),
    NotImplementedError,  # "overlap in comment"
)
_FAILURES = (YAMLError, ValueError, *_SLIPS)


def _emit(document: object, layout: Layout) -> str:
    yaml = converter(layout.anchors, most=layout.indent, root_column=layout.root_column)
    yaml.explicit_start = layout.marked
    yaml.version = layout.version
    yaml.tags = layout.tags or None
    text = _dumped(yaml, document)
    if isinstance(document, Mapping | list | tuple) and text.endswith("\n...\n"):
        text = text.removesuffix("...\n")  # behind a block scalar that keeps its blank lines
    return "".join(f"{line}\n" for line in layout.comments) + text


def _dumped(yaml: Any, document: object) -> str:
    return _written(lambda stream: yaml.dump(document, stream))


def _written(write: Callable[[io.StringIO], object]) -> str:
    stream = io.StringIO()
    try:
        write(stream)
    except YAMLError:
        raise
    except Exception as error:
        if interrupted(error):
            raise
        refused = unrepresented(error)
        if refused is not None:
            raise RepresenterError(refused) from error
        if not isinstance(error, _SLIPS):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"ruamel.yaml cannot write this document ({reason})") from error
    return stream.getvalue()


def _render_by(yaml: Any, document: object) -> str:
    """Return the text of the caller's own converter, checked to be YAML in which no key repeats."""
    text = _written(lambda stream: _instance.dump(yaml, document, stream))
    try:
        _instance.check(yaml, document, text, _reader())
    except _FAILURES as error:
        reason = str(getattr(error, "problem", None) or error).partition("\n")[0]
        raise ValueError(f"what yaml_instance writes would not read back: {reason}") from error
    return text


def _unchanged(document: object, present: Callable[[], str]) -> str | None:
    """Return the file's text if it already reads as the document, to keep its comments.

    None (from a file of only comments), a lone scalar and a set cannot keep their layout.
    """
    try:
        text = present().removeprefix("\ufeff")
        check(document, _reader().load(text), "YAML", scalar=_same_scalar)
    except Exception as error:
        if interrupted(error):
            raise
        return None  # no such file, no access, or another document: it is replaced
    return text


def _survives(part: object) -> bool:
    try:
        _reader().load(_emit(part, Layout()))
    except _FAILURES:
        return False
    return True


def _same_scalar(written: Any, read: Any) -> bool:
    if isinstance(written, TaggedScalar) or isinstance(read, TaggedScalar):
        return tag_of(written) == tag_of(read) and same_scalar(_bare(written), _bare(read))
    return same_scalar(_bare(written), _bare(read))


def _bare(value: Any) -> Any:
    if isinstance(value, TaggedScalar):
        return value.value
    return moment(value) if hasattr(value, "_yaml") else value


# ``"\\udd00"`` stands for half of a character, which no text encoding can represent.
_ESCAPED_SURROGATE = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _refuse_surrogates(document: object) -> None:
    todo: list[Any] = [document]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if isinstance(value, str) and _SURROGATE.search(value):
            raise ConstructorError(None, None, "found half of a surrogate pair", None)
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            todo += [*value, *value.values()] if isinstance(value, dict) else value


_ANCHOR = re.compile(r"&([^\s,\[\]{}]+)")
_CONTENT = re.compile(r"[^#%\s]|\s+[^#\s]")
_MARKER = re.compile(r"---(?:\s|$)")
