"""The public calls, each in the situations in which it makes different system calls.

A scenario prepares a directory without the library (so that nothing is injected there and no lock
is taken), runs one call, and knows the content of the files before and after. The tests of errors,
interrupts and kills all use this list.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import safeatomic_core as sa

from . import calls
from .situations import HAS_XATTRS, NEW, OLD, OTHER, STREAMED, XATTR, Scenario, dead_lock, seal

if TYPE_CHECKING:
    from collections.abc import Callable


def _both(*actions: Callable[[str], None]) -> Callable[[str], None]:
    def run(directory: str) -> None:
        for action in actions:
            action(directory)

    return run


_ONE = frozenset({"target"})
_SEALED = _both(lambda d: seal(d, "target", OLD))
_UNSEALED = _both(lambda d: seal(d, "target", NEW, OLD))


SCENARIOS = (
    Scenario(
        "write-new",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW),
        before={},
        after={"target": NEW},
    ),
    Scenario(
        "write-text-without-lock",
        lambda d: sa.write_atomic(calls.target(d), NEW.decode(), concurrency="none"),
        after={"target": NEW},
    ),
    Scenario(
        "overwrite",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW),
        after={"target": NEW},
    ),
    Scenario(
        "overwrite-as-new",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW, preserve_metadata=False),
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
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW),
        after={"target": NEW},
        prepare=dead_lock,
    ),
    Scenario(
        "checked-new",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW, write_checksum=True),
        before={},
        after={"target": NEW},
        checked=_ONE,
    ),
    Scenario(
        "checked-over-sealed",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW, write_checksum=True),
        after={"target": NEW},
        checked=_ONE,
        prepare=_SEALED,
    ),
    Scenario(
        "checked-over-unchecked",
        lambda d: sa.write_atomic_bytes(
            calls.target(d), NEW, write_checksum=True, checksum_algo="sha512"
        ),
        after={"target": NEW},
        checked=_ONE,
    ),
    Scenario(
        "checked-over-unsealed",
        lambda d: sa.write_atomic_bytes(calls.target(d), OTHER, write_checksum=True),
        after={"target": OTHER},
        checked=_ONE,
        prepare=_UNSEALED,
        replaces_sidecar=True,
    ),
    Scenario(
        "checked-after-a-dead-writer",
        lambda d: sa.write_atomic_bytes(calls.target(d), OTHER, write_checksum=True),
        after={"target": OTHER},
        checked=_ONE,
        prepare=_both(_UNSEALED, dead_lock),
        replaces_sidecar=True,
    ),
    Scenario(
        "unchecked-over-sealed",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW),
        after={"target": NEW},
        prepare=_SEALED,
    ),
    Scenario(
        "checked-without-anonymous-files",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW, write_checksum=True),
        after={"target": NEW},
        checked=_ONE,
        prepare=_both(_SEALED, dead_lock),
        unsupported={"open_anonymous": errno.EOPNOTSUPP},
    ),
    Scenario(
        "overwrite-without-attributes",
        lambda d: sa.write_atomic_bytes(calls.target(d), NEW),
        after={"target": NEW},
        prepare=lambda d: os.removexattr(calls.target(d), XATTR[0]) if HAS_XATTRS else None,
        unsupported={"listxattr": errno.EOPNOTSUPP, "listxattr_at": errno.EOPNOTSUPP},
    ),
    Scenario(
        "stream",
        calls.stream,
        after={"target": STREAMED},
    ),
    Scenario(
        "stream-checked",
        lambda d: calls.stream(d, write_checksum=True),
        after={"target": STREAMED},
        checked=_ONE,
        prepare=_SEALED,
    ),
    Scenario(
        "stream-rewound",
        calls.rewound,
        before={},
        after={"target": NEW},
        checked=_ONE,
    ),
    Scenario(
        "stream-aborted",
        calls.aborted,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "record",
        lambda d: sa.write_checksum_file(calls.target(d)),
        checked=_ONE,
        replaces_sidecar=True,
    ),
    Scenario(
        "record-anew",
        lambda d: sa.write_checksum_file(calls.target(d), algo="sha512"),
        checked=_ONE,
        prepare=lambda d: seal(d, "target", OTHER),
        replaces_sidecar=True,
    ),
    Scenario(
        "move",
        lambda d: calls.move(d, "source", "target", force=False),
        before={"source": NEW},
        after={"target": NEW},
    ),
    Scenario(
        "move-over",
        lambda d: calls.move(d, "source", "target", force=True),
        before={"source": NEW, "target": OLD},
        after={"target": NEW},
    ),
    Scenario(
        "move-by-link",
        lambda d: calls.move(d, "source", "target", force=False),
        before={"source": NEW},
        after={"target": NEW},
        checked=_ONE,
        prepare=lambda d: seal(d, "source", NEW),
        unsupported={"rename_noreplace": errno.EINVAL},
    ),
    Scenario(
        "move-with-sidecar",
        lambda d: calls.move(d, "source", "target", force=False),
        before={"source": NEW},
        after={"target": NEW},
        checked=_ONE,
        prepare=lambda d: seal(d, "source", NEW),
    ),
    Scenario(
        "move-with-sidecar-over-sidecar",
        lambda d: calls.move(d, "source", "target", force=True),
        before={"source": NEW, "target": OLD},
        after={"target": NEW},
        checked=_ONE,
        prepare=_both(_SEALED, lambda d: seal(d, "source", NEW, OTHER)),
    ),
    Scenario(
        "move-over-sidecar",
        lambda d: calls.move(d, "source", "target", force=True),
        before={"source": NEW, "target": OLD},
        after={"target": NEW},
        prepare=_SEALED,
    ),
    Scenario(
        "move-across",
        lambda d: calls.move(d, "a/source", "b/target", force=False),
        before={"a/source": NEW},
        after={"b/target": NEW},
        prepare=calls.two_directories,
    ),
    Scenario(
        "move-across-with-sidecars",
        lambda d: calls.move(d, "a/source", "b/target", force=True),
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
        lambda d: calls.move(d, "target", "target", force=True),
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "lock-and-release",
        calls.lock_and_release,
        reads_only=True,
        owns_lock=True,
    ),
    Scenario(
        "lock-of-a-dead-holder",
        calls.lock_and_release,
        prepare=dead_lock,
        owns_lock=True,
    ),
    Scenario(
        "write-under-own-lock",
        calls.write_under_own_lock,
        after={"target": NEW},
        owns_lock=True,
    ),
    Scenario(
        "force-release",
        calls.force,
        prepare=dead_lock,
    ),
    Scenario(
        "release-stale",
        calls.release_stale,
        prepare=dead_lock,
    ),
    Scenario(
        "inspect-lock",
        lambda d: (
            sa.inspect_lock(calls.target(d)),
            sa.is_locked(calls.target(d)),
            sa.is_stale_lock(calls.target(d)),
            sa.get_lock_age(calls.target(d)),
        ),
        prepare=dead_lock,
        reads_only=True,
    ),
    Scenario("read", calls.read, reads_only=True),
    Scenario(
        "read-checked",
        calls.read_checked,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "read-stream",
        calls.read_stream,
        checked=_ONE,
        prepare=_UNSEALED,
        reads_only=True,
    ),
    Scenario(
        "verify",
        calls.verify,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario(
        "checksum-info",
        calls.info,
        checked=_ONE,
        prepare=_SEALED,
        reads_only=True,
    ),
    Scenario("hash", calls.hash_file, reads_only=True),
    Scenario(
        "guarantees",
        lambda d: sa.inspect_guarantees(calls.target(d)),
        reads_only=True,
    ),
    Scenario(
        "doctor",
        lambda d: sa.doctor(calls.target(d)),
        checked=_ONE,
        prepare=_both(_SEALED, dead_lock),
        reads_only=True,
        never_raises=True,
    ),
    Scenario(
        "doctor-destructive",
        lambda d: sa.doctor(calls.target(d), destructive=True),
        never_raises=True,
        owns_lock=True,
    ),
)
