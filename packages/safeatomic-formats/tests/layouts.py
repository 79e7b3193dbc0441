"""What ruamel.yaml's documents are written as where no file is present."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from safeatomic_formats import _layout


def nothing_there() -> str:
    """Stand for a target that does not exist."""
    raise FileNotFoundError


def changed_text(text: str, change: Callable[[Any], object], *, copied: bool) -> str:
    """Return what a document is written as once it has been changed, each time it is written.

    Args:
        text: The document's text.
        change: Changes the document.
        copied: Whether a deep copy is changed and written.
    """
    document: Any = _layout.load(text)
    if copied:
        document = copy.deepcopy(document)
    change(document)
    written = _layout.render(document, nothing_there)
    assert _layout.render(document, nothing_there) == written
    return written
