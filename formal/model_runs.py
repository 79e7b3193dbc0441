"""The runs of TLC, as the files `*.runs.toml` list them."""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_REQUIRED = {"name", "model", "config", "expect", "about"}
_KEYS = _REQUIRED | {"violates", "size", "idle", "deadlock"}


@dataclass(frozen=True)
class Run:
    """One run of TLC, as a `*.runs.toml` lists it.

    Attributes:
        name: Unique among all runs; names the report.
        model: The root module, without `.tla`.
        config: The configuration file.
        expect: "pass" or "violation".
        violates: The invariant or property that a broken variant violates.
        size: "default", or "large" for runs that only `--large` makes.
        about: One line for the table.
        idle: Actions that these bounds exclude; another run of the model must take them.
        deadlock: Whether a state without successor is an error.
    """

    name: str
    model: str
    config: str
    expect: str
    violates: str | None
    size: str
    about: str
    idle: tuple[str, ...] = ()
    deadlock: bool = False


def load_runs(directory: Path) -> list[Run]:
    """Read all run lists in a directory.

    Raises:
        ValueError: A list is malformed, or two runs have one name.
    """
    runs = [
        _read_run(path.name, table)
        for path in sorted(directory.glob("*.runs.toml"))
        for table in tomllib.loads(path.read_text(encoding="utf-8")).get("run", [])
    ]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two runs are named {name!r}")
    return runs


def select(runs: list[Run], *, only: list[str] | None, large: bool) -> list[Run]:
    """Choose the runs to make. A large run is made with `large`, or where it is named in full.

    Raises:
        ValueError: A name or pattern chooses nothing.
    """

    def chosen(run: Run, word: str) -> bool:
        return run.name == word or (
            (large or run.size == "default")
            and any(fnmatch.fnmatch(text, word) for text in (run.name, run.model))
        )

    words = only or ["*"]
    for word in words:
        if not any(chosen(run, word) for run in runs):
            raise ValueError(f"no run is named {word}" if only else "there are no runs")
    return [run for run in runs if any(chosen(run, word) for word in words)]


def _read_run(file: str, table: dict[str, Any]) -> Run:
    where = f"{file}, run {table.get('name')!r}"
    if table.keys() - _KEYS:
        raise ValueError(f"{where}: unknown key {', '.join(sorted(table.keys() - _KEYS))}")
    if _REQUIRED - table.keys():
        raise ValueError(f"{where}: no {', '.join(sorted(_REQUIRED - table.keys()))}")
    run = Run(
        name=table["name"],
        model=table["model"],
        config=table["config"],
        expect=table["expect"],
        violates=table.get("violates"),
        size=table.get("size", "default"),
        about=table["about"],
        idle=tuple(table.get("idle", ())),
        deadlock=table.get("deadlock", False),
    )
    if run.expect not in {"pass", "violation"} or run.size not in {"default", "large"}:
        raise ValueError(f"{where}: expect is pass or violation, size is default or large")
    if (run.expect == "violation") != (run.violates is not None):
        raise ValueError(f"{where}: violates goes with expect = 'violation'")
    return run
