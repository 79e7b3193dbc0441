"""What ruamel.yaml does not carry along: how a document began, and how deep it indents.

ruamel.yaml drops comments above the ``---`` marker, the marker itself and the directives (without
``%YAML 1.1`` an octal ``012`` would read back as twelve), and indents every list its own way. This
is read from the text on loading, travels on the document's root object, and is applied on dumping.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from itertools import pairwise

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

# No line is ever folded: where a long line broke is not recorded, so a limit would break others.
WIDTH = 2**31 - 1
_ATTRIBUTE = "_safeatomic_layout"


class Layout:
    """How a document is written, beyond what its own objects remember."""

    def __init__(self, text: str = "") -> None:
        lines = text.splitlines()
        start = next((i for i, line in enumerate(lines) if _CONTENT.match(line)), len(lines))
        self.marked = start < len(lines) and _MARKER.match(lines[start]) is not None
        head = lines[:start] if self.marked else []
        self.comments = [line for line in head if not line.startswith("%")]
        self.version: str | None = None
        self.tags: dict[str, str] = {}
        for directive, *words in (line.split() for line in head if line.startswith("%")):
            if directive == "%YAML" and words:
                self.version = words[0]
            elif directive == "%TAG" and len(words) > 1:
                self.tags[words[0]] = words[1]
        self.mapping, self.dash = _indents(lines[start:])


def load(text: str) -> object:
    """Return what a text says, with its layout on the root object."""
    document: object = _converter().load(text)
    if isinstance(document, CommentedMap | CommentedSeq):
        setattr(document, _ATTRIBUTE, Layout(text))
    return document


def render(document: object) -> str:
    """Return a document as text, in the layout it was loaded with."""
    layout = getattr(document, _ATTRIBUTE, None) or Layout()
    yaml = _converter()
    yaml.explicit_start = layout.marked
    yaml.version = layout.version
    yaml.tags = layout.tags or None
    yaml.indent(mapping=layout.mapping, sequence=layout.dash + 2, offset=layout.dash)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return "".join(f"{line}\n" for line in layout.comments) + stream.getvalue()


_CONTENT = re.compile(r"[^#%\s]|\s+[^#\s]")
_MARKER = re.compile(r"---(?:\s|$)")
_KEY = re.compile(r"( *)(?:- +)*[^\s#-][^#]*:(?:\s+[&!#].*)?\s*$")
_ITEM = re.compile(r"( *)-(?:\s|$)")
_NESTED = re.compile(r"( *)[^\s#]")


def _indents(lines: list[str]) -> tuple[int, int]:
    """Return how deep a mapping, and the dash of a list, most often stand below their key."""
    mappings: Counter[int] = Counter()
    dashes: Counter[int] = Counter()
    for line, following in pairwise(lines):
        key = _KEY.match(line)
        if key is None or "- " in line[: key.end(1) + 2]:
            continue
        outer = len(key[1])
        if item := _ITEM.match(following):
            dashes[len(item[1]) - outer] += 1
        elif (nested := _NESTED.match(following)) and len(nested[1]) > outer:
            mappings[len(nested[1]) - outer] += 1
    (mapping, _), *_ = mappings.most_common(1) or [(2, 0)]
    (dash, _), *_ = dashes.most_common(1) or [(0, 0)]
    return mapping, max(dash, 0)


def _converter() -> YAML:
    """Return a fresh converter (it keeps state, so threads must not share one)."""
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    return yaml
