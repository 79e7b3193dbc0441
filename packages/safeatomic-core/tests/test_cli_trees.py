"""The files below a directory, and the checksums of a whole tree."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safeatomic_core import (
    LockInfo,
    inspect_lock,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._cli import main
from safeatomic_core._cli.trees import files_below

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files with and without records, and everything that may stand beside them."""
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for name in ("a", "b", "sub/c", "sub/deep/d", "poetry.lock", ".lock", ".sha256"):
        (tmp_path / name).write_bytes(name.encode() + b"\n[[more]]\n")
    (tmp_path / "b.lock").write_bytes(b"")  # what flock(1) and filelock leave
    (tmp_path / "sub" / "deep" / "d.lock").write_bytes(b"pins\n")  # of a package manager
    (tmp_path / "marker.lock").write_bytes(b"")
    (tmp_path / "sub" / ".safeatomic-tmp-0123456789abcdef.tmp").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "looped").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


DATA = {
    *(".lock", ".sha256", "a", "b", "marker.lock", "poetry.lock"),
    *("sub/c", "sub/deep/d", "sub/deep/d.lock"),
}


def below(tree: Path, **options: Any) -> list[str]:
    def fail(error: OSError) -> None:
        raise error

    found = files_below(str(tree), fail, **options)
    return [str(Path(path).relative_to(tree)) for path in found]


def test_a_walk_finds_data_and_nothing_that_stands_beside_it(tree: Path) -> None:
    write_atomic_bytes(tree / "a", b"x", write_checksum=True)
    assert try_acquire_lock(tree / "sub" / "c")
    assert set(below(tree)) == DATA
    release_lock(tree / "sub" / "c")


def test_a_walk_reports_what_is_recorded_and_gone(tree: Path) -> None:
    write_atomic_bytes(tree / "gone", b"x", write_checksum=True)
    (tree / "gone").unlink()
    (tree / "notes.sha256").write_bytes(b"mine\n")
    assert set(below(tree)) == DATA
    assert set(below(tree, recorded=True)) == {*DATA, "gone"}
    assert main(["checksum", "-r", "-q", "--no-lock", str(tree)]) == 0  # only verify misses it


def test_a_walk_goes_on_where_something_cannot_be_read(tree: Path, faults: Any) -> None:
    errors: list[OSError] = []
    faults.fail("listdir", 13, when=lambda path: str(path).endswith("deep"))
    faults.fail("stat", 5, when=lambda path, **_: str(path).endswith("/a"))
    faults.fail("stat", 2, when=lambda path, **_: str(path).endswith("/b"))
    found = {os.path.basename(path) for path in files_below(str(tree), errors.append)}
    assert found == {".lock", ".sha256", "marker.lock", "poetry.lock", "c"}
    assert {error.errno for error in errors} == {5, 13}


@pytest.mark.parametrize("command", ["checksum --no-lock", "verify"])
def test_a_directory_that_vanishes_during_the_walk_is_passed_over(
    tree: Path, command: str, faults: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checksum", "-rq", "--no-lock", str(tree)]) == 0
    faults.fail("listdir", errno.ENOENT, when=lambda path: str(path).endswith("deep"))
    assert main([*command.split(), "-rq", str(tree)]) == 0
    assert capsys.readouterr().err == ""
    faults.fail("listdir", errno.ENOENT, when=lambda path: path == str(tree))
    assert (
        main([*command.split(), "-rq", str(tree)]) == 2
    )  # nobody has found that one, but named it
    assert str(tree) in capsys.readouterr().err


def test_a_file_beside_a_link_is_a_lock_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "poetry").symlink_to("nowhere")
    (tmp_path / "poetry.lock").write_text("[[package]]\nname = 1\n")
    assert [os.path.basename(path) for path in files_below(str(tmp_path), print)] == ["poetry.lock"]


def test_a_lock_that_cannot_be_examined_is_data(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect_beside(_path: str) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr("safeatomic_core._cli.trees.inspect_beside", inspect_beside)
    assert "b.lock" in below(tree)


def test_a_tree_is_recorded_and_verified(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checksum", "-r", "--no-lock", str(tree)]) == 0
    out = capsys.readouterr().out
    assert {os.path.relpath(line, tree) for line in out.splitlines()} == {
        f"{name}.sha256" for name in DATA
    }
    assert main(["checksum", "-r", "-q", "--no-lock", str(tree)]) == 0
    assert main(["verify", "-r", "-q", str(tree)]) == 0
    assert capsys.readouterr().out == ""
    (tree / "a").unlink()
    (tree / "new").touch()
    assert main(["verify", "-r", "-q", str(tree)]) == 1
    out = capsys.readouterr().out
    assert f"{tree}/a: UNREADABLE (No such file or directory)\n" in out
    assert f"{tree}/new: NO SIDECAR\n" in out
    assert main(["verify", "-r", "-q", "--ignore-missing", str(tree), str(tree / "b")]) == 0
    assert capsys.readouterr().out == ""
    assert main(["verify", "--ignore-missing", str(tree / "new"), str(tree / "b")]) == 0
    assert capsys.readouterr().out == f"{tree}/b: OK\n"


@pytest.mark.parametrize("command", ["checksum", "verify"])
def test_a_file_that_is_removed_after_the_walk_is_nobody_s_error(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    for name in ("a", "b", "c"):
        write_atomic_bytes(tmp_path / name, b"x", write_checksum=True)

    def remove(_paths: object) -> int:  # called between the walk and the work
        for name in ("b", "b.sha256"):
            (tmp_path / name).unlink(missing_ok=True)
        return 0

    monkeypatch.setattr("safeatomic_core._cli.checksums.total_size", remove)
    assert main([command, "-r", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first.startswith(f"{tmp_path}/a")
    assert second.startswith(f"{tmp_path}/c")
    assert captured.err == ""
    assert main([command, "-r", str(tmp_path), str(tmp_path / "b")]) == 2  # this one was named


@pytest.mark.parametrize("command", ["checksum", "verify"])
def test_a_file_that_is_removed_after_the_walk_without_its_sidecar_is_an_error(
    target: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksum_file(target)

    def remove(_paths: object) -> int:  # called between the walk and the work
        target.unlink()
        return 0

    monkeypatch.setattr("safeatomic_core._cli.checksums.total_size", remove)
    assert main([command, "-r", str(target.parent)]) == 2


@pytest.mark.parametrize("command", ["checksum", "verify"])
def test_a_file_that_is_moved_away_and_created_again_is_not_missing(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b", "c"):
        write_atomic_bytes(tmp_path / name, b"x", write_checksum=True)

    def remove(_paths: object) -> int:  # called between the walk and the work
        (tmp_path / "b").unlink()
        (tmp_path / "b.sha256").unlink()
        return 0

    def create(path: str) -> LockInfo:  # called after the work
        write_atomic_bytes(path, b"new", write_checksum=True)
        return inspect_lock(path)

    monkeypatch.setattr("safeatomic_core._cli.checksums.total_size", remove)
    monkeypatch.setattr("safeatomic_core._cli.checksums.inspect_beside", create)
    assert main([command, "-r", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err == ""
    assert verify_checksum(tmp_path / "b")


@pytest.mark.parametrize("command", ["checksum", "verify"])
def test_a_file_that_is_removed_before_its_sidecar_is_nobody_s_error(
    target: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checksum_file(target)

    def remove(_paths: object) -> int:  # called between the walk and the work
        target.unlink()
        return 0

    def remove_sidecar(_seconds: float) -> None:
        Path(f"{target}.sha256").unlink()

    monkeypatch.setattr("safeatomic_core._cli.checksums.total_size", remove)
    monkeypatch.setattr("safeatomic_core._cli.checksums.time.sleep", remove_sidecar)
    assert main([command, "-r", str(target.parent)]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_sidecar_without_its_file_is_waited_for_only_where_something_was_changed(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksum_file(target)
    target.unlink()
    pauses: list[float] = []
    monkeypatch.setattr("safeatomic_core._cli.checksums.time.sleep", pauses.append)
    assert main(["verify", "-r", str(target.parent)]) == 2
    assert 1 <= len(pauses) <= 10
    os.utime(target.parent, (1, 1))
    pauses.clear()
    assert main(["verify", "-r", str(target.parent)]) == 2
    assert pauses == []


def finish(target: Path) -> None:
    """End a first write."""
    target.write_bytes(b"x")
    release_lock(target)


def leave(target: Path) -> None:
    """End a move of the file to somewhere else."""
    Path(f"{target}.sha256").unlink()
    release_lock(target)


def remove_directory(target: Path) -> None:
    for name in os.listdir(target.parent):
        target.with_name(name).unlink()
    target.parent.rmdir()


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (finish, 0, "OK"),
        (leave, 0, ""),
        (lambda _target: None, 2, "UNREADABLE"),
        (remove_directory, 0, ""),
    ],
)
def test_a_file_that_is_just_written_or_moved_is_waited_for(
    tmp_path: Path,
    end: Callable[[Path], None],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "d" / "f"
    target.parent.mkdir()
    write_atomic_bytes(target, b"x", write_checksum=True)
    target.unlink()
    assert try_acquire_lock(target)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        if not pauses:
            end(target)
        pauses.append(seconds)

    monkeypatch.setattr("safeatomic_core._cli.checksums.time.sleep", pause)
    assert main(["verify", "-r", str(tmp_path)]) == status
    assert said in capsys.readouterr().out
    assert 1 <= len(pauses) <= 1000
    release_lock(target)


def test_a_tree_may_be_deeper_than_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    deep = "d"
    os.mkdir(deep)
    for _ in range(sys.getrecursionlimit() + 100):  # more than os.makedirs can
        deep += "/d"
        os.mkdir(deep)
    Path(deep, "bottom").write_bytes(b"x")
    try:
        assert main(["checksum", "-r", "d"]) == 0
        assert capsys.readouterr().out == f"{deep}/bottom.sha256\n"
        assert main(["verify", "-r", "d"]) == 0
    finally:
        while deep:  # pytest removes trees by recursion
            for name in os.listdir(deep):
                os.unlink(os.path.join(deep, name))
            os.rmdir(deep)
            deep = os.path.dirname(deep)


def test_a_directory_that_cannot_be_read_is_an_error_of_its_own(
    tree: Path, faults: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["checksum", "-r", "-q", "--no-lock", str(tree)])
    faults.fail("listdir", 13, when=lambda path: str(path).endswith("deep"))
    assert main(["verify", "-r", "-q", str(tree)]) == 2
    assert main(["checksum", "-r", "-q", "--no-lock", str(tree)]) == 2
    assert capsys.readouterr().err.count("deep: Permission denied") == 2
