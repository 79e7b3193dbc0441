"""Put into the source distribution what is generated from the command's parser.

That is the completions of three shells and the manual page, below ``share/``. Who packages the
command for a system installs them from there; a wheel carries code alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Generated(BuildHookInterface):  # type: ignore[type-arg]
    """Generate the files and add them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Extend what hatchling includes."""
        sys.path.insert(0, str(Path(self.root, "src")))
        try:
            from safeatomic_core._cli.arguments import build_parser
            from safeatomic_core._cli.completion import files
        finally:
            del sys.path[0]
        self._folder = tempfile.TemporaryDirectory()
        for name, text in files(build_parser()).items():
            path = Path(self._folder.name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            build_data["force_include"][str(path)] = f"share/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was generated."""
        self._folder.cleanup()
