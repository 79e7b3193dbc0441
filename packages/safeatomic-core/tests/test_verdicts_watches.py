"""The watches behind what is known: whose they are, how many, and what makes one useless."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mount_tables import with_own_mounts
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core import inspect_guarantees
from safeatomic_core._forks import generation
from safeatomic_core._guarantees import GuaranteeReport
from safeatomic_core._verdicts import verdict_on


def test_a_table_that_keeps_changing_is_read_a_few_times_and_not_remembered(
    tmp_path: Path, fake: Any
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    fake.changing = True
    assert inspect_guarantees(tmp_path).environment.filesystem == "ext4"
    assert fake.reads == verdicts._ATTEMPTS
    assert fake.open_now == 0
    assert verdicts._idle == []


@pytest.mark.parametrize("interrupted", [1, 2])
def test_a_watch_that_is_interrupted_is_closed(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    inspect_guarantees(tmp_path)
    asked: list[object] = []

    def unchanged(watch: object) -> bool:
        asked.append(watch)
        if len(asked) == interrupted:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(fake, "unchanged", unchanged)
    with pytest.raises(KeyboardInterrupt):
        verdict_on(os.makedev(250, 77))
    assert fake.open_now == 0
    assert verdicts._idle == []


def test_a_process_that_left_its_mount_namespace_starts_a_new_watch(
    tmp_path: Path, fake: Any
) -> None:
    device = tmp_path.stat().st_dev
    fake.table = fake.mounted(device, "ext4")
    inspect_guarantees(tmp_path)
    verdicts._idle[0].namespace = 2  # type: ignore[attr-defined]
    verdict_on(os.makedev(250, 77))  # unknown so far: the table of which namespace is asked?
    assert fake.made == 2
    assert fake.open_now == 1


def test_a_stale_idle_watch_is_replaced_before_reading(tmp_path: Path, fake: Any) -> None:
    fake.table = fake.mounted(tmp_path.stat().st_dev, "ext4")
    verdicts._idle.append(mounts.MountWatch())
    fake.table += fake.mounted(os.makedev(250, 77), "xfs", point="/new")
    verdicts._put_back(verdicts._take_watch())
    assert (fake.made, fake.open_now) == (2, 1)


def test_only_a_few_watches_are_kept(fake: Any) -> None:
    watches = [verdicts._take_watch() for _ in range(verdicts._MOST_IDLE + 3)]
    for watch in watches:
        verdicts._put_back(watch)
    assert fake.open_now == verdicts._MOST_IDLE


def test_threads_at_once_get_the_same_answer(tmp_path: Path) -> None:
    verdicts.forget()  # what other tests made the library believe
    answers: list[GuaranteeReport] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        answers.extend(inspect_guarantees(tmp_path) for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 1200
    assert len(set(answers)) == 1
    assert len(verdicts._idle) <= verdicts._MOST_IDLE


def test_a_forked_child_asks_for_itself(tmp_path: Path) -> None:
    inspect_guarantees(tmp_path)
    if not verdicts._idle:
        pytest.skip("this /proc cannot be watched")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            inspect_guarantees(tmp_path)
            code = 0 if verdicts._idle[-1]._born == generation() else 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_remount_is_noticed_at_the_next_look(tmp_path: Path) -> None:
    """The whole chain on the real kernel, with a tmpfs that becomes read-only."""

    def body(mount: Callable[..., bool]) -> None:
        if not mount("none", tmp_path, "tmpfs"):
            os._exit(77)
        device = tmp_path.stat().st_dev
        for _ in range(2):
            assert "ro" not in verdict_on(device).environment.mount_options
        assert mount("none", tmp_path, "tmpfs", 0x20 | 1)  # MS_REMOUNT, MS_RDONLY
        assert "ro" in verdict_on(device).environment.mount_options
        assert ctypes.CDLL(None).umount(os.fsencode(tmp_path)) == 0
        assert verdict_on(device).environment.filesystem == "unknown"

    with_own_mounts(body)


def test_a_mount_table_that_cannot_be_opened_is_asked_for_once(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def refuse() -> None:
        tries.append(1)
        raise PermissionError(errno.EACCES, "no /proc")

    monkeypatch.setattr(verdicts, "_take_watch", refuse)
    inspect_guarantees(tmp_path)
    assert len(tries) == 1
