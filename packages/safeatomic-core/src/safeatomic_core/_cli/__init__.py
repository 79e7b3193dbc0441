"""The `safeatomic` command: the library for shells and operators.

Exit status 0 is success, 1 means that the answer is no (locked, mismatched, not as required), 2 a
usage or environment error. Errors are one line on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys

from .._errors import SafeAtomicError
from .._options import check_algorithm, check_delay, check_retries
from .._types import SAFETY
from .._version import __version__
from . import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK, NO, ERROR = 0, 1, 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the program's name; by default those of the process.

    Returns:
        The exit status.
    """
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        status = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter's own flush at exit must not complain.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return ERROR
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (SafeAtomicError, OSError, ValueError, TypeError) as error:
        commands.complain(error)
        return ERROR
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="safeatomic",
        description="Write, read, move, lock and check plain files with explicit guarantees.",
        epilog="Exit status: 0 success, 1 the answer is no, 2 usage or environment error.",
    )
    parser.add_argument("--version", action="version", version=f"safeatomic {__version__}")
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_files(subcommands)
    _add_environment(subcommands)
    _add_locks(subcommands)
    _add_checksums(subcommands)
    return parser


if TYPE_CHECKING:
    from typing import TypeAlias

    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - its only name


def _add_files(subcommands: _Commands) -> None:
    write = subcommands.add_parser(
        "write",
        help="replace a file by standard input or by another file's content",
        description="Replace PATH by standard input, or by the content of FILE, completely or not "
        "at all. Nothing is published when the input fails.",
    )
    write.add_argument("path", metavar="PATH")
    write.add_argument("file", metavar="FILE", nargs="?", help="input (default: standard input)")
    write.add_argument("--checksum", action="store_true", help="keep a checksum sidecar")
    write.add_argument("--algo", type=_algorithm, help="algorithm of the checksum")
    write.add_argument("--no-lock", action="store_true", help="do not take the lock")
    _add_waiting(write)
    _add_safety(write)
    write.set_defaults(run=commands.write)

    read = subcommands.add_parser(
        "read",
        help="print one consistent version of a file",
        description="Print one consistent version of PATH to standard output.",
    )
    read.add_argument("path", metavar="PATH")
    read.add_argument("--check", action="store_true", help="check it against its sidecar first")
    _add_safety(read)
    read.set_defaults(run=commands.read)

    move = subcommands.add_parser(
        "move",
        help="rename a file and its sidecar within one filesystem",
        description="Rename SRC to DST within one filesystem, durably, with its checksum sidecar.",
    )
    move.add_argument("src", metavar="SRC")
    move.add_argument("dst", metavar="DST")
    move.add_argument("--force", action="store_true", help="replace an existing DST")
    _add_safety(move)
    move.set_defaults(run=commands.move)


def _add_environment(subcommands: _Commands) -> None:
    inspect = subcommands.add_parser(
        "inspect",
        help="say what the filesystem promises, without writing",
        description="Say which guarantees hold for PATH, without writing anything.",
    )
    inspect.add_argument("path", metavar="PATH")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=commands.inspect)

    doctor = subcommands.add_parser(
        "doctor",
        help="try out what the filesystem promises",
        description="Check the surroundings of PATH; with --destructive also try each operation "
        "on files of its own beside it. Exit status 1 if something required does not hold.",
    )
    doctor.add_argument("path", metavar="PATH")
    doctor.add_argument("--destructive", action="store_true", help="write and remove test files")
    doctor.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="GUARANTEE",
        help="a guarantee that must hold, such as CrashDurability (repeatable)",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=commands.doctor_)


def _add_locks(subcommands: _Commands) -> None:
    lock = subcommands.add_parser(
        "lock",
        help="run a command under the lock of a file",
        description="Run COMMAND while holding the lock of PATH and return its exit status "
        "(128 + N if signal N ended it). Exit status 1 if the lock is held by somebody else.",
    )
    lock.add_argument("path", metavar="PATH")
    lock.add_argument("command", metavar="COMMAND", nargs="+", help="the command, after --")
    _add_waiting(lock)
    _add_safety(lock)
    lock.set_defaults(run=commands.lock)

    locks = subcommands.add_parser(
        "locks",
        help="show the lock of a file, or all locks in a directory",
        description="Show the lock of the file PATH, or of every locked file in the directory "
        "PATH. Exit status 1 if there is none.",
    )
    locks.add_argument("path", metavar="PATH")
    locks.add_argument("--json", action="store_true", help="print JSON")
    locks.set_defaults(run=commands.locks)

    unlock = subcommands.add_parser(
        "unlock",
        help="remove a lock that was left behind",
        description="Remove the lock of PATH. Exit status 1 if nothing was removed.",
    )
    unlock.add_argument("path", metavar="PATH")
    how = unlock.add_mutually_exclusive_group(required=True)
    how.add_argument("--stale", action="store_true", help="only if its holder is dead")
    how.add_argument("--force", action="store_true", help="whoever holds it")
    unlock.add_argument(
        "--max-age",
        type=float,
        metavar="S",
        help="with --stale: also if nobody can tell, and it is older than S seconds",
    )
    unlock.set_defaults(run=commands.unlock)

    clean = subcommands.add_parser(
        "clean",
        help="remove the temporary files of dead writers",
        description="Remove from the directory DIR the temporary files whose writers are proven "
        "dead.",
    )
    clean.add_argument("directory", metavar="DIR")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    clean.set_defaults(run=commands.clean)


def _add_checksums(subcommands: _Commands) -> None:
    checksum = subcommands.add_parser(
        "checksum",
        help="record the checksum of files as they are now",
        description="Write a checksum sidecar for each PATH, declaring its present content good.",
    )
    checksum.add_argument("paths", metavar="PATH", nargs="+")
    checksum.add_argument("--algo", type=_algorithm, help="algorithm (default: sha256)")
    checksum.set_defaults(run=commands.checksum)

    verify = subcommands.add_parser(
        "verify",
        help="check files against their checksums",
        description="Check each PATH against its sidecar and print OK, MISMATCH, NO SIDECAR or "
        "UNREADABLE. Exit status 0 only if all are OK.",
    )
    verify.add_argument("paths", metavar="PATH", nargs="+")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=commands.verify)


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--retries", type=_retries, metavar="N", help="further attempts to lock")
    parser.add_argument("--delay", type=_delay, metavar="S", help="seconds between two attempts")


def _add_safety(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--safety",
        choices=SAFETY,
        default="strict",
        help="what to do where a guarantee does not hold (default: strict)",
    )


def _algorithm(text: str) -> str:
    return _argument(check_algorithm, text)


def _retries(text: str) -> int:
    return _argument(lambda value: check_retries(int(value)), text)


def _delay(text: str) -> float:
    return _argument(lambda value: check_delay(float(value)), text)


if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")


def _argument(check: Callable[[str], _T], text: str) -> _T:
    """Check an argument the way the library does, and report it the way argparse does."""
    try:
        return check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
