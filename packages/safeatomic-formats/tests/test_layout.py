"""What a person wrote in a YAML file stays as it was written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ruamel = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from safeatomic_formats import (  # noqa: E402
    atomic_yaml_dump_ruamel,
    atomic_yaml_load,
    atomic_yaml_load_ruamel,
)

KEPT = {
    "comments": "# head\n\na: 1   # trailing\n# between\nb:\n  # inside\n  c: 2\n\n# tail\n",
    "comments above the marker": "# licence\n\n# more\n---\n# below\na: 1\n",
    "marker": "---\na: 1\n",
    "order": "z: 1\na: 2\nm: 3\n",
    "anchors": "base: &anchor\n  x: 1\nuse: *anchor\nmerge:\n  <<: *anchor\n  y: 2\n",
    "quotes": "a: 'single'\nb: \"double\"\nc: plain\n\"d\": 1\n'e': 2\n",
    "width": f"long: {'word ' * 60}end\nquoted: '{'word ' * 60}end'\n",
    "numbers": "a: 0x1F\nb: 1_000\nc: 012\nd: 1.50\ne: 1e3\nf: 0o17\n",
    "literal": "a: |\n  one\n   two\nb: |-\n  x\nc: |+\n  y\n\nd: 1\n",
    "folded": "a: >\n  folded text\n  over lines\nb: 1\n",
    "flow": "a: [1, 2, 3]\nb: {c: 1, d: [2]}\n",
    "tags": "a: !custom {x: 1}\nb: !!str 1\n",
    "tag directive": "%TAG !e! tag:example,2026:\n---\na: !e!thing {x: 1}\n",
    "version": "%YAML 1.1\n---\na: 012\nb: 'yes'\n",
    "words": "a: yes\nb: on\nc: true\n",
    "dates": "a: 2001-01-01\n",
    "list at the key": "a:\n- 1\n- b: 2\n  c: 3\n",
    "list below the key": "a:\n  - 1\n  - b: 2\n    c: 3\n  - d:\n      - 4\n",
    "wide indents": "a:\n    b:\n        c: 1\n    d:\n      - 1\n",
    "unicode": "a: Grüße 世界 😀\n",
    "top list": "# head\n- a\n- b # x\n# end\n",
    "empty values": "a:\nb: ''\nc: []\nd: {}\n",
    "root list left of its lists": "- hosts: all\n  tasks:\n    - name: a\n    - name: b\n",
    "root list further right": "  - a: 1\n    b:\n    - 1\n  - c\n",
    "lists indented differently": "a:\n- 1\nb:\n  - 2\nc:\n    - 3\n",
    "wide dashes": "a:\n  -   b: 1\n      c: 2\n  -   d: 3\n",
    "blank line below a key": "a:\n\n  - run: |\n      make\n\n    # now test\n    env: 1\n  - b\n",
    "comment below a key": "items:\n  # first\n  - |\n    text\n\n  # second\n  - x\n",
    "list that begins with a mapping": "a:\n  - {}\n  # c\n  - []\n  - x\n",
    "empty root list below a comment": "# kept empty on purpose\n[]\n",
    "empty root mapping below a comment": "# kept empty on purpose\n\n{} # x\n",
    "root in brackets below a comment": "# c\n[1, 2] # x\n",
    "spaces": "a:   1\nb:    # c\n    - x\n",
    "spellings of null": "a: ~\nb: null\nc: Null\nd:\n",
    "text over lines": "a: one\n  two\n  three\nb: 'x\n\n  y'\n",
    "comments in brackets": "a: [1, # one\n  2, # two\n  # three\n  ]\nb: {c: 1, # c\n  d: 2}\n",
    "comments behind the end": "a: 1\n...\n# end\n",
    "unused anchors": "a: &x 1\nb: &y\n  c: 2\nd: &z [1]\n",
    "blank lines at the start": "\n\na: 1\n\n\n",
    "no newline at the end": "a: 1",
    "spaces at line ends": "a: 1  \nb:  \n  - c \n",
    "comment deeper and less deep": "a:\n  b: 1\n      # deep\n# shallow\n  c: 2\n",
    "nested lists": "- - 1\n  - 2\n-   - 3\n",
    "reused anchor": "a: &x 1\nb: *x\nc: &x 2\nd: *x\n",
}
WITHOUT_LAYOUT = {
    "only comments": "# only\n\n  # comments\n",
    "nothing": "",
    "blank lines": "\n\n",
    "marker alone": "--- # c\n",
    "null with a comment": "# c\nnull # d\n",
    "lone text": "# c\ntext # d\n",
    "lone number": "# c\n0x1F\n",
    "lone quoted text": "'a' # b\n",
    "lone value with a tag": "# c\n!own   text # d\n",
    "lone date": "# c\n2026-01-01 # d\n",
    "lone time": "2026-01-01t00:00:00.5Z # d\n",
    "lone bytes": "# c\n!!binary |\n  aGk=\n",
    "set": "!!set\n# c\n? a   # d\n? b\n",
}
LINE_ENDS = {
    "comments": "# c\r\na: 1 # x\r\n# d\r\nb: 2\r\n",
    "list": "# c\r\na:\r\n  - 1\r\n",
    "literal text": "a: |\r\n  one\r\n  two\r\nb: 1\r\n",
    "marker": "# c\r\n---\r\na: 'x\r\n  y'\r\n",
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.yaml"


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_was_written_stays(target: Path, text: str) -> None:
    target.write_text(text, encoding="utf-8")
    atomic_yaml_dump_ruamel(target, atomic_yaml_load_ruamel(target))
    assert target.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("text", WITHOUT_LAYOUT.values(), ids=WITHOUT_LAYOUT)
def test_what_carries_no_layout_leaves_a_file_that_says_the_same(target: Path, text: str) -> None:
    target.write_text(text)
    atomic_yaml_dump_ruamel(target, atomic_yaml_load_ruamel(target))
    assert target.read_text() == text


@pytest.mark.parametrize("text", ["# c\na: 1\n", "a: [", "\x00", "text\n"])
def test_a_file_that_says_something_else_is_replaced(target: Path, text: str) -> None:
    target.write_text(text)
    atomic_yaml_dump_ruamel(target, None)
    assert atomic_yaml_load_ruamel(target) is None
    assert "null" in target.read_text()


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("text", LINE_ENDS.values(), ids=LINE_ENDS)
def test_line_ends_stay(target: Path, text: str, end: str) -> None:
    text = text.replace("\r\n", end)
    target.write_bytes(text.encode())
    document = atomic_yaml_load_ruamel(target)
    assert "\r" not in repr(document)
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_bytes() == text.encode()
    document["z"] = ["new", "lines"]
    atomic_yaml_dump_ruamel(target, document)
    written = target.read_bytes()
    assert b"new" in written
    assert written.count(end.encode()) == written.count(b"\r")
    assert written.count(b"\n") == (written.count(b"\r") if end == "\r\n" else 0)
    assert len(written.splitlines()) == len(text.splitlines()) + 3


def test_line_ends_of_three_kinds_become_those_of_most_lines(target: Path) -> None:
    target.write_bytes(b"a: 1\rb: 2\nc: 'x\r\n  y'\rd: 3 # d\r")
    document = atomic_yaml_load_ruamel(target)
    assert document == {"a": 1, "b": 2, "c": "x y", "d": 3}
    document["b"] = 4
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_bytes() == b"a: 1\rb: 4\rc: 'x\r  y'\rd: 3 # d\r"


def test_mixed_line_ends_stay_or_become_one_kind(target: Path) -> None:
    target.write_bytes(b"a: 1\r\nb: 2\nc: 3\r\n")
    document = atomic_yaml_load_ruamel(target)
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_bytes() == b"a: 1\r\nb: 2\nc: 3\r\n"
    document["a"] = 4
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_bytes() == b"a: 4\r\nb: 2\r\nc: 3\r\n"


EMPTIED = {
    "comment above the item": (
        "plugins:\n  # enabled ones\n  - foo\nport: 1\n",
        "plugins: []\n  # enabled ones\nport: 1\n",
    ),
    "blank line": ("plugins:\n\n  - foo\nport: 1\n", "plugins: []\n\nport: 1\n"),
    "comment at the key": ("plugins: # on\n  - foo\nport: 1\n", "plugins: [] # on\nport: 1\n"),
    "both": (
        "plugins: # on\n  # two\n  - foo # x\nport: 1\n",
        "plugins: [] # on\n  # two\nport: 1\n",
    ),
    "mapping": (
        "plugins:\n  # vars\n  A: 1\nport: 1\n",
        "plugins: {}\n  # vars\nport: 1\n",
    ),
    "comment at the item": ("plugins:\n  - foo # x\nport: 1\n", "plugins: []\nport: 1\n"),
    "in brackets": ("plugins: [foo] # x\nport: 1\n", "plugins: []    # x\nport: 1\n"),
    "at the end": ("port: 1\nplugins:\n  # c\n  - foo\n", "port: 1\nplugins: []\n  # c\n"),
}


@pytest.mark.parametrize(("text", "emptied"), EMPTIED.values(), ids=EMPTIED)
def test_an_emptied_collection_keeps_its_comments_behind_it(
    target: Path, text: str, emptied: str
) -> None:
    target.write_text(text)
    document = atomic_yaml_load_ruamel(target)
    document["plugins"].clear()
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_text() == emptied
    document["plugins"] = type(document["plugins"])({"b": 1} if "A:" in text else ["b"])
    atomic_yaml_dump_ruamel(target, document)
    assert atomic_yaml_load(target) == {"port": 1, "plugins": {"b": 1} if "A:" in text else ["b"]}


CHANGES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "filled": ("# kept\n[]\n", lambda d: d.append({"a": 1}), "# kept\n- a: 1\n"),
    "filled below a key": (
        "a: {}\nlist: []\n",
        lambda d: (d["a"].update(x={"y": 1}), d["list"].append(1)),
        "a:\n  x:\n    y: 1\nlist:\n- 1\n",
    ),
    "item of a root list": (
        "- hosts: all\n  tasks:\n    - name: a\n",
        lambda d: d.append({"hosts": "x", "tasks": [{"name": "b"}]}),
        "- hosts: all\n  tasks:\n    - name: a\n- hosts: x\n  tasks:\n    - name: b\n",
    ),
    "behind the end": ("a: 1\n...\n# end\n", lambda d: d.update(b=2), "a: 1\nb: 2\n...\n# end\n"),
    "beside comments in brackets": (
        "a: [1, # one\n  2]\nb: &x 1\nc:   3\nd: 4\n",
        lambda d: d.update(d=5),
        "a: [1, # one\n  2]\nb: &x 1\nc:   3\nd: 5\n",
    ),
    "list below a blank line": (
        "steps:\n\n  - a\n\n  # last\n  - b\n",
        lambda d: d["steps"].append("c"),
        "steps:\n\n  - a\n\n  # last\n  - b\n  - c\n",
    ),
    "removed": (
        "a: 1\n# of b\nb:   2 # x\nc:   3 # y\n",
        lambda d: d.pop("a"),
        "# of b\nb:   2 # x\nc:   3 # y\n",
    ),
    "comment added": (
        "a:   1\nb: 2\n",
        lambda d: d.yaml_add_eol_comment("new", "b", column=6),
        "a:   1\nb: 2  # new\n",
    ),
    "item behind empty brackets": (
        "a:\n  # c\n  - {}\n  - []\nb: 1\n",
        lambda d: d["a"].extend([["x"], {"y": 1}]),
        "a:\n  # c\n  - {}\n  - []\n  -   - x\n  - y: 1\nb: 1\n",
    ),
    "list indented unlike most": (
        "a:\n  - 1\nb:\n  - 1\nflags: [\n  x, # keep me\n  y\n]\nport:   80\nc:\n- p\n- q\n",
        lambda d: d["c"].__setitem__(1, "Z"),
        "a:\n  - 1\nb:\n  - 1\nflags: [\n  x, # keep me\n  y\n]\nport:   80\nc:\n- p\n- Z\n",
    ),
    "longer list indented unlike most": (
        "a:\n  - b: 1\n  - b: 1\nc: &c\n- p: 1\nd: !d\n    -   q: 1\n        r: 2\n",
        lambda d: (d["c"].append({"p": 2, "q": [3]}), d["d"].append({"q": 2, "r": 3})),
        (
            "a:\n  - b: 1\n  - b: 1\nc: &c\n- p: 1\n- p: 2\n  q:\n    - 3\n"
            "d: !d\n    -   q: 1\n        r: 2\n    -   q: 2\n        r: 3\n"
        ),
    ),
    "mapping indented unlike most": (
        "a:\n  b: 1\nc:\n  d: 1\ne:\n      f: 1 # c\n",
        lambda d: d["e"].update(g=2),
        "a:\n  b: 1\nc:\n  d: 1\ne:\n      f: 1 # c\n      g: 2\n",
    ),
    "list in a list, with a text over lines": (
        "a:\n  - - {x: 1}  # e\n    # c\n    - y\n    - |  # d\n      t\nb: 1\n",
        lambda d: d["a"][0].append({"m": 1, "o": 2}),
        (
            "a:\n  - - {x: 1}  # e\n    # c\n    - y\n    - |  # d\n      t\n"
            "    - m: 1\n      o: 2\nb: 1\n"
        ),
    ),
    "line of a text indented unlike the others": (
        "a: [\n  x, # keep me\n  y\n]\nb:   1\nc:\n  d: |\n      one\n      two\n  e:   [ 1 ]\n",
        lambda d: d["c"].update(d=type(d["c"]["d"])("one\nTWO\n")),
        "a: [\n  x, # keep me\n  y\n]\nb:   1\nc:\n  d: |\n    one\n    TWO\n  e:   [ 1 ]\n",
    ),
    "behind a text over lines": (
        "a: 'x\n  y'\n",
        lambda d: d.update(z=["new"]),
        "a: 'x\n  y'\nz:\n- new\n",
    ),
    "beside an anchor that nothing names": (
        "a:\n- &one\n  b: 1\n  c: 2\nd: &two [1]\n",
        lambda d: (d["a"][0].update(b=3), d["d"].append(2)),
        "a:\n- &one\n  b: 3\n  c: 2\nd: &two [1, 2]\n",
    ),
    "the last alias removed": (
        "x: &x\n  k: 1\ny: 2\nz: *x\n",
        lambda d: d.pop("z"),
        "x: &x\n  k: 1\ny: 2\n",
    ),
    "the entry with the anchor removed": (
        "x: &x\n  k: 1\nz: *x\n",
        lambda d: d.pop("x"),
        "z: &x\n  k: 1\n",
    ),
    "a copy with an anchor added": (
        "x: &x\n  k: 1\nz: *x\n",
        lambda d: d.insert(1, "y", copy.deepcopy(d["x"])),
        "x: &x\n  k: 1\ny:\n  k: 1\nz: *x\n",
    ),
    "between lines that differ in number": (
        "- k: [ 'q' ]\n- |  # e\n  \n  end\n",
        lambda d: d[0].update(n=1),
        "- k: [ 'q' ]\n  n: 1\n- |  # e\n  \n  end\n",
    ),
}


@pytest.mark.parametrize("copied", [False, True], ids=["loaded", "copied"])
@pytest.mark.parametrize(("text", "change", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_change_leaves_the_other_lines(
    target: Path, text: str, change: Callable[[Any], object], changed: str, copied: bool
) -> None:
    target.write_text(text)
    document = atomic_yaml_load_ruamel(target)
    if copied and document:  # of an empty list ruamel.yaml copies nothing
        document = copy.deepcopy(document)
    change(document)
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_text() == changed
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_text() == changed


def test_a_change_changes_its_own_line_only(target: Path) -> None:
    target.write_text("# licence\n---\na: 1 # one\nb:\n  - 'x' # ex\n  - y\nc: &c 3\nd: *c\n")
    document = atomic_yaml_load_ruamel(target)
    document["b"].append("z")
    document["a"] = 2
    atomic_yaml_dump_ruamel(target, document)
    assert target.read_text() == (
        "# licence\n---\na: 2 # one\nb:\n  - 'x' # ex\n  - y\n  - z\nc: &c 3\nd: *c\n"
    )


def test_comments_above_the_marker_go_with_the_document_not_with_the_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("# licence\n---\na: 1\n")
    atomic_yaml_dump_ruamel(second, atomic_yaml_load_ruamel(first))
    assert second.read_text() == first.read_text()


def test_an_octal_number_keeps_its_value_under_version_1_1(target: Path) -> None:
    target.write_text("%YAML 1.1\n---\nmode: 0644\n")
    document = atomic_yaml_load_ruamel(target)
    assert document["mode"] == 0o644
    atomic_yaml_dump_ruamel(target, document)
    assert atomic_yaml_load_ruamel(target)["mode"] == 0o644


def test_a_copied_document_is_written_too(target: Path) -> None:
    target.write_text("# c\na: [1]\n")
    atomic_yaml_dump_ruamel(target, copy.deepcopy(atomic_yaml_load_ruamel(target)))
    assert target.read_text() == "# c\na: [1]\n"
