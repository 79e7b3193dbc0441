"""The public calls, each in the situations that make it do different system calls.

A scenario prepares a directory without the library's help (so that nothing is injected there and no
lock is taken), runs one call, and knows what the files hold before and after. The tests of errors,
interrupts and kills all go through this list.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import safeatomic_core as sa
from safeatomic_core._digests import hash_bytes

from .situations import HAS_XATTRS, NEW, OLD, OTHER, STREAMED, XATTR, Scenario, dead_lock, seal

if TYPE_CHECKING:
    from collections.abc import Callable


def _t(directory: str) -> str:
    return os.path.join(directory, "target")


def _stream(directory: str, **options: bool) -> None:
    with sa.AtomicWriter(_t(directory), **options) as file:  # type: ignore[arg-type]
        for start in range(0, len(STREAMED), 65536):
            file.write(STREAMED[start : start + 65536])


def _rewound(directory: str) -> None:
    with sa.AtomicWriter(_t(directory), write_checksum=True) as file:
        file.write(b"?" * len(NEW) + b"too much")
        file.seek(0)
        file.write(NEW)
        file.truncate()


def _aborted(directory: str) -> None:
    file = sa.AtomicWriter(_t(directory), write_checksum=True)
    try:
        file.write(NEW)
    finally:
        file.abort()


def _lock_and_release(directory: str) -> None:
    sa.try_acquire_lock(_t(directory), session="a session")
    sa.release_lock(_t(directory))


def _write_under_own_lock(directory: str) -> None:
    path = _t(directory)
    sa.try_acquire_lock(path)
    try:
        sa.write_atomic_bytes(path, NEW, concurrency="none")
    finally:
        sa.release_lock(path)


def _read_stream(directory: str) -> None:
    with sa.AtomicReader(_t(directory), check_checksum=True) as file:
        assert file.read(10) == OLD[:10]
        file.seek(0)
        assert file.read() == OLD


def _move(directory: str, source: str, destination: str, *, force: bool) -> None:
    sa.move_atomic(
        os.path.join(directory, source), os.path.join(directory, destination), force=force
    )


def _two_directories(directory: str) -> None:
    os.makedirs(os.path.join(directory, "a"), exist_ok=True)
    os.makedirs(os.path.join(directory, "b"), exist_ok=True)


def _both(*actions: Callable[[str], None]) -> Callable[[str], None]:
    def run(directory: str) -> None:
        for action in actions:
            action(directory)

    return run


_ONE = frozenset({"target"})
_SEALED = _both(lambda d: seal(d, "target", OLD))
_UNSEALED = _both(lambda d: seal(d, "target", NEW, OLD))


def _verify(directory: str) -> None:
    assert sa.verify_checksum(_t(directory))


def _info(directory: str) -> None:
    sa.get_checksum_info(_t(directory))


def _hash(directory: str) -> None:
    assert sa.compute_hash_file(_t(directory)) == hash_bytes(OLD, "sha256")


def _read(directory: str) -> None:
    assert sa.read_atomic_bytes(_t(directory)) == OLD


def _read_checked(directory: str) -> None:
    assert sa.read_atomic_bytes(_t(directory), check_checksum=True) == OLD


def _force(directory: str) -> None:
    sa.force_release_lock(_t(directory))


def _release_stale(directory: str) -> None:
    sa.release_stale_lock(_t(directory))


SCENARIOS = (
    Scenario(
        "write-new",
        lambda d: sa.write_atomic_bytes(_t(d), NEW),
        before={},
        after={"target": NEW},
    ),
    Scenario(
        "write-text-without-lock",
        lambda d: sa.write_atomic(_t(d), NEW.decode(), concurrency="none"),
        after={"target": NEW},
    ),
    Scenario(
        "overwrite",
        lambda d: sa.write_atomic_bytes(_t(d), NEW),
        after={"target": NEW},
    ),
    Scenario(
        "overwrite-as-new",
        lambda d: sa.write_atomic_bytes(_t(d), NEW, preserve_metadata=False),
        after={"target": NEW},
    ),
    Scenario(
        "overwrite-through-a-link",
        lambda d: sa.write_atomic_bytes(os.path.join(d, "link"), NEW),
        after={"target": NEW},
        prepare=lambda d: os.symlink("target", os.path.join(d, "link")),
    ),
    Scenario(
        "overwrite-after-a-dead-writer",
        lambda d: sa.write_atomic_bytes(_t(d), NEW),
        after={"target": NEW},
        prepare=dead_lock,
    ),
    Scenario(
        "checked-new",
        lambda d: sa.write_atomic_bytes(_t(d), NEW, write_checksum=True),
        before={},
        after={"target": NEW},
        checked=_ONE,
    ),
    Scenario(
        "checked-over-sealed",
        lambda d: sa.write_atomic_bytes(_t(d), NEW, write_checksum=True),
        after={"target": NEW},
        checked=_ONE,
        prepare=_SEALED,
    ),
    Scenario(
        "checked-over-unchecked",
        lambda d: sa.write_atomic_bytes(_t(d), NEW, write_checksum=True, checksum_algo="sha512"),
        after={"target": NEW},
        checked=_ONE,
    ),
    Scenario(
        "checked-over-unsealed",
        lambda d: sa.write_atomic_bytes(_t(d), OTHER, write_checksum=True),
        after={"target": OTHER},
        checked=_ONE,
        prepare=_UNSEALED,
        replaces_sidecar=True,
    ),
    Scenario(
        "checked-after-a-dead-writer",
        lambda d: sa.write_atomic_bytes(_t(d), OTHER, write_checksum=True),
        after={"target": OTHER},
        checked=_ONE,
        prepare=_both(_UNSEALED, dead_lock),
        replaces_sidecar=True,
    ),
    Scenario(
        "unchecked-over-sealed",
        lambda d: sa.write_atomic_bytes(_t(d), NEW),
        after={"target": NEW},
        prepare=_SEALED,
    ),
    Scenario(
        "checked-without-anonymous-files",
        lambda d: sa.write_atomic_bytes(_t(d), NEW, write_checksum=True),
        after={"target": NEW},
        checked=_ONE,
        prepare=_both(_SEALED, dead_lock),
        unsupported={"open_anonymous": errno.EOPNOTSUPP},
    ),
    Scenario(
        "overwrite-without-attributes",
        lambda d: sa.write_atomic_bytes(_t(d), NEW),
        after={"target": NEW},
        prepare=lambda d: os.removexattr(_t(d), XATTR[0]) if HAS_XATTRS else None,
        unsupported={"listxattr": errno.EOPNOTSUPP, "listxattr_at": errno.EOPNOTSUPP},
    ),
    Scenario(
        "stream",
        _stream,
        after={"target": STREAMED},
    ),
    Scenario(
        "stream-checked",
        lambda d: _stream(d, write_checksum=True),
        after={"target": STREAMED},
        checked=_ONE,
        prepare=_SEALED,
    ),
    Scenario(
        "stream-rewound",
        _rewound,
        before={},
        after={"target": NEW},
        checked=_ONE,
    ),
    Scenario(
        "stream-aborted",
        _aborted,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "record",
        lambda d: sa.write_checksum_file(_t(d)),
        checked=_ONE,
        replaces_sidecar=True,
    ),
    Scenario(
        "record-anew",
        lambda d: sa.write_checksum_file(_t(d), algo="sha512"),
        checked=_ONE,
        prepare=lambda d: seal(d, "target", OTHER),
        replaces_sidecar=True,
    ),
    Scenario(
        "move",
        lambda d: _move(d, "source", "target", force=False),
        before={"source": NEW},
        after={"target": NEW},
    ),
    Scenario(
        "move-over",
        lambda d: _move(d, "source", "target", force=True),
        before={"source": NEW, "target": OLD},
        after={"target": NEW},
    ),
    Scenario(
        "move-by-link",
        lambda d: _move(d, "source", "target", force=False),
        before={"source": NEW},
        after={"target": NEW},
        checked=_ONE,
        prepare=lambda d: seal(d, "source", NEW),
        unsupported={"rename_noreplace": errno.EINVAL},
    ),
    Scenario(
        "move-with-sidecar",
        lambda d: _move(d, "source", "target", force=False),
        before={"source": NEW},
        after={"target": NEW},
        checked=_ONE,
        prepare=lambda d: seal(d, "source", NEW),
    ),
    Scenario(
        "move-with-sidecar-over-sidecar",
        lambda d: _move(d, "source", "target", force=True),
        before={"source": NEW, "target": OLD},
        after={"target": NEW},
        checked=_ONE,
        prepare=_both(_SEALED, lambda d: seal(d, "source", NEW, OTHER)),
    ),
    Scenario(
        "move-over-sidecar",
        lambda d: _move(d, "source", "target", force=True),
        before={"source": NEW, "target": OLD},
        after={"target": NEW},
        prepare=_SEALED,
    ),
    Scenario(
        "move-across",
        lambda d: _move(d, "a/source", "b/target", force=False),
        before={"a/source": NEW},
        after={"b/target": NEW},
        prepare=_two_directories,
    ),
    Scenario(
        "move-across-with-sidecars",
        lambda d: _move(d, "a/source", "b/target", force=True),
        before={"a/source": NEW, "b/target": OLD},
        after={"b/target": NEW},
        checked=frozenset({"b/target"}),
        prepare=_both(
            lambda d: seal(d, "a/source", NEW),
            lambda d: seal(d, "b/target", OLD),
        ),
    ),
    Scenario(
        "move-onto-itself",
        lambda d: _move(d, "target", "target", force=True),
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "lock-and-release",
        _lock_and_release,
        reads_only=True,
        owns_lock=True,
    ),
    Scenario(
        "lock-of-a-dead-holder",
        _lock_and_release,
        prepare=dead_lock,
        owns_lock=True,
    ),
    Scenario(
        "write-under-own-lock",
        _write_under_own_lock,
        after={"target": NEW},
        owns_lock=True,
    ),
    Scenario(
        "force-release",
        _force,
        prepare=dead_lock,
    ),
    Scenario(
        "release-stale",
        _release_stale,
        prepare=dead_lock,
    ),
    Scenario(
        "inspect-lock",
        lambda d: (
            sa.inspect_lock(_t(d)),
            sa.is_locked(_t(d)),
            sa.is_stale_lock(_t(d)),
            sa.get_lock_age(_t(d)),
        ),
        prepare=dead_lock,
        reads_only=True,
    ),
    Scenario("read", _read, reads_only=True),
    Scenario(
        "read-checked",
        _read_checked,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "read-stream",
        _read_stream,
        checked=_ONE,
        prepare=_UNSEALED,
        reads_only=True,
    ),
    Scenario(
        "verify",
        _verify,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "checksum-info",
        _info,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario("hash", _hash, reads_only=True),
    Scenario(
        "guarantees",
        lambda d: sa.inspect_guarantees(_t(d)),
        reads_only=True,
    ),
    Scenario(
        "doctor",
        lambda d: sa.doctor(_t(d)),
        checked=_ONE,
        prepare=_both(_SEALED, dead_lock),
        reads_only=True,
        never_raises=True,
    ),
    Scenario(
        "doctor-destructive",
        lambda d: sa.doctor(_t(d), destructive=True),
        never_raises=True,
        owns_lock=True,
    ),
)
