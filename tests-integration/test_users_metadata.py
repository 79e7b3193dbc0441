"""Several users in one directory, as real processes: who verifies a file; its mode and owner.

`docs/guarantees.md` has the table of what is tried here.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import safeatomic_core as sa
from user_places import PLACES, WHO, Place, every_place, give, is_done, make, outcome
from users import (
    ALICE,
    BOB,
    CAP_CHOWN,
    CAP_FOWNER,
    GROUP,
    as_user,
    in_container,
    without_capabilities,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users"),
]


@every_place
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_those_who_can_read_the_data_verify_it_and_nobody_else_learns_the_digest(
    common: Path, place: Place, mode: int
) -> None:
    """Recorded by each user who can; fewer only where the data's group cannot be given."""
    folder = make(common, place)
    path = give(folder / "f", ALICE, GROUP, mode)
    for name, recorder in WHO.items():
        if not is_done(recorder, lambda: sa.write_checksum_file(path)):
            continue
        for reader in WHO.values():
            reads = is_done(reader, path.read_bytes)
            knows = is_done(reader, (folder / "f.sha256").read_bytes)
            assert knows <= reads, name
            if recorder.uid in (0, ALICE) or mode & 0o004:
                assert knows == reads, name
                assert is_done(reader, lambda: sa.verify_checksum(path)) == reads
        (folder / "f.sha256").unlink()


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def loudly(work: Callable[[], object]) -> list[str]:
    """Return the warnings that a call logs."""
    handler = _Records()
    logging.getLogger("safeatomic").addHandler(handler)
    work()
    return handler.texts


def test_an_everyday_group_directory_is_written_without_a_warning(common: Path) -> None:
    folder = make(common, PLACES["a group's, setgid"])
    path = give(folder / "f", ALICE, GROUP, 0o664)
    for who in ("bob", "alice", "bob"):
        user = WHO[who]
        warnings = as_user(
            user.uid,
            lambda: loudly(lambda: sa.write_atomic_bytes(path, b"new", write_checksum=True)),
            user.groups,
        )
        assert warnings == []
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (user.uid, GROUP)
        assert stat.S_IMODE(status.st_mode) == 0o664


@pytest.mark.parametrize("lost", [(), (CAP_FOWNER,), (CAP_CHOWN,), (CAP_CHOWN, CAP_FOWNER)])
@pytest.mark.parametrize("mode", [0o644, 0o4755, 0o2775])
def test_root_with_fewer_capabilities_lends_nobody_set_id_rights(
    common: Path, lost: tuple[int, ...], mode: int
) -> None:
    path = give(make(common, PLACES["her own"]) / "f", ALICE, BOB, mode)

    def write() -> str:
        without_capabilities(*lost)()
        return outcome(lambda: sa.write_atomic_bytes(path, b"new", write_checksum=True))()

    assert as_user(0, write) == "done"
    status = path.stat()
    kept = (status.st_uid, status.st_gid) == (ALICE, BOB)
    assert kept == (CAP_CHOWN not in lost)
    found = stat.S_IMODE(status.st_mode)
    assert found & 0o777 == mode & 0o777
    assert found in (mode, mode & 0o777) if kept else found == mode & 0o777
    assert as_user(ALICE, lambda: sa.verify_checksum(path))


def test_in_a_container_a_file_of_an_unmapped_owner_is_replaced(common: Path) -> None:
    folder = make(common, PLACES["her own"])
    path = give(folder / "f", BOB, BOB, 0o6666)
    try:
        owner, warnings = in_container(
            ALICE,
            lambda: (
                path.stat().st_uid,
                [
                    *loudly(lambda: sa.write_atomic_bytes(path, b"one", write_checksum=True)),
                    *loudly(lambda: sa.write_atomic_bytes(path, b"two", write_checksum=True)),
                ],
            ),
        )
    except OSError as error:
        pytest.skip(f"no user namespace here ({error})")
    assert owner == 65534
    status = path.stat()
    assert (path.read_bytes(), status.st_uid) == (b"two", ALICE)
    assert stat.S_IMODE(status.st_mode) == 0o666
    assert len(warnings) <= 1
    assert sorted(os.listdir(folder)) == ["f", "f.sha256"]
    assert sa.verify_checksum(path)


def test_the_interpreter_s_own_folder_need_not_be_readable(common: Path) -> None:
    """What this file relies on: everything was loaded before the user was changed."""
    assert as_user(ALICE, lambda: "hashlib" in sys.modules and "ctypes" in sys.modules)
