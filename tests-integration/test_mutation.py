"""The mutants that are explained, and so not run, are mutants of the core as it is."""

from __future__ import annotations

from mutation import explained, points, trial


def test_every_explanation_fits_a_mutant() -> None:
    assert explained.stale(points.of_package(trial.PACKAGE)) == []


def test_an_explanation_that_fits_none_is_found() -> None:
    present = points.of_package(trial.PACKAGE)
    gone = next(point for point in present if explained.reason(point))
    others = [point for point in present if (point.module, point.line) != (gone.module, gone.line)]
    assert explained.stale(others)
