"""What the pages need beyond Sphinx: diagrams and plots drawn into them, links out of docs/.

Rendering a diagram needs neither a browser nor a network: `mermaidx` runs the real Mermaid in an
embedded JavaScript engine. Diagrams and plots are put into the page itself, because a picture in a
file of its own cannot follow the light/dark switch.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import mermaidx
from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Pages at the top of the repository that the site includes; other files are named by their path.
_INCLUDED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)(?!\.\.)([^)#\s]*)(#[^)]*)?\)")
_HEAD = re.compile(r"<thead>(.*?)</thead>", re.DOTALL)
_ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.DOTALL)
_CODE = re.compile(r'<span class="pre">[^<]*</span>')
_COMPACT = {"flowchart": {"rankSpacing": 32, "nodeSpacing": 32}}
_CAMEL = re.compile(r"([a-z])([A-Z])")
_OPTION = re.compile(r'<span class="pre">(--?[\w-]+=?)</span>')
_TABLE = re.compile(r'<table class="([^"]*)">(.*?)</table>', re.DOTALL)


class Mermaid(SphinxDirective):
    """A fence with the language ``mermaid``, as its drawing."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        svg = str(mermaidx.render("\n".join(self.content), theme="neutral", config=_COMPACT).svg())
        if "<svg" not in svg or "Syntax error" in svg:
            raise self.error("this diagram cannot be drawn")
        number = self.env.new_serialno("mermaid")
        name = f"{self.env.docname.replace('/', '-')}-{number}"
        return [figure(svg, name)]


def figure(svg: str, name: str) -> nodes.raw:
    """Return a drawing as a node; it styles itself by its id, which must be its own on the page."""
    box = re.search(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', svg)
    assert box is not None, f"{name} has no viewBox"
    width = float(box[3])
    svg = svg.replace("my-svg", name).replace("\n", " ")
    svg = re.sub(r' width="100%"', "", svg, count=1)
    svg = re.sub(r' style="max-width:[^"]*"', "", svg, count=1)
    style = f"--natural: {width:.0f}px"
    return nodes.raw("", f'<div class="drawing" style="{style}">{svg}</div>', format="html")


class InlinePlots(SphinxPostTransform):
    """Put SVG images that a page shows into the page."""

    default_priority = 5  # before Sphinx collects and copies images
    formats: ClassVar[tuple[str, ...]] = ("html",)  # type: ignore[misc]

    def run(self, **kwargs: Any) -> None:
        """Replace them."""
        del kwargs
        for image in list(self.document.findall(nodes.image)):
            if image["uri"].endswith(".svg"):
                path = Path(self.env.srcdir) / image["uri"]
                svg = path.read_text("utf-8").partition("?>")[2] or path.read_text("utf-8")
                image.replace_self(figure(svg, path.stem))


def name_outside_files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to files outside of docs/ into links to the pages made of them, or into paths."""
    del app
    depth = docname.count("/")

    def rewrite(match: re.Match[str]) -> str:
        text, climb, path, anchor = match.groups()
        if climb.count("../") <= depth:
            return match.group(0)
        page = _INCLUDED.get(path)
        if page is not None:
            return f"[{text}]({'../' * depth}{page}{anchor or ''})"
        return f"`{path}`" if path.rstrip("/") in text else f"{text} (`{path}`)"

    source[0] = _OUTSIDE.sub(rewrite, source[0])


def label_cells(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Repeat the column's head in each cell of a wide table, so that it can be shown as a list.

    Options are marked as well, so that no line ends after their hyphens.
    """
    del app, pagename, templatename, doctree
    if "body" in context:
        body = _TABLE.sub(_labelled, context["body"])
        context["body"] = _OPTION.sub(r'<span class="pre option">\1</span>', body)


def _labelled(match: re.Match[str]) -> str:
    classes, inside = match.groups()
    head = _HEAD.search(inside)
    if head is None:
        return match.group(0)
    labels = [
        re.sub(r"<[^>]+>", "", cell).strip().replace("_", "_&#x200b;")
        for cell in re.findall(r"<th[^>]*>(.*?)</th>", head[1], re.DOTALL)
    ]
    # Long names may be broken between their words, and nowhere else if that is enough.
    start = _HEAD.sub(lambda head: _CAMEL.sub(r"\1<wbr>\2", head[0]), inside[: head.end()])
    end = _CODE.sub(_breakable, inside[head.end() :])
    if len(labels) < 3:
        return f'<table class="{classes}">{start}{end}</table>'

    def row(match: re.Match[str]) -> str:
        names = iter(labels)
        return re.sub(r"<td", lambda _: f'<td data-label="{next(names, "")}"', match.group(0))

    body = _ROW.sub(row, end)
    width = "stacks" + " many" * (len(labels) >= 4) + " crowded" * (len(labels) >= 7)
    return f'<table class="{classes} {width}">{start}{body}</table>'


def _breakable(code: re.Match[str]) -> str:
    opening, inside = code[0].split(">", 1)
    return f"{opening}>" + _CAMEL.sub(r"\1<wbr>\2", inside).replace("_", "_<wbr>")


_SAME = re.compile(r":param (\w+): (?:See|As for) (`\w+`)\.?")


def gather_shared_arguments(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Say once which arguments are those of another function, not in a row for each of them."""
    del app, what, name, obj, options
    matches = ((number, _SAME.fullmatch(line)) for number, line in enumerate(lines))
    found = [(number, match) for number, match in matches if match]
    if len(found) < 3:
        return
    for number, _ in reversed(found):
        del lines[number]
    names = [f"``{match[1]}``" for _, match in found]
    text = f"{', '.join(names[:-1])} and {names[-1]} are those of {found[0][1][2]}."
    lines[found[0][0] : found[0][0]] = [f":Shared: {text}"]


def setup(app: Sphinx) -> dict[str, object]:
    """Register with Sphinx."""
    os.environ.setdefault("NO_COLOR", "1")
    app.add_directive("mermaid", Mermaid)
    app.add_post_transform(InlinePlots)
    app.connect("source-read", name_outside_files)
    app.connect("html-page-context", label_cells)
    app.connect("autodoc-process-docstring", gather_shared_arguments, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
