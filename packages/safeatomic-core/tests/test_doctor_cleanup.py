"""The doctor removes what its probes have made, however they end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from safeatomic_core import SafeAtomicError
from safeatomic_core._doctor import examination
from safeatomic_core._doctor.checks import PROBE_PREFIX
from safeatomic_core._doctor.probes import Probes
from safeatomic_core._doctor.subject import Place
from safeatomic_core._posix import kernel


@pytest.fixture
def place(at: Callable[..., Place], tmp_path: Path) -> Place:
    return at(tmp_path / "f")


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What each round of removals failed with."""
    made: list[BaseException | None] = []
    real = Probes._remove_all

    def remove_all(self: Probes) -> BaseException | None:
        made.append(real(self))
        return made[-1]

    monkeypatch.setattr(Probes, "_remove_all", remove_all)
    return made


def test_one_round_removes_everything(place: Place, rounds: list[Any]) -> None:
    lines = examination._probe(place, None)
    assert {status for _, status, _ in lines} == {"pass"}
    assert rounds == [None]
    assert os.listdir(place.directory) == []


def test_a_directory_that_cannot_be_entered_fails_every_probe_for_that_reason(
    place: Place, faults: Any
) -> None:
    faults.fail("open", errno.EMFILE, when=lambda path, *_args, **_fd: PROBE_PREFIX in str(path))
    lines = examination._probe(place, None)
    failed = [detail for _, status, detail in lines if status == "fail"]
    assert len(failed) > 5
    assert all("Too many open files (EMFILE)" in detail for detail in failed)
    assert os.listdir(place.directory) == []


def test_a_filesystem_that_gives_files_another_owner_is_named_as_such(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stick with FAT that belongs to the user at the screen, whoever writes to it."""
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    lines = {name: detail for name, _, detail in examination._probe(place, None)}
    assert "filesystem gives files another owner" in lines["probe_flock"]
    assert os.listdir(place.directory) == []


def test_what_cannot_be_removed_is_not_tried_again(
    place: Place, rounds: list[Any], faults: Any
) -> None:
    made = Probes(place)
    made.flock()
    faults.fail("rmdir", errno.EPERM)
    with pytest.raises(PermissionError):
        made.clean()
    assert len(rounds) == 1


def test_an_interrupt_before_the_clean_up_does_not_prevent_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, interrupts = Probes.clean, iter([KeyboardInterrupt()])

    def clean(self: Probes) -> tuple[str, str]:
        for interrupt in interrupts:
            raise interrupt
        return real(self)

    monkeypatch.setattr(Probes, "clean", clean)
    with pytest.raises(KeyboardInterrupt):
        examination._probe(place, None)
    assert os.listdir(place.directory) == []


def test_an_interrupt_between_two_removals_does_not_end_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Probes(place)
    made.flock()
    real, interrupts = made._remove_all, iter([KeyboardInterrupt()])

    def remove_all() -> BaseException | None:
        for interrupt in interrupts:
            raise interrupt
        return real()

    monkeypatch.setattr(made, "_remove_all", remove_all)
    with pytest.raises(KeyboardInterrupt):
        made.clean()
    assert os.listdir(place.directory) == []


def test_two_rounds_at_once_do_not_meet(place: Place) -> None:
    first, second = Probes(place), Probes(place)
    for (name, one), (_, other) in zip(first.all(), second.all(), strict=True):
        assert one()[0] == "pass", name
        assert other()[0] == "pass", name
    names = os.listdir(place.directory)
    assert all(name.startswith(PROBE_PREFIX) for name in names)
    first.clean()
    assert os.listdir(place.directory) == [second._name]
    second.clean()
    assert os.listdir(place.directory) == []


def test_a_directory_that_cannot_be_listed_is_cleaned_by_the_names_that_probes_give(
    place: Place, faults: Any
) -> None:
    made = Probes(place)
    assert made.lock()[0] == "pass"
    assert made.checksum()[0] == "pass"
    faults.fail("listdir", errno.EIO)
    assert made.clean()[0] == "pass"
    assert os.listdir(place.directory) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_a_directory_that_somebody_else_put_there_is_not_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Probes(place)
    mkdir = kernel.mkdir

    def fill(name: str, *args: Any, **options: Any) -> None:
        mkdir(name, *args, **options)
        Path(place.directory, name, "theirs").touch()

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(kernel, "mkdir", fill, raising=False)
    with pytest.raises(SafeAtomicError, match="somebody else"):
        made.exclusive_create()
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(OSError, match="not empty"):
        made.clean()
    (left,) = Path(place.directory).iterdir()
    assert [path.name for path in left.iterdir()] == ["theirs"]


def test_a_link_that_somebody_else_put_there_is_not_followed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, elsewhere = Probes(place), tmp_path / "elsewhere"
    elsewhere.mkdir()

    def link(name: str, *_args: Any, **_options: Any) -> None:
        Path(place.directory, name).symlink_to(elsewhere)

    monkeypatch.setattr(kernel, "mkdir", link, raising=False)
    with pytest.raises(OSError, match=PROBE_PREFIX):
        made.exclusive_create()
    assert os.listdir(elsewhere) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list")
def test_an_interrupt_anywhere_in_the_clean_up_leaves_nothing_behind(place: Place) -> None:
    examination._probe(place, None)
    before, number = os.listdir("/proc/self/fd"), 0
    while True:
        number += 1
        alarm = Alarm(number)
        sys.setprofile(alarm)
        try:
            examination._probe(place, None)
        except KeyboardInterrupt:
            assert os.listdir(place.directory) == [], alarm.where
            assert os.listdir("/proc/self/fd") == before, alarm.where
        else:
            break
        finally:
            sys.setprofile(None)
    assert number > 50


class Alarm:
    """Interrupt the n-th point of the clean-up at which signals are looked at.

    That is where a function of Python begins, and where one of C has returned.
    """

    def __init__(self, number: int) -> None:
        self.where = ""
        self._left = number
        self._cleaning = False

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        here = frame.f_code.co_qualname
        self._cleaning |= here == "Probes.clean"
        if self._cleaning and event in ("call", "c_return"):
            self._left -= 1
            if self._left == 0:
                sys.setprofile(None)
                self.where = f"{event}: {here}, line {frame.f_lineno}"
                raise KeyboardInterrupt
