"""How a check ends that raises."""

from __future__ import annotations

import errno
import os

import pytest

from safeatomic_core import SafeAtomicError
from safeatomic_core._doctor import examination


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (SafeAtomicError("in our own words"), "in our own words"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError('by zero')"),
        (OSError(errno.EIO, "cannot do it: it is broken"), "cannot do it: it is broken"),
    ],
)
@pytest.mark.parametrize(("name", "status"), [("probe_lock", "fail"), ("lock", "unknown")])
def test_what_a_check_raises_is_its_result(
    error: Exception, detail: str, name: str, status: str
) -> None:
    def check() -> tuple[str, str]:
        raise error

    assert examination._run(name, check) == (name, status, detail)  # type: ignore[arg-type]


def test_an_error_of_the_system_says_what_was_tried() -> None:
    def check() -> tuple[str, str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    _, _, detail = examination._run("space", check)  # type: ignore[arg-type]
    assert detail.startswith("cannot run space: Input/output error")
