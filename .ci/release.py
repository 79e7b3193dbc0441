"""Check that tag, changelog and the three packages name one version: ``release.py vX.Y.Z``."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PACKAGES = ("safeatomic-core", "safeatomic-formats", "safeatomic")


def faults(tag: str, root: Path) -> list[str]:
    """Return what does not fit the tag."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag, re.ASCII):
        return [f"the tag {tag} is not vX.Y.Z"]
    wanted = tag.removeprefix("v")
    found = []
    for package in PACKAGES:
        folder = root / "packages" / package
        (source,) = folder.glob("src/*/_version.py")
        if source.read_text("utf-8") != f'__version__ = "{wanted}"\n':
            found.append(f"{source.relative_to(root)} is not {wanted}")
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        requirements = list(project["dependencies"])
        for extra in project.get("optional-dependencies", {}).values():
            requirements += extra
        siblings = (text for text in requirements if text.startswith("safeatomic"))
        found += [
            f"{package} requires {sibling}"
            for sibling in siblings
            if not sibling.endswith(f"=={wanted}")
        ]
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    heading = re.search(rf"^## \[{re.escape(wanted)}\] - (.*)$", changelog, re.MULTILINE)
    if heading is None:
        found.append(f"CHANGELOG.md has no heading for {wanted}")
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        found.append(f"CHANGELOG.md says {wanted} - {heading[1]}, not the day of the release")
    return found


def main(arguments: list[str]) -> int:
    """Print what is wrong; return an exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = faults(arguments[0], Path(__file__).parents[1])
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
