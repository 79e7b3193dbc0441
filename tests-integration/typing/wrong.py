"""One mistake a line, each marked: a type checker must report these lines and no others."""

from __future__ import annotations

import safeatomic
from safeatomic import atomic_json_dmp  # error: misspelt lazy name
from safeatomic import write_atomc  # error: misspelt core name
from safeatomic import atomic_json_dump, inspect_lock, read_atomic, safeatomic_config, write_atomic
from safeatomic_core import atomic_json_load  # error: not a name of the core
from safeatomic_formats import atomic_jsn_load  # error: misspelt

safeatomic.atomic_yaml_lod("file")  # error: misspelt attribute
write_atomic("file", b"bytes")  # error: bytes are not text
write_atomic("file", "text", safety="careful")  # error: no such policy
write_atomic("file", "text", None)  # error: options are keyword-only
write_atomic("file", "text", concurency="none")  # error: misspelt option
write_atomic("file", "text", retries="3")  # error: not an int
atomic_json_dump("file", {}, indent=2.5)  # error: not an int or str
atomic_json_dump("file", {}, check_checksum=True)  # error: an option of reading
atomic_json_dump("file", {}, default=5)  # error: not callable
atomic_json_dump("file", {}, cls=dict)  # error: not an encoder
atomic_json_dump("file", {}, multiline_strings=True)  # error: an option of TOML
number: int = read_atomic("file")  # error: a str is returned
safeatomic_config(safety="warn")  # error: not a convenience
inspect_lock("file").pid = 1  # error: records are immutable
write_atomic(5, "text")  # error: not a path
