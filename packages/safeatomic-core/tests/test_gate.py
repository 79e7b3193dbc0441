"""The gate that every write passes, and where its warnings point."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
    _gate,
    _log,
    write_atomic_bytes,
)
from safeatomic_core import _environment as environment
from safeatomic_core._gate import gate
from safeatomic_core._options import Policy
from safeatomic_core._posix import O_PATH
from safeatomic_core._recording import Batch
from safeatomic_core._types import (
    ATOMIC_VISIBILITY,
    CRASH_DURABILITY,
    GUARANTEES,
    INTEGRITY_DETECTION,
    WRITER_EXCLUSION,
)

NEEDED = (ATOMIC_VISIBILITY, CRASH_DURABILITY)


# --------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    ("fstype", "options", "refused"),
    [
        ("ext4", "rw", None),
        ("zfs", "rw", None),
        ("tmpfs", "rw", None),
        ("overlay", "rw", None),
        ("ext4", "rw,nobarrier", CRASH_DURABILITY),
        ("overlay", "rw,volatile", CRASH_DURABILITY),
        ("nfs4", "rw", ATOMIC_VISIBILITY),
        ("fuse.s3fs", "rw", ATOMIC_VISIBILITY),
        ("ntfs3", "rw", ATOMIC_VISIBILITY),
        ("whatfs", "rw", ATOMIC_VISIBILITY),
    ],
)
def test_strict_refuses_what_is_no_target_or_unsupported(
    fake: Any, fstype: str, options: str, refused: str | None
) -> None:
    device = os.makedev(250, 77)
    fake.table = fake.mounted(device, fstype, options)
    if refused is None:
        gate(device, "strict", "/data", NEEDED)
        return
    with pytest.raises(UnsupportedEnvironmentError) as caught:
        gate(device, "strict", "/data", NEEDED)
    error = caught.value
    assert (error.path, error.filesystem, error.guarantee) == ("/data", fstype, refused)
    assert error.level in ("NonTarget", "Unsupported")
    assert "safety='warn'" in str(error)


def test_strict_looks_at_what_is_needed_only(fake: Any) -> None:
    device = os.makedev(250, 77)
    fake.table = fake.mounted(device, "ext4", "rw,nobarrier")
    gate(device, "strict", "/data", (ATOMIC_VISIBILITY,))


@pytest.mark.parametrize("concurrency", ["lock", "none"])
@pytest.mark.parametrize("checked", [False, True])
def test_a_write_needs_what_it_uses(
    target: Path, monkeypatch: pytest.MonkeyPatch, concurrency: Any, checked: bool
) -> None:
    needed: list[str] = []

    def pass_all(_dev: int, _safety: str, _path: str, names: tuple[str, ...], *_: object) -> str:
        needed.extend(names)
        return ""

    monkeypatch.setattr(_gate, "gate", pass_all)
    write_atomic_bytes(target, b"new", concurrency=concurrency, write_checksum=checked)
    assert (WRITER_EXCLUSION in needed) is (concurrency == "lock")
    assert (INTEGRITY_DETECTION in needed) is checked
    assert set(NEEDED) <= set(needed)


@pytest.mark.skipif(not O_PATH, reason="no descriptors that only look names up")
def test_a_directory_that_cannot_be_flushed_is_refused_before_anything_is_done(
    target: Path, faults: Any
) -> None:
    faults.fail("open", errno.EACCES, when=lambda _path, flags, *_, **_at: not flags & O_PATH)
    with pytest.raises(PermissionError) as caught:
        write_atomic_bytes(target, b"new", safety="best_effort")
    assert caught.value.__notes__ == ["safeatomic: Gate failed; the target is unchanged"]
    assert faults.calls.count("open") == 1


def test_a_refusal_says_by_itself_what_became_of_the_target(tmp_path: Path) -> None:
    """Several recordings pass the gate together, and none of them is there to say it."""
    with pytest.raises(FileNotFoundError) as caught:
        Batch(str(tmp_path / "no" / "f"), Policy.of())
    assert caught.value.__notes__ == ["safeatomic: Gate failed; the target is unchanged"]


def test_an_unknown_filesystem_is_called_so(fake: Any) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="is on an unknown filesystem"):
        gate(os.makedev(250, 77), "strict", "/data", NEEDED)


@pytest.mark.parametrize("safety", ["strict", "warn", "best_effort"])
def test_a_good_place_passes_without_a_word(fake: Any, safety: str) -> None:
    device = os.makedev(250, 77)
    fake.table = fake.mounted(device, "ext4")
    gate(device, safety, "/data", GUARANTEES)


def test_best_effort_does_not_even_look(fake: Any) -> None:
    gate(os.makedev(250, 77), "best_effort", "/data", NEEDED)
    assert fake.made == 0


def test_warn_names_everything_that_is_not_guaranteed(fake: Any) -> None:
    device = os.makedev(250, 77)
    fake.table = fake.mounted(device, "nfs4")
    with pytest.warns(UnsupportedEnvironmentWarning) as caught:
        gate(device, "warn", "/data", NEEDED)
    (warning,) = caught
    text = str(warning.message)
    assert "'/data' is on nfs4" in text
    assert "AtomicVisibility is NonTarget" in text
    assert "CrashDurability is NonTarget" in text


def test_warn_says_nothing_of_what_is_not_needed(fake: Any) -> None:
    device = os.makedev(250, 77)
    fake.table = fake.mounted(device, "tmpfs")
    gate(device, "warn", "/data", (ATOMIC_VISIBILITY,))
    with pytest.warns(UnsupportedEnvironmentWarning, match="CrashDurability is BestEffort"):
        gate(device, "warn", "/data", NEEDED)


def test_windows_is_refused_under_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PLATFORM", "win32")
    with pytest.raises(UnsupportedEnvironmentError) as caught:
        gate(1, "strict", "C:\\data", NEEDED)
    assert caught.value.level == "NonTarget"
    assert "Windows" in caught.value.reason


# ------------------------------------------------------------------------ where the warning points


def test_a_warning_points_at_the_callers_line(fake: Any) -> None:
    with pytest.warns(UnsupportedEnvironmentWarning) as caught:
        gate(os.makedev(250, 77), "warn", "/data", NEEDED)
        line = sys._getframe().f_lineno - 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def caller_in(module: str) -> Callable[[object, type[Warning]], None]:
    """Return a function of a module that calls what it is given to warn with."""
    code = compile("def run(warn, category): warn('something', category)", f"<{module}>", "exec")
    names: dict[str, Any] = {"__name__": module}
    exec(code, names)
    run: Callable[[object, type[Warning]], None] = names["run"]
    return run


@pytest.mark.parametrize(
    "module", ["safeatomic", "safeatomic_formats", "safeatomic_formats._json", _log.__name__]
)
def test_frames_of_this_package_and_its_siblings_are_skipped(module: str) -> None:
    with pytest.warns(UnsupportedEnvironmentWarning) as caught:
        caller_in(module)(_log.warn_caller, UnsupportedEnvironmentWarning)
        line = sys._getframe().f_lineno - 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


@pytest.mark.parametrize("module", ["safeatomic_extras.tool", "app._vendor.safeatomic_core._gate"])
def test_a_neighbour_with_a_longer_name_is_not_skipped(module: str) -> None:
    with pytest.warns(UnsupportedEnvironmentWarning) as caught:
        caller_in(module)(_log.warn_caller, UnsupportedEnvironmentWarning)
    assert caught[0].filename == f"<{module}>"


def test_a_program_without_files_is_warned_at_its_own_line(tmp_path: Path) -> None:
    code = f"""
import importlib.abc, importlib.machinery, os, sys, warnings

root = {str(Path(_log.__file__).parent.parent)!r}

class InMemory(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] != "safeatomic_core":
            return None
        package = os.path.isdir(self.place(name))
        return importlib.machinery.ModuleSpec(name, self, is_package=package)
    def place(self, name):
        return os.path.join(root, *name.split("."))
    def is_package(self, name):
        return os.path.isdir(self.place(name))
    def get_source(self, name):
        return None
    def exec_module(self, module):
        place = self.place(module.__name__)
        file = place + "/__init__.py" if os.path.isdir(place) else place + ".py"
        with open(file, encoding="utf-8") as source:
            exec(compile(source.read(), f"<{{module.__name__}}>", "exec"), module.__dict__)

sys.meta_path.insert(0, InMemory())
import safeatomic_core
from safeatomic_core import _log
assert not hasattr(_log, "__file__")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _log.warn_caller("something", UserWarning)
assert caught[0].filename == "<string>", caught[0]
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_an_error_filter_turns_the_warning_into_an_error(fake: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsupportedEnvironmentWarning):
            gate(os.makedev(250, 77), "warn", "/data", NEEDED)


@pytest.mark.parametrize("path", [".", "missing/f", "f/g"])
def test_what_gate_refuses_carries_its_note(tmp_path: Path, path: str) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - of several classes
        write_atomic_bytes(f"{tmp_path}/{path}", b"x")
    assert caught.value.__notes__ == ["safeatomic: Gate failed; the target is unchanged"]
