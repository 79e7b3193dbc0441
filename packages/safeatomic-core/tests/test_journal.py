"""Whether an ext4 has a journal."""

from __future__ import annotations

import errno
import os

import pytest

from safeatomic_core import _environment as environment
from safeatomic_core import _mounts as mounts
from safeatomic_core._environment import Environment, describe, parse_mount

PARTITIONS = b"""\
major minor  #blocks  name

   8        0  268435456 sda
   8        1  268435455 sda1
 104        1       2048 cciss/c0d0p1
 252        0       4096 a disk
"""
JOURNALED = b"rw\nbsddf\ndata=ordered\nbarrier\n"
BARE = b"rw\nbsddf\nbarrier\n"


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | OSError]:
    """The files of /proc, or the errors they are answered with."""
    monkeypatch.setattr(environment, "_process_findings", tuple)
    files: dict[str, bytes | OSError] = {"/proc/partitions": PARTITIONS}

    def read_proc(path: str) -> bytes:
        found = files.get(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path))
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(mounts, "read_proc", read_proc)
    return files


def place_on(device: str, fstype: str = "ext4") -> Environment:
    line = f"1 1 {device} / /d rw - {fstype} /dev/root rw"
    return describe(parse_mount(line.encode()), os.makedev(*map(int, device.split(":"))))


@pytest.mark.parametrize(
    ("device", "disk"),
    [("8:0", "sda"), ("8:1", "sda1"), ("104:1", "cciss!c0d0p1"), ("252:0", "a disk")],
)
@pytest.mark.parametrize(("options", "journal"), [(JOURNALED, True), (BARE, False)])
def test_a_journal_is_seen_in_the_options_in_force(
    proc: dict[str, bytes | OSError], device: str, disk: str, options: bytes, journal: bool
) -> None:
    proc[f"/proc/fs/ext4/{disk}/options"] = options
    assert environment.has_journal(place_on(device)) is journal


def test_an_ext4_whose_options_are_hidden_may_have_a_journal_or_not(
    proc: dict[str, bytes | OSError],
) -> None:
    assert environment.has_journal(place_on("8:1")) is None  # no /proc/fs/ext4
    assert environment.has_journal(place_on("9:9")) is None  # no such disk
    proc["/proc/partitions"] = b"something\nquite\ndifferent\n"
    assert environment.has_journal(place_on("8:1")) is None


def test_only_ext4_is_asked_for_its_journal(proc: dict[str, bytes | OSError]) -> None:
    del proc["/proc/partitions"]
    assert environment.has_journal(place_on("8:1", "xfs")) is True
    assert environment.has_journal(describe(None, 0)) is True


def test_a_shortage_while_looking_for_the_journal_is_raised(
    proc: dict[str, bytes | OSError],
) -> None:
    proc["/proc/partitions"] = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        environment.has_journal(place_on("8:1"))
