"""Several users in one directory, as real processes: what each of them may do, and learns.

`docs/guarantees.md` has the table of what is tried here and in `test_sidecar_users.py`.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import safeatomic_core as sa
from safeatomic_core._posix import kernel
from user_places import PLACES, WHO, Place, Who, every_place, give, is_done, make, outcome
from users import (
    ALICE,
    BOB,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAROL,
    GROUP,
    answer_system_call,
    as_user,
    become,
    without_capabilities,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users"),
]


def open_for_writing(path: Path) -> Callable[[], None]:
    return lambda: os.close(os.open(path, os.O_WRONLY))


def in_and_out(folder: Path) -> Callable[[], None]:
    """Return a function that makes a name in a directory, and removes it."""

    def work() -> None:
        made = folder / "probe"
        made.touch()
        made.unlink()
        os.close(os.open(folder, os.O_RDONLY))  # to flush it

    return work


def by_rename(folder: Path, path: Path) -> Callable[[], None]:
    """Return a function that renames over a file, and so asks the kernel alone."""

    def work() -> None:
        other = folder / "other"
        other.touch()
        try:
            other.rename(path)
        except OSError:
            other.unlink()
            raise

    return work


# ------------------------------------------------------------------------- who may replace a file


@every_place
@pytest.mark.parametrize("mode", [0o644, 0o664, 0o444, 0o600, 0o666])
@pytest.mark.parametrize("owner", ["alice", "root"])
def test_a_file_is_replaced_by_those_who_could_write_it_and_rename_over_it(
    common: Path, place: Place, mode: int, owner: str, tally: Counter[str]
) -> None:
    """And by the directory's owner, if others left it there; the kernel itself is asked."""
    folder = make(common, place)
    sticky = stat.S_ISVTX | stat.S_IWOTH
    group = GROUP if place.mode & stat.S_ISGID else WHO[owner].uid

    def anew() -> Path:
        for left in folder.iterdir():
            left.unlink()
        return give(folder / "f", WHO[owner].uid, group, mode)

    for name, who in WHO.items():
        path = anew()
        owners = path.stat().st_uid, place.uid
        may_write = is_done(who, open_for_writing(path)) or owners[0] != who.uid == owners[1]
        if place.mode & sticky == sticky and owners[0] not in (who.uid, owners[1]):
            may_write = False  # protected_regular, for root as well
        may_rename = is_done(who, in_and_out(folder)) and is_done(who, by_rename(folder, path))
        may_read = is_done(who, anew().read_bytes)
        for write in (a_plain_write, a_checked_write):
            path = anew()
            inode = path.stat().st_ino
            done = is_done(who, partial(write, path))
            # A checked write has to hash what it replaces.
            may = may_write and may_rename and (may_read or write is a_plain_write)
            assert done == may, (name, write)
            if not done:
                assert (path.read_bytes(), path.stat().st_ino) == (b"old", inode)
            assert set(os.listdir(folder)) <= {"f", "f.sha256"}, name
            tally["files that one user has and another is to replace"] += 1


def a_plain_write(path: Path) -> None:
    sa.write_atomic_bytes(path, b"new")


def a_checked_write(path: Path) -> None:
    sa.write_atomic_bytes(path, b"new", write_checksum=True)


def test_a_file_that_an_acl_lets_a_user_write_is_replaced(common: Path) -> None:
    if shutil.which("setfacl") is None:
        pytest.skip("no setfacl on this machine")
    path = give(make(common, PLACES["everybody's"]) / "f", ALICE, ALICE, 0o640)
    done = subprocess.run(["setfacl", "-m", f"u:{BOB}:rw", path], check=False)
    if done.returncode:
        pytest.skip("this filesystem has no ACLs")
    write = outcome(lambda: sa.write_atomic_bytes(path, b"new"))
    assert as_user(CAROL, write) == "EACCES"
    assert as_user(BOB, write) == "done"
    assert path.read_bytes() == b"new"


def test_a_running_program_is_replaced_and_runs_on(common: Path) -> None:
    path = make(common, PLACES["her own"]) / "program"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    os.chown(path, ALICE, ALICE)
    path.chmod(0o755)
    with subprocess.Popen([path, "60"]) as running:
        try:
            assert as_user(ALICE, outcome(open_for_writing(path))) == "ETXTBSY"
            assert as_user(ALICE, outcome(lambda: sa.write_atomic_bytes(path, b"new"))) == "done"
            assert running.poll() is None
        finally:
            running.kill()
    assert path.read_bytes() == b"new"


def test_a_filter_that_denies_the_question_denies_no_write(common: Path) -> None:
    folder = make(common, PLACES["her own"])
    mine, closed = give(folder / "f", ALICE, ALICE, 0o644), give(folder / "g", ALICE, ALICE, 0o444)

    def filtered() -> tuple[bool, str, str]:
        faccessat2 = 439  # the same number on every architecture (syscalls(2))
        answer_system_call(faccessat2, errno.EPERM)
        asked = kernel.access(str(mine), os.W_OK, -1)
        writes = [outcome(partial(a_plain_write, path))() for path in (mine, closed)]
        return asked, writes[0], writes[1]

    try:
        answers = as_user(ALICE, filtered)
    except OSError as error:
        pytest.skip(f"no filter can be installed ({error})")
    assert answers[1:] == ("done", "EACCES")
    if answers[0]:
        pytest.skip("this C library does not ask by faccessat2")


@pytest.mark.parametrize("keeps", [True, False], ids=["with", "without"])
def test_root_may_do_what_its_capability_to_override_allows(common: Path, *, keeps: bool) -> None:
    folder = make(common, Place(0o777, ALICE, ALICE))
    path = give(folder / "f", ALICE, ALICE, 0o644)

    def write() -> str:
        if not keeps:
            without_capabilities(CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)()
        return outcome(lambda: sa.write_atomic_bytes(path, b"new"))()

    assert as_user(0, write) == ("done" if keeps else "EACCES")
    assert path.read_bytes() == (b"new" if keeps else b"old")


# ---------------------------------------------------------------------------------- locks, moves


@contextmanager
def held_by(who: Who, path: Path) -> Iterator[None]:
    """Let a user hold a lock for the length of a block."""
    until, end = os.pipe()
    taken, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(end)
            become(who.uid, who.groups)
            if sa.try_acquire_lock(path):
                os.write(told, b"x")
                os.read(until, 1)
                sa.release_lock(path)
        finally:
            os._exit(0)
    os.close(told)
    try:
        assert os.read(taken, 1) == b"x"
        yield
    finally:
        for descriptor in (until, end, taken):
            os.close(descriptor)
        os.waitpid(child, 0)


@every_place
def test_a_living_colleague_is_contention_and_a_dead_one_is_no_obstacle(
    common: Path, place: Place
) -> None:
    folder = make(common, place)
    path = folder / "f"
    for name, who in WHO.items():
        maker = Who(BOB, (GROUP,)) if name != "bob" else WHO["alice"]
        if not (is_done(maker, in_and_out(folder)) and is_done(who, in_and_out(folder))):
            continue
        as_user(maker.uid, lambda: sa.try_acquire_lock(path), maker.groups)  # and die with it
        lock = folder / "f.lock"
        removable = is_done(who, partial(os.rename, lock, f"{lock}.x"))
        if removable:
            os.rename(f"{lock}.x", lock)
        taken = as_user(who.uid, lambda: sa.try_acquire_lock(path), who.groups)
        assert taken == removable, name
        lock.unlink()

        with held_by(maker, path):
            assert as_user(who.uid, lambda: sa.try_acquire_lock(path), who.groups) is False
            write = outcome(lambda: sa.write_atomic_bytes(path, b"x"))
            assert as_user(who.uid, write, who.groups) == "LockError"


@every_place
@pytest.mark.parametrize("kernel_has", ["noreplace", "links"])
def test_a_move_happens_or_does_not_and_never_half(
    common: Path, place: Place, kernel_has: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sticky directory lets a file be linked by those who may not remove it."""
    folder = make(common, place)
    if kernel_has == "links":

        def missing(*_args: object) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(kernel, "rename_noreplace", missing, raising=False)
    for name, who in WHO.items():
        path = give(folder / "f", ALICE, GROUP, 0o666)
        done = is_done(who, partial(sa.move_atomic, path, folder / "g"))
        assert sorted(os.listdir(folder)) == (["g"] if done else ["f"]), name
        for left in folder.iterdir():
            left.unlink()


def test_a_link_of_somebody_else_s_in_a_sticky_directory_is_not_followed(common: Path) -> None:
    folder = make(common, PLACES["everybody's, sticky"])
    theirs = give(common / "theirs", ALICE, ALICE, 0o666)
    link = folder / "f"
    link.symlink_to(theirs)
    os.lchown(link, BOB, BOB)
    for call in (
        lambda: sa.write_atomic_bytes(link, b"new"),
        lambda: sa.read_atomic_bytes(link),
        lambda: sa.verify_checksum(link),
        lambda: sa.move_atomic(link, common / "g"),
    ):
        assert as_user(ALICE, outcome(call)) == "EACCES"
        assert as_user(0, outcome(call)) == "EACCES"
    os.lchown(link, ALICE, ALICE)
    assert as_user(ALICE, outcome(lambda: sa.read_atomic_bytes(link))) == "done"
    assert theirs.read_bytes() == b"old"


def test_a_dead_lock_in_a_directory_that_may_not_be_read_says_how_it_is_removed(
    common: Path,
) -> None:
    path = make(common, Place(0o300, ALICE, ALICE)) / "f"
    assert as_user(ALICE, lambda: sa.try_acquire_lock(path))  # and die with it
    with pytest.raises(PermissionError, match=r"opened for reading; .* release_stale_lock\(\)"):
        as_user(ALICE, lambda: sa.try_acquire_lock(path))
    assert as_user(ALICE, lambda: sa.release_stale_lock(path))
    assert as_user(ALICE, lambda: sa.try_acquire_lock(path))
    assert as_user(ALICE, lambda: sa.try_acquire_lock(path, safety="best_effort"))
