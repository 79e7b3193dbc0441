"""YAML through ruamel.yaml: what a person wrote stays as it was written."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest

ruamel = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from safeatomic_formats import atomic_yaml_dump_ruamel, atomic_yaml_load_ruamel  # noqa: E402

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
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.yaml"


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_was_written_stays(target: Path, text: str) -> None:
    target.write_text(text, encoding="utf-8")
    atomic_yaml_dump_ruamel(target, atomic_yaml_load_ruamel(target))
    assert target.read_text(encoding="utf-8") == text


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


@pytest.mark.parametrize("document", [{"a": [1, {"b": None}]}, [1, 2], "text", 5, None, True])
def test_plain_objects_are_written(target: Path, document: object) -> None:
    atomic_yaml_dump_ruamel(target, document)
    assert atomic_yaml_load_ruamel(target) == document


def test_a_key_twice_is_refused(target: Path) -> None:
    target.write_text("a: 1\na: 2\n")
    with pytest.raises(ruamel.constructor.DuplicateKeyError):
        atomic_yaml_load_ruamel(target)


def test_unsafe_tags_build_nothing(target: Path) -> None:
    target.write_text("a: !!python/object/apply:os.system ['exit 3']\n")
    value = atomic_yaml_load_ruamel(target)["a"]
    assert list(value) == ["exit 3"]


def test_without_the_extra_the_call_says_what_to_install(target: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['ruamel'] = sys.modules['ruamel.yaml'] = None\n"
        "from safeatomic_formats import atomic_yaml_dump_ruamel, atomic_yaml_load_ruamel\n"
        "for call in (lambda: atomic_yaml_dump_ruamel(sys.argv[1], {}),\n"
        "             lambda: atomic_yaml_load_ruamel(sys.argv[1])):\n"
        "    try: call()\n"
        "    except ImportError as error:\n"
        "        assert \"pip install 'ruamel.yaml>=0.18'\" in str(error), error\n"
        "        assert error.name == 'ruamel.yaml'\n"
        "    else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=True)
    assert not target.exists()
