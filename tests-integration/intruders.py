"""Another program that puts its own file at the sidecar's name, before a chosen system call.

It takes no lock and does not know this library, like ``sha256sum * > data.sha256``. In every case
its file must exist afterwards, and the data must be old or new, as the call reported.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safeatomic_core as sa
from safeatomic_core._posix import intercept, kernel

LIST = b"0" * 64 + b"  a\n" + b"1" * 64 + b"  b\n" + b"2" * 64 + b"  c\n"


def by_rename(side: Path) -> None:
    other = side.with_name("theirs")
    other.write_bytes(LIST)
    other.rename(side)


def in_place(side: Path) -> None:
    side.write_bytes(LIST)


def by_appending(side: Path) -> None:
    with side.open("ab") as file:
        file.write(LIST)


def anew(side: Path) -> None:
    side.unlink(missing_ok=True)
    by_rename(side)


WAYS = (by_rename, in_place, by_appending, anew)


def a_checked_write(data: Path) -> None:
    sa.write_atomic_bytes(data, b"new", write_checksum=True)


def an_unchecked_write(data: Path) -> None:
    sa.write_atomic_bytes(data, b"new")


def a_recording(data: Path) -> None:
    sa.write_checksum_file(data)


def a_move_here(data: Path) -> None:
    sa.move_atomic(data.with_name("source"), data, force=True)


def a_move_away(data: Path) -> None:
    sa.move_atomic(data, data.with_name("elsewhere"))


CALLS = (a_checked_write, an_unchecked_write, a_recording, a_move_here, a_move_away)
BEFORE = ("checked", "unchecked", "unsealed")


class Visit(NamedTuple):
    """One call with an intruder in it.

    Attributes:
        came: Whether the call was long enough for the intruder to come.
        entry: The system call it came before.
        flaws: What is wrong afterwards.
    """

    came: bool
    entry: str
    flaws: list[str]


class _Intruder:
    """Comes before one system call; may make the rename over the data fail, and exchanges."""

    def __init__(
        self, side: Path, way: Callable[[Path], None], number: int, *, fails: bool, old: bool
    ) -> None:
        self._side, self._way, self._number = side, way, number
        self._fails, self._old = fails, old
        self._count = 0
        self._busy = False
        self.entry = ""

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._busy:
                return call(*args, **kwargs)
            self._count += 1
            if self._count == self._number:
                self.entry, self._busy = name, True
                self._way(self._side)
                self._busy = False
            if name == "fsync":
                return None  # what survives a crash is for others to show
            if self._old and name == "rename_exchange":
                raise OSError(errno.EINVAL, "no exchange")
            if self._fails and name == "rename" and args[1] == self._side.stem:
                raise OSError(errno.EIO, "the device is broken")
            return call(*args, **kwargs)

        return wrapped


def visit(
    directory: Path,
    call: Callable[[Path], None],
    before: str,
    way: Callable[[Path], None],
    number: int,
    *,
    fails: bool = False,
    old_kernel: bool = False,
) -> Visit:
    """Make one call in an empty directory, with an intruder before its system call `number`."""
    data, side = directory / "data", directory / "data.sha256"
    _prepare(data, before)
    source = directory / "source"
    sa.write_atomic_bytes(source, b"new", write_checksum=True)
    intruder = _Intruder(side, way, number, fails=fails, old=old_kernel)
    error: BaseException | None = None
    with intercept(intruder.wrap):
        try:
            call(data)
        except (OSError, sa.SafeAtomicError) as caught:
            error = caught
    if not intruder.entry:
        return Visit(False, "", [])
    return Visit(True, intruder.entry, list(_flaws(directory, call, error, fails=fails)))


def _prepare(data: Path, before: str) -> None:
    sa.write_atomic_bytes(data, b"old", write_checksum=before != "unchecked")
    if before == "unsealed":
        side = data.with_name("data.sha256")
        side.write_bytes(side.read_bytes() + b"# previous=sha256:" + b"9" * 64 + b"\n")


def _flaws(
    directory: Path, call: Callable[[Path], None], error: BaseException | None, *, fails: bool
) -> Iterator[str]:
    left = {name: (directory / name).read_bytes() for name in os.listdir(directory)}
    side = left.get("data.sha256", b"")
    if not any(LIST in content for content in left.values()):
        yield f"the list is lost: {left} {error!r}"
    elif LIST not in side:
        aside = [name for name, content in left.items() if LIST in content]
        yield f"the list is at {aside}, not where it was put"
    temps = [n for n in left if n.startswith(".safeatomic-") and LIST not in left[n]]
    if temps:
        yield f"left behind: {temps}"
    if error is not None and not isinstance(error, FileExistsError) and not fails:
        yield f"fails: {error!r}"
    if call is a_move_away:
        moved = left.get("elsewhere", b"")
        if (moved, left.get("data")) not in ((b"old", None), (b"", b"old")):
            yield f"the file is at both places or at none: {sorted(left)}"
    elif left["data"] != (b"old" if error is not None or call is a_recording else b"new"):
        yield f"the data is {left['data']!r} after {error!r}"


@contextlib.contextmanager
def without(entry: str, code: int) -> Iterator[None]:
    """Let one system call be missing."""

    def missing(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    setattr(kernel, entry, missing)
    try:
        yield
    finally:
        delattr(kernel, entry)
