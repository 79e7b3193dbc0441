from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable

import pytest

from safeatomic_core import _log


def test_lesser_messages_are_dropped_while_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "logging")
        _log.info("lost %s", 1)
        _log.debug("lost %s", 2)
        assert "logging" not in sys.modules
    with caplog.at_level(logging.DEBUG, "safeatomic"):
        _log.info("kept %s", 1)
        _log.debug("kept %s", 2)
        _log.warning("kept %s", 3)
    assert caplog.messages == ["kept 1", "kept 2", "kept 3"]


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_warning_that_no_logging_can_take_is_printed_at_the_end_of_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, at_the_end: bool
) -> None:
    said = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "logging", None)
        patch.setattr(_log, "_kept", [None])
        patch.setattr(sys, "is_finalizing", lambda: at_the_end)
        patch.setattr(sys, "stderr", said)
        _log.warning("lost %s", 1)
        patch.setattr(sys, "stderr", None)  # as of a program without a terminal
        _log.warning("lost %s", 2)
    assert said.getvalue() == ("lost 1\n" if at_the_end else "")


@pytest.mark.parametrize("entry", [_log.warn, _log.warn_caller])
def test_a_warning_that_cannot_be_shown_any_more_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, entry: Callable[[str, type[Warning]], None]
) -> None:
    def gone(*_args: object, **_options: object) -> None:
        raise ImportError("sys.meta_path is None, Python is likely shutting down")

    monkeypatch.setattr(warnings, "warn", gone)
    entry("message", UserWarning)
