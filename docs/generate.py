"""Write what comes from the code and no library writes: help texts, the
models' runs, the other writers.

``python docs/generate.py`` rewrites them, ``--check`` exits with 1 if that would change anything;
a test does the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from safeatomic_core._cli.arguments import build_parser

DOCS = Path(__file__).parent


def cli_help() -> dict[str, str]:
    """Return the help text of the command and of each subcommand, 80 columns wide."""
    os.environ.update(COLUMNS="80", NO_COLOR="1")
    parser = build_parser()
    texts = {"safeatomic": parser.format_help()}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                texts[f"safeatomic {name}"] = command.format_help()
    return texts


def cli_page(page: str) -> str:
    """Return the page about the command with its help texts brought up to date."""
    for command, text in cli_help().items():
        marker = f"<!-- help: {command} -->\n```text\n"
        if marker not in page:
            raise SystemExit(f"docs/cli.md has no block marked {marker.splitlines()[0]}")
        start = page.index(marker) + len(marker)
        page = page[:start] + text + page[page.index("```", start) :]
    return page


def models_page(page: str) -> str:
    """Return the page about the models with the table of their runs brought up to date."""
    manifest = json.loads((DOCS.parent / "formal/reports/MANIFEST.json").read_text("utf-8"))
    rows = ["| run | about | states | distinct | depth | verdict |", "|---|---|--:|--:|--:|---|"]
    default = {name: run for name, run in manifest["runs"].items() if run["size"] == "default"}
    for name, run in default.items():
        verdict = "holds"
        if run["expect"] == "violation":
            verdict = f"refuted: {run['violates']}, {run['counterexample']} states"
        rows.append(
            f"| {name} | {run['about']} | {run['states']:,} | {run['distinct']:,} "
            f"| {run['depth']} | {verdict} |"
        )
    start = page.index("<!-- runs -->") + len("<!-- runs -->")
    return page[:start] + "\n" + "\n".join(rows) + "\n" + page[page.index("<!-- end of runs") :]


_JUDGED = {
    "loses acknowledged writes": "loses writes",
    "torn files": "tears files",
    "other metadata": "drops metadata",
    "\N{EN DASH}": "nothing",
}


def peers_table(page: str) -> str:
    """Return a page with the table of other writers brought up to date, which the crash tests keep.

    Only the rows and words that decide are taken; the whole table is on the page about crash tests.
    """
    whole = (DOCS / "crash-testing.md").read_text("utf-8")
    whole = whole.partition("<!-- peers: begin -->")[2].partition("<!-- peers: end -->")[0]
    rows = [
        "| writer | ext4 | xfs | btrfs | images |",
        "|---|---|---|---|--:|",
    ]
    for line in whole.strip().splitlines()[2:]:
        if not line.startswith("|"):
            break
        writer, *judged, images = (cell.strip() for cell in line.strip("|").split("|"))
        cells = [", ".join(_JUDGED[fault] for fault in cell.split(", ")) for cell in judged]
        rows.append(f"| {writer} | {' | '.join(cells)} | {images} |")
    start = page.index("<!-- peers -->") + len("<!-- peers -->")
    return page[:start] + "\n" + "\n".join(rows) + "\n" + page[page.index("<!-- end of peers") :]


def main() -> int:
    """Write or check the generated pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    cli = DOCS / "cli.md"
    models = DOCS / "formal-models.md"
    fronts = [DOCS / "index.md"]
    if (DOCS.parent / "packages").is_dir():  # a source distribution has the README of its package
        fronts.append(DOCS.parent / "README.md")
    pages = {
        cli: cli_page(cli.read_text("utf-8")),
        models: models_page(models.read_text("utf-8")),
        **{page: peers_table(page.read_text("utf-8")) for page in fronts},
    }
    status = 0
    for path, text in pages.items():
        if not path.exists() or path.read_text("utf-8") != text:
            status = 1
            print(f"{path.name} is out of date" if check else f"wrote {path.name}")
            if not check:
                path.write_text(text, "utf-8")
    return status if check else 0


if __name__ == "__main__":
    sys.exit(main())
