"""Other ways to write a file, in the same harness."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recording import Performer

ALL: dict[str, Performer] = {}
