"""The dump and the load of each format that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import safeatomic_formats


class Format(NamedTuple):
    dump: Callable[..., None]
    load: Callable[..., Any]


HAS_RUAMEL = importlib.util.find_spec("ruamel") is not None
FORMATS = {
    "json": Format(safeatomic_formats.atomic_json_dump, safeatomic_formats.atomic_json_load),
    "yaml": Format(safeatomic_formats.atomic_yaml_dump, safeatomic_formats.atomic_yaml_load),
    "toml": Format(safeatomic_formats.atomic_toml_dump, safeatomic_formats.atomic_toml_load),
}
if HAS_RUAMEL:
    FORMATS["ruamel"] = Format(
        safeatomic_formats.atomic_yaml_dump_ruamel, safeatomic_formats.atomic_yaml_load_ruamel
    )


def names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir())
