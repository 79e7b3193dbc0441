from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import release_lock, try_acquire_lock
from safeatomic_core._cli import locks, main
from safeatomic_core._lock_api import inspect_beside
from safeatomic_core._lock_file import PINNED


def leave_dead_lock(path: Path) -> int:
    """Let a process die while it holds the lock of a file; return its number."""
    code = (
        "import os, sys, safeatomic_core as s; assert s.try_acquire_lock(sys.argv[1]); os._exit(0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    assert process.wait() == 0
    return process.pid


def test_locks_shows_a_file_s_and_a_directory_s(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locks", str(target)]) == 1
    try_acquire_lock(target)
    assert main(["locks", str(target)]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{target}: locked by process {os.getpid()} on ")
    assert line.endswith("s ago (alive: yes)\n")
    assert main(["locks", str(target.parent), "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["path"] == str(target)
    assert shown["age_s"] >= 0
    release_lock(target)
    assert main(["locks", str(target.parent)]) == 1


def test_one_odd_name_does_not_end_the_list(
    target: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (
        (".lock", ""),
        ("poetry.lock", "# generated\n\n[[package]]\n"),
        ("uv.lock", "version = 1\n"),
        ("Pipfile.lock", '{"_meta": {}}'),
    ):
        target.with_name(name).write_text(content)
    target.with_name("dir.lock").mkdir()
    assert main(["locks", str(target.parent)]) == 1
    try_acquire_lock(target)
    assert main(["locks", str(target.parent)]) == 0
    assert capsys.readouterr().out.count("\n") == 1

    def inspect(path: str) -> Any:
        if path.endswith("Pipfile"):
            raise OSError(5, "no", path)
        return inspect_beside(path)

    monkeypatch.setattr(locks, "inspect_beside", inspect)
    assert main(["locks", str(target.parent)]) == 2
    out = capsys.readouterr()
    assert str(target) in out.out
    assert "Pipfile: no" in out.err
    release_lock(target)


def test_a_lock_s_text_cannot_forge_a_line(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = {
        "version": 1,
        "pid": 1,
        "hostname": "h\nforged: not locked\x1b[2J",
        "session_hash": None,
        "timestamp": "2020-01-01T00:00:00Z",
        "kernel_lock": "flock",
        "token": "0" * 16,
    }
    Path(f"{target}.lock").write_text(json.dumps(payload))
    assert main(["locks", str(target)]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert " days ago (alive: no)" in line


def test_unlock_says_whose_lock_it_removed(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unlock", str(target), "--stale"]) == 1
    assert capsys.readouterr().err == f"safeatomic: nothing removed; {target}: not locked\n"
    pid = leave_dead_lock(target)
    assert main(["unlock", str(target), "--stale"]) == 0
    assert f"removed the lock of {target} by process {pid} on " in capsys.readouterr().out
    try_acquire_lock(target)
    assert main(["unlock", str(target), "--stale", "--max-age", "0"]) == 1
    assert "alive: yes" in capsys.readouterr().err
    assert main(["unlock", str(target), "--force"]) == 0
    assert f"process {os.getpid()} on " in capsys.readouterr().out
    release_lock(target)


def test_a_lock_that_says_nothing_of_its_holder_is_shown_all_the_same(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Path(f"{target}.lock")
    lock.touch(0o600)
    lock.chmod(0o1600)  # ours, whose payload was lost in a crash
    assert main(["locks", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: locked (alive: no)\n"
    lock.unlink()
    lock.write_bytes(b"junk")
    assert main(["locks", str(target)]) == 0
    assert "not a lock of this library" in capsys.readouterr().out
    payload = {"version": 1, "pid": 1, "hostname": "elsewhere", "session_hash": None}
    lock.write_text(json.dumps({**payload, "timestamp": "2020-01-01T00:00:00Z"}))
    assert main(["locks", str(target)]) == 0
    assert "on elsewhere" in capsys.readouterr().out


def test_clean_removes_orphans_and_dead_locks_and_says_whose(
    target: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = target.with_name(".safeatomic-tmp-0123456789abcdef.tmp")
    orphan.write_bytes(b"12345")
    pid = leave_dead_lock(target)
    try_acquire_lock(target.with_name("busy"))
    target.with_name("poetry.lock").write_bytes(b"a\nb\n")
    lock = f"{target}.lock by process {pid} on "
    assert main(["clean", str(target.parent), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"would remove {orphan} of user {pwd.getpwuid(os.geteuid()).pw_name} (5 bytes)"
    assert second.startswith(f"would remove {lock}")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # nobody has a name
    assert main(["clean", str(target.parent)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"removed {orphan} of user {os.geteuid()} (5 bytes)"
    assert second.startswith(f"removed {lock}")
    assert sorted(os.listdir(target.parent)) == ["busy.lock", "data.bin", "poetry.lock"]
    release_lock(target.with_name("busy"))
    assert main(["clean", str(target)]) == 2


def test_clean_goes_on_after_a_lock_that_cannot_be_removed(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_dead_lock(target)

    def release(_path: str) -> bool:
        raise OSError(13, "Permission denied", str(target))

    monkeypatch.setattr(locks, "release_stale_beside", release)
    assert main(["clean", str(target.parent)]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_lock_beside_a_link_is_judged_by_its_own_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    leave_dead_lock(here / "app")
    (here / "app").symlink_to(there / "real")
    assert try_acquire_lock(there / "real")
    assert main(["locks", str(here)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{here}/app: locked by process ")
    assert shown.endswith("(alive: no)\n")
    assert main(["clean", str(here)]) == 0
    assert f"removed {here}/app.lock by process " in capsys.readouterr().out
    assert os.listdir(here) == ["app"]
    assert main(["locks", str(here)]) == 1
    assert main(["locks", str(here / "app"), "--json"]) == 0
    (link,) = json.loads(capsys.readouterr().out)
    assert link["lock_path"] == os.path.realpath(there / "real.lock")
    assert release_lock(there / "real")


def test_a_dead_lock_with_a_shared_flock_is_said_to_be_kept(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = leave_dead_lock(target)
    with open(f"{target}.lock") as pin:
        fcntl.flock(pin, fcntl.LOCK_SH)
        assert main(["unlock", "--stale", str(target)]) == 1
        assert PINNED in capsys.readouterr().err
        for options in ([], ["--dry-run"]):
            assert main(["clean", str(target.parent), *options]) == 2
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err == f"safeatomic: {target}.lock: cannot remove it: {PINNED}\n"
        assert main(["lock", str(target), "--", "true"]) == 1
        said = capsys.readouterr()
        assert f"locked by process {pid}" in said.err
        assert said.err.endswith(f"(alive: no): {PINNED}\n")
        assert main(["write", str(target), "--from", str(target)]) == 1
        assert f"which is dead, but {PINNED}" in capsys.readouterr().err
    assert main(["unlock", "--force", str(target)]) == 0


def test_a_directory_that_cannot_be_listed_is_named(
    target: Path, faults: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(os.listdir("/dev/fd"))
    assert main(["clean", str(target.parent)]) == 0
    assert len(os.listdir("/dev/fd")) == before
    faults.fail("listdir", errno.EIO)
    assert main(["clean", str(target.parent)]) == 2
    assert capsys.readouterr().err == f"safeatomic: {target.parent}: {os.strerror(errno.EIO)}\n"


def test_clean_says_what_it_could_not_remove(
    target: Path, faults: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    orphan = target.with_name(".safeatomic-tmp-0123456789abcdef.tmp")
    orphan.touch()
    faults.fail("unlink", errno.EROFS)
    assert main(["clean", str(target.parent)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    reason = os.strerror(errno.EROFS)
    assert captured.err == f"safeatomic: {orphan}: cannot remove it: {reason}\n"


def test_a_refusal_never_says_that_nobody_holds_the_lock(target: Path) -> None:
    assert "has released it since" in locks.conflict(str(target))
    try_acquire_lock(target)
    assert f"locked by process {os.getpid()}" in locks.conflict(str(target))
    release_lock(target)


def test_a_name_that_would_be_the_lock_of_a_directory_is_nobody_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("..lock", "...lock"):
        (tmp_path / name).write_text("{}")
    assert main(["locks", str(tmp_path)]) == 1
    assert main(["clean", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
