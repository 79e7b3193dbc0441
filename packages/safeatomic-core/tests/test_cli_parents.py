from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core._cli import commands, main
from safeatomic_core._posix import kernel


@pytest.mark.parametrize("name", ["new/", "new/.", "new/.."])
def test_parents_are_made_for_a_file_only(data: Path, listing: Any, stdin: Any, name: str) -> None:
    stdin(b"new")
    assert main(["write", f"{data}/{name}", "--parents"]) == 2
    assert listing() == []


def test_directories_are_made_only_if_that_is_asked(tmp_path: Path, stdin: Any) -> None:
    stdin(b"new")
    assert main(["write", str(tmp_path / "missing" / "file")]) == 2
    assert not (tmp_path / "missing").exists()


def test_parents_of_a_file_that_is_not_written_are_removed(
    data: Path, listing: Any, stdin: Any
) -> None:
    for failure in (OSError(5, "input failed"), KeyboardInterrupt()):
        stdin(failure)
        assert main(["write", f"{data}/a/b/file", "--parents"]) in (2, 130)
        assert listing() == []


def test_parents_that_cannot_be_made_say_so(
    target: Path, listing: Any, stdin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"new")
    assert main(["write", f"{target}/a/b/file", "--parents"]) == 2
    assert "cannot make the missing directories: Not a directory" in capsys.readouterr().err
    assert listing() == [target.name]


def test_parents_that_somebody_uses_by_now_stay(
    data: Path, stdin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(_arguments: object, path: str, **_options: object) -> None:
        Path(path).parent.joinpath("another").touch()
        raise PermissionError(13, "no", path)

    monkeypatch.setattr(commands, "open_writer", use)
    stdin(b"new")
    assert main(["write", f"{data}/a/b/file", "--parents"]) == 2
    assert os.listdir(data / "a" / "b") == ["another"]


def test_missing_parents_are_made_and_each_one_s_parent_flushed(
    tmp_path: Path, stdin: Any, faults: Any
) -> None:
    flushed = []
    made: list[str] = []
    real = kernel.fsync

    def fsync(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    kernel.fsync = fsync
    try:
        commands.make_parents(str(tmp_path / "a" / "b" / "file"), made)
    finally:
        del kernel.fsync
    assert made == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    assert flushed == [str(tmp_path.parent), str(tmp_path), str(tmp_path / "a")]
    stdin(b"deep")
    assert main(["write", str(tmp_path / "a" / "b" / "c" / "file"), "--parents"]) == 0
    assert (tmp_path / "a" / "b" / "c" / "file").read_bytes() == b"deep"


def test_parents_are_made_where_the_write_looks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    """Behind a link ``..`` leads to the directory above the link's target."""
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to("../far/away")
    monkeypatch.chdir(tmp_path / "here")
    stdin(b"x")
    assert main(["write", "link/../new/file", "--parents"]) == 0
    assert (tmp_path / "far" / "new" / "file").read_bytes() == b"x"
    stdin(b"y")
    assert main(["write", "first//second/../third/file", "--parents"]) == 0
    assert (tmp_path / "here" / "first" / "third" / "file").read_bytes() == b"y"
    assert sorted(os.listdir()) == ["first", "link"]


def test_a_parent_that_somebody_else_makes_is_fine(tmp_path: Path, faults: Any) -> None:
    def mkdir(path: str, *_args: object) -> bool:
        if not os.path.isdir(path):
            os.mkdir(path)
        return True

    faults.fail("mkdir", 17, when=mkdir)
    commands.make_parents(str(tmp_path / "a" / "file"), [])
    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize(("code", "fails"), [(22, False), (30, False), (5, True)])
def test_a_parent_that_cannot_be_flushed(
    tmp_path: Path, faults: Any, code: int, fails: bool
) -> None:
    faults.fail("fsync", code)
    before = len(os.listdir("/dev/fd"))
    if fails:
        with pytest.raises(OSError, match="Input/output"):
            commands.make_parents(str(tmp_path / "file"), [])
    else:
        commands.make_parents(str(tmp_path / "file"), [])
    assert len(os.listdir("/dev/fd")) == before


def test_a_parent_that_cannot_be_listed_is_not_flushed(tmp_path: Path, faults: Any) -> None:
    faults.fail("open", 13)
    commands.make_parents(str(tmp_path / "file"), [])
