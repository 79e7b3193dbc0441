"""PyYAML with and without libyaml: the same text, the same data, the same bounds."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safeatomic_formats import _pyyaml, _pyyaml_read
from safeatomic_formats._readback import check

# 300 documents; the profile of conftest.py that is called long tries 100,000.
EXAMPLES = max(300, settings.default.max_examples if settings.default else 0)

needs_libyaml = pytest.mark.skipif(
    not yaml.__with_libyaml__, reason="this PyYAML was built without libyaml"
)

tricky_text = st.text(
    alphabet="ab .\n\t\r:-#'\"é\U0001f600\x85\u2028\u2029\ufeff,[]{}|>&*!%@`\\=?~<\x00\x1b\xa0",
    max_size=40,
)
known_text = st.sampled_from(
    [
        *(
            "",
            "yes",
            "No",
            "null",
            "~",
            "1e3",
            "0o7",
            "012",
            "0x1F",
            "1:30",
            "=",
            "<<",
            ".inf",
            "-",
        ),
        *("---", "...", "2001-01-01", "2001-12-14 21:59:43", "key: value", "a #b", "1_000", "!x"),
    ]
)
text = st.text() | tricky_text | known_text
moments = st.datetimes() | st.datetimes(
    timezones=st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | text
    | st.dates()
    | moments
    | st.binary()
)
keys = (
    text
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.dates()
    | moments
    | st.binary(max_size=8)
    | st.text("abé :", min_size=100, max_size=140)
    | st.text("a", min_size=124, max_size=132)
)
documents = st.recursive(
    scalars,
    lambda children: (
        st.lists(children)
        | st.dictionaries(keys, children)
        | st.lists(children, max_size=2).map(lambda items: items + items)
    ),
    max_leaves=15,
)
styles = st.sampled_from([False, True, None])
tokens = st.sampled_from(
    [
        *("a", "b: ", "- ", "\n", "  ", ": ", ":", "#", " #c", "'", '"', "|\n", "|+\n", ">-\n"),
        *("[", "]", "{", "}", ", ", "&a ", "*a", "!!str ", "!!int ", "!x ", "!", "<<: ", "? "),
        *("1", "1.5", "1:30", "0x1f", "012", "yes", "~", "null", "2001-01-01", "=", "@", "`", "é"),
        *("---\n", "...\n", "%YAML 1.1\n", "\t", "\r\n", "\\n", "\\x41", "\\u00e9", "\ufeff"),
        *("\x85", "\u2028", "\x07", "😀"),
    ]
)


def pure(document: object, style: bool | None, sort_keys: bool = False) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "__with_libyaml__", False)
        return _pyyaml.render(document, style, sort_keys)


def load_pure(source: str) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "__with_libyaml__", False)
        return _pyyaml.parse(source)


@needs_libyaml
@settings(max_examples=EXAMPLES)
@example(document={"a\rb": None}, style=False)
@given(documents, styles)
def test_both_write_the_same_text(document: object, style: bool | None) -> None:
    assert _pyyaml.render(document, style, sort_keys=False) == pure(document, style)


@settings(max_examples=EXAMPLES)
@given(documents, styles)
def test_what_is_rendered_parses_to_the_same(document: object, style: bool | None) -> None:
    """On each path. Run longer: ``pytest -k parses_to_the_same --hypothesis-profile=long``."""
    for render, load in (_pyyaml.render, _pyyaml.parse), (pure, load_pure):
        rendered = render(document, style, sort_keys=False).encode("utf-8").decode("utf-8")
        check(document, load(rendered), "YAML", aliases=True)


dotted = st.text(alphabet=".-: '\"#\n\x85\u2028\u2029\ufeff\U0001f600aé", max_size=12)
endings = st.sampled_from(["", ".", "...", "\n...", "...\n", "\n...\n", "---", "\n---\n", ":"])
dotted_text = st.tuples(dotted, endings).map("".join)
long_keys = st.integers(108, 132).flatmap(
    lambda size: st.sampled_from(["k", "é", "\U0001f600", "k "]).map(
        lambda part: (part * size)[:size]
    )
)
dotted_documents = st.recursive(
    dotted_text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(dotted_text | long_keys, inner, max_size=3)
        | st.dictionaries(dotted_text, st.none() | st.integers() | inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=EXAMPLES)
@given(dotted_documents, styles)
def test_dots_dashes_and_line_breaks_come_back_from_both(
    document: object, style: bool | None
) -> None:
    rendered = _pyyaml.render(document, style, sort_keys=False)
    assert rendered == pure(document, style)
    assert _pyyaml.parse(rendered) == document
    assert load_pure(rendered) == document


def outcome(load: Callable[[str], Any], source: str) -> object:
    try:
        return repr(load(source))
    except yaml.YAMLError:
        return "refused"


@needs_libyaml
@settings(max_examples=3 * EXAMPLES)
@given(st.lists(tokens, max_size=14).map("".join))
def test_both_read_the_same(source: str) -> None:
    source = source.removeprefix("\ufeff")
    assert outcome(_pyyaml.parse, source) == outcome(load_pure, source)


CORPUS = {
    "anchors and merges": "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: [*b, *b]\n",
    "merge of several": "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc: {<<: [*a, *b], z: 4}\n",
    "merges itself": "a: &a\n  <<: *a\n  x: 1\n",
    "literal": "a: |\n  one\n   two\n\n  three\nb: |+\n  x\n\n",
    "folded": "a: >-\n  folded\n  text\n\n  more\n",
    "plain over lines": "a: one\n  two\n  three\n",
    "quotes": "a: 'it''s'\nb: \"tab\\t \\u00e9 \\U0001F600 \\x41\"\nc: \"line \\\n  joined\"\n",
    "integers": "[0, -1, +2, 012, 0x1F, 0b11, 1_000, 1:30, 0o7]",
    "floats": "[1.5, 1e3, 1.e+3, .5, .inf, -.INF, 1:30.5]",
    "words": "[yes, No, ON, off, true, ~, null, NULL, y, n]",
    "times": "[2001-01-01, 2001-12-14t21:59:43.10-05:00, 2001-12-14 21:59:43]",
    "explicit tags": "!!set {a, b}\n",
    "typed": "[!!str 1, !!int '2', !!float 3, !!binary aGk=, !!null '', !!bool yes]",
    "pairs": "a: !!omap [x: 1, y: 2]\nb: !!pairs [x: 1, x: 2]\n",
    "complex keys": "? a\n: b\n? 'c d'\n:\n- e\n",
    "document markers": "%YAML 1.1\n---\na: 1\n...\n",
    "comments": "# head\na: 1 # trailing\n# tail\n",
    "tabs": "a: 'x\ty'\nb: |\n  x\ty\n\tc\n",
    "tab as white space": "a:\t1\n",
    "lone tag": "[! , ! a, !]\n",
    "empty values": "a:\nb: ''\nc: []\nd: {}\n- \n",
    "empty": "",
    "comment only": "# nothing\n",
    "windows lines": "a: 1\r\nb:\r\n  - x\r\n",
    "value key": "=: 1\nb: =\n",
    "emoji": "a: 😀\n😀: b\n",
    "deep": "[" * 120 + "]" * 120,
    "unknown directive": "%OWN thing\n---\na: 1\n",
    "later version": "%YAML 1.9\n---\na: 1\n",
    "tag directive": "%TAG !y! tag:yaml.org,2002:\n---\na: !y!str 1\n",
    "question marks in brackets": "[a?, b?c, 'd?', http://example.org/?q=1&r, ?e, {f: g?}]",
    "question mark alone": "[?, a]",
    "question mark and space alone": "[a?,? , b]",
    "question mark as a key": "{? a : b, ? [1] : c}",
    "colon before a bracket": "{a:, b:}",
    "colon before the end of a list": "[a:]",
    "colon before a question mark": "[a:?b, 'c':?d]",
    "colon behind a quote in a plain text": "[a'b':[c], d\"e\":?, f'':{}]",
    "colon and space before a bracket": "[a, b :]",
    "colons in brackets": "[a:b, ::c, {d: e:f}, 'g':h, {\"i\":1}]",
    "comment at a block scalar": "a: |#c\n  x\n",
    "comment behind a block scalar's mark": "a: |2- # c\n   x\n",
    "tag before a comma": "{a: !!str, b: !!null , c: [!!str, !!str x]}",
    "tag of a URI": "a: !<tag:yaml.org,2002:str> 1\nb: [!<tag:yaml.org,2002:str> 1]\n",
    "tag with an escape": "a: !!s%74r 1\n",
    "tag of nothing": "a: !! 1\n",
    "half a surrogate pair": 'a: "\\udd00"',
    "surrogate pair": 'a: "\\ud83d\\ude00"',
    "beyond Unicode": 'a: "\\U00110000"',
    "tab in a comment": "a: [yes?, {b: c?}] #\tc\n",
    "next line": "a: b\x85c: d\n",
}


@needs_libyaml
@pytest.mark.parametrize("source", CORPUS.values(), ids=CORPUS)
def test_both_read_the_corpus_the_same(source: str) -> None:
    assert outcome(_pyyaml.parse, source) == outcome(load_pure, source)


def test_the_same_without_libyaml() -> None:
    """In a fresh interpreter where libyaml cannot be imported."""
    document = "{'k': [1, 'ü', '😀', {'x' * 130: None}], '': 2.5}"
    code = (
        "import sys\n"
        "sys.modules['yaml._yaml'] = None\n"
        "import yaml\n"
        "assert not yaml.__with_libyaml__\n"
        "from safeatomic_formats import _pyyaml\n"
        f"text = _pyyaml.render({document}, False, False)\n"
        f"assert _pyyaml.parse(text) == {document}\n"
        "assert not hasattr(_pyyaml, 'LibyamlLoader')\n"
        "sys.stdout.buffer.write(text.encode('utf-8'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    expected = {"k": [1, "ü", "😀", {"x" * 130: None}], "": 2.5}
    assert done.stdout.decode("utf-8") == _pyyaml.render(expected, False, sort_keys=False)


LOADERS = [
    pytest.param(_pyyaml.PureLoader, id="pure"),
    pytest.param(getattr(_pyyaml, "LibyamlLoader", None), id="libyaml", marks=needs_libyaml),
]


@pytest.mark.parametrize(
    "load", [pytest.param(_pyyaml.parse, id="libyaml"), pytest.param(load_pure, id="pure")]
)
@pytest.mark.parametrize(
    "source",
    ["[" * 200_000, "- " * 200_000, "{a: " * 100_000, "? " * 200_000, "[" * 5_000 + "]" * 5_000],
    ids=["[", "-", "{", "?", "closed"],
)
def test_nesting_is_bounded(load: Callable[[str], Any], source: str) -> None:
    with pytest.raises(RecursionError):
        load(source)


def test_what_else_a_scanner_refuses_is_no_matter_of_depth() -> None:
    with pytest.raises(yaml.scanner.ScannerError):
        _pyyaml.parse("a: @")


@pytest.mark.parametrize(
    "load", [pytest.param(_pyyaml.parse, id="libyaml"), pytest.param(load_pure, id="pure")]
)
def test_a_thousand_levels_are_read(load: Callable[[str], Any]) -> None:
    value = load("[" * 1000 + "]" * 1000)
    for _ in range(999):
        (value,) = value
    assert value == []
    with pytest.raises(RecursionError, match=r"1,000"):
        load("[" * 1001 + "]" * 1001)


@needs_libyaml
@pytest.mark.parametrize("depth", range(_pyyaml_read.MAX_DEPTH_IN_C - 2, 60))
def test_composing_in_c_and_here_is_the_same(depth: int) -> None:
    inner = "&x {a: [1, 'b'], ? c : *x, d: !!str 5, e: &y [*x], f: *y}"
    for opening, closing in [("[", "]"), ("{k: ", "}")]:
        source = opening * depth + inner + closing * depth
        value, plain = _pyyaml.parse(source), yaml.load(inner, _pyyaml.PureLoader)
        for _ in range(depth):
            value = value[0] if isinstance(value, list) else value["k"]
        assert repr(value) == repr(plain)
        assert value["f"][0] is value


@pytest.mark.parametrize("depth", [10, 70])
@pytest.mark.parametrize(
    "inner", ["*unknown", "[&a x, &a y]", "[a, b", "{a: 1]", "!own x", "{? [a] : b}"]
)
def test_what_is_refused_is_refused_at_any_depth(depth: int, inner: str) -> None:
    with pytest.raises(yaml.YAMLError):
        _pyyaml.parse("[" * depth + inner + "]" * depth)


def test_a_deep_object_is_written_without_libyamls_recursion() -> None:
    document: object = "x"
    for _ in range(200):
        document = [document]
    assert _pyyaml.parse(_pyyaml.render(document, True, sort_keys=False)) == document


@pytest.mark.parametrize(
    "wrong",
    ["a: 2\n", "a: '1'\n", "b: 1\n", "a: 1\nb: 2\n", "- a\n", "a: 1: 2\n", "a: [\n", "", "{}\n"],
)
def test_a_text_that_says_something_else_is_not_returned(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(_pyyaml, "_emit", lambda *_options: wrong)
    with pytest.raises(ValueError, match=r"obj.* would not read back from YAML"):
        _pyyaml.render({"a": 1}, False, sort_keys=False)


@pytest.mark.parametrize("loader", LOADERS)
def test_aliases_of_aliases_cost_nothing_to_load(loader: Any) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    document = yaml.load("\n".join(lines), loader)
    assert document["a29"][0] is document["a28"]


@pytest.mark.parametrize("loader", LOADERS)
def test_merge_keys_are_bounded(loader: Any) -> None:
    lines = ["a0: &a0 {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)]
    with pytest.raises(yaml.constructor.ConstructorError, match="100,000"):
        yaml.load("\n".join(lines), loader)


@pytest.mark.parametrize("loader", LOADERS)
def test_one_long_list_of_merges_is_bounded(loader: Any) -> None:
    wide = ", ".join(f"k{i}: 1" for i in range(2_000))
    source = f"a: &a {{{wide}}}\nb: {{<<: [{', '.join(['*a'] * 2_000)}]}}"
    with pytest.raises(yaml.constructor.ConstructorError, match="100,000"):
        yaml.load(source, loader)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("merge", "merged"),
    [
        ("*one", {"key": 1, "k": 1}),
        ("[*one, *two]", {"key": 1, "k": 1, "other": 2}),
        ("[*two, *one]", {"key": 2, "k": 2, "other": 2}),
        ("[*both]", {"key": 1, "k": 1, "other": 2}),
        ("*both, <<: *two", {"key": 2, "k": 2, "other": 2}),
        ("*one, key: own", {"key": "own", "k": 1}),
        ("*one, =: x", {"key": 1, "k": 1, "=": "x"}),
        ("[]", {}),
    ],
)
def test_of_several_merged_mappings_the_first_wins(
    loader: Any, merge: str, merged: dict[str, object]
) -> None:
    source = "- &one {key: 1, k: 1}\n- &two {key: 2, k: 2, other: 2}\n- &both {<<: [*one, *two]}\n"
    assert yaml.load(f"{source}- {{<<: {merge}}}\n", loader)[3] == merged


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("named", ["1", "[1]", "[[{a: 1}]]"])
def test_only_mappings_are_merged(loader: Any, named: str) -> None:
    with pytest.raises(yaml.constructor.ConstructorError, match="for merging, but found"):
        yaml.load(f"{{<<: {named}}}", loader)


@pytest.mark.parametrize("loader", LOADERS)
def test_mappings_that_merge_each_other_have_what_both_have(loader: Any) -> None:
    document = yaml.load("a: &a {x: 1, b: &b {<<: *a, y: 2}, <<: *b}", loader)
    assert document["a"]["y"] == 2
    assert document["a"]["b"]["x"] == 1


def test_nothing_is_registered_for_others() -> None:
    assert yaml.SafeLoader.descend_resolver is yaml.resolver.BaseResolver.descend_resolver
    assert yaml.SafeDumper.yaml_representers[str] is yaml.SafeDumper.represent_str
