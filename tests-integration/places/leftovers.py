"""Places where something has the name of the lock or of the checksum."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import mounted
from safeatomic_core import try_acquire_lock, write_checksum_file

from .making import OTHER, STRANGER, become, chattr, target_in


def a_lock_of_another_tool(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.lock").mkdir()
    return target


def another_programs_list_at_the_sidecars_name(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.sha256").write_text(f"{'0' * 64}  another\n{'1' * 64}  one\n")
    return target


def a_directory_at_the_sidecars_name(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.sha256").mkdir()
    return target


def a_lock_that_is_a_fifo(work: Path) -> Path:
    target = target_in(work / "d")
    os.mkfifo(f"{target}.lock")
    return target


def an_empty_lock(work: Path) -> Path:
    target = target_in(work / "d")
    Path(f"{target}.lock").touch()
    return target


def a_lock_of_another_host(work: Path) -> Path:
    target = target_in(work / "d")
    fields = {"pid": 1, "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    Path(f"{target}.lock").write_text(json.dumps({"version": 1, "session_hash": None, **fields}))
    return target


def die_holding(target: Path, user: int = 0) -> None:
    if os.fork() == 0:
        become(user)
        try_acquire_lock(target)
        os._exit(0)
    os.wait()


def a_dead_lock(work: Path) -> Path:
    target = target_in(work / "d")
    die_holding(target)
    return target


def a_dead_lock_that_is_immutable(work: Path) -> Path:
    target = a_dead_lock(work)
    chattr("+i", Path(f"{target}.lock"))
    return target


def another_users_dead_lock_in_a_sticky_directory(work: Path) -> Path:
    target = target_in(work / "d", mode=0o1777).with_name("new")
    die_holding(target, OTHER)
    become(STRANGER)
    return target


def recorded(work: Path, *, mode: int = 0o755) -> Path:
    target = target_in(work / "d", mode=mode, owner=STRANGER)
    write_checksum_file(target)
    return target


def a_checksum_that_is_immutable(work: Path) -> Path:
    target = recorded(work)
    chattr("+i", Path(f"{target}.sha256"))
    return target


def a_checksum_that_is_mounted(work: Path) -> Path:
    target = recorded(work)
    shutil.copy(f"{target}.sha256", work / "source")
    mounted.mount(str(work / "source"), Path(f"{target}.sha256"), "none", flags=0x1000)
    return target


def somebody_elses_checksum_in_a_sticky_directory(work: Path) -> Path:
    target = recorded(work, mode=0o1777)
    os.chown(f"{target}.sha256", OTHER, OTHER)
    os.chmod(f"{target}.sha256", 0o644)
    become(STRANGER)
    return target


def somebody_elses_checksum_that_may_not_be_read(work: Path) -> Path:
    target = recorded(work, mode=0o777)
    os.chown(f"{target}.sha256", OTHER, OTHER)
    os.chmod(f"{target}.sha256", 0o600)
    become(STRANGER)
    return target
