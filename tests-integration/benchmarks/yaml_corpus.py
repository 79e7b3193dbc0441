"""Count how many YAML files of some directories come back as they were.

``python tests-integration/benchmarks/yaml_corpus.py DIRECTORY...`` loads every ``.yaml`` and
``.yml`` file below the directories with `atomic_yaml_load_ruamel`, dumps it unchanged to a scratch
file, and compares the bytes; then it changes one value, dumps again, and counts the lines that
differ. Plain ruamel.yaml does the same for comparison. Files that hold several documents, or no
YAML, are counted and left out. Nothing is written below the directories.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from safeatomic_formats import atomic_yaml_dump_ruamel, atomic_yaml_load_ruamel

LIMIT = 200_000  # bytes; ruamel.yaml reads some 50 kB a second


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--list", action="store_true", help="name the files that do not come back")
    parser.add_argument("--every", type=int, default=1, help="take every Nth file only")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        scratch = os.path.join(folder, "scratch.yaml")
        for path in list(_files(options.directories))[:: options.every]:
            for outcome in _outcomes(path, scratch):
                counts[outcome] += 1
                if options.list and outcome.startswith(("ours: not", "ours: refused")):
                    print(f"{outcome}: {path}")
    print(f"{time.monotonic() - started:.0f} s")
    for outcome, number in sorted(counts.items()):
        print(f"{number:7,} {outcome}")


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _files(directories: list[Path]) -> Iterator[Path]:
    for directory in directories:
        for path in sorted(directory.rglob("*")):
            if path.suffix in {".yaml", ".yml"} and path.is_file() and not path.is_symlink():
                yield path


def _outcomes(path: Path, scratch: str) -> Iterator[str]:
    content = path.read_bytes()
    if len(content) > LIMIT:
        yield "left out: longer than the limit"
        return
    Path(scratch).write_bytes(content)
    try:
        document = atomic_yaml_load_ruamel(scratch, safety="best_effort")
    except Exception as error:
        yield f"left out: {type(error).__name__}"
        return
    yield "files"
    yield f"ours: {_ours(document, content, scratch)}"
    yield f"plain ruamel.yaml: {_plain(content)}"
    if isinstance(document, CommentedMap | CommentedSeq):
        Path(scratch).write_bytes(content)
        yield f"ours, one value changed: {_changed(document, content, scratch)}"


def _ours(document: object, content: bytes, scratch: str) -> str:
    try:
        atomic_yaml_dump_ruamel(scratch, document, safety="best_effort")
    except Exception as error:
        return f"refused, {type(error).__name__}"
    return "identical" if Path(scratch).read_bytes() == content else "not identical"


def _plain(content: bytes) -> str:
    stream = io.BytesIO()
    try:
        yaml = YAML()
        yaml.dump(yaml.load(content), stream)
    except Exception as error:
        return f"failed, {type(error).__name__}"
    return "identical" if stream.getvalue() == content else "not identical"


def _changed(document: Any, content: bytes, scratch: str) -> str:
    holder, key = _middle_scalar(document)
    if holder is None:
        return "no value to change"
    holder[key] = "changed by the count"
    try:
        atomic_yaml_dump_ruamel(scratch, document, safety="best_effort")
    except Exception as error:
        return f"refused, {type(error).__name__}"
    before, after = content.splitlines(), Path(scratch).read_bytes().splitlines()
    if len(before) == len(after):
        lines = sum(old != new for old, new in zip(before, after, strict=True))
    else:
        opcodes = difflib.SequenceMatcher(None, before, after).get_opcodes()
        lines = sum(max(j - i, m - k) for tag, i, j, k, m in opcodes if tag != "equal")
    return "one line differs" if lines == 1 else "2 to 5 lines" if lines <= 5 else "more lines"


def _middle_scalar(document: Any) -> tuple[Any, Any]:
    """Return the place of the text in the middle of a document, all its texts counted."""
    found: list[tuple[Any, Any]] = []
    todo, seen = [document], set[int]()
    while todo:
        holder = todo.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        own = list(holder) if isinstance(holder, CommentedMap) else range(len(holder))
        for key in own:
            if isinstance(holder[key], CommentedMap | CommentedSeq):
                todo.append(holder[key])
            elif isinstance(holder[key], str) and "\n" not in holder[key]:
                found.append((holder, key))
    return found[len(found) // 2] if found else (None, None)


if __name__ == "__main__":
    main()
