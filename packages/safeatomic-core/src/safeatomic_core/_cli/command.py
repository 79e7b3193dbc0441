"""One run of the command: its streams, its signals and its exit status."""

from __future__ import annotations

import sys

from .._errors import LockError, SafeAtomicError, UnsupportedEnvironmentError
from . import output, wording
from .arguments import parse
from .diagnostics import Diagnostics
from .output import ERROR, REFUSED
from .patience import Patience
from .signals import Ended, Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_SIGNALLED = 128  # plus the signal's number, as shells report it
_SIGINT = 2


def run(argv: Sequence[str] | None) -> int:
    """Run one command; the caller handles an interrupt that comes outside of the command's work.

    Args:
        argv: The arguments without the program's name; by default those of the process.

    Returns:
        The exit status.
    """
    output.reserve_standard_descriptors()
    with Patience():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as leaving:
        return output.finish(_status_of(leaving))
    except BrokenPipeError:
        return output.finish(ERROR)
    except OSError as error:
        output.complain(wording.explained(error, ()))
        return output.finish(ERROR)
    arguments.options = arguments.parser._option_string_actions  # noqa: SLF001 - its only name
    with Diagnostics(arguments.options):
        status = _run(arguments)
    return output.finish(status)


def _run(arguments: argparse.Namespace) -> int:
    """Do the command's work; turn every failure into one line and an exit status."""
    try:
        with Ending() as arguments.ending:
            status: int = arguments.run(arguments)
            return status
    except SystemExit as leaving:  # arguments that exclude each other
        return _status_of(leaving)
    except BrokenPipeError:
        return ERROR  # the reader of our output has closed it, so there is nobody to tell
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Ended) else _SIGINT
        outcome = wording.outcome(error)
        output.complain("interrupted" + (f"; {outcome}" if outcome else ""))
        return _SIGNALLED + number
    except UnsupportedEnvironmentError as error:
        output.complain(wording.explained(error, arguments.options))
        return REFUSED
    except LockError as error:
        output.complain(wording.explained(error, arguments.options))
        return arguments.conflict_exit if wording.is_contention(error) else ERROR
    except (SafeAtomicError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        text, fate = wording.explained(error, arguments.options), wording.outcome(error)
        output.complain(text if fate is None or fate in text.lower() else f"{text}; {fate}")
        return ERROR


def _status_of(leaving: SystemExit) -> int:
    """Return the exit status that argparse or a subcommand asks for."""
    assert isinstance(leaving.code, int)  # noqa: S101 - both give one
    return leaving.code
