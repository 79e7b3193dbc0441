"""Writers of the checksum pair with one idea removed, each with operations that show the defect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeatomic_core import (
    _announcement,
    _digests,
    _move,
    _posix,
    _protocol,
    _replacement,
    _sidecar_file,
    _verification,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def no_barrier() -> None:
    announce = _announcement.Announcement.announce
    _silence("barrier")
    _replace(
        _announcement.Announcement, "announce", lambda self, _sync: announce(self, lambda: None)
    )


def seal_before_settle() -> None:
    settle, seal = _protocol.Write.settle, _protocol.Write.seal

    def swapped(self: _protocol.Write) -> None:
        seal(self)
        settle(self)

    _replace(_protocol.Write, "settle", swapped)
    _replace(_protocol.Write, "seal", lambda _self: None)


def digest_after_data() -> None:
    announce = _announcement.Announcement.announce
    late: list[Callable[[], None]] = []
    _replace(
        _announcement.Announcement,
        "announce",
        lambda self, sync: late.append(lambda: announce(self, sync)),
    )
    _replace(_protocol.Write, "seal", lambda _self: late.pop()())


def no_seal() -> None:
    _replace(_protocol.Write, "seal", lambda _self: None)


def release_before_seal() -> None:
    settle = _protocol.Write.settle

    def early(self: _protocol.Write) -> None:
        settle(self)
        self.locks[0].release()

    _replace(_protocol.Write, "settle", early)


def no_retire() -> None:
    _replace(_announcement.Announcement, "find_ours", lambda _self: False)


def no_compare() -> None:
    _replace(_sidecar_file.Sidecar, "is_at", lambda _self, _name, _dir_fd: True)


def seal_blind() -> None:
    _replace(_replacement.Replacement, "is_untouched", lambda _self: True)


def undo_by_name() -> None:
    def unlink(self: _replacement.Replacement) -> None:
        _posix.kernel.unlink(self._name, dir_fd=self._dir_fd)

    _replace(_replacement.Replacement, "restore", unlink)


def undo_overwrites() -> None:
    def over(src: str, dst: str, dir_fd: int) -> None:
        os.rename(src, dst, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    _replacement.__dict__["rename_to_free"] = over


def previous_by_hash() -> None:
    def fresh(
        self: _announcement.Announcement, _present: object, algo: str, _sync: object
    ) -> tuple[_digests.Digest, ...]:
        return () if self._target.status is None else self._digest_of_present(None, algo)

    _replace(_announcement.Announcement, "_resolve", fresh)


def no_resolve() -> None:
    resolve = _announcement.Announcement._resolve
    _silence("resolve")
    _replace(
        _announcement.Announcement,
        "_resolve",
        lambda self, present, algo, _sync: resolve(self, present, algo, lambda: None),
    )


def move_by_hash() -> None:
    recorded = _move._Move._recorded

    def fresh(self: _move._Move) -> tuple[_digests.Digest, ...]:
        recorded(self)
        return (("sha256", _digests.hash_fd(self._source.fd, "sha256")),)

    _replace(_move._Move, "_recorded", fresh)


def one_look() -> None:
    def here(_dir_fd: int, _name: str, _inode: object) -> bool:
        return True

    _verification.__dict__["still_named"] = here
    _sidecar_file.__dict__["still_named"] = here


def _silence(unsaid: str) -> None:
    """Let one phase of Announce go unreported."""
    report = _announcement.Announcement._report

    def silent(self: _announcement.Announcement, phase: str) -> None:
        if phase != unsaid:
            report(self, phase)

    _replace(_announcement.Announcement, "_report", silent)


def _replace(owner: object, name: str, function: Callable[..., object]) -> None:
    setattr(owner, name, function)


TWICE = [("checked", "t"), ("checked", "t")]


BROKEN: list[tuple[Callable[[], None], list[tuple[str, str]]]] = [
    (no_barrier, TWICE),
    (seal_before_settle, TWICE),
    (digest_after_data, TWICE),
    (no_seal, TWICE),
    (release_before_seal, TWICE),
    (no_retire, [("checked", "t"), ("unchecked", "t")]),
    (previous_by_hash, [("checked", "t"), ("tamper", "t"), ("checked", "t")]),
    (no_resolve, [("unchecked", "t"), ("checked", "t")]),
    (move_by_hash, [("checked", "s"), ("tamper", "s"), ("move", "s>t")]),
    (one_look, [("checked", "t"), ("read", "t")]),
    (no_compare, [("checked", "t"), ("intruded", "t Harden swap checked")]),
    (seal_blind, [("checked", "t"), ("intruded", "t Settle write checked")]),
    (undo_by_name, [("checked", "t"), ("intruded", "t barrier swap checked fails")]),
    (undo_overwrites, [("checked", "t"), ("intruded", "t barrier swap unchecked fails")]),
]
