"""The library with one step of its protocol broken; the oracle must notice each of them.

A crash test that finds nothing proves something only if it would have found something. Each mutant
changes the running library (an entry of the seam, or the order of its steps), never a copy of it,
and names the workloads that show the damage. What a mutant breaks is a rule of
`docs/protocol.md` or `formal/notes-checksum.md`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

from safeatomic_core import _announcement, _lock, _move, _protocol, _settle
from safeatomic_core._posix import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from safeatomic_core import _target


@dataclass(frozen=True)
class Mutant:
    """One way to break the protocol.

    Attributes:
        name: What it is called in reports.
        about: What is broken.
        shows: What the damage is, in one line.
        where: Where it shows: filesystem, workload, noise and, if any, mount options.
        apply: Breaks the library for the length of a ``with`` block.
    """

    name: str
    about: str
    shows: str
    where: tuple[tuple[str, ...], ...]
    apply: Callable[[], AbstractContextManager[object]]


@contextlib.contextmanager
def applied(name: str | None) -> Iterator[None]:
    """Break the library inside a ``with`` block; None leaves it whole.

    A broken one does not start the disk early either (`docs/adr/0020-early-writeback.md`): what is
    on its way already hides that nobody waits for it. Nor does it flush a renamed file beside its
    directory (`docs/adr/0022-overtaken-flush.md`), which makes good for a directory that is not.
    """
    if name is None:
        yield
        return
    before = dict(vars(kernel))
    kernel.posix_fadvise = lambda *_: None
    try:
        with _replace(_settle, "OVERTAKEN", lambda _real: frozenset()), ALL[name].apply():
            yield
    finally:
        vars(kernel).clear()
        vars(kernel).update(before)


def _replace(owner: object, attribute: str, make: Callable[[Any], Any]) -> Any:
    """Replace an attribute with what is made from it, undone by the caller's ``with``."""
    return mock.patch.object(owner, attribute, make(getattr(owner, attribute)))


def _skipping_fsync(skip: Callable[[int], bool]) -> Callable[[Any], Any]:
    def make(real: Callable[[int], None]) -> Callable[[int], None]:
        return lambda fd: None if skip(fd) else real(fd)

    return make


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _no_temp_fsync() -> Any:
    return _replace(kernel, "fsync", _skipping_fsync(_is_file))


def _no_directory_fsync() -> Any:
    return _replace(kernel, "fsync", _skipping_fsync(lambda fd: not _is_file(fd)))


@contextlib.contextmanager
def _rename_before_fsync() -> Iterator[None]:
    real_harden, real_publish = _protocol.Write.harden, _protocol.Write.publish

    def harden(write: _protocol.Write) -> None:
        with _replace(kernel, "fsync", _skipping_fsync(_is_file)):
            real_harden(write)

    def publish(write: _protocol.Write) -> None:
        real_publish(write)
        kernel.fsync(write.temp.fd)

    with (
        mock.patch.object(_protocol.Write, "harden", harden),
        mock.patch.object(_protocol.Write, "publish", publish),
    ):
        yield


def _unlink_first() -> Any:
    def make(real: Callable[..., None]) -> Callable[..., None]:
        def rename(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            with contextlib.suppress(FileNotFoundError):
                kernel.unlink(dst, dir_fd=dst_dir_fd)
            real(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        return rename

    return _replace(kernel, "rename", make)


def _in_place() -> Any:
    def stage(write: _protocol.Write) -> None:
        # The temp is the target itself; renaming a name to itself does nothing.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        write.temp.open(os.open, write.target.name, flags, 0o666, dir_fd=write.target.dir_fd)
        write.temp.name = write.target.name

    return mock.patch.object(_protocol.Write, "stage", stage)


@contextlib.contextmanager
def _sidecar_after_data() -> Iterator[None]:
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
def _no_barrier() -> Iterator[None]:
    def without(real: Callable[..., None]) -> Callable[..., None]:
        return lambda announcement, _sync_directory: real(announcement, lambda: None)

    with (
        _replace(_announcement.Announcement, "announce", without),
        _replace(_announcement.Announcement, "retire", without),
    ):
        yield


def _metadata_after_fsync() -> Any:
    def harden(write: _protocol.Write) -> None:
        kernel.fsync(write.temp.fd)
        with _replace(kernel, "fsync", _skipping_fsync(_is_file)):
            real(write)

    real = _protocol.Write.harden
    return mock.patch.object(_protocol.Write, "harden", harden)


def _no_source_sync() -> Any:
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
    stack.enter_context(_replace(_move, "settle_directory", make))
    return stack


@contextlib.contextmanager
def _seal_before_settle() -> Iterator[None]:
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


def _record_unflushed() -> Any:
    def without_file_fsync(real: Callable[..., None]) -> Callable[..., None]:
        def harden(*args: Any, **options: Any) -> None:
            with _replace(kernel, "fsync", _skipping_fsync(_is_file)):
                real(*args, **options)

        return harden

    return _replace(_announcement.Announcement, "harden", without_file_fsync)


def _displaced_unlinked_early() -> Any:
    def make(real: Callable[..., None]) -> Callable[..., None]:
        def announce(announcement: Any, sync_directory: Callable[[], None]) -> None:
            real(announcement, sync_directory)
            announcement.drop_displaced()

        return announce

    return _replace(_announcement.Announcement, "announce", make)


def _no_resolve() -> Any:
    def without(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda announcement, present, algo, _sync: real(
            announcement, present, algo, lambda: None
        )

    return _replace(_announcement.Announcement, "_resolve", without)


def _no_takeover_sync() -> Any:
    def without_sync(real: Callable[..., bool]) -> Callable[..., bool]:
        def clear(lock: _lock.Lock, stale: Any) -> bool:
            with _replace(_settle, "settle_directory", lambda _real: lambda *_args, **_own: True):
                return real(lock, stale)

        return clear

    return _replace(_lock.Lock, "_clear", without_sync)


def _source_unflushed() -> Any:
    def harden(move: Any) -> None:
        with _replace(kernel, "fsync", _skipping_fsync(_is_file)):
            real(move)

    real = _move._Move.harden
    return mock.patch.object(_move._Move, "harden", harden)


def _no_crash_mark() -> Any:
    return mock.patch.object(_lock, "CRASH_MARK", 0)


ALL = {
    mutant.name: mutant
    for mutant in (
        Mutant(
            "no-temp-fsync",
            "the temp is not flushed before its rename",
            "a file of zeros or of no length under the name",
            (
                ("ext4", "create", "none"),
                ("ext4", "overwrite", "none", "noauto_da_alloc"),
                ("xfs", "overwrite", "none"),
                ("btrfs", "overwrite", "none"),
            ),
            _no_temp_fsync,
        ),
        Mutant(
            "no-directory-fsync",
            "the directory is not flushed after the rename",
            "an acknowledged version is gone",
            (
                ("ext4", "overwrite", "none"),
                ("xfs", "overwrite", "none"),
                ("btrfs", "overwrite", "none"),
            ),
            _no_directory_fsync,
        ),
        Mutant(
            "rename-before-fsync",
            "the temp is flushed after its rename",
            "a file of zeros or of no length under the name",
            (
                ("ext4", "create", "file"),
                ("xfs", "overwrite", "file"),
                ("btrfs", "create", "commit"),
            ),
            _rename_before_fsync,
        ),
        Mutant(
            "unlink-first",
            "the target is unlinked before the rename",
            "neither the old nor the new file",
            (
                ("ext4", "overwrite", "file"),
                ("xfs", "overwrite", "file"),
                ("btrfs", "overwrite", "commit"),
            ),
            _unlink_first,
        ),
        Mutant(
            "in-place",
            "the target is truncated and written",
            "half a file",
            (
                ("ext4", "overwrite", "file"),
                ("xfs", "overwrite", "file"),
                ("btrfs", "overwrite", "commit"),
            ),
            _in_place,
        ),
        Mutant(
            "sidecar-after-data",
            "the sidecar is replaced after the data",
            "new data beside the digest of the old",
            (
                ("ext4", "checked", "none"),
                ("xfs", "checked", "none"),
                ("btrfs", "checked", "none"),
            ),
            _sidecar_after_data,
        ),
        Mutant(
            "no-barrier",
            "the directory is not flushed between the sidecar and the data",
            "new data beside a sidecar that describes the old",
            (("btrfs", "retire", "file"),),
            _no_barrier,
        ),
        Mutant(
            "metadata-after-fsync",
            "mode, owner and attributes are put on after the flush",
            "new content with the temp's private mode",
            (("btrfs", "overwrite", "mixed"),),
            _metadata_after_fsync,
        ),
        Mutant(
            "no-source-sync",
            "a move does not flush the source's directory",
            "the moved file is still at its old place as well",
            (("btrfs", "move-across", "none"),),
            _no_source_sync,
        ),
        Mutant(
            "seal-before-settle",
            "the previous digest is cut off before the rename is durable",
            "old data beside the digest of the new",
            (("ext4", "checked", "none"),),
            _seal_before_settle,
        ),
        Mutant(
            "record-unflushed",
            "the record is not flushed before it is exchanged with the sidecar",
            "a sidecar of zeros or of no length",
            (
                # auto_da_alloc, which flushes what is renamed over a file, covers no exchange
                ("ext4", "checked", "none"),
                ("xfs", "checked", "none"),
                ("btrfs", "checked", "none"),
            ),
            _record_unflushed,
        ),
        Mutant(
            "displaced-unlinked-early",
            "the displaced sidecar is unlinked before Publish",
            "a failed write leaves a file without the sidecar it had",
            (
                ("ext4", "rolled-back", "none"),
                ("xfs", "rolled-back", "none"),
                ("btrfs", "rolled-back", "none"),
            ),
            _displaced_unlinked_early,
        ),
        Mutant(
            "no-resolve",
            "an announcement does not make durable what it builds on (R1)",
            "old data beside a record of the newer two",
            (
                ("btrfs", "killed-unlocked", "none"),
                ("btrfs", "killed-unrecorded", "none"),
            ),
            _no_resolve,
        ),
        Mutant(
            "no-takeover-sync",
            "a takeover does not make durable what the dead writer left (R2)",
            "new data beside a retired sidecar that is back",
            (("btrfs", "killed-retire", "file"),),
            _no_takeover_sync,
        ),
        Mutant(
            "source-unflushed",
            "a move does not flush the content it moves",
            "a file of zeros or of no length at the destination",
            (
                ("ext4", "move-dirty", "none"),
                ("xfs", "move-dirty", "none"),
                ("btrfs", "move-dirty", "none"),
            ),
            _source_unflushed,
        ),
        Mutant(
            "no-crash-mark",
            "locks do not bear the crash mark",
            "a lock that lost its payload blocks the next writer",
            (
                ("ext4", "overwrite", "none"),
                ("xfs", "overwrite", "none"),
                ("btrfs", "overwrite", "none"),
            ),
            _no_crash_mark,
        ),
    )
}
