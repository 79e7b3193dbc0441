"""The trace hook: what the steps of a running write report to tests and models.

`hook` is None in normal use, and then costs one comparison a step. When it is set, each step calls
it with its own name (the ten words of `docs/protocol.md`) and plain facts, *after* the step took
effect; a process that is killed may therefore have done one effect more than it reported.
`read` is the one other word: it reports what a checked reader saw.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Facts: TypeAlias = dict[str, object]
    Hook: TypeAlias = Callable[[str, Facts], None]

GATE = "Gate"
ACQUIRE = "Acquire"
STAGE = "Stage"
FILL = "Fill"
HARDEN = "Harden"
ANNOUNCE = "Announce"
PUBLISH = "Publish"
SETTLE = "Settle"
SEAL = "Seal"
RELEASE = "Release"
STEPS = (GATE, ACQUIRE, STAGE, FILL, HARDEN, ANNOUNCE, PUBLISH, SETTLE, SEAL, RELEASE)

hook: Hook | None = None
