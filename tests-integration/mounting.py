"""Run tests on mounted filesystems, and skip those whose filesystem cannot be mounted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from mounted import KINDS, Kind, NotPossibleError, in_private_namespace, run_on

_T = TypeVar("_T")


MARKS = [
    pytest.mark.root,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0,
        reason="mounting takes root on Linux",
    ),
]


def kind_named(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def on(name: str, work: Path, function: Callable[[Path], _T]) -> _T:
    """Run a function on a mounted filesystem; if it cannot be mounted, skip with the reason."""
    try:
        return run_on(kind_named(name), work, function)
    except NotPossibleError as reason:
        pytest.skip(str(reason))


def privately(work: Path, function: Callable[[Path], _T], **fuse: bool) -> _T:
    """Run a function with mounts of its own, or skip; ``fuse`` as in `in_private_namespace`."""
    try:
        return in_private_namespace(work, function, **fuse)
    except NotPossibleError as reason:
        pytest.skip(str(reason))
