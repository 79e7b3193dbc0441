"""Measure what it costs that a document is parsed again and compared before it is published.

``python tests-integration/benchmarks/readback.py [SECONDS]`` renders one document of some 60 kB in
every format: as the library renders it, with the check, and parses the text once, all in turns. It
prints, for each format, how many times the CPU time rendering takes with the check, and what the
check takes in loads of that text. No file is written.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import time
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

import timing
import tomli_w

from safeatomic_formats import _json, _pyyaml, _toml_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Operation = Callable[[], object]


class Subject(NamedTuple):
    """How one format renders and parses."""

    bare: Operation
    checked: Operation
    load: Operation


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seconds", nargs="?", type=float, default=5.0, help="for each format")
    seconds = parser.parse_args().seconds
    print("| format | with the check, times the rendering alone | the check, in loads |")
    print("|---|---|---|")
    for name, subject in subjects(document()):
        rounds = measure(subject, seconds)
        slower = timing.spread([checked / bare for bare, checked, _ in rounds])
        loads = timing.spread([(checked - bare) / load for bare, checked, load in rounds])
        print(f"| {name} | {_shown(slower)} | {_shown(loads)} |", flush=True)


def measure(subject: Subject, seconds: float) -> list[list[float]]:
    """Return the seconds of CPU time of each operation, round by round."""
    rounds: list[list[float]] = []
    for operation in subject:
        operation()
    end = time.monotonic() + seconds
    gc.collect()
    gc.disable()
    while len(rounds) < 9 or time.monotonic() < end:
        rounds.append([_cpu_seconds(operation) for operation in subject])
    gc.enable()
    return rounds


def _cpu_seconds(operation: Operation) -> float:
    started = time.process_time_ns()
    operation()
    return (time.process_time_ns() - started) / 1e9


def document() -> dict[str, Any]:
    """Return a document such as a program's settings or state."""
    return {
        "title": "Übersicht",
        "entries": [
            {
                "name": f"service-{number}",
                "port": 8000 + number,
                "ratio": number / 7,
                "enabled": number % 3 == 0,
                "tags": ["alpha", "beta: gamma", "y", "12"],
                "paths": {
                    "log": f"/var/log/service/{number}.log",
                    "note": "it's \u201cquoted\u201d",
                },
            }
            for number in range(270)
        ],
    }


def subjects(data: dict[str, Any]) -> Iterator[tuple[str, Subject]]:
    """Yield the formats; ruamel.yaml last, since the others ask whether it is loaded."""
    options: dict[str, Any] = {
        "indent": 2,
        "sort_keys": False,
        "ensure_ascii": False,
        "allow_nan": False,
        "default": None,
        "cls": None,
    }
    text = json.dumps(data, **options)
    yield (
        "JSON",
        Subject(
            lambda: json.dumps(data, **options),
            lambda: _json._render(data, **options),
            lambda: json.loads(text),
        ),
    )
    as_yaml = _pyyaml.render(data, False, sort_keys=False)
    yield (
        "YAML",
        Subject(
            lambda: _pyyaml._emit(data, False, sort_keys=False),
            lambda: _pyyaml.render(data, False, sort_keys=False),
            lambda: _pyyaml.parse(as_yaml),
        ),
    )
    as_toml = tomli_w.dumps(data)
    yield (
        "TOML",
        Subject(
            lambda: tomli_w.dumps(data),
            lambda: _toml_text.render(data, multiline_strings=False),
            lambda: tomllib.loads(as_toml),
        ),
    )
    from safeatomic_formats import _layout, _roundtrip

    for name, given in ("plain data", data), ("a loaded document", _layout.load(as_yaml)):
        yield (
            f"YAML through ruamel.yaml, {name}",
            Subject(
                lambda given=given: _roundtrip.converter().dump(given, io.StringIO()),  # type: ignore[misc]
                lambda given=given: _layout.render(given, lambda: ""),  # type: ignore[misc]
                lambda: _layout._reader().load(as_yaml),
            ),
        )


def _shown(spread: timing.Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


if __name__ == "__main__":
    main()
