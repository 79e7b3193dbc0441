"""Blank lines and comments of a changed YAML text, left above what they stood above.

ruamel.yaml ties a comment to the entry above it. What is added behind that entry then stands below
the comment, and an entry that is removed or replaced takes the comment with it. To people, a
comment is of what follows it, unless it stands further to the right than that, and than an entry
that goes: then it is of what is above.
"""

from __future__ import annotations

from collections import Counter

from ._lines import is_content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._lines import Region


def above_what_follows(
    base: list[str], changed: list[str], regions: list[Region], *, all_kept: bool
) -> tuple[list[str], list[Region]]:
    """Return a changed text with the comments where they stood, and where it differs then.

    Args:
        base: The lines before the change.
        changed: The lines after it.
        regions: Where the two differ.
        all_kept: Whether a comment stays also where nothing changes but that it is gone.
    """
    gone = Counter(line.strip() for line in base)
    gone.subtract(line.strip() for line in changed)
    lines: list[str] = []
    moved: list[Region] = []
    taken = passed = 0  # lines of the changed text and of the base
    for start, end, first, last in regions:
        inserted = changed[first:last]
        if start == end:
            if _ends_something(base, end, inserted):
                # A comment that stands further to the left is not in the same collection.
                top = max(_below(base, end, _column(_next_content(inserted, 0)) - 1), passed)
            else:
                top = end
            lines += changed[taken : first - (end - top)]
        else:
            top = max(_below(base, end, _column(base[start])), start)
            only_comments = not any(map(is_content, [*base[start:top], *inserted]))
            if (only_comments and not all_kept) or not _take(gone, base[top:end]):
                top = end
            lines += changed[taken:first]
        start = min(start, top)
        if start < top or inserted:
            moved.append((start, top, len(lines), len(lines) + len(inserted)))
        lines += [*inserted, *base[top:end]]
        taken, passed = last, end
    return lines + changed[taken:], moved


def _below(base: list[str], end: int, least: int = 0) -> int:
    """Return where the comments begin that belong to what follows a line of the base.

    Args:
        base: The lines.
        end: The line after the comments.
        least: The last column in which a comment is not in what stands above it.
    """
    column = max(_column(_next_content(base, end)), least)
    top = end
    while top and not is_content(base[top - 1]):
        if base[top - 1].strip() and _column(base[top - 1]) > column:
            break
        top -= 1
    return top


def _ends_something(base: list[str], end: int, inserted: list[str]) -> bool:
    """Whether lines that are inserted are the last ones of a collection."""
    line, following = _next_content(inserted, 0), _next_content(base, end)
    if not line:
        return False
    if _column(line) != _column(following):
        return _column(line) > _column(following)
    return bool(following) and _is_item(line) and not _is_item(following)


def _take(gone: Counter[str], lines: list[str]) -> bool:
    """Whether lines stand nowhere else in the changed text; they are not gone any more then."""
    wanted = Counter(line.strip() for line in lines)
    if len(wanted) > 1:
        del wanted[""]  # a blank line does not matter beside a comment
    if any(gone[text] < n for text, n in wanted.items()):
        return False
    gone.subtract(wanted)
    return True


def _next_content(lines: list[str], start: int) -> str:
    return next((lines[n] for n in range(start, len(lines)) if is_content(lines[n])), "")


def _is_item(line: str) -> bool:
    return line.split(maxsplit=1)[0] == "-"


def _column(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
