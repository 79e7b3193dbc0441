from __future__ import annotations

import logging
import sys

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
