"""Commented YAML documents, edited at random: what is written says what the object says."""

from __future__ import annotations

import copy
import datetime as dt
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from layouts import nothing_there
from safeatomic_formats import _layout
from safeatomic_formats._readback import check

EXAMPLES = max(40, (settings.default.max_examples if settings.default else 100) // 10)
TEXTS = [
    *(
        "a",
        "x y",
        "it's",
        "- a",
        "a: b",
        "#c",
        "...",
        "---",
        "wait...",
        "",
        "\x85",
        "a\u2028b",
        "\u2029",
    ),
    *(
        "\ufeffx",
        "\U0001f600",
        "k" * 130,
        "yes",
        "null",
        "1",
        "1.5",
        "2001-01-01",
        "~",
        "'",
        '"',
        "a\nb",
    ),
    *(
        "a\n",
        "\n",
        " a",
        "a ",
        "\ta",
        "!x",
        "&a",
        "*a",
        "{",
        "[",
        "%x",
        "@",
        "`",
        "?",
        "? a",
        ":",
        "=",
        "<<",
    ),
    *("a\rb", "\x07", "0x1f", "012", "|", "> ", "a #b", "trail \nx", "\U0001f600" * 40 + "..."),
]
SCALARS: list[Any] = [
    *(1, -5, 1.5, 1e20, math.inf, math.nan, True, False, None, 10**20, b"ab"),
    *(dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001
]
WRITTEN = [
    *("1", "x", "'q'", '"d"', "true", "", "[1, 2]", "{a: 1}", "[]", "{}", "0x1F", "1.50", "&n v"),
    *("some text", "012", "2001-01-01", "~", "[a, b] # c", "x  # far", "[]   # none"),
]


class Writer:
    """Writes a document as a person might."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.step = random.choice([2, 2, 4])
        self.dash = random.choice([0, min(2, self.step)])

    def document(self) -> str:
        head = self.random.choice(["", "", "---\n", "# head\n---\n", "\n"])
        body = self.mapping(0, 0) if self.random.random() < 0.7 else self.list(0, 0)
        return head + self.between(0) + body + self.between(0)

    def between(self, indent: int) -> str:
        column = self.random.choice([indent, indent, self.random.randint(0, 6)])
        return self.random.choice(["", "", "", "\n", " " * column + "# note\n"])

    def scalar(self, indent: int) -> str:
        inner = " " * (indent + 2)
        if self.random.random() < 0.1:
            return f"|\n{inner}one\n{inner} two\n{inner}# three\n"
        if self.random.random() < 0.05:
            return f">-\n{inner}folded\n{inner}text\n"
        return self.random.choice(WRITTEN) + "\n"

    def mapping(self, indent: int, depth: int) -> str:
        lines = ""
        for number in range(self.random.randint(1, 3)):
            lines += self.between(indent) if number else ""
            lines += " " * indent + f"k{number}:"
            if depth > 2 or self.random.random() < 0.6:
                lines += " " + self.scalar(indent)
            else:
                lines += (
                    self.random.choice(["", "", " # on"]) + "\n" + self.between(indent + self.step)
                )
                if self.random.random() < 0.5:
                    lines += self.list(indent + self.dash, depth + 1)
                else:
                    lines += self.mapping(indent + self.step, depth + 1)
        return lines

    def list(self, indent: int, depth: int) -> str:
        lines = ""
        for number in range(self.random.randint(1, 3)):
            lines += self.between(indent) if number else ""
            if depth > 2 or self.random.random() < 0.7:
                lines += " " * indent + "- " + self.scalar(indent)
            else:
                lines += " " * indent + "- " + self.mapping(indent + 2, depth + 1).lstrip(" ")
        return lines


def value(random: Random, depth: int = 0) -> Any:
    kind = random.random()
    if depth > 2 or kind < 0.6:
        return random.choice(random.choice([TEXTS, SCALARS]))
    if kind < 0.8:
        return [value(random, depth + 1) for _ in range(random.randint(0, 3))]
    return {random.choice(TEXTS): value(random, depth + 1) for _ in range(random.randint(0, 3))}


def edit(random: Random, document: Any) -> None:
    """Change one place."""
    holders: list[Any] = []
    todo = [document]
    while todo:
        holder = todo.pop()
        if isinstance(holder, dict | list) and not any(holder is other for other in holders):
            holders.append(holder)
            todo += holder.values() if isinstance(holder, dict) else holder
    holder = random.choice(holders)
    places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    kind = random.random()
    if kind < 0.2:
        holder.clear()
    elif kind < 0.4 and places:
        del holder[random.choice(places)]
    elif kind < 0.6 and places:
        holder[random.choice(places)] = value(random)
    elif isinstance(holder, dict):
        holder[random.choice(TEXTS)] = value(random)
    else:
        holder.insert(random.randint(0, len(holder)), value(random))


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@settings(max_examples=EXAMPLES)
@given(st.randoms(use_true_random=False))
def test_an_edited_document_says_what_the_object_says_or_is_refused(random: Random) -> None:
    source = Writer(random).document()
    document = _layout.load(source)
    assert _layout.render(document, nothing_there) == source
    if random.random() < 0.3:
        document = copy.deepcopy(document)
    for _ in range(random.randint(1, 3)):
        edit(random, document)
    try:
        text = _layout.render(document, nothing_there)
    except (ValueError, YAMLError):
        return
    read = YAML(typ="rt", pure=True).load(text.encode("utf-8"))
    check(document, read, "YAML", scalar=_layout._same_scalar)


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
def test_few_edits_are_refused() -> None:
    """What is refused is safe; what is refused without need is useless."""
    refused = 0
    for seed in range(100):
        random = Random(seed)
        document = _layout.load(Writer(random).document())
        edit(random, document)
        try:
            _layout.render(document, nothing_there)
        except (ValueError, YAMLError):
            refused += 1
    assert refused <= 2
