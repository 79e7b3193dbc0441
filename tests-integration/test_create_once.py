"""``overwrite=False``: of several programs that create one file, exactly one has created it.

Locking and not, with a checksum and without, with and without the kernel's RENAME_NOREPLACE, and
beside a program that knows nothing of us and says ``open(path, "x")``.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

import safeatomic_core as sa
from intruders import without
from safeatomic_core._posix import kernel

Way = Callable[[Path, bytes], None]

RACERS = 6


def locking(path: Path, content: bytes) -> None:
    sa.write_atomic_bytes(path, content, overwrite=False, retries=50, delay=0.001)


def unlocked(path: Path, content: bytes) -> None:
    sa.write_atomic_bytes(path, content, overwrite=False, concurrency="none")


def checked(path: Path, content: bytes) -> None:
    sa.write_atomic_bytes(
        path, content, overwrite=False, write_checksum=True, retries=50, delay=0.001
    )


def checked_unlocked(path: Path, content: bytes) -> None:
    sa.write_atomic_bytes(path, content, overwrite=False, write_checksum=True, concurrency="none")


def streamed(path: Path, content: bytes) -> None:
    with sa.AtomicWriter(path, overwrite=False, write_checksum=True, concurrency="none") as file:
        file.write(content)


def stranger(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)


FIELDS: dict[str, tuple[Way, ...]] = {
    "locking": (locking,),
    "not locking": (unlocked,),
    "checked, locking": (checked,),
    "checked, not locking": (checked_unlocked, streamed),
    "all kinds": (locking, unlocked, checked, checked_unlocked, streamed, locking),
    "beside a stranger": (checked, stranger, checked_unlocked),
}


def race(place: Path, ways: tuple[Way, ...]) -> tuple[Path, list[int], list[str]]:
    """Let processes create one file at a time; return it, the winners, and what was odd."""
    path = place / "f"
    gate_reader, gate_writer = os.pipe()
    children = []
    for number in range(RACERS):
        child = os.fork()
        if child == 0:
            code = 9
            try:
                os.close(gate_writer)
                os.read(gate_reader, 1)  # returns for all of them when the parent closes its end
                ways[number % len(ways)](path, b"by %d" % number)
                code = 0
            except (FileExistsError, sa.LockError):
                code = 1
            finally:
                os._exit(code)
        children.append(child)
    os.close(gate_reader)
    os.close(gate_writer)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    odd = [f"racer {number} ended with {code}" for number, code in enumerate(codes) if code > 1]
    return path, [number for number, code in enumerate(codes) if code == 0], odd


def flaws_after(path: Path, winners: list[int], ways: tuple[Way, ...]) -> Iterator[str]:
    if len(winners) != 1:
        yield f"winners: {winners}"
        return
    (winner,) = winners
    content = b"by %d" % winner
    if path.read_bytes() != content:
        yield f"{winner} won, and there is {path.read_bytes()!r}"
    left = sorted(os.listdir(path.parent))
    way = ways[winner % len(ways)]
    side = path.with_name("f.sha256")
    if way in (checked, checked_unlocked, streamed):
        line = f"{hashlib.sha256(content).hexdigest()}  f\n"
        if not side.exists() or side.read_text() != line:
            yield f"the winner's sidecar: {side.read_text() if side.exists() else None!r}"
    elif side.exists():
        yield f"a loser's sidecar: {side.read_text()!r}"
    if not {"f"} <= set(left) <= {"f", "f.sha256"}:
        yield f"left behind: {left}"


@pytest.mark.parametrize("kernel_has", ["noreplace", "links"])
@pytest.mark.parametrize("field", FIELDS)
def test_one_of_six_wins_and_its_sidecar_is_right(
    field: str,
    kernel_has: Literal["noreplace", "links"],
    tmp_path: Path,
    tally: Counter[str],
    *,
    long_run: bool,
) -> None:
    ways = FIELDS[field]
    flaws = []
    rounds = 400 if long_run else 25
    with ExitStack() as stack:
        if kernel_has == "links":
            stack.enter_context(without("rename_noreplace", errno.EINVAL))
        for number in range(rounds):
            place = tmp_path / str(number)
            place.mkdir()
            path, winners, odd = race(place, ways)
            flaws += [*odd, *flaws_after(path, winners, ways)]
    assert flaws == []
    tally["races of six to create one file"] += rounds


def test_a_look_and_then_a_rename_has_several_winners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the race is there to find."""

    def check_then_rename(src: str, dst: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        if kernel.exists_at(dst, dst_dir_fd):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst)
        kernel.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(kernel, "rename_noreplace", check_then_rename, raising=False)
    for number in range(500):
        place = tmp_path / str(number)
        place.mkdir()
        path, winners, _ = race(place, (unlocked,))
        if list(flaws_after(path, winners, (unlocked,))):
            return
    pytest.fail("six racers never met in 500 races")
