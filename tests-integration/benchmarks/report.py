"""Put measured results into the page: ``python tests-integration/benchmarks/report.py``.

Reads ``results.json``, ``no-journal.json`` and ``breakdown.json`` in ``docs/performance``, and
``many.json`` where the page asks for it, and rewrites the parts of ``docs/performance.md`` between
its markers, so that no figure there is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_UNITS = {"x": " x", "us": " µs", "ms": " ms"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the page, or tell whether it is current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 unless the page is current")
    options = parser.parse_args(arguments)
    page = _DOCS / "performance.md"
    before = page.read_text(encoding="utf-8")
    results, no_journal, parts = map(_measured, ("results", "no-journal", "breakdown"))
    after = before
    for name, text in (
        ("answer", answer(results)),
        ("machine", machine(results)),
        ("targets", table(results, targets=True)),
        ("others", table(results, targets=False)),
        ("no-journal machine", machine(no_journal)),
        ("no-journal", table(no_journal, targets=True)),
        ("breakdown", breakdown(parts)),
    ):
        after = _replace(after, name, text)
    if "<!-- peers -->" in after:
        after = _replace(after, "peers", peers(results))
    if "<!-- many -->" in after:
        after = _replace(after, "many", many(_measured("many")))
    if "<!-- newest -->" in after:
        after = _replace(after, "newest", newest(_measured("newest")))
    if options.check:
        return 0 if after == before else 1
    page.write_text(after, encoding="utf-8")
    return 0


def _measured(name: str) -> Any:
    return json.loads((_DOCS / "performance" / f"{name}.json").read_text(encoding="utf-8"))


def machine(results: dict[str, Any]) -> str:
    """Describe the machine in a sentence or two."""
    facts = results["machine"]
    kind = "a virtual machine" if facts["virtual"] else "a machine"
    ext4 = facts["ext4"]
    priority = "; the benchmark ran with real-time priority" if facts["real_time"] else ""
    return (
        f"Measured on {results['date']}, {facts['kernel']}, Python {facts['python']}, on {kind} "
        f"with {facts['cores']} cores ({facts['processor']}) and {facts['memory_gib']} GiB;\n"
        f"ext4 {'with' if ext4['journal'] else 'without'} a journal on {ext4['device']} "
        f"(`{','.join(ext4['options'])}`), tmpfs at `/dev/shm`.\n"
        f"The load was {facts['load']:g} at the start{priority}."
    )


_ANSWER = (
    ("none", '`write_atomic_bytes(concurrency="none")`'),
    ("default", "`write_atomic_bytes()`"),
    ("checksum", "`write_atomic_bytes(write_checksum=True)`"),
)


def answer(results: dict[str, Any]) -> str:
    """Return what a write costs over the bare protocol, as a ratio and in milliseconds."""
    rows = {row["name"]: row for row in results["rows"]}
    lines = [
        "| call, 4 KiB | on ext4 | more than bare | on tmpfs | more than bare |",
        "|---|--:|--:|--:|--:|",
    ]
    for mode, call in _ANSWER:
        cells = []
        for filesystem in ("ext4", "tmpfs"):
            row = rows[f"write-{mode}-{filesystem}"]
            bare, ours = (row["seconds"][who]["median"] for who in ("bare", mode))
            cells += [f"{row['figure']['median']:.2f} x", f"{1000 * (ours - bare):.2f} ms"]
        lines.append(f"| {call} | {' | '.join(cells)} |")
    return "\n".join(lines)


# Who is in the rows that hold everything beside everything else, and what they do.
_WAYS = (
    ("bare", "the bare protocol", "", ""),
    ("atomicwrites", "atomicwrites", "", ""),
    ("safer (no flush)", "safer, which flushes nothing", "", ""),
    ("none", _ANSWER[0][1], "", ""),
    ("floor none", "the same system calls from one function", "", ""),
    ("portalocker + atomicwrites", "portalocker + atomicwrites", "yes", ""),
    ("filelock + atomicwrites", "filelock + atomicwrites", "yes", ""),
    ("default", _ANSWER[1][1], "yes", ""),
    ("floor default", "the same system calls from one function", "yes", ""),
    ("filelock + atomicwrites + sha256", "filelock + atomicwrites, twice", "yes", "yes"),
    ("checksum", _ANSWER[2][1], "yes", "yes"),
    ("floor checksum", "the same system calls from one function", "yes", "yes"),
    ("SQLite, synchronous=FULL", "SQLite, `synchronous=FULL`, one row", "yes", ""),
)


def peers(results: dict[str, Any]) -> str:
    """Return what does the same job side by side, relative to the bare protocol of the same run."""
    rows = {row["name"]: row for row in results["rows"]}
    lines = ["| 4 KiB over a file | lock | digest | ext4 | tmpfs |", "|---|---|---|--:|--:|"]
    for key, way, lock, digest in _WAYS:
        cells = []
        for filesystem in ("ext4", "tmpfs"):
            seconds = rows[f"peers-{filesystem}"]["seconds"]
            cells.append(f"{seconds[key]['median'] / seconds['bare']['median']:.2f} x")
        lines.append(f"| {way} | {lock} | {digest} | {' | '.join(cells)} |")
    return "\n".join(lines)


def many(files: dict[str, Any]) -> str:
    """Return how long ten thousand files take, relative to the bare protocol in one thread."""
    *written, recorded = files["rows"]
    unit = written[0]["seconds"]["bare"]
    lines = [
        f'| {files["files"]:,} files | bare protocol | `concurrency="none"` | default |',
        "|---|--:|--:|--:|",
    ]
    for row in written:
        cells = (f"{row['seconds'][who] / unit:.2f}" for who in ("bare", "none", "default"))
        lines.append(f"| {row['what']} | {' | '.join(cells)} |")
    batch = recorded["seconds"]["checksum -r"] / recorded["seconds"]["one by one"]
    together = "`safeatomic checksum -r` over as many files takes"
    lines += [
        "",
        f"The bare protocol in one thread, {unit:.0f} s, is 1.",
        f"{together} {batch:.2f} times as long as one call for each.",
    ]
    return "\n".join(lines)


def newest(runs: list[dict[str, Any]]) -> str:
    """Return the same on other interpreters, each relative to its bare protocol in one thread."""
    threads = [row["what"] for row in runs[0]["rows"][:-1]]
    lines = [
        f"| interpreter | call | {' | '.join(threads)} |",
        f"|---|---|{'--:|' * len(threads)}",
    ]
    for run in runs:
        *written, _recorded = run["rows"]
        unit = written[0]["seconds"]["bare"]
        for who, call in (("bare", "the bare protocol"), *_ANSWER[:2]):
            cells = (f"{row['seconds'][who] / unit:.2f}" for row in written)
            lines.append(f"| CPython {run['machine']['python']} | {call} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(results: dict[str, Any], *, targets: bool) -> str:
    """Return the rows with a target, or those without."""
    lines = [
        "| what | against | target | measured | 95 % interval | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        if (row["target"] is not None) != targets or row["name"].startswith("peers-"):
            continue
        lines.append(_line(row))
    return "\n".join(lines)


def breakdown(parts: dict[str, Any]) -> str:
    """Return where the time of each call goes."""
    lines = []
    for filesystem, measured in parts["filesystems"].items():
        lines += [
            f"On {filesystem}, microseconds; the bare protocol takes {measured['bare']:.0f}:",
            "",
            "| call | whole | flushes | other system calls | interpreter | Python functions |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{call['call']}` | {call['whole']:.0f} | {call['flushes']:.0f} | "
            f"{call['others']:.0f} | {call['interpreter']:.0f} | {call['functions']} |"
            for call in measured["calls"]
        ]
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _line(row: dict[str, Any]) -> str:
    if row["figure"] is None:
        return (
            f"| {row['what']} | {row['against']} | | not measured: {row['notes']['reason']} | | |"
        )
    unit = _UNITS[row["unit"]]
    figure = row["figure"]
    sign = "≥" if row["at_least"] else "≤"
    target = "" if row["target"] is None else f"{sign} {row['target']:g}{unit}"
    verdict = "" if row["target"] is None else row["verdict"]
    return (
        f"| {row['what']} | {row['against']} | {target} | {figure['median']:.2f}{unit} | "
        f"{figure['low']:.2f}..{figure['high']:.2f} | {verdict} |"
    )


def _replace(page: str, name: str, text: str) -> str:
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    head, found, rest = page.partition(start)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"docs/performance.md has no part {name!r}")
    return f"{head}{start}\n{text}\n{end}{tail}"


if __name__ == "__main__":
    sys.exit(main())
