from __future__ import annotations

import json
import os
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
from safeatomic_core._posix import kernel
from safeatomic_core._reading import verify_file


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
    results: dict[str, str | Exception] = {}
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
    results: dict[str, str | Exception] = {}
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
    results: dict[str, str | Exception] = {}
    _checksum_api.record_checksums(paths, results.__setitem__)
    recorded = [isinstance(result, str) for result in results.values()]
    assert recorded == [fstype == "ext4"] * 2
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


def test_a_sidecar_that_comes_right_after_the_look_was_not_there(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verify(path: str, **options: Any) -> None:
        try:
            verify_file(path, **options)
        finally:
            write_checksum_file(target)

    monkeypatch.setattr("safeatomic_core._cli.checksums.verify_file", verify)
    assert main(["verify", str(target)]) == 1
    assert capsys.readouterr().out == f"{target}: NO SIDECAR\n"


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


def test_the_sidecar_that_is_named_is_the_one_beside_the_file_of_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "below").mkdir()
    link = tmp_path / "below" / "link"
    link.symlink_to("../a")
    written = os.path.realpath(tmp_path / "a.sha256")
    assert write_checksum_file(link) == Path(written)
    assert main(["checksum", str(link), str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.splitlines() == [written, str(tmp_path / "a.sha256")]
    assert os.listdir(tmp_path / "below") == ["link"]
