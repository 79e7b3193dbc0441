from __future__ import annotations

import io
import sys

import pytest

from safeatomic_core._cli import output


def test_an_output_that_is_no_file_is_abandoned_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Broken())
    assert output.finish(0) == 2
    monkeypatch.setattr(sys, "stdout", None)
    assert output.finish(0) == 0


@pytest.mark.parametrize("status", [0, 1])
def test_a_standard_error_that_takes_nothing_leaves_the_status(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Full())
        assert output.finish(status) == status
        patch.setattr(sys, "stderr", None)
        assert output.finish(status) == status


@pytest.mark.parametrize(
    ("status", "finished", "said"), [(0, 2, 1), (1, 2, 1), (2, 2, 0), (75, 75, 1)]
)
def test_an_output_that_is_full_is_reported_once(
    status: int,
    finished: int,
    said: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert output.finish(status) == finished
    assert capsys.readouterr().err.count("No space left") == said
