"""Sidecars with odd names, judged by the tools themselves: one run, one table.

``pytest -s`` prints it; `docs/guarantees.md` shows one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

import safeatomic_core as sa

# Names that need no escaping, however odd, and such that do (coreutils manual, "md5sum").
ORDINARY = [
    *("plain", "two  spaces", " leading", "trailing ", "-dash", "--", "*asterisk", "# hash"),
    *("tab\tbed", "naïve", "日本語", "e\u0301", "\U0001f600", "(brackets)", "a = b", "'quotes'"),
    *('"double"', "$HOME", "`ticks`", "semi;colon", "pipe|", "amp&", "question?", "[set]"),
    *("{brace}", "~tilde", "!bang", "%s"),
    *(
        "a" * 240,
        ".hidden",
        "..two",
        "name.sha256x",
        "0" * 64,
        "SHA256 (x)",
        "x) = y",
        "\x01control",
    ),
    *("\x7fdelete", "\udcff\udcfe", "nbsp\u00a0", "\u202eright-to-left"),
]
ESCAPED = ["new\nline", "car\rriage", "back\\slash", "\\n", "ends\\", "\n"]
NAMES = [*ORDINARY, *ESCAPED]


class Tool(NamedTuple):
    """A program that checks.

    Attributes:
        command: Without the sidecar's name.
        algo: The algorithm of the sidecars that it is shown.
        refuses: The odd names that it cannot deal with, in its own lists neither.
    """

    command: tuple[str, ...]
    algo: str
    refuses: tuple[str, ...] = ()


TOOLS = {
    "sha256sum": Tool(("sha256sum", "--check", "--strict", "--warn"), "sha256"),
    "sha512sum": Tool(("sha512sum", "--check", "--strict", "--warn"), "sha512"),
    "md5sum": Tool(("md5sum", "--check", "--strict", "--warn"), "md5"),
    "b2sum": Tool(("b2sum", "--check", "--strict", "--warn"), "blake2b"),
    "cksum": Tool(("cksum", "--check", "--strict", "--warn"), "blake2b"),
    "cksum, untagged": Tool(
        ("cksum", "--algorithm=sha256", "--check", "--strict", "--warn"), "sha256"
    ),
    "perl shasum": Tool(("shasum", "--check", "--strict", "--warn"), "sha256", ("car\rriage",)),
    "BusyBox": Tool(("busybox", "sha256sum", "-c"), "sha256", tuple(ESCAPED)),
    "toybox": Tool(("toybox", "sha256sum", "-c"), "sha256", (" leading", *ESCAPED)),
    # 0.0.17 of Debian 12
    "uutils": Tool(
        ("coreutils", "sha256sum", "--check", "--strict", "--warn"),
        "sha256",
        ("\udcff\udcfe", *ESCAPED),
    ),
}


def accepts(tool: Tool, directory: Path, name: str) -> bool:
    """Tell whether a tool accepts a sidecar without a word of complaint."""
    sidecar = os.fsencode(f"./{name}.sha256")
    done = subprocess.run(
        [*tool.command, sidecar], cwd=directory, capture_output=True, check=False, timeout=30
    )
    return done.returncode == 0 and not done.stderr and b"OK" in done.stdout


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    return {}


def judge(tool: Tool, directory: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """Return the names whose sidecar is refused when sound, and accepted beside damaged data."""
    refused, missed = [], []
    for name in names:
        path = directory / name
        sa.write_atomic_bytes(path, b"old", write_checksum=True, checksum_algo=tool.algo)
        sa.write_atomic_bytes(path, b"content", write_checksum=True, checksum_algo=tool.algo)
        if not accepts(tool, directory, name):
            refused.append(name)
        path.write_bytes(b"Content")
        if accepts(tool, directory, name):
            missed.append(name)
    return refused, missed


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_accepts_our_sidecars_and_notices_damage(
    name: str, tmp_path: Path, table: dict[str, str], tally: Counter[str]
) -> None:
    tool = TOOLS[name]
    if shutil.which(tool.command[0]) is None:
        table[name] = "not installed"
        pytest.skip(f"no {tool.command[0]} on this machine")
    refused, missed = judge(tool, tmp_path, NAMES)
    table[name] = f"{len(NAMES) - len(refused)} of {len(NAMES)}"
    assert missed == []
    assert set(refused) <= set(tool.refuses)
    tally["sidecars with odd names accepted by other tools"] += len(NAMES) - len(refused)


def test_the_table_is_printed(table: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    if set(table) != set(TOOLS):
        pytest.skip("the table wants a run of all tools in one process")
    with capsys.disabled():
        print("\n| tool | sidecars accepted |\n|---|---|")
        for name, accepted in table.items():
            print(f"| {name} | {accepted} |")
