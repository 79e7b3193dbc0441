"""The site builds strictly and offline, and looks as it should in a browser."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import safeatomic

DOCS = Path(__file__).parent
WIDTHS = (1280, 400)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; building it fails on any warning, a broken link among them."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"),
            *("--doctree-dir", str(folder / "doctrees"), str(DOCS), str(folder / "html")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


def test_a_reader_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        text = page.read_text("utf-8")
        fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', text)
        assert fetched == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?https?:", sheet.read_text("utf-8")), sheet.name


def test_every_diagram_is_drawn(site: Path) -> None:
    for source in DOCS.rglob("*.md"):
        diagrams = source.read_text("utf-8").count("```mermaid")
        page = site / source.relative_to(DOCS).with_suffix(".html")
        assert page.read_text("utf-8").count('<div class="drawing"') >= diagrams, page.name


def test_every_public_name_can_be_linked_to_from_other_sites(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda _base, path: path)
    documented = {
        name.removeprefix("safeatomic.")
        for kind, objects in inventory.items()
        if kind.startswith("py:")
        for name in objects
    }
    assert set(safeatomic.__all__) <= documented


# --- In a browser -------------------------------------------------------------------------------

# Runs in each page, inside a frame of the width in question, and reports to the page around it.
_MEASURE = """
addEventListener("load", () => document.fonts.ready.then(() => setTimeout(() => {
  const dark = location.hash === "#dark";
  document.body.dataset.theme = dark ? "dark" : "light";
  const faults = [];
  const name = element => (element.innerText || element.textContent).trim().slice(0, 40);
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth + 1)
    faults.push("the page is wider than the window");
  for (const table of document.querySelectorAll("article table.docutils")) {
    const right = table.closest(".table-wrapper").getBoundingClientRect().right;
    for (const row of table.querySelectorAll("tr")) {
      const last = row.lastElementChild;
      if (last && last.getBoundingClientRect().right > right + 1) {
        faults.push("a table hides its last column: " + name(table)); break;
      }
    }
  }
  const luminance = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const page = getComputedStyle(document.body).backgroundColor;
  for (const svg of document.querySelectorAll(".drawing svg")) {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const column = svg.closest(".drawing");
    if (column.scrollWidth > column.clientWidth + 1)
      faults.push("a drawing is cut off: " + name(svg));
    const labels = [...svg.querySelectorAll("text, .edgeLabel foreignObject, .nodeLabel")]
      .filter(label => name(label)).map(label => [label, label.getBoundingClientRect()]);
    const edge = svg.getBoundingClientRect();
    for (const [label, box] of labels)
      if (box.left < edge.left - 2 || box.right > edge.right + 2)
        faults.push("a drawing is cut off: " + name(label));
    for (const [one, a] of labels)
      for (const [other, b] of labels)
        if (one !== other && !one.contains(other) && !other.contains(one) && a.left < b.left
            && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > a.height / 3)
          faults.push(`labels cover each other: ${name(one)}, ${name(other)}`);
    const words = svg.querySelectorAll("text, foreignObject span, foreignObject p");
    for (const word of words) {
      if (!word.textContent.trim()) continue;
      const style = getComputedStyle(word);
      if (parseFloat(style.fontSize) * scale < 9) {
        faults.push("a drawing's text is smaller than 9 px: " + name(word)); break;
      }
      const ink = word instanceof SVGElement ? style.fill : style.color;
      if (contrast(ink, page) < 4.5) {
        faults.push("a drawing's text has no contrast: " + name(word)); break;
      }
    }
    for (const box of svg.querySelectorAll("foreignObject")) {
      const inside = box.firstElementChild;
      if (inside && inside.scrollWidth > box.width.baseVal.value * 1.05 + 1) {
        faults.push("a drawing is narrower than its text: " + name(inside)); break;
      }
    }
    for (const line of svg.querySelectorAll(".flowchart-link, .transition, .messageLine0")) {
      if (contrast(getComputedStyle(line).stroke, page) < 3) {
        faults.push("a drawing's arrows have no contrast"); break;
      }
    }
  }
  for (const code of document.querySelectorAll("article pre"))
    if (innerWidth >= 1280 && code.scrollWidth > code.clientWidth + 1)
      faults.push("a block of code is wider than its column: " + name(code));
  parent.postMessage({frame: name_of_frame(), faults}, "*");
  function name_of_frame() { return window.name; }
}, 50)));
"""
_HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const reports = {};
addEventListener("message", event => { reports[event.data.frame] = event.data.faults; next(); });
const frames = %s;
const text = document.body.appendChild(document.createElement("pre"));
let frame = null, last = "";
function next() {
  if (frame) frame.remove();
  const job = frames.shift();
  if (!job) { text.id = "done"; text.textContent = JSON.stringify(reports); return; }
  frame = document.createElement("iframe");
  Object.assign(frame, {name: job.name, src: job.source, width: job.width, height: 900});
  document.body.append(frame);
}
next();
</script>"""


class Browser(NamedTuple):
    """A browser without a window."""

    program: str

    def run(self, page: Path, *options: str) -> str:
        """Open a page; return what the browser prints."""
        with tempfile.TemporaryDirectory() as profile:
            done = subprocess.run(
                [
                    *(self.program, "--headless", "--no-sandbox", "--disable-gpu"),
                    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
                    *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
                    *(f"--user-data-dir={profile}", *options, page.as_uri()),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def browser() -> Browser:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser on this machine ({', '.join(BROWSERS)})")
    return Browser(program)


def faults(browser: Browser, site: Path, folder: Path) -> dict[str, list[str]]:
    """Return what is wrong with the pages of a site, by page, width and theme."""
    copy = folder / "measured"
    shutil.copytree(site, copy)
    (copy / "measure.js").write_text(_MEASURE, "utf-8")
    jobs: list[dict[str, Any]] = []
    for page in pages(copy):
        name = page.relative_to(copy).as_posix()
        text = page.read_text("utf-8")
        script = "../" * name.count("/") + "measure.js"
        page.write_text(text.replace("</head>", f'<script src="{script}"></script></head>'))
        for width in WIDTHS:
            for theme in ("light", "dark"):
                job = {"name": f"{name} {width} {theme}", "source": f"{name}#{theme}"}
                jobs.append({**job, "width": width})
    harness = copy / "harness.html"
    harness.write_text(_HARNESS % json.dumps(jobs), "utf-8")
    found = re.search(
        r'<pre id="done">(.*?)</pre>',
        browser.run(harness, "--virtual-time-budget=600000", "--dump-dom"),
        re.DOTALL,
    )
    assert found is not None, "the browser did not get to the end of the pages"
    reports: dict[str, list[str]] = json.loads(html.unescape(found[1]))
    assert len(reports) == len(jobs)
    return {name: found for name, found in reports.items() if found}


def test_tables_and_diagrams_can_be_read_on_a_desktop_and_on_a_phone(
    site: Path, browser: Browser, tmp_path: Path
) -> None:
    wrong = faults(browser, site, tmp_path)
    assert not wrong, json.dumps(wrong, indent=1)


def test_the_measurement_sees_a_hidden_column_and_a_tiny_or_invisible_diagram(
    browser: Browser, tmp_path: Path
) -> None:
    cells = "".join(f"<td>{'x' * 40}</td>" for _ in range(9))
    broken = f"""<!DOCTYPE html><html><head></head><body style="background:#fff"><article>
    <div class="table-wrapper" style="overflow:auto">
    <table class="docutils"><tr>{cells}</tr></table></div>
    <div class="drawing"><svg viewBox="0 0 2000 100" width="300"><text style="font-size:16px"
    x="0" y="50">tiny</text></svg></div>
    <div class="drawing" style="width:90px;overflow:auto"><svg viewBox="0 0 300 100" width="300">
    <text x="0" y="90">one label</text><text x="9" y="92">and another</text>
    <text style="fill:#fefefe" x="0" y="50">white</text>
    <foreignObject width="30" height="30"><div style="white-space:nowrap">
    far too long for it</div></foreignObject></svg></div></article></body></html>"""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "index.html").write_text(broken, "utf-8")
    found = " ".join(faults(browser, folder, tmp_path)["index.html 1280 light"])
    for fault in (
        *("last column", "smaller than 9 px", "no contrast", "narrower than its text"),
        *("cut off", "labels cover each other"),
    ):
        assert fault in found
