"""What a watch had open that was lost, interrupted or left: by whom and when it is closed."""

from __future__ import annotations

import gc
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from mount_tables import needs_mountinfo
from safeatomic_core import _environment as environment
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core._mounts import MountWatch

pytestmark = needs_mountinfo


def test_what_a_lost_watch_had_open_is_closed_by_the_next(watch: MountWatch) -> None:
    gc.collect()
    verdicts.forget()  # what other tests left
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        MountWatch()
    last = MountWatch()
    gc.collect()
    verdicts.forget()  # or by this
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    last.close()
    assert watch.unchanged()


def test_the_next_watch_closes_what_a_lost_one_had_open() -> None:
    gc.collect()
    mounts.close_lost()
    before = len(os.listdir("/proc/self/fd"))
    MountWatch()
    gc.collect()
    last = MountWatch()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    last.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_watch_is_remembered_nowhere() -> None:
    before = len(mounts._tables)
    MountWatch().close()
    assert len(mounts._tables) == before


def test_what_a_lost_watch_had_open_is_closed_when_verdicts_are_forgotten() -> None:
    number = MountWatch()._fd
    gc.collect()
    verdicts.forget()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_number_that_a_lost_watch_had_is_not_closed_under_another_file(tmp_path: Path) -> None:
    watch = MountWatch()
    number = watch._fd
    other = os.open(tmp_path, os.O_RDONLY)
    os.dup2(other, number)
    del watch
    gc.collect()
    mounts.close_lost()
    os.fstat(number)
    os.close(number)
    os.close(other)


def test_only_one_of_two_threads_closes_what_a_lost_watch_had_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watch = MountWatch()
    number = watch._fd
    (table,) = [one for one in mounts._tables if one.fd == number]
    really = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = really(fd)
        monkeypatch.undo()
        table.close()  # the other thread, meanwhile
        assert os.open(tmp_path, os.O_RDONLY) == number  # and a third
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    table.close()
    os.fstat(number)
    os.close(number)


@pytest.mark.parametrize("call", ["lseek", "fstat"])
def test_a_watch_that_is_interrupted_while_it_is_closed_is_closed_by_the_next(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    watch = MountWatch()
    number = watch._fd
    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            watch.close()
    os.fstat(number)
    del watch
    gc.collect()
    mounts.close_lost()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("moment", ["opened", "begun", "read"])
def test_an_interrupted_look_leaves_no_descriptor(
    watch: MountWatch, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    watch.close()
    verdicts.forget()
    if moment == "opened":
        monkeypatch.setattr(os, "lseek", interrupt)
    elif moment == "begun":
        monkeypatch.setattr(select, "poll", interrupt)
    else:
        monkeypatch.setattr(environment, "find_mount", interrupt)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        verdicts.look(os.stat("/").st_dev, None, "/")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_the_interpreter_ends_quietly_with_a_watch_left_open(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-c",
            "from safeatomic_core import inspect_guarantees; inspect_guarantees('/')",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(mounts.__file__).parents[1])},
        cwd=tmp_path,
    )
    assert done.stderr == ""
