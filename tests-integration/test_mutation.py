"""The mutants that are explained, and so not run, are mutants of the core as it is."""

from __future__ import annotations

import pytest

from mutation import explained, points, trial


def test_every_explanation_fits_a_mutant() -> None:
    assert explained.stale(points.of_package(trial.PACKAGE)) == []


def test_an_explanation_that_fits_none_is_found() -> None:
    present = points.of_package(trial.PACKAGE)
    gone = next(point for point in present if explained.reason(point))
    others = [point for point in present if (point.module, point.line) != (gone.module, gone.line)]
    assert explained.stale(others)


def test_tests_that_fail_on_the_core_as_it_is_catch_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = "unit tests"
    monkeypatch.setattr(trial, "_run", lambda stage, _: "failed" if stage.name == failing else "")
    with pytest.raises(SystemExit, match="the core as it is: unit tests: failed"):
        trial.require_sound(quick=False)
    failing = "injected faults"
    trial.require_sound(quick=True)
    with pytest.raises(SystemExit, match="injected faults"):
        trial.require_sound(quick=False)
