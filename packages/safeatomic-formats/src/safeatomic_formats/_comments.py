"""Keep the blank lines and comments of a changed YAML text above the entries that they describe.

ruamel.yaml ties a comment to the entry above it. An entry that is added there is then written below
the comment, and an entry that is removed or replaced takes the comment with it. To people, a
comment belongs to the entry that follows it. It belongs to the entry above only if it is indented
further than both the following entry and an entry that is removed.
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
    """Return a changed text with its comments in their old places, and the regions that differ.

    Args:
        base: The lines before the change.
        changed: The lines after it.
        regions: Where the two differ.
        all_kept: Whether a comment stays even if its removal is the only change.
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
            above = next((n for n in range(start, top) if is_content(base[n])), top)
            if above < top and _take(gone, base[start:above]):
                lines += base[start:above]
                start = above
            inserted = _with_comments_of_first_key(base[start:top], inserted, gone)
        start = min(start, top)
        if start < top or inserted:
            moved.append((start, top, len(lines), len(lines) + len(inserted)))
        lines += [*inserted, *base[top:end]]
        taken, passed = last, end
    return lines + changed[taken:], moved


def _below(base: list[str], end: int, least: int = 0) -> int:
    """Return where the comments begin that belong to the content after them.

    Args:
        base: The lines.
        end: The line after the comments.
        least: Up to this column, a comment does not belong to the content above it.
    """
    column = max(_column(_next_content(base, end)), least)
    top = end
    while top and not is_content(base[top - 1]):
        if base[top - 1].strip() and _column(base[top - 1]) > column:
            break
        top -= 1
    return top


def _with_comments_of_first_key(
    base: list[str], inserted: list[str], gone: Counter[str]
) -> list[str]:
    """Return inserted lines below the comments of an entry that has become an item's first."""
    if not inserted or not is_content(inserted[0]) or not _is_item(inserted[0]):
        return inserted
    said = inserted[0].strip(" -\n")
    first = next((n for n, line in enumerate(base) if line.strip(" -\n") == said), 0)
    start = first
    while start and not is_content(base[start - 1]):
        start -= 1
    if not _take(gone, base[start:first]):
        return inserted
    dash = " " * _column(inserted[0])
    above = (line.strip() for line in base[start:first])
    return [*(f"{dash}{line}\n" if line else "\n" for line in above), *inserted]


def _ends_something(base: list[str], end: int, inserted: list[str]) -> bool:
    """Whether inserted lines are the last ones of a collection."""
    line, following = _next_content(inserted, 0), _next_content(base, end)
    if not line:
        return False
    if _column(line) != _column(following):
        return _column(line) > _column(following)
    return bool(following) and _is_item(line) and not _is_item(following)


def _take(gone: Counter[str], lines: list[str]) -> bool:
    """Whether lines are missing from the changed text; if so, no longer count them as gone."""
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
