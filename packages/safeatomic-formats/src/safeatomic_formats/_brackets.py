"""Apply a change inside the brackets of a YAML text where it stands, word by word.

ruamel.yaml writes a collection in brackets on one line, without the comments in it. So where lines
of a text and ruamel.yaml's rendering of them have the same words, the words that a change replaces,
removes or adds are replaced, removed or added between the spaces and comments of the text.
"""

from __future__ import annotations

import re
from itertools import pairwise, zip_longest

from ._lines import aligned

TYPE_CHECKING = False
if TYPE_CHECKING:
    Word = re.Match[str]
    Edit = tuple[int, int, str]  # from, to in the kept text; what stands there then


def in_place(base: str, kept: str, changed: str) -> str | None:
    """Return the kept lines with the change from base to changed; None if that is not possible.

    Args:
        base: Lines as ruamel.yaml writes them.
        kept: The same lines as they were loaded.
        changed: Those of the changed document.
    """
    (before, comments), (words, _), (after, new_comments) = map(_words, (base, kept, changed))
    if comments != new_comments or [*map(_sign, before)] != [*map(_sign, words)]:
        return None
    if not (_is_in_brackets(base, before) and _is_in_brackets(changed, after)):
        return None
    text = ""
    done = 0
    placed, others = _with_places(before), _with_places(after)
    for i, j, k, m in aligned(placed, others):
        if placed[i:j] == others[k:m]:
            continue
        if not 0 < i < len(words):
            return None
        # Of equal places, take the one where an entry and the comma behind it are added or removed.
        added, removed = i == j, k == m
        while (
            j < len(words) - 1 and m < len(after) and (before[j - 1], after[m - 1])[added][0] != ","
        ):
            if not (added or removed) or before[i][0] != (after[k] if added else before[j])[0]:
                break
            i, j, k, m = i + 1, j + 1, k + 1, m + 1
        new = changed[after[k].start() : after[m - 1].end()] if k < m else ""
        if i < j and new:
            start, end = words[i].start(), words[j - 1].end()
        elif i < j:
            start, end, new = _removal(kept, words, i, j)
        else:
            start, end, new = _addition(kept, words, i, new)
        text += kept[done:start] + new
        done = end
    behind, now = base[before[-1].end() :], changed[after[-1].end() :]
    if behind.split() == now.split():
        return text + kept[done:]
    return text + kept[done : words[-1].end()] + now


def _with_places(words: list[Word]) -> list[str]:
    """Return words with their depths and keys: a word corresponds only to one of the same entry."""
    keys = [""]  # of the entry in each open bracket
    found: list[str] = []
    for word, following in zip_longest(words, words[1:]):
        if word[0] in _CLOSING and len(keys) > 1:
            keys.pop()
        if following is not None and following[0] == ":":
            keys[-1] = word[0]
        found.append(f"{len(keys)} {keys[-1]} {word[0]}")
        if word[0] in _OPENING:
            keys.append(keys[-1])
        elif word[0] == ",":
            keys[-1] = keys[-2] if len(keys) > 1 else ""
    return found


def _is_in_brackets(text: str, words: list[Word]) -> bool:
    """Whether lines are one entry with brackets in it, which all line breaks are in."""
    depth = 0
    for word, following in pairwise(words):
        depth += (word[0] in _OPENING) - (word[0] in _CLOSING)
        if not depth and "\n" in text[word.end() : following.start()]:
            return False
    return any(word[0] in _OPENING for word in words)


def _removal(kept: str, words: list[Word], i: int, j: int) -> Edit:
    """Return the edit that removes words, with the comment on the line of the last of them."""
    first, last = words[i], words[j - 1]
    if j == len(words):
        return first.start(), last.end(), ""
    end = words[j].start()
    line, line_break, below = kept[last.end() : end].partition("\n")
    if words[j][0] not in _CLOSING:
        if "#" not in below:
            return first.start(), end, ""
        start = len(kept[: first.start()].rstrip(" "))
        return start - (kept[start - 1] == "\n"), last.end() + len(line), ""
    if words[i - 1][0] in _OPENING:
        return words[i - 1].end(), end, ""
    above = kept[first.end() : words[i + 1].start()] if j - i > 1 else ""
    if "#" in above:  # the comments behind the comma, or above the last entry
        space = f"\n{below}" if line_break else above[above.rindex("\n") :]
        return first.end() + len(above.rstrip()), end, space
    return first.start(), last.end() + (len(line) if line_break else 0), ""


def _addition(kept: str, words: list[Word], i: int, new: str) -> Edit:
    """Return the edit that adds text before a word."""
    at = words[i].start()
    if new.endswith(","):
        return at, at, new + _space(kept, words, i)
    start = words[i - 1].end()
    if not new.startswith(",") or words[i][0] not in _CLOSING:
        return start, start, new if words[i - 1][0] in _OPENING else f" {new}"
    # The comma stands before the comment behind the last entry, and the new entry below that.
    behind, line_break, rest = kept[start:at].rpartition("\n")
    below = _space(kept, words, i) + new[1:].strip()
    if behind.startswith(","):
        return start, at, f"{behind}{below},{line_break}{rest}"
    return start, at, f",{behind}{below}{line_break}{rest}"


def _space(kept: str, words: list[Word], following: int) -> str:
    """Return what stands before the last entry before a word in its collection."""
    depth = 0
    for n in range(following - 1, -1, -1):
        depth += (words[n][0] in _CLOSING) - (words[n][0] in _OPENING)
        if depth < 0 or (depth == 0 and words[n][0] == ","):
            gap = kept[words[n].end() : words[n + 1].start()]
            return gap[gap.rindex("\n") :] if "\n" in gap else " "
    return " "


def _words(text: str) -> tuple[list[Word], list[str]]:
    """Return the words of a text, without a comma before a closing bracket.

    Returns:
        The words, and the comments before the last of them.
    """
    found = list(_WORD.finditer(text))
    words = [word for word in found if not word[0].startswith("#")]
    end = words[-1].end() if words else 0
    comments = [word[0] for word in found if word[0].startswith("#") and word.start() < end]
    needless = {
        word.start()
        for word, following in pairwise(words)
        if word[0] == "," and following[0] in _CLOSING
    }
    return [word for word in words if word.start() not in needless], comments


def _sign(word: Word) -> str:
    return word[0] if word[0] in _SIGNS else ""


_OPENING = ("[", "{")
_CLOSING = ("]", "}")
_SIGNS = (*_OPENING, *_CLOSING, ",", ":")
_WORD = re.compile(
    r"""
      (?<!\S) \# [^\n]*
    | " (?: [^"\\]++ | \\. )* " | ' (?: [^']++ | '' )* '
    | [\[\]{},] | : (?= [\s,\[\]{}] | \Z ) | (?<= ["'] ) :
    | (?: [^\s,\[\]{}:] | : (?! [\s,\[\]{}] | \Z ) )+
    """,
    re.VERBOSE | re.DOTALL,
)
