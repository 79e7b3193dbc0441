"""The library's warnings and log messages, as lines in the command's own style."""

from __future__ import annotations

import logging
import warnings

from .._errors import UnsupportedEnvironmentWarning
from . import wording
from .output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container


class Diagnostics(logging.Handler):
    """Print warnings as ``safeatomic: warning: …``, each once, while a command runs."""

    def __init__(self, options: Container[str]) -> None:
        super().__init__(logging.WARNING)
        self._options = options
        self._said: set[str] = set()
        self._warnings = warnings.catch_warnings()
        self._propagate: bool

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.simplefilter("ignore")  # Python's own warnings are for developers
        warnings.simplefilter("always", UnsupportedEnvironmentWarning)
        warnings.showwarning = self._show
        logger = logging.getLogger("safeatomic")
        self._propagate, logger.propagate = logger.propagate, False
        logger.addHandler(self)

    def __exit__(self, *details: object) -> None:
        logger = logging.getLogger("safeatomic")
        logger.removeHandler(self)
        logger.propagate = self._propagate
        self._warnings.__exit__(*details)  # type: ignore[arg-type]

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log message."""
        self._say(record.getMessage())

    def _show(self, message: Warning | str, *_where: object, **_more: object) -> None:
        self._say(str(message))

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            complain(f"warning: {wording.own_words(text, self._options)}")
