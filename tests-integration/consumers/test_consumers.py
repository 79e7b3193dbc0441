"""What is written through an `AtomicWriter` is what a plain file would hold, or the old file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from safeatomic_core import AtomicWriter, verify_checksum

from . import catalogue

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from .catalogue import Consumer

pytestmark = pytest.mark.parametrize(
    "consumer", catalogue.ALL.values(), ids=lambda consumer: consumer.name
)


class FailedHalfwayError(Exception):
    """What the caller raises after everything was written."""


@pytest.fixture(autouse=True)
def _installed(consumer: Consumer) -> None:
    if consumer.needs:
        pytest.importorskip(consumer.needs)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there already, longer than nothing and unlike what any consumer writes."""
    path = tmp_path / "atomic"
    path.write_bytes(b"old content")
    path.chmod(0o640)
    return path


def test_the_file_is_what_a_plain_file_would_be(
    target: Path, consumer: Consumer, tally: Counter[str]
) -> None:
    plain = target.with_name("plain")
    with plain.open("w+b") as file:
        consumer.save(file)
    with AtomicWriter(target, write_checksum=True) as writer:
        consumer.save(writer)
        assert target.read_bytes() == b"old content"
    assert consumer.load(str(target)) == consumer.load(str(plain))
    if consumer.same_bytes:
        assert target.read_bytes() == plain.read_bytes()
    assert verify_checksum(target)
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(target.parent)) == ["atomic", "atomic.sha256", "plain"]
    tally["consumers whose file equals a plain file's"] += 1


def test_a_failure_after_everything_was_written_leaves_the_old_file(
    target: Path, consumer: Consumer, tally: Counter[str]
) -> None:
    with pytest.raises(FailedHalfwayError), AtomicWriter(target) as writer:
        consumer.save(writer)
        raise FailedHalfwayError
    assert target.read_bytes() == b"old content"
    assert os.listdir(target.parent) == ["atomic"]
    tally["consumers whose failure leaves the old file"] += 1
