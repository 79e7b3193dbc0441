"""Another program puts its file at the sidecar's name, before each system call of ours."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from intruders import BEFORE, CALLS, WAYS, Visit, visit
from mounting import on
from safeatomic_core import _announcement, _replacement, _retirement, _sidecar_file
from safeatomic_core._posix import kernel
from safeatomic_core._rename import lacks_rename_flag

# What may happen between two system calls, and is written down: a list that is written *into* our
# record between the look and the truncation of Seal.
SEAL = ("in_place", "ftruncate"), ("by_appending", "ftruncate")
# Without an exchange, what comes between the last look and the rename that replaces, or puts back.
LOOKS = ("pread", "rename", "rename_exchange")


class Tour(NamedTuple):
    """All visits to all calls."""

    visits: int
    flaws: list[str]


@pytest.fixture
def quick_place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of small files are made and removed."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="safeatomic-intruders-", dir=memory))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def tour(place: Path, *, fails: bool, old_kernel: bool, ways: int = len(WAYS)) -> Tour:
    """Let the intruder come before every system call of every call."""
    logging.getLogger("safeatomic").setLevel(logging.CRITICAL)
    visits = 0
    flaws: list[str] = []
    for call, before, way in itertools.product(CALLS, BEFORE, WAYS[:ways]):
        for number in itertools.count(1):
            directory = place / "here"
            directory.mkdir()
            found: Visit = visit(
                directory, call, before, way, number, fails=fails, old_kernel=old_kernel
            )
            shutil.rmtree(directory)
            if not found.came:
                break
            visits += 1
            if (way.__name__, found.entry) in SEAL or (old_kernel and found.entry in LOOKS):
                found.flaws[:] = [one for one in found.flaws if "is lost" not in one]
            where = f"{call.__name__} over {before}, {way.__name__}, before {found.entry} {number}"
            flaws += [f"{where}: {flaw}" for flaw in found.flaws]
    return Tour(visits, flaws)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["succeeding", "failing"])
@pytest.mark.parametrize("old_kernel", [False, True], ids=["exchange", "no exchange"])
def test_what_an_intruder_brings_is_there_afterwards(
    quick_place: Path, fails: bool, old_kernel: bool, tally: Counter[str]
) -> None:
    visits, flaws = tour(quick_place, fails=fails, old_kernel=old_kernel)
    assert not flaws, "\n".join(flaws[:20])
    assert visits > 2000
    tally["intruders at a sidecar's name"] += visits


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs", "btrfs", "overlay"])
def test_so_it_is_on_every_filesystem(kind: str, tmp_path: Path, tally: Counter[str]) -> None:
    def body(place: Path) -> Tour:
        return tour(place, fails=False, old_kernel=False, ways=2)

    visits, flaws = on(kind, tmp_path, body)
    assert not flaws, "\n".join(flaws[:20])
    assert visits > 1000
    tally[f"intruders at a sidecar's name on {kind}"] += visits


def _unlinks(place: _replacement.Replacement, *_present: object) -> bool:
    kernel.unlink(place._name, dir_fd=place._dir_fd)
    return True


def _renames(place: _replacement.Replacement, _present: object) -> bool:
    directories = {"src_dir_fd": place._dir_fd, "dst_dir_fd": place._dir_fd}
    kernel.rename(place.record.name, place._name, **directories)
    place.record.name = ""
    return True


# A library with one rule broken, and the call that shows it.
BROKEN: dict[str, tuple[object, str, Callable[..., object]]] = {
    "renamed over": (_replacement.Replacement, "install", _renames),
    "unlinked": (_replacement.Replacement, "take_away", _unlinks),
    "not compared": (_sidecar_file.Sidecar, "is_at", lambda *_: True),
    "cut blindly": (_replacement.Replacement, "is_untouched", lambda _: True),
    "foreign is ours": (
        _retirement.Retirement,
        "find_ours",
        lambda retirement: retirement._recognise("sha256") is None and retirement._present.exists,
    ),
    "never refused": (_announcement.Announcement, "_refuse", lambda *_: None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_library_that_breaks_a_rule_loses_the_list(
    name: str, quick_place: Path, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    owner, attribute, replacement = BROKEN[name]
    monkeypatch.setattr(owner, attribute, replacement)
    visits, flaws = tour(quick_place, fails=False, old_kernel=False, ways=2)
    assert visits
    assert any("the list is lost" in flaw for flaw in flaws), flaws[:5]
    tally["broken libraries caught by intruders"] += 1


def test_an_exchange_that_is_refused_for_a_reason_is_not_replaced_with_a_rename() -> None:
    """The fallback is for what the kernel lacks only."""
    for code in (errno.EACCES, errno.ENOSPC, errno.EIO, errno.EPERM):
        assert not lacks_rename_flag(OSError(code, ""), kernel.rename_exchange)
