"""Compare two versions of a text line by line, in time proportional to their length.

The time of `difflib` grows with the square of the lines that differ, and ruamel.yaml may have
changed the spaces of every line. So lines are compared without their spaces and trailing comments,
and where they differ, `difflib` gets only a window of them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from difflib import Match, SequenceMatcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from typing import TypeVar

    _T = TypeVar("_T", bound=Hashable)
    Region = tuple[int, int, int, int]  # from, to in the base; from, to in the other

_WINDOW = 400  # lines of each text
_AGREED = 3  # so many equal lines in sequence are no coincidence


def differences(
    base: list[str], other: list[str], *, by_key: bool = False, by_entry: bool = False
) -> list[Region]:
    """Return where the other text differs from the base.

    Equal parts are paired line by line, and so are parts of equal length: a change of one line then
    does not affect its neighbours.

    Args:
        base: Lines of a text.
        other: Lines of another version of it.
        by_key: Whether entries of the same name are paired although their values differ. The
            further lines of a value are then separated from its first line.
        by_entry: Whether entries of the same name are paired, each with all lines of its value.
    """
    regions: list[Region] = []
    for i, j, k, m in aligned([_said(line) for line in base], [_said(line) for line in other]):
        parts = [(0, j - i, 0, m - k)]
        if by_key:
            parts = _by_key(base[i:j], other[k:m])
        elif by_entry:
            parts = _by_entry(base[i:j], other[k:m])
        for a, b, c, d in parts:
            regions += _line_for_line(base, other, (i + a, i + b, k + c, k + d))
    return regions


def _by_key(base: list[str], other: list[str]) -> list[Region]:
    """Return the parts that begin with the same keys."""
    if not base or not other:
        return [(0, len(base), 0, len(other))]
    return list(aligned([_key(line) for line in base], [_key(line) for line in other]))


def _by_entry(base: list[str], other: list[str]) -> list[Region]:
    """Return the parts that begin with the same entries, and those with the comments after each."""
    if not base or not other or _are_alike(base, other):
        return [(0, len(base), 0, len(other))]
    openings: dict[str, list[int]] = {}
    for n, line in enumerate(other):
        openings.setdefault(_opening(line), []).append(n)
    starts = [(0, 0)]
    following = 0  # line of the other text
    for n, line in enumerate(base):
        found = openings.get(_opening(line), []) if is_content(line) else []
        at = bisect_left(found, following)
        if at < len(found):
            starts.append((n, found[at]))
            following = found[at] + 1
    parts: list[Region] = []
    for (a, c), (b, d) in zip(starts, [*starts[1:], (len(base), len(other))], strict=True):
        e, f = _content_end(base, a, b), _content_end(other, c, d)
        parts += [(a, e, c, f), (e, b, f, d)]
    return parts


def _content_end(lines: list[str], start: int, end: int) -> int:
    while end > start and not is_content(lines[end - 1]):
        end -= 1
    return end


def _line_for_line(base: list[str], other: list[str], part: Region) -> list[Region]:
    i, j, k, m = part
    if _are_alike(base[i:j], other[k:m]):
        pairs = zip(range(i, j), range(k, m), strict=True)
        return [(a, a + 1, b, b + 1) for a, b in pairs if base[a] != other[b]]
    return [part] if base[i:j] != other[k:m] else []


def _are_alike(base: list[str], other: list[str]) -> bool:
    """Whether two parts have as many lines, and comments or blank lines at the same places."""
    return len(base) == len(other) and all(
        is_content(a) == is_content(b) for a, b in zip(base, other, strict=True)
    )


def is_content(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    text = line.lstrip()
    return bool(text) and not text.startswith("#")


def _key(line: str) -> str:
    """Return a line up to where the value begins."""
    return line.partition(":")[0] if is_content(line) else line


def _opening(line: str) -> str:
    """Return a line up to where the value of its entry or item begins."""
    dashes = _DASHES.match(line)
    if dashes is None:
        return line.partition(":")[0].rstrip()
    opening, rest = _BEHIND_DASH.sub("", dashes[0]), line[dashes.end() :]
    if rest[0] in "'\"[{" or ":" not in rest:
        return opening
    return opening + rest.partition(":")[0].rstrip()


_DASHES = re.compile(r" *(?:- +)+(?=\S)")
_BEHIND_DASH = re.compile(r"(?<=-) +")  # as wide as ruamel.yaml makes it


def _said(line: str) -> str:
    """Return a line without its spaces and its trailing comment."""
    return "".join(line.partition(" #")[0].split()) or line


def with_lost_comment(changed: str, base: str, kept: str) -> str:
    """Return a changed line with the comment of its kept version, if the base has lost that.

    ruamel.yaml drops the comment behind an alias.
    """
    said, sign, comment = kept.partition(" #")
    opening, other = _opening(base), _opening(changed)
    if not sign or "#" in base + changed or _opening(kept) != opening:
        return changed
    if other != opening and not (opening.endswith("-") and other.startswith(opening)):
        return changed
    return changed.rstrip("\n").ljust(len(said)) + sign + comment


def aligned(ours: list[str], theirs: list[str]) -> Iterator[Region]:
    """Yield the corresponding parts of both texts, all of them in order."""
    end, last = len(ours), len(theirs)
    while end and last and ours[end - 1] == theirs[last - 1]:
        end, last = end - 1, last - 1
    landmarks: Iterator[tuple[int, int]] | None = None
    i = k = 0
    while i < end or k < last:
        n = 0
        while i + n < end and k + n < last and ours[i + n] == theirs[k + n]:
            n += 1
        parts = [(i, i + n, k, k + n)] if n else _in_window(ours, theirs, (i, end, k, last))
        if not parts:
            landmarks = _landmarks(ours, theirs) if landmarks is None else landmarks
            ahead = ((a, b) for a, b in landmarks if a >= i and b >= k)
            a, b = next(ahead, (end, last))
            parts = [(i, a, k, b) if a < end and b < last else (i, end, k, last)]
        yield from parts
        _, i, _, k = parts[-1]
    yield end, len(ours), last, len(theirs)


def _in_window(ours: list[str], theirs: list[str], rest: Region) -> list[Region]:
    """Return the next corresponding parts, of which the first differs; none if unknown."""
    i, end, k, last = rest
    j, m = min(i + _WINDOW, end), min(k + _WINDOW, last)
    window, other = ours[i:j], theirs[k:m]
    unique = _unique(window, other)
    blocks = _level(window, other, unique, whole=end - i == last - k)
    if not blocks:
        matcher = SequenceMatcher(None, window, other, autojunk=False)
        blocks = matcher.get_matching_blocks()  # with an empty one at the end
        if (j, m) != (end, last):
            # At the end of a window, equal lines may correspond to lines after the window.
            sure = [n for n, block in enumerate(blocks) if _is_sure(block, unique)]
            early = [n for n in sure if blocks[n].a < (j - i) * 3 // 4]
            if not sure:
                return []
            del blocks[(early[-1] if early else sure[0]) + 1 :]
    return [(i + a, i + b, k + c, k + d) for a, b, c, d in _parts(blocks)]


def _unique(ours: list[_T], theirs: list[_T]) -> dict[int, int]:
    """Return the places of the lines that occur once in both texts."""
    once = [{line for line, n in Counter(lines).items() if n == 1} for lines in (ours, theirs)]
    places = {line: n for n, line in enumerate(theirs) if line in once[0] and line in once[1]}
    return {n: places[line] for n, line in enumerate(ours) if line in places}


def _is_sure(block: Match, unique: dict[int, int]) -> bool:
    """Whether it is no coincidence that lines are equal."""
    return block.size >= _AGREED or any(
        unique.get(block.a + n) == block.b + n for n in range(block.size)
    )


def _level(
    ours: list[str], theirs: list[str], unique: dict[int, int], *, whole: bool
) -> list[Match]:
    """Return the equal lines, as far as lines of the same number correspond; nothing if unknown.

    This saves `difflib` its slowest case: many changed values among many equal lines.

    Args:
        ours: Lines of a text.
        theirs: Lines of another version of it.
        unique: The places of the lines that occur once in both.
        whole: Whether the remaining parts of both texts have the same length.
    """
    end = min([len(ours), len(theirs), *(min(a, b) for a, b in unique.items() if a != b)])
    pairs = zip(ours[:end], theirs[:end], strict=True)
    end = next((n for n, pair in enumerate(pairs) if _stem(pair[0]) != _stem(pair[1])), end)
    if not whole or end < len(ours) or any(a != b for a, b in unique.items()):
        end = max((a + 1 for a in unique if a < end), default=0)
    blocks = [Match(n, n, 1) for n in range(end) if ours[n] == theirs[n]]
    return [*blocks, Match(end, end, 0)] if end else []


def _stem(line: str) -> str:
    """Return a line, or a key, up to where the value begins."""
    key, colon, _ = line.partition(":")
    return "-" if line.startswith("-") and not colon else key


def _landmarks(ours: list[str], theirs: list[str]) -> Iterator[tuple[int, int]]:
    """Return where sequences of lines begin that occur exactly once in both texts."""
    a, b = (list(zip(*(text[n:] for n in range(_AGREED)), strict=False)) for text in (ours, theirs))
    return iter(_unique(a, b).items())


def _parts(blocks: list[Match]) -> list[Region]:
    """Return the equal parts and those between them."""
    parts: list[Region] = []
    a = b = 0
    for block in blocks:
        if (a, b) != (block.a, block.b):
            parts.append((a, block.a, b, block.b))
        a, b = block.a + block.size, block.b + block.size
        if block.size:
            parts.append((block.a, a, block.b, b))
    return parts
