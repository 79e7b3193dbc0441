"""What collects what tests have dropped."""

from __future__ import annotations

import gc


def collect() -> None:
    """Collect what is dropped, and what its finalizers drop (PyPy takes a round for each)."""
    for _ in range(3):
        gc.collect()
