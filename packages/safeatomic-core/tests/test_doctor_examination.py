"""How a check ends that raises."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import SafeAtomicError, doctor
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


class OutOfTimeError(Exception):
    """What a signal handler of a program raises."""


@pytest.mark.parametrize("error", [OutOfTimeError(), TimeoutError("out of time")])
def test_what_a_program_s_signal_handler_raises_arrives(error: Exception) -> None:
    def check() -> tuple[str, str]:
        raise error

    with pytest.raises(type(error)) as caught:
        examination._run("lock", check)  # type: ignore[arg-type]
    assert caught.value is error


def test_what_changed_where_no_watch_sees_it_is_looked_at(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    assert doctor(tmp_path).environment.filesystem == "ext4"
    monkeypatch.setattr(fake, "unchanged", lambda _watch: True)  # in another namespace
    fake.table = fake.mounted(device, "xfs")
    assert doctor(tmp_path).environment.filesystem == "xfs"


def test_an_error_of_the_system_says_what_was_tried() -> None:
    def check() -> tuple[str, str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    _, _, detail = examination._run("space", check)  # type: ignore[arg-type]
    assert detail.startswith("cannot run space: Input/output error")
