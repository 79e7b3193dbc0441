"""The page about the doctor says what the doctor does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import doctor

PAGE = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text("utf-8")
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "null": type(None),
}


def schema() -> dict[str, Any]:
    block = re.search(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    found: dict[str, Any] = json.loads(block.group(1))
    return found


def flaws(value: object, rule: dict[str, Any], where: str = "report") -> list[str]:
    """Compare a value with the part of JSON Schema that the page uses; no field may be unknown."""
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    if not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return [f"{where}: {value!r} is no {' or '.join(kinds)}"]
    found = []
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{where}: {value!r} is not one of {rule['enum']}")
    if isinstance(value, dict):
        found += [f"{where}: {name} is missing" for name in rule["required"] if name not in value]
        for name, item in value.items():
            part = rule.get("properties", {}).get(name, rule.get("additionalProperties"))
            if part is None:
                found.append(f"{where}: {name} is not documented")
            else:
                found += flaws(item, part, f"{where}.{name}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            found += flaws(item, rule["items"], f"{where}[{number}]")
    return found


@pytest.mark.parametrize("path", ["file", "missing/file", "un\udcffreadable"])
@pytest.mark.parametrize("destructive", [False, True])
def test_a_report_is_what_the_schema_says(tmp_path: Path, path: str, destructive: bool) -> None:
    report = doctor(
        tmp_path / path, destructive=destructive, require=["AtomicVisibility", "nothing"]
    )
    assert flaws(json.loads(json.dumps(report.to_dict())), schema()) == []


def test_the_schema_can_be_violated(tmp_path: Path) -> None:
    good = doctor(tmp_path).to_dict()
    for change in ({"ok": "yes"}, {"extra": 1}, {"checks": [{"name": "x"}]}, {"schema": 2}):
        assert flaws({**good, **change}, schema()) != []
    del good["path"]
    assert flaws(good, schema()) == ["report: path is missing"]


def test_the_page_lists_every_check_and_no_other(tmp_path: Path) -> None:
    listed = re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    statuses = {"pass", "warn", "fail", "unknown"}
    report = doctor(tmp_path / "file", destructive=True)
    made = [check.name for check in report.checks]
    assert [name for name in listed if name not in statuses | {"inspection"}] == made
