"""Apply a change of one version of a text to another version, line by line.

ruamel.yaml does not keep the whole layout of a document. So there are three texts: the loaded one,
ruamel.yaml's rendering of the unchanged document, and its rendering of the changed document. The
difference between the last two is the change, and it is applied to the first.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from ._brackets import in_place
from ._lines import differences, with_lost_comment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._lines import Region

    Lines = list[str]
    Settle = Callable[[Lines, Lines, list[Region]], tuple[Lines, list[Region]]]


def merge(
    base: str,
    kept: str,
    changed: str,
    parts: Sequence[int] = (),
    settle: Settle | None = None,
    *,
    goes_on: bool = False,
    by_word: bool = False,
) -> str:
    """Return the kept text with the change from base to changed.

    Where the kept text differs from the base in the changed lines, the changed text is taken.

    Args:
        base: The rendering of the kept text.
        kept: The text to change.
        changed: The rendering of the changed document.
        parts: Where parts of the base begin, as ascending line numbers. A part that contains a
            change is then taken from the changed text as a whole.
        settle: Called with the lines of the base, those of the changed text, and the regions in
            which they differ; returns the changed text and the regions to use.
        goes_on: Whether added lines may continue the line above them. That line is then taken from
            the changed text as well, since it may have stood for an empty value.
        by_word: Whether changes inside brackets leave the lines around them.
    """
    lines, ours, theirs = (_lines(text) for text in (base, kept, changed))
    merged: list[str] = []
    done = 0  # lines of the base
    change = differences(lines, theirs, by_key=True)
    if settle is not None:
        theirs, change = settle(lines, theirs, change)
    if goes_on:
        change = _with_lines_above(change)
    change = _widened(change, parts, len(lines))
    for start, end, mine, other in _chunks(differences(lines, ours, by_entry=True), change):
        merged += lines[done:start]
        done = end
        old = ours[_image(mine[0], start) : _image(mine[-1], end, after=True)] if mine else []
        if other:
            new = theirs[_image(other[0], start) : _image(other[-1], end, after=True)]
            text = None
            if old and by_word:
                text = in_place("".join(lines[start:end]), "".join(old), "".join(new))
            if text is not None:
                new = [text]
            elif new and end - start == len(old) == 1:
                new[0] = with_lost_comment(new[0], lines[start], old[0])
            merged += new
        if not other or start == end:  # both only add: the change goes first
            merged += old
    merged += lines[done:]
    return "".join(merged).replace(_TEXT, "")


def _lines(text: str) -> list[str]:
    """Return the lines of a text; a line of a block scalar that looks like a comment is marked."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    least: int | None = None  # the column from which on lines belong to a block scalar
    begins, outer = False, 0
    for n, line in enumerate(lines):
        said = line.lstrip(" ")
        column = len(line) - len(said)
        if not said.strip():
            continue
        if begins and column > outer:
            least = column
        elif least is not None and column < least:
            least = None
        if least is not None and said.startswith("#"):
            lines[n] = f"{line[:column]}{_TEXT}{said}"
        begins = least is None and not said.startswith("#") and bool(_HEADER.search(said))
        outer = column
    return lines


_TEXT = "\0"  # which no YAML text contains
_HEADER = re.compile(r"\s[|>][-+0-9]*(?:\s+#.*)?\s*$")


def _with_lines_above(regions: list[Region]) -> list[Region]:
    """Extend each region that only adds lines by the line above it, if there is one."""
    wide: list[Region] = []
    for start, stop, first, last in regions:
        above = int(start == stop > (wide[-1][1] if wide else 0))
        wide.append((start - above, stop, first - above, last))
    return wide


def _widened(regions: list[Region], parts: Sequence[int], end: int) -> list[Region]:
    """Return regions that each cover whole parts of the base."""
    if not parts:
        return regions
    wide: list[Region] = []
    bounds = [0, *parts, end]
    for start, stop, first, last in regions:
        # Added lines belong to the part above them.
        begin = bounds[max(bisect_right(bounds, max(start - (start == stop), 0)) - 1, 0)]
        finish = bounds[min(bisect_left(bounds, stop), len(bounds) - 1)]
        region = (begin, finish, first - (start - begin), last + (finish - stop))
        if wide and wide[-1][1] > begin:
            region = (wide[-1][0], finish, wide.pop()[2], region[3])
        wide.append(region)
    return wide


def _chunks(
    ours: list[Region], theirs: list[Region]
) -> list[tuple[int, int, list[Region], list[Region]]]:
    """Return the differing parts of the base, each with the regions of both texts in it."""
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
    """Return the place in the other text for a place in the base, at or beside a region."""
    start, end, first, last = region
    return last + (position - end) if after else first - (start - position)
