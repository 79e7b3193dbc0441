"""Write what comes from the code: the API reference, the command's help, the models' runs.

``python docs/generate.py`` rewrites them, ``--check`` exits with 1 if that would change anything;
a test does the same.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
from pathlib import Path

import safeatomic
from safeatomic_core._cli import build_parser

DOCS = Path(__file__).parent
GROUPS = {
    "Files": (
        "write_atomic write_atomic_bytes read_atomic read_atomic_bytes move_atomic AtomicWriter "
        "AtomicReader"
    ),
    "Documents": (
        "atomic_json_dump atomic_json_load atomic_yaml_dump atomic_yaml_load atomic_toml_dump "
        "atomic_toml_load atomic_yaml_dump_ruamel atomic_yaml_load_ruamel"
    ),
    "Locks": (
        "try_acquire_lock release_lock force_release_lock is_locked inspect_lock get_lock_age "
        "is_stale_lock release_stale_lock LockInfo"
    ),
    "Checksums": (
        "compute_hash_file compute_hash_data verify_checksum write_checksum_file "
        "get_checksum_info ChecksumInfo"
    ),
    "Guarantees": (
        "inspect_guarantees GuaranteeReport Environment doctor DoctorReport DoctorCheck"
    ),
    "Defaults": "safeatomic_config",
    "Errors": (
        "SafeAtomicError LockError ChecksumMismatchError CrossDeviceAtomicityError "
        "UnsupportedEnvironmentError UnsupportedEnvironmentWarning"
    ),
}
_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Example")
_ITEM = re.compile(r"^(\S[^:]*): (.*)$")


def api_reference() -> str:
    """Return the page with every public name, its signature, arguments and errors."""
    lines = [
        "# API reference",
        "",
        (
            "The 43 public names, as `safeatomic` exports them; all but the documents are also in "
            "`safeatomic_core`, the documents in `safeatomic_formats`. An option that is left out "
            "(`None`) comes from `safeatomic_config`, else from the library: utf-8, sha256, "
            "0 retries, 0.1 s. `docs/generate.py` writes this page from the docstrings."
        ),
        "",
    ]
    for group, names in GROUPS.items():
        lines += [f"## {group}", ""]
        for name in names.split():
            lines += _entry(name, getattr(safeatomic, name))
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, thing: object) -> list[str]:
    lines = [f"### {name}", ""]
    record = hasattr(thing, "__annotations__") and not inspect.isfunction(thing)
    if not (record and issubclass(thing, (Exception, Warning))):  # type: ignore[arg-type]
        lines += ["```text", _signature(name, thing), "```", ""]
    lines += _docstring(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        lines += _methods(thing)
    return lines


def _methods(cls: type) -> list[str]:
    """Return a table of the public methods that a class itself defines."""
    rows = []
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            doc = inspect.getdoc(member) or ""
            rows.append(f"| `{name}` | {_one_line(doc)} |")
        elif inspect.isfunction(member):
            parameters = [p for p in inspect.signature(member).parameters if p != "self"]
            doc = inspect.getdoc(member) or ""
            rows.append(f"| `{name}({', '.join(parameters)})` | {_one_line(doc)} |")
    return ["| method | |", "|---|---|", *rows, ""] if rows else []


def _one_line(doc: str) -> str:
    return doc.split("\n\n", 1)[0].replace("\n", " ").replace("``", "`").replace("|", "\\|")


def _signature(name: str, thing: object) -> str:
    """Return a signature that breaks one parameter to a line where it is long."""
    signature = inspect.signature(thing)  # type: ignore[arg-type]
    parts = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    returned = signature.return_annotation
    arrow = "" if returned in (signature.empty, None, "None") else f" -> {returned}"
    text = f"{name}({', '.join(parts)}){arrow}"
    if len(text) <= 90:
        return text
    return f"{name}(\n    " + ",\n    ".join(parts) + f",\n){arrow}"


def _docstring(doc: str) -> list[str]:
    """Return a Google docstring as Markdown."""
    out: list[str] = []
    section, block = "", []  # type: ignore[var-annotated]
    for line in [*doc.split("\n"), "End:"]:
        head = line.removesuffix(":")
        if line.endswith(":") and head in (*_SECTIONS, "End"):
            out += _section(section, block)
            section, block = head, []
        else:
            block.append(line)
    return out


def _section(name: str, block: list[str]) -> list[str]:
    text = inspect.cleandoc("\n".join(["", *block])).strip()
    if not text:
        return []
    if not name:
        return [text.replace("``", "`"), ""]
    if name == "Example":
        code = re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE).replace(
            "  # doctest: +SKIP", ""
        )
        return ["Example:", "", "```text", code, "```", ""]
    if name == "Returns":
        return [f"Returns: {' '.join(text.split())}".replace("``", "`"), ""]
    rows: list[list[str]] = []
    for line in text.split("\n"):
        item = _ITEM.match(line)
        if item:
            rows.append([item.group(1), item.group(2)])
        elif rows:
            rows[-1][1] += " " + line.strip()
    title = {"Args": "argument", "Attributes": "attribute", "Raises": "raises"}[name]
    table = [f"| {title} | |", "|---|---|"]
    for key, value in rows:
        cell = value.replace("``", "`").replace("|", "\\|")
        table.append(f"| `{key}` | {cell} |")
    return [*table, ""]


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


def main() -> int:
    """Write or check the generated pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    cli = DOCS / "cli.md"
    models = DOCS / "formal-models.md"
    pages = {
        DOCS / "api-reference.md": api_reference(),
        cli: cli_page(cli.read_text("utf-8")),
        models: models_page(models.read_text("utf-8")),
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
