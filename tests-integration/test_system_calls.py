"""What each mode asks of the kernel, pinned: counts, and the order of flushes and renames.

Times depend on the machine, these do not. A change here is a change of the protocol: look at
`docs/protocol.md` and the models first, then at `docs/system-calls.md`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_RECORDER = _ROOT / "tests-integration" / "benchmarks" / "system_calls.py"
_PAGE = _ROOT / "docs" / "system-calls.md"

# All calls, flushes of files, flushes of directories, renames.
COUNTS = {
    "none-new": (14, 1, 1, 1),
    "none": (18, 1, 1, 1),
    "default": (28, 1, 1, 1),
    "checksum": (51, 2, 2, 2),
    "checksum-first": (48, 2, 3, 2),
    "checksum-new": (39, 2, 3, 2),
    "retire": (41, 1, 2, 2),
    "writer": (36, 1, 1, 1),
    "writer-checksum": (63, 2, 2, 2),
    "read": (5, 0, 0, 0),
    "read-checked": (12, 0, 0, 0),
    "reader": (8, 0, 0, 0),
    "verify": (13, 0, 0, 0),
    "record-file": (36, 2, 2, 1),
    "move": (38, 1, 2, 1),
    "move-checked": (65, 2, 4, 3),
    "lock": (8, 0, 0, 0),
    "unlock": (16, 0, 0, 0),
}

_FLUSHES = ("fsync temp", "rename temp -> target", "fsync directory")
_LOCKED = ("link_anonymous lock", *_FLUSHES, "unlink lock")
_PAIR = (
    "fsync record temp",
    "fsync temp",
    "rename_exchange record temp -> sidecar",
    "fsync directory",
    "rename temp -> target",
    "unlink record temp",  # what was displaced
    "fsync directory",
    "ftruncate sidecar",
)
_MADE = (
    "fsync record temp",
    "fsync temp",
    "rename_noreplace record temp -> sidecar",
    "fsync directory",
    "rename temp -> target",
    "fsync directory",
)
_CHECKED = ("link_anonymous lock", *_PAIR, "unlink lock")
_RESOLVED = ("link_anonymous lock", "fsync directory", *_MADE)

# What makes a write durable or visible, in its order.
ORDER = {
    "none-new": _FLUSHES,
    "none": _FLUSHES,
    "default": _LOCKED,
    "writer": _LOCKED,
    "checksum": _CHECKED,
    "writer-checksum": _CHECKED,
    "checksum-first": (*_RESOLVED, "ftruncate sidecar", "unlink lock"),
    "checksum-new": (*_RESOLVED, "unlink lock"),
    "retire": (
        "link_anonymous lock",
        "fsync temp",
        "rename_noreplace sidecar -> record temp",
        "fsync directory",
        "rename temp -> target",
        "unlink record temp",
        "fsync directory",
        "unlink lock",
    ),
    "read": (),
    "read-checked": (),
    "reader": (),
    "verify": (),
    "record-file": (
        "link_anonymous lock",
        "fsync target",
        "fsync directory",
        "fsync record temp",
        "rename_noreplace record temp -> sidecar",
        "fsync directory",
        "unlink lock",
    ),
    "move": (
        "link_anonymous lock",
        "link_anonymous lock",
        "fsync target",
        "rename_noreplace target -> destination",
        "fsync directory",
        "fsync directory",
        "unlink lock",
        "unlink destination's lock",
    ),
    "move-checked": (
        "link_anonymous lock",
        "link_anonymous lock",
        "fsync target",
        "fsync directory",
        "fsync record temp",
        "rename_noreplace record temp -> destination's sidecar",
        "fsync directory",
        "rename_noreplace target -> destination",
        "fsync directory",
        "rename_noreplace sidecar -> record temp",
        "unlink record temp",
        "fsync directory",
        "unlink lock",
        "unlink destination's lock",
    ),
    "lock": ("link_anonymous lock",),
    "unlock": ("unlink lock",),
}

_RENAMES = ("rename", "rename_noreplace", "rename_exchange")
_DECISIVE = ("fsync", *_RENAMES, "unlink", "link_anonymous", "ftruncate")


def _missing_capability(folder: str) -> str:
    """Say why the pinned sequences do not apply here, or nothing."""
    if not hasattr(os, "O_TMPFILE") or not hasattr(os, "listxattr"):
        return "no O_TMPFILE or no extended attributes in this Python: other calls are used"
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        return f"no O_TMPFILE in the temporary directory ({error.strerror})"
    try:
        attributes = os.listxattr(fd)
    except OSError as error:
        return f"no extended attributes in the temporary directory ({error.strerror})"
    finally:
        os.close(fd)
    return f"new files have attributes here: {attributes}" if attributes else ""


_STRAIGHT = "straight-"
_TROUBLE = _missing_capability(tempfile.gettempdir())
pytestmark = pytest.mark.skipif(bool(_TROUBLE), reason=_TROUBLE or "recordable")


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[tuple[str, str, str]]]:
    """Return step, system call and object of each call, by mode."""
    command = [sys.executable, str(_RECORDER), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        mode: [(step, name, what) for step, name, what in calls]
        for mode, calls in json.loads(output).items()
    }


def test_every_recorded_mode_is_pinned(
    recorded: dict[str, list[tuple[str, str, str]]],
) -> None:
    modes = {mode for mode in recorded if not mode.startswith(_STRAIGHT)}
    assert modes == set(COUNTS) == set(ORDER)


@pytest.mark.parametrize("mode", ["none", "default", "checksum"])
def test_the_floor_under_a_benchmark_makes_the_same_calls(
    mode: str, recorded: dict[str, list[tuple[str, str, str]]]
) -> None:
    floor = [(name, what) for _, name, what in recorded[_STRAIGHT + mode]]
    assert floor == [(name, what) for _, name, what in recorded[mode]]


@pytest.mark.parametrize("mode", COUNTS)
def test_a_mode_makes_as_many_calls_as_it_always_did(
    mode: str, recorded: dict[str, list[tuple[str, str, str]]]
) -> None:
    calls = recorded[mode]
    flushed = [what for _, name, what in calls if name == "fsync"]
    renames = [name for _, name, _ in calls if name.startswith("rename")]
    directories = flushed.count("directory")
    found = (len(calls), len(flushed) - directories, directories, len(renames))
    assert found == COUNTS[mode]


@pytest.mark.parametrize("mode", ORDER)
def test_a_mode_flushes_and_renames_in_its_order(
    mode: str, recorded: dict[str, list[tuple[str, str, str]]]
) -> None:
    found = tuple(f"{name} {what}" for _, name, what in recorded[mode] if name in _DECISIVE)
    assert found == ORDER[mode]


def test_a_checksum_costs_one_file_flush_and_one_directory_flush_more() -> None:
    _, files, directories, _ = COUNTS["default"]
    _, checked_files, checked_directories, _ = COUNTS["checksum"]
    assert (checked_files - files, checked_directories - directories) == (1, 1)


def test_nothing_is_flushed_to_seal_or_release(
    recorded: dict[str, list[tuple[str, str, str]]],
) -> None:
    late = [
        (step, name)
        for mode in ("default", "checksum", "writer-checksum")
        for step, name, _ in recorded[mode]
        if step in {"Seal", "Release"}
    ]
    assert ("Seal", "ftruncate") in late
    assert not [name for _, name in late if name == "fsync"]


def test_the_content_is_on_its_way_to_the_disk_before_anything_is_waited_for(
    recorded: dict[str, list[tuple[str, str, str]]],
) -> None:
    calls = [(name, what) for _, name, what in recorded["checksum"]]
    assert calls.index(("posix_fadvise", "temp")) < calls.index(("fsync", "record temp"))


def test_nothing_is_done_to_either_temp_once_one_of_them_is_flushed(
    recorded: dict[str, list[tuple[str, str, str]]],
) -> None:
    """Or the second flush would need a transaction of the journal for itself."""
    calls = [(name, what) for _, name, what in recorded["checksum"]]
    between = calls[calls.index(("fsync", "record temp")) : calls.index(("fsync", "temp"))]
    assert between == [("fsync", "record temp")]


def test_the_page_in_the_documentation_is_current() -> None:
    command = [sys.executable, str(_RECORDER), "--check", str(_PAGE)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, "regenerate it: see the page's first paragraph"
