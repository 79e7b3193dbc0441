"""What other kernels and interpreters are kept in, and that nothing of them is left running."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

import debian
from crash.crashlab.isolation import die_with_parent
from interpreters import room
from kernels.laboratory import Laboratory

if TYPE_CHECKING:
    from pathlib import Path

_LONG_AGO = time.time() - 30 * 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(debian.CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def fill(folder: Path) -> None:
    (folder / "file").write_text("made", encoding="utf-8")


def fail(folder: Path) -> None:
    fill(folder)
    raise debian.NotPossibleError("no network")


def test_a_folder_is_made_once_and_anew_after_a_week(cache: Path) -> None:
    folder = debian.kept("some", fill)
    (folder / "file").write_text("kept", encoding="utf-8")
    assert (debian.kept("some", fail) / "file").read_text("utf-8") == "kept"
    os.utime(folder, (_LONG_AGO, _LONG_AGO))
    assert (debian.kept("some", fill) / "file").read_text("utf-8") == "made"


def test_what_could_not_be_made_leaves_nothing(cache: Path) -> None:
    with pytest.raises(debian.NotPossibleError, match="no network"):
        debian.kept("some", fail)
    assert os.listdir(cache) == ["some.lock"]


def test_an_old_folder_serves_where_no_new_one_can_be_made(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = debian.kept("some", fill)
    (folder / "file").write_text("kept", encoding="utf-8")
    os.utime(folder, (_LONG_AGO, _LONG_AGO))
    assert (debian.kept("some", fail) / "file").read_text("utf-8") == "kept"
    assert "no network" in capsys.readouterr().out
    assert sorted(os.listdir(cache)) == ["some", "some.lock"]


@pytest.mark.parametrize("variable", ["", None])
def test_nothing_is_fetched_unasked(variable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(debian.CACHE_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(debian.CACHE_VARIABLE, variable)
    with pytest.raises(debian.NotPossibleError, match=debian.CACHE_VARIABLE):
        debian.require("sh")


def test_a_missing_program_is_named(cache: Path) -> None:
    with pytest.raises(debian.NotPossibleError, match="no-such-program"):
        debian.require("no-such-program")


@pytest.mark.root
def test_what_runs_in_the_room_ends_with_who_started_it() -> None:
    try:
        debian.run(*room.ALONE, "true")
    except (debian.NotPossibleError, OSError) as reason:
        pytest.skip(f"no namespaces: {reason}")
    script = "echo up; sleep 60 & wait; echo survived"
    with subprocess.Popen(
        [*room.ALONE, "sh", "-c", script], stdout=subprocess.PIPE, preexec_fn=die_with_parent
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
        assert process.stdout.read() == b""  # the end of the file: nobody has it open


def test_a_guest_s_folder_that_a_killed_run_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels.laboratory._MEMORY", str(tmp_path))
    left = tmp_path / "safeatomic-guest-left"
    left.mkdir()
    with Laboratory("forky"):
        used = next(path for path in tmp_path.iterdir() if path != left)
        for folder in (left, used):
            os.utime(folder, (_LONG_AGO, _LONG_AGO))
        with Laboratory("forky"):
            assert not left.exists()
            assert used.exists()
    assert os.listdir(tmp_path) == []
