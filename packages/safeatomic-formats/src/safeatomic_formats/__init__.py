"""JSON, YAML and TOML documents in plain files, written and read with explicit guarantees.

Each pair of functions goes through `safeatomic_core.write_atomic` and `safeatomic_core.read_atomic`
and takes their options:

- JSON: `atomic_json_dump`, `atomic_json_load`
- YAML, plain data: `atomic_yaml_dump`, `atomic_yaml_load`
- YAML with comments and layout kept (extra ``ruamel``): `atomic_yaml_dump_ruamel`,
  `atomic_yaml_load_ruamel`
- TOML: `atomic_toml_dump`, `atomic_toml_load`

A format's library is imported by the first call that needs it.
"""

from __future__ import annotations

from ._json import atomic_json_dump, atomic_json_load
from ._ruamel import atomic_yaml_dump_ruamel, atomic_yaml_load_ruamel
from ._toml import atomic_toml_dump, atomic_toml_load
from ._version import __version__ as __version__
from ._yaml import atomic_yaml_dump, atomic_yaml_load

__all__ = [
    "atomic_json_dump",
    "atomic_json_load",
    "atomic_yaml_dump",
    "atomic_yaml_load",
    "atomic_yaml_dump_ruamel",
    "atomic_yaml_load_ruamel",
    "atomic_toml_dump",
    "atomic_toml_load",
]
