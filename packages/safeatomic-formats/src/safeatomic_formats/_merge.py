"""A change carried over from one version of a text to another, line by line.

ruamel.yaml does not keep everything of a document's layout. So three texts are at hand: the one
that was loaded, what ruamel.yaml makes of it unchanged, and what it makes of the changed document.
The difference between the last two is the change, and it is applied to the first.
"""

from __future__ import annotations

from difflib import SequenceMatcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    Region = tuple[int, int, int, int]  # from, to in the base; from, to in the other

# `difflib` takes time as the square of the lines that differ.
MAX_LINES = 20_000


def merge(base: str, kept: str, changed: str) -> str | None:
    """Return the kept text with the change from base to changed; None if it is too long.

    Where the kept text differs from the base in the very lines that the change is about, the
    changed text is taken.
    """
    texts = [text.splitlines(keepends=True) for text in (base, kept, changed)]
    lines, ours, theirs = (_ended(text) for text in texts)
    if max(map(len, (lines, ours, theirs))) > MAX_LINES:
        return None
    merged: list[str] = []
    done = 0  # lines of the base
    for start, end, mine, other in _chunks(_regions(lines, ours), _regions(lines, theirs)):
        merged += lines[done:start]
        done = end
        if other:
            merged += theirs[_image(other[0], start) : _image(other[-1], end, after=True)]
        if mine and (not other or start == end):  # both only add: the change goes first
            merged += ours[_image(mine[0], start) : _image(mine[-1], end, after=True)]
    merged += lines[done:]
    return "".join(merged)


def _ended(lines: list[str]) -> list[str]:
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _regions(base: list[str], other: list[str]) -> list[Region]:
    """Return where the other text differs from the base."""
    start = 0
    while start < min(len(base), len(other)) and base[start] == other[start]:
        start += 1
    tail = 0
    while tail < min(len(base), len(other)) - start and base[-1 - tail] == other[-1 - tail]:
        tail += 1
    middle = base[start : len(base) - tail], other[start : len(other) - tail]
    regions: list[Region] = []
    for tag, i, j, k, m in SequenceMatcher(None, *middle).get_opcodes():
        if (
            tag == "replace" and j - i == m - k
        ):  # line for line, so that neighbours stay as they are
            regions += [
                (start + i + n, start + i + n + 1, start + k + n, start + k + n + 1)
                for n in range(j - i)
            ]
        elif tag != "equal":
            regions.append((start + i, start + j, start + k, start + m))
    return regions


def _chunks(
    ours: list[Region], theirs: list[Region]
) -> list[tuple[int, int, list[Region], list[Region]]]:
    """Return the differing parts of the base, with the regions of both that lie in them."""
    chunks: list[tuple[int, int, list[Region], list[Region]]] = []
    marked = [(region, False) for region in ours] + [(region, True) for region in theirs]
    for region, change in sorted(marked, key=lambda pair: (pair[0][0], pair[0][1])):
        start, end = region[:2]
        if chunks and (start < chunks[-1][1] or (start, end) == chunks[-1][:2]):
            first, last, mine, other = chunks.pop()
        else:
            first, last, mine, other = start, end, [], []
        (other if change else mine).append(region)
        chunks.append((first, max(last, end), mine, other))
    return chunks


def _image(region: Region, position: int, *, after: bool = False) -> int:
    """Return the place in the other text of a place in the base, at or beside a region."""
    start, end, first, last = region
    return last + (position - end) if after else first - (start - position)
