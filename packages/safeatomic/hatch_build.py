"""Put into the source distribution what belongs to all three packages.

In a checkout that is two levels up. In an unpacked source distribution it is beside this file
already, and is taken from there; so a source distribution can be built from another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARED = ("formal", "docs", "tests-integration", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
GENERATED = {"__pycache__", ".hypothesis", ".pytest_cache", "_build", "states", "site"}


class SharedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Add the shared files of the checkout, if this is one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Extend what hatchling includes."""
        here = Path(self.root)
        checkout = here.parent.parent
        if checkout / "packages" / "safeatomic" != here:
            return
        for name in SHARED:
            top = checkout / name
            for file in [top] if top.is_file() else sorted(top.rglob("*")):
                inside = file.relative_to(checkout)
                if file.is_file() and not GENERATED.intersection(inside.parts):
                    build_data["force_include"][str(file)] = str(inside)
