from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    UnsupportedEnvironmentWarning,
    _checksum_api,
    _recording,
    release_lock,
    try_acquire_lock,
    verify_checksum,
    write_atomic_bytes,
    write_checksum_file,
)
from safeatomic_core._cli import main
from safeatomic_core._cli.trees import files_below
from safeatomic_core._posix import kernel


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


def test_a_walk_goes_on_where_something_cannot_be_read(tree: Path, faults: Any) -> None:
    errors: list[OSError] = []
    faults.fail("listdir", 13, when=lambda path: str(path).endswith("deep"))
    faults.fail("stat", 5, when=lambda path, **_: str(path).endswith("/a"))
    faults.fail("stat", 2, when=lambda path, **_: str(path).endswith("/b"))
    found = {os.path.basename(path) for path in files_below(str(tree), errors.append)}
    assert found == {".lock", ".sha256", "marker.lock", "poetry.lock", "c"}
    assert {error.errno for error in errors} == {5, 13}


def test_a_lock_that_cannot_be_examined_is_data(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect_lock(_path: str) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr("safeatomic_core._cli.trees.inspect_lock", inspect_lock)
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


@pytest.mark.parametrize("conflict", ["0", "1", "75"])
def test_an_error_outweighs_a_lock_that_is_held(
    tmp_path: Path, conflict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("held", "free"):
        (tmp_path / name).write_bytes(b"x")
    held, free, missing = (str(tmp_path / name) for name in ("held", "free", "missing"))
    command = ["checksum", "--conflict-exit", conflict]
    statuses = []

    def others() -> None:
        statuses.append(main([*command, free, held]))
        statuses.append(main([*command, missing, held]))

    assert try_acquire_lock(held)
    thread = threading.Thread(target=others)
    thread.start()
    thread.join()
    release_lock(held)
    assert statuses == [int(conflict), 2]
    assert capsys.readouterr().out == f"{free}.sha256\n"


@pytest.mark.parametrize("command", ["checksum", "verify"])
def test_a_file_that_is_removed_after_the_walk_is_nobody_s_error(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    for name in ("a", "b"):
        write_atomic_bytes(tmp_path / name, b"x", write_checksum=True)

    def remove(_paths: object) -> int:  # called between the walk and the work
        for name in ("b", "b.sha256"):
            (tmp_path / name).unlink(missing_ok=True)
        return 0

    monkeypatch.setattr("safeatomic_core._cli.checksums.total_size", remove)
    assert main([command, "-r", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path}/a")
    assert captured.out.count("\n") == 1
    assert captured.err == ""
    assert main([command, "-r", str(tmp_path), str(tmp_path / "b")]) == 2  # this one was named


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


def test_checksum_goes_on_after_a_failure(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checksum", str(target.with_name("missing")), str(target)]) == 2
    out = capsys.readouterr()
    assert out.out == f"{target}.sha256\n"
    assert "missing" in out.err
    assert verify_checksum(target)


def test_checksum_s_worst_answer_is_its_status(target: Path, take_place_for: Any) -> None:
    take_place_for("nfs4")
    assert main(["checksum", str(target), str(target.with_name("missing"))]) == 3
    assert main(["checksum", str(target), "--safety", "best_effort"]) == 0


def test_a_record_is_said_to_detect_less_where_a_crash_may_separate_the_pair(
    target: Path, take_place_for: Any
) -> None:
    take_place_for("ext2")
    for record in (
        lambda: _checksum_api.record_checksums([str(target)], lambda *_: None, safety="warn"),
        lambda: write_checksum_file(target, safety="warn"),
    ):
        with pytest.warns(UnsupportedEnvironmentWarning, match="IntegrityDetection is BestEffort"):
            record()


def flushes(directory: Path, argv: list[str]) -> int:
    """Count how often a command flushes a directory."""
    counted = []
    real = kernel.fsync

    def fsync(fd: int) -> None:
        counted.append(os.path.samestat(os.fstat(fd), directory.stat()))
        real(fd)

    kernel.fsync = fsync
    try:
        assert main(argv) == 0
    finally:
        del kernel.fsync
    return sum(counted)


@pytest.mark.usefixtures("guaranteed_place")
def test_many_files_share_the_flushes_of_their_directory(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(b"x")
    for _ in range(2):
        assert flushes(tmp_path, ["checksum", *map(str, paths)]) == 2
        assert all(verify_checksum(path) for path in paths)
    assert flushes(tmp_path, ["checksum", str(paths[0])]) == 2


def test_where_a_flush_may_return_early_every_record_has_its_own(
    tmp_path: Path, take_place_for: Any
) -> None:
    take_place_for("btrfs")
    paths = [str(tmp_path / str(number)) for number in range(3)]
    for path in paths:
        Path(path).write_bytes(b"x")
    assert flushes(tmp_path, ["checksum", *paths]) == 6


@pytest.mark.usefixtures("guaranteed_place")
def test_a_file_that_is_replaced_after_the_first_flush_is_flushed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    real = _recording.Batch.prepare

    def prepare(self: Any, names: Any) -> None:
        real(self, names)
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "new").rename(tmp_path / "b")

    monkeypatch.setattr(_recording.Batch, "prepare", prepare)
    assert flushes(tmp_path, ["checksum", str(tmp_path / "a"), str(tmp_path / "b")]) == 3
    assert verify_checksum(tmp_path / "b")


@pytest.mark.usefixtures("guaranteed_place")
def test_a_link_out_of_the_directory_makes_flushes_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for name in ("a", "other/b", "c"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b").symlink_to("other/b")
    argv = ["checksum", *(str(tmp_path / name) for name in ("a", "b", "c"))]
    assert flushes(tmp_path / "other", argv) == 2
    assert verify_checksum(tmp_path / "other" / "b")
    assert flushes(tmp_path, argv) == 2


@pytest.mark.usefixtures("guaranteed_place")
def test_a_failed_last_flush_is_every_record_s_error(tmp_path: Path, faults: Any) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b")]
    for path in paths:
        Path(path).write_bytes(b"x")
    directory = os.stat(tmp_path)
    calls = []

    def last(fd: int) -> bool:
        if os.path.samestat(os.fstat(fd), directory):
            calls.append(fd)
        return len(calls) == 2

    faults.fail("fsync", 5, when=last)
    results: dict[str, Exception | None] = {}
    _checksum_api.record_checksums([*paths, str(tmp_path / "missing")], results.__setitem__)
    for path in paths:
        error = results[path]
        assert isinstance(error, OSError)
        assert (error.errno, error.filename) == (5, path)
        assert "cannot write the checksum sidecar: Input/output error (EIO)" in str(error)
        assert error.__notes__ == ["safeatomic: Announce failed; the target is unchanged"]
        assert error.__cause__ is not None
    assert isinstance(results[str(tmp_path / "missing")], FileNotFoundError)


def test_a_directory_that_cannot_be_opened_is_every_file_s_error(tmp_path: Path) -> None:
    paths = [str(tmp_path / "none" / name) for name in ("a", "b")]
    results: dict[str, Exception | None] = {}
    _checksum_api.record_checksums(paths, results.__setitem__)
    assert [type(error) for error in results.values()] == [FileNotFoundError] * 2


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc/self/fd to list")
@pytest.mark.parametrize("fstype", ["ext4", "nfs4"])
def test_a_batch_leaves_no_descriptor(tmp_path: Path, take_place_for: Any, fstype: str) -> None:
    take_place_for(fstype)
    paths = [str(tmp_path / name) for name in ("a", "b")]
    for path in paths:
        Path(path).write_bytes(b"x")
    before = os.listdir("/proc/self/fd")
    results: dict[str, Exception | None] = {}
    _checksum_api.record_checksums(paths, results.__setitem__)
    assert [error is None for error in results.values()] == [fstype == "ext4"] * 2
    assert os.listdir("/proc/self/fd") == before


def test_an_interrupted_batch_says_what_is_recorded_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b", "c")]
    for path in paths:
        Path(path).write_bytes(b"x")
    real = _recording.record_present

    def record(recording: Any, *options: Any) -> None:
        if recording.target.path == paths[1]:
            raise KeyboardInterrupt
        real(recording, *options)

    monkeypatch.setattr("safeatomic_core._checksum_api.record_present", record)
    assert main(["checksum", *paths]) == 130
    captured = capsys.readouterr()
    assert captured.out == f"{paths[0]}.sha256\n"
    assert captured.err == "safeatomic: interrupted; the target is unchanged\n"
    assert verify_checksum(paths[0])
    assert sorted(os.listdir(tmp_path)) == ["a", "a.sha256", "b", "c"]


def test_verify_has_four_answers(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {
        name: target.with_name(name)
        for name in ("good", "bad", "bare", "gone", "odd", "dir", "no.sha256")
    }
    for name in ("good", "bad"):
        write_atomic_bytes(paths[name], b"x", write_checksum=True)
    paths["bad"].write_bytes(b"y")
    paths["bare"].write_bytes(b"x")
    paths["odd"].write_bytes(b"x")
    Path(f"{paths['odd']}.sha256").write_bytes(b"junk")
    paths["dir"].mkdir()
    assert main(["verify", *map(str, paths.values())]) == 1
    captured = capsys.readouterr()
    assert "-r goes through the files below it" in captured.err
    lines = captured.out.splitlines()
    answers = [
        line.removeprefix(f"{path}: ") for line, path in zip(lines, paths.values(), strict=True)
    ]
    assert answers[0] == "OK"
    assert answers[1].startswith("MISMATCH (recorded")
    assert answers[2] == "NO SIDECAR"
    assert all(answer.startswith("UNREADABLE") for answer in answers[3:])
    assert main(["verify", str(paths["good"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "OK"
    assert main(["verify", str(paths["gone"])]) == 2
    assert main(["verify", str(paths["bare"])]) == 1


def test_a_sidecar_that_goes_while_it_is_looked_for_is_reported(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr("safeatomic_core._cli.checksums.get_checksum_info", fail)
    assert main(["verify", str(target)]) == 2
    assert "UNREADABLE" in capsys.readouterr().out


def test_a_flush_that_fails_and_may_is_asked_for_again_by_each_record(
    tmp_path: Path, faults: Any, take_place_for: Any
) -> None:
    take_place_for("ext4")
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(b"x")
    directory = os.stat(tmp_path)
    faults.fail("fsync", 5, when=lambda fd: os.path.samestat(os.fstat(fd), directory))
    assert main(["checksum", "--safety", "best_effort", *map(str, paths)]) == 0
    assert all(verify_checksum(path) for path in paths)
    assert faults.raised == 4  # before both, for each, after both
