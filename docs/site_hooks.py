"""What building the site adds to plain Markdown: diagrams are drawn, outside links become paths.

Rendering needs neither a browser nor a network: `mermaidx` runs the real Mermaid in an embedded
JavaScript engine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import mermaidx

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTSIDE = re.compile(r"\]\((\.\./)+(?!\.\.)([^)#]*)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace each diagram by its drawing, and links out of docs/ by the path they name."""
    del config, files
    depth = page.file.src_uri.count("/")
    drawn = 0

    def draw(match: re.Match[str]) -> str:
        nonlocal drawn
        drawn += 1
        name = f"{page.file.name}-{drawn}"
        svg = str(mermaidx.render(match.group(1)).svg())
        if "<svg" not in svg or "Syntax error" in svg:
            raise ValueError(f"{page.file.src_uri}: diagram {drawn} cannot be drawn")
        # Each drawing styles itself by its id, which must be its own on the page.
        svg = svg.replace("my-svg", name).replace("\n", " ")
        return f'<figure class="diagram" style="margin:0">{svg}</figure>'

    def name_path(match: re.Match[str]) -> str:
        levels = match.group(0).count("../")
        return match.group(0) if levels <= depth else f"](#) (`{match.group(2)}`)"

    markdown = _DIAGRAM.sub(draw, markdown)
    return _OUTSIDE.sub(name_path, markdown)
