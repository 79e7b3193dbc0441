"""The calls of the scenarios that take more than one line."""

from __future__ import annotations

import os

import safeatomic_core as sa
from safeatomic_core._digests import hash_bytes

from .situations import NEW, OLD, STREAMED


def target(directory: str) -> str:
    return os.path.join(directory, "target")


def stream(directory: str, **options: bool) -> None:
    with sa.AtomicWriter(target(directory), **options) as file:  # type: ignore[arg-type]
        for start in range(0, len(STREAMED), 65536):
            file.write(STREAMED[start : start + 65536])


def rewound(directory: str) -> None:
    with sa.AtomicWriter(target(directory), write_checksum=True) as file:
        file.write(b"?" * len(NEW) + b"too much")
        file.seek(0)
        file.write(NEW)
        file.truncate()


def aborted(directory: str) -> None:
    file = sa.AtomicWriter(target(directory), write_checksum=True)
    try:
        file.write(NEW)
    finally:
        file.abort()


def lock_and_release(directory: str) -> None:
    sa.try_acquire_lock(target(directory), session="a session")
    sa.release_lock(target(directory))


def write_under_own_lock(directory: str) -> None:
    path = target(directory)
    sa.try_acquire_lock(path)
    try:
        sa.write_atomic_bytes(path, NEW, concurrency="none")
    finally:
        sa.release_lock(path)


def read_stream(directory: str) -> None:
    with sa.AtomicReader(target(directory), check_checksum=True) as file:
        assert file.read(10) == OLD[:10]
        file.seek(0)
        assert file.read() == OLD


def move(directory: str, source: str, destination: str, *, force: bool) -> None:
    sa.move_atomic(
        os.path.join(directory, source), os.path.join(directory, destination), force=force
    )


def two_directories(directory: str) -> None:
    os.makedirs(os.path.join(directory, "a"), exist_ok=True)
    os.makedirs(os.path.join(directory, "b"), exist_ok=True)


def verify(directory: str) -> None:
    assert sa.verify_checksum(target(directory))


def info(directory: str) -> None:
    sa.get_checksum_info(target(directory))


def hash_file(directory: str) -> None:
    assert sa.compute_hash_file(target(directory)) == hash_bytes(OLD, "sha256")


def read(directory: str) -> None:
    assert sa.read_atomic_bytes(target(directory)) == OLD


def read_checked(directory: str) -> None:
    assert sa.read_atomic_bytes(target(directory), check_checksum=True) == OLD


def force(directory: str) -> None:
    sa.force_release_lock(target(directory))


def release_stale(directory: str) -> None:
    sa.release_stale_lock(target(directory))
