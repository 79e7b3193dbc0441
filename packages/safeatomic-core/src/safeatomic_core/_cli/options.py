"""The options that several subcommands share, and how a value is read."""

from __future__ import annotations

import argparse
import math

from .._options import check_algorithm, check_delay, check_retries
from .._types import SAFETY
from .output import ERROR, complain, say_as_it_is

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeVar

    _T = TypeVar("_T")

_MOST = 2**63 - 1  # retries that the library counts
_POLL = 0.05  # seconds between two attempts under --wait


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations, and whose messages fit on a line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(*args, **{"allow_abbrev": False, "formatter_class": formatter, **kwargs})
        self.color = False  # Python 3.14's colours would get into the manual page and docs
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, and remember them for messages."""
        self._given = list(args or ())
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, _file: object = None) -> None:
        """Print help to standard output; unlike argparse, do not ignore a failure."""
        say_as_it_is(message)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more, then exit."""
        unknown = self._unknown_option()
        if unknown is not None and message.startswith("the following arguments are required"):
            # It was taken for an option, so the argument that it was to be is missing.
            # Not '--': in 'lock' and 'edit' the command to run stands behind it.
            path = f"./{unknown}"
            message = f"unknown option {unknown!r} (give a file of that name as {path!r})"
        complain(f"{message}; see '{self.prog} --help'")
        raise SystemExit(ERROR)

    def _unknown_option(self) -> str | None:
        """Return the first argument that looks like an option and is none."""
        for text in self._given:
            if text == "--":
                break
            name = text.partition("=")[0]
            if name[:2] != "--":
                name = name[:2]  # what follows is its value, or further options
            if name[:1] == "-" != text and name not in self._option_string_actions:
                return text
        return None


def add_checksum(parser: Parser) -> None:
    """Add the checksum options of a writing subcommand."""
    parser.add_argument("--checksum", action="store_true", help="record the checksum beside PATH")
    parser.add_argument(
        "--algo", type=algorithm, metavar="ALGO", help="with this algorithm (default: sha256)"
    )


def add_lock_options(parser: Parser) -> None:
    """Add the options for taking the lock and for waiting."""
    parser.add_argument("--no-lock", action="store_true", help="do not take the lock")
    add_waiting(parser)


def add_waiting(parser: Parser) -> None:
    """Add the options for waiting for the lock."""
    parser.add_argument(
        "-w",
        "--wait",
        type=seconds,
        metavar="S",
        help="wait up to S seconds for the lock (default: 0)",
    )
    parser.add_argument(
        "--retries",
        type=retries,
        metavar="N",
        help="instead of --wait, wait N times --delay seconds",
    )
    parser.add_argument(
        "--delay",
        type=delay,
        metavar="S",
        help="with --retries; a lock that becomes free is taken sooner (default: 0.1)",
    )
    parser.add_argument(
        "-E",
        "--conflict-exit",
        type=status,
        default=1,
        metavar="N",
        help="exit status if somebody else holds the lock (default: 1)",
    )


def settle_waiting(parsed: argparse.Namespace) -> None:
    """Turn --wait into retries."""
    wait = getattr(parsed, "wait", None)
    if wait is None:
        return
    if parsed.retries is not None:
        parsed.parser.error("--wait and --retries exclude each other")
    if not parsed.delay:
        parsed.delay = _POLL
    attempts = wait / parsed.delay
    parsed.retries = _MOST if attempts >= _MOST else math.ceil(attempts)


def add_safety(parser: Parser) -> None:
    """Add the option for a place where a guarantee does not hold."""
    parser.add_argument(
        "--safety",
        choices=SAFETY,
        default="strict",
        help="what to do where a guarantee does not hold (default: strict)",
    )


def add_recursion(parser: Parser) -> None:
    """Add the option that replaces a directory with the files below it."""
    parser.add_argument(
        "-r",
        "--recursive",
        action="store_true",
        help="process every regular file below a directory",
    )


def add_json(parser: Parser) -> None:
    """Add the option for output as JSON."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_progress(parser: Parser) -> None:
    """Add the option that always shows progress."""
    parser.add_argument(
        "--progress", action="store_true", help="show progress where it is not a terminal, too"
    )


def algorithm(text: str) -> str:
    """Return the name of an algorithm."""
    return _argument(check_algorithm, text)


def retries(text: str) -> int:
    """Return a number of retries."""
    return _argument(lambda value: check_retries(_number(int, value)), text)


def delay(text: str) -> float:
    """Return a delay in seconds."""
    return _argument(lambda value: check_delay(_number(float, value)), text)


def seconds(text: str) -> float:
    """Return a time span in seconds."""
    return delay(text)


def status(text: str) -> int:
    """Return an exit status."""
    if not text.isdecimal() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 255, not {text!r}")
    return int(text)


def mode(text: str) -> int:
    """Return permission bits."""
    if not text or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise argparse.ArgumentTypeError(f"must be an octal number from 0 to 777, not {text!r}")
    return int(text, 8)


def _number(kind: Callable[[str], _T], text: str) -> _T:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None


def _argument(check: Callable[[str], _T], text: str) -> _T:
    """Check an argument the way the library does, and report it the way argparse does."""
    try:
        return check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).partition(" ")[2]) from None
