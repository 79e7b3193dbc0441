"""The `safeatomic` command: the library for shells and operators.

Errors are one line on standard error, in the command's own words, never a traceback. The exit
status is one of the table in `arguments`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130  # by SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the program's name; by default those of the process.

    Returns:
        The exit status.
    """
    try:
        from .command import run  # a slow import, which Ctrl-C may interrupt as well

        return run(argv)
    except KeyboardInterrupt:  # outside of the command's work, which reports more
        return _INTERRUPTED
