"""A record that is about to take a sidecar's place; for the tests of what it replaces."""

from __future__ import annotations

from safeatomic_core._replacement import Replacement
from safeatomic_core._target import Target

# Another program's list of checksums, which does not name the test's file.
LIST = b"0" * 64 + b"  a\n" + b"1" * 64 + b"  b\n"


def replacement(place: Target, content: bytes = b"a" * 64 + b"  data.bin\n") -> Replacement:
    """Return a replacement whose record is written, and not yet put anywhere."""
    made = Replacement(place, "")
    made.content = content
    made.record.create(0o600)
    made.record.write_all(content)
    return made
