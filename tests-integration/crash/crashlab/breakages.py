"""Ways to break the library, one step of its protocol each; `mutants` lists the damage.

Each function returns a context manager that breaks the running library in its ``with`` block.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING
from unittest import mock

from safeatomic_core import _announcement, _lock, _move, _protocol, _settle
from safeatomic_core._posix import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from safeatomic_core import _target


def replace(owner: object, attribute: str, make: Callable[[Any], Any]) -> Any:
    """Replace an attribute with a value made from it; the caller's ``with`` undoes this."""
    return mock.patch.object(owner, attribute, make(getattr(owner, attribute)))


def skipping_fsync(skip: Callable[[int], bool]) -> Callable[[Any], Any]:
    def make(real: Callable[[int], None]) -> Callable[[int], None]:
        return lambda fd: None if skip(fd) else real(fd)

    return make


def is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def no_temp_fsync() -> Any:
    return replace(kernel, "fsync", skipping_fsync(is_file))


def no_directory_fsync() -> Any:
    return replace(kernel, "fsync", skipping_fsync(lambda fd: not is_file(fd)))


@contextlib.contextmanager
def rename_before_fsync() -> Iterator[None]:
    real_harden, real_publish = _protocol.Write.harden, _protocol.Write.publish

    def harden(write: _protocol.Write) -> None:
        with replace(kernel, "fsync", skipping_fsync(is_file)):
            real_harden(write)

    def publish(write: _protocol.Write) -> None:
        real_publish(write)
        kernel.fsync(write.temp.fd)

    with (
        mock.patch.object(_protocol.Write, "harden", harden),
        mock.patch.object(_protocol.Write, "publish", publish),
    ):
        yield


def unlink_first() -> Any:
    def make(real: Callable[..., None]) -> Callable[..., None]:
        def rename(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            with contextlib.suppress(FileNotFoundError):
                kernel.unlink(dst, dir_fd=dst_dir_fd)
            real(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        return rename

    return replace(kernel, "rename", make)


def in_place() -> Any:
    def stage(write: _protocol.Write) -> None:
        # The temp is the target itself; renaming a name to itself does nothing.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        write.temp.open(os.open, write.target.name, flags, 0o666, dir_fd=write.target.dir_fd)
        write.temp.name = write.target.name

    return mock.patch.object(_protocol.Write, "stage", stage)


@contextlib.contextmanager
def sidecar_after_data() -> Iterator[None]:
    real_announce, real_seal = _announcement.Announcement.announce, _announcement.Announcement.seal
    held: list[Callable[[], None]] = []

    def announce(
        announcement: _announcement.Announcement, sync_directory: Callable[[], None]
    ) -> None:
        held.append(sync_directory)

    def seal(announcement: _announcement.Announcement) -> None:
        real_announce(announcement, held.pop())
        real_seal(announcement)

    with (
        mock.patch.object(_announcement.Announcement, "announce", announce),
        mock.patch.object(_announcement.Announcement, "seal", seal),
    ):
        yield


@contextlib.contextmanager
def no_barrier() -> Iterator[None]:
    def without(real: Callable[..., None]) -> Callable[..., None]:
        return lambda announcement, _sync_directory: real(announcement, lambda: None)

    with (
        replace(_announcement.Announcement, "announce", without),
        replace(_announcement.Announcement, "retire", without),
    ):
        yield


def metadata_after_fsync() -> Any:
    def harden(write: _protocol.Write) -> None:
        kernel.fsync(write.temp.fd)
        with replace(kernel, "fsync", skipping_fsync(is_file)):
            real(write)

    real = _protocol.Write.harden
    return mock.patch.object(_protocol.Write, "harden", harden)


def no_source_sync() -> Any:
    def make(real: Callable[..., bool]) -> Callable[..., bool]:
        def settle_directory(target: _target.Target, safety: str, **own: int) -> bool:
            return True if target.path == sources[-1] else real(target, safety, **own)

        return settle_directory

    sources: list[str] = []
    real_init = _move._Move.__init__

    def init(move: Any, src: str, dst: str, *args: Any, **kwargs: Any) -> None:
        real_init(move, src, dst, *args, **kwargs)
        sources.append(move._src.path)

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(_move._Move, "__init__", init))
    stack.enter_context(replace(_move, "settle_directory", make))
    return stack


@contextlib.contextmanager
def seal_before_settle() -> Iterator[None]:
    real_settle, real_seal = _protocol.Write.settle, _protocol.Write.seal

    def settle(write: _protocol.Write) -> None:
        if write.announcement is not None:
            real_seal(write)
        real_settle(write)

    with (
        mock.patch.object(_protocol.Write, "settle", settle),
        mock.patch.object(_protocol.Write, "seal", return_value=None),
    ):
        yield


def record_unflushed() -> Any:
    def without_file_fsync(real: Callable[..., None]) -> Callable[..., None]:
        def harden(*args: Any, **options: Any) -> None:
            with replace(kernel, "fsync", skipping_fsync(is_file)):
                real(*args, **options)

        return harden

    return replace(_announcement.Announcement, "harden", without_file_fsync)


def displaced_unlinked_early() -> Any:
    def make(real: Callable[..., None]) -> Callable[..., None]:
        def announce(announcement: Any, sync_directory: Callable[[], None]) -> None:
            real(announcement, sync_directory)
            announcement.drop_displaced()

        return announce

    return replace(_announcement.Announcement, "announce", make)


def no_resolve() -> Any:
    def without(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda announcement, present, algo, _sync: real(
            announcement, present, algo, lambda: None
        )

    return replace(_announcement.Announcement, "_resolve", without)


def no_takeover_sync() -> Any:
    def without_sync(real: Callable[..., bool]) -> Callable[..., bool]:
        def clear(lock: _lock.Lock, stale: Any) -> bool:
            with replace(_settle, "settle_directory", lambda _real: lambda *_args, **_own: True):
                return real(lock, stale)

        return clear

    return replace(_lock.Lock, "_clear", without_sync)


def source_unflushed() -> Any:
    def harden(move: Any) -> None:
        with replace(kernel, "fsync", skipping_fsync(is_file)):
            real(move)

    real = _move._Move.harden
    return mock.patch.object(_move._Move, "harden", harden)


def no_crash_mark() -> Any:
    return mock.patch.object(_lock, "CRASH_MARK", 0)
