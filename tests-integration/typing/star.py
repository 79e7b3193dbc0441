"""A star import gives all 43 names to a type checker, too. Not run, only checked."""

from __future__ import annotations

from typing import Any, assert_type

# pyright: reportWildcardImportFromLibrary=false
from safeatomic import *  # noqa: F403

write_atomic("file", "text")  # noqa: F405
assert_type(atomic_json_load("file"), Any)  # noqa: F405
assert_type(inspect_lock("file").exists, bool)  # noqa: F405
