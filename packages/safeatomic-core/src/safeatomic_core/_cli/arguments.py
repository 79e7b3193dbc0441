"""The arguments of the command: its subcommands, their options, and an example of each."""

from __future__ import annotations

import argparse
import shlex

from .._version import __version__
from . import checksums, commands, locks, options, running
from .completion import SHELLS, completion
from .options import Parser
from .output import say_as_it_is

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn, TypeAlias

    _Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - its only name

STATUSES = """\
Exit status:
  0      done
  1      the answer is no: locked, mismatched, not as required
         (another number for "locked": --conflict-exit)
  2      wrong usage, and every other error
  3      the environment does not give a guarantee, and --safety is strict
  127    the command to run was not found; 126: it could not be started
  128+N  signal N ended safeatomic, or the command it ran
A command that is run by 'lock' or 'edit' otherwise keeps its own status."""
_RUNNERS = ("lock", "edit")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of one command.

    Raises:
        SystemExit: They are wrong, or help was asked for and is printed.
    """
    parser = build_parser()
    given = list(argv)
    if given and given[0] == "help":
        if len(given) > 2:
            parser.error("'help' takes the name of one command")
        given = [*given[1:], "--help"]
    known = parser._option_string_actions  # noqa: SLF001 - its only name
    if given and given[0].startswith("-") and given[0].partition("=")[0] not in known:
        parser.error(f"unknown option {given[0]!r}")
    command: list[str] = []
    if given and given[0] in _RUNNERS and "--" in given:
        # Everything after the first one belongs to the command, including another "--".
        at = given.index("--")
        given, command = given[:at], given[at + 1 :]
    parsed: argparse.Namespace
    parsed, extra = parser.parse_known_args(given)
    if extra:
        leading = given[1].startswith("-") and given[1] in extra  # flock's -n, for example
        _take(parsed, extra, separated=leading or bool(command))
    if given[0] in _RUNNERS:
        _set_command(parsed, command, given)
    options.settle_waiting(parsed)
    return parsed


def _take(parsed: argparse.Namespace, extra: list[str], *, separated: bool) -> None:
    """Add the paths after an option that follows other paths; argparse does not take them.

    Args:
        parsed: The parsed arguments.
        extra: The arguments that were not understood.
        separated: Whether the command to run stands behind ``--``, or an unknown option cannot be
            its option, because it is the first argument.
    """
    at = extra.index("--") if "--" in extra else len(extra)
    unknown = [text for text in extra[:at] if text.startswith("-") and text != "-"]
    paths = extra[:at] + extra[at + 1 :]
    if unknown or not hasattr(parsed, "paths"):
        if paths:
            _refuse(parsed, unknown, paths, separated=separated)
    else:
        parsed.paths += paths


def _refuse(
    parsed: argparse.Namespace, unknown: list[str], extra: list[str], *, separated: bool
) -> NoReturn:
    """Report what is wrong with extra arguments.

    Args:
        parsed: The parsed arguments.
        unknown: The options among the extra ones.
        extra: The arguments that were not understood.
        separated: Whether the command to run stands behind ``--``, or an unknown option cannot be
            its option, because it is the first argument.
    """
    parser: Parser = parsed.parser
    if getattr(parsed, "command", None) and not separated:  # the option belongs to the command
        parser.error("put '--' before the command")
    if unknown:
        parser.error(f"unknown option {unknown[0]!r}")
    if parsed.run is commands.write:
        first, second = map(shlex.quote, (parsed.path, extra[0]))
        parser.error(
            f"two paths; to replace {first} use 'safeatomic write {first} --from {second}', to "
            f"replace {second} use 'safeatomic write {second} --from {first}'"
        )
    if hasattr(parsed, "command") and not separated:
        parser.error("put '--' before the command")
    parser.error(f"too many arguments: {' '.join(map(repr, extra))}")


def _set_command(parsed: argparse.Namespace, command: list[str], given: list[str]) -> None:
    """Set the command: the words after ``--``, or those directly after the path.

    Newer releases of argparse also take words after an option, and older ones refuse them; a
    command line must not depend on the interpreter. An option after such a command could also
    belong to the command.
    """
    words = [parsed.path, *parsed.command]
    at_once = given[-len(words) :] == words
    if parsed.command and command:
        parsed.parser.error(f"too many arguments: {' '.join(map(repr, parsed.command))}")
    if parsed.command and not at_once:
        parsed.parser.error("put '--' before the command")
    parsed.command = command or parsed.command
    if not parsed.command:
        parsed.parser.error("no command is given; put it after '--'")


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="safeatomic",
        description="Write, read, move, lock and check plain files with explicit guarantees.",
        epilog=f"'safeatomic help COMMAND' explains one of them.\n\n{STATUSES}",
    )
    parser.add_argument("-V", "--version", action="version", version=f"safeatomic {__version__}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help="print the completions for bash, zsh or fish",
    )
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_write(subcommands)
    _add_edit(subcommands)
    _add_read_and_move(subcommands)
    _add_environment(subcommands)
    _add_lock(subcommands)
    _add_locks(subcommands)
    _add_checksums(subcommands)
    return parser


class _PrintCompletion(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: object, values: object, *_option: object
    ) -> None:
        say_as_it_is(completion(parser, str(values)))
        raise SystemExit(0)


def _add(
    subcommands: _Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str,
    example: str,
) -> Parser:
    parser = subcommands.add_parser(
        name, help=summary, description=description, epilog=f"Example:\n  {example}"
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_write(subcommands: _Commands) -> None:
    write = _add(
        subcommands,
        "write",
        commands.write,
        summary="replace a file with standard input or another file's content",
        description="Replace PATH with standard input, or with the content of FILE, completely or\n"
        "not at all. Nothing is published when the input fails.",
        example="safeatomic write --checksum app.conf --from new.conf",
    )
    write.add_argument("path", metavar="PATH", help="the file to replace or create")
    write.add_argument(
        "--from", dest="source", metavar="FILE", default="-", help="input (default, and '-': stdin)"
    )
    options.add_checksum(write)
    write.add_argument(
        "--mode", type=options.mode, metavar="OCTAL", help="permissions of a new file, such as 600"
    )
    write.add_argument("--no-clobber", action="store_true", help="fail if PATH exists")
    write.add_argument(
        "--if-changed", action="store_true", help="leave PATH alone if the content is the same"
    )
    write.add_argument(
        "--parents", action="store_true", help="make missing parent directories, durably"
    )
    options.add_lock_options(write)
    options.add_safety(write)
    options.add_progress(write)


def _add_edit(subcommands: _Commands) -> None:
    edit = _add(
        subcommands,
        "edit",
        running.edit,
        summary="pass a file through a filter, under its lock",
        description="Run FILTER with the content of PATH as its input, and replace PATH with its\n"
        "output if it exits with 0. Otherwise PATH is unchanged, and the status is that\n"
        "of FILTER. The lock is held meanwhile.",
        example="safeatomic edit state.json --wait 10 -- jq '.runs += 1'",
    )
    edit.add_argument("path", metavar="PATH", help="the file to edit")
    edit.add_argument("command", metavar="FILTER", nargs="*", help="the filter, after --")
    options.add_checksum(edit)
    options.add_lock_options(edit)
    options.add_safety(edit)
    edit.set_defaults(mode=None)


def _add_read_and_move(subcommands: _Commands) -> None:
    read = _add(
        subcommands,
        "read",
        commands.read,
        summary="print one consistent version of a file",
        description="Print one consistent version of PATH to standard output.",
        example="safeatomic read --check app.conf",
    )
    read.add_argument("path", metavar="PATH", help="the file to read")
    read.add_argument("--check", action="store_true", help="verify its checksum first")
    options.add_safety(read)
    options.add_progress(read)

    move = _add(
        subcommands,
        "move",
        commands.move,
        summary="rename a file and its sidecar within one filesystem",
        description="Rename SRC to DST within one filesystem, durably, with its checksum sidecar.",
        example="safeatomic move upload.part upload.bin",
    )
    move.add_argument("src", metavar="SRC", help="the file to move")
    move.add_argument("dst", metavar="DST", help="its new name")
    move.add_argument("--force", action="store_true", help="replace an existing DST")
    options.add_lock_options(move)
    options.add_safety(move)


def _add_environment(subcommands: _Commands) -> None:
    inspect = _add(
        subcommands,
        "inspect",
        commands.inspect,
        summary="say what the filesystem promises, without writing",
        description="Say which guarantees hold for PATH, without writing anything.",
        example="safeatomic inspect /srv/data",
    )
    inspect.add_argument("path", metavar="PATH", help="a file or directory")
    options.add_json(inspect)

    doctor = _add(
        subcommands,
        "doctor",
        commands.doctor_,
        summary="test what the filesystem promises",
        description="Check the location of PATH; with --destructive also try each operation\n"
        "on files of its own beside it. Status 1 if something required does not hold.",
        example="safeatomic doctor /srv/data --destructive --require CrashDurability",
    )
    doctor.add_argument("path", metavar="PATH", help="a file or directory")
    doctor.add_argument("--destructive", action="store_true", help="write and remove test files")
    doctor.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="GUARANTEE",
        help="a guarantee that must hold, such as CrashDurability (repeatable)",
    )
    options.add_json(doctor)


def _add_lock(subcommands: _Commands) -> None:
    lock = _add(
        subcommands,
        "lock",
        running.lock,
        summary="run a command under the lock of a file",
        description="Run COMMAND while holding the lock of PATH; the status is that of COMMAND.\n"
        "Inside it, safeatomic and the library know the lock and work under it.",
        example="safeatomic lock state.json --wait 10 -- ./update-state",
    )
    lock.add_argument("path", metavar="PATH", help="the file to lock; it need not exist")
    lock.add_argument("command", metavar="COMMAND", nargs="*", help="the command, after --")
    lock.add_argument(
        "--close", action="store_true", help="let COMMAND inherit neither the lock nor its name"
    )
    options.add_waiting(lock)
    options.add_safety(lock)


def _add_locks(subcommands: _Commands) -> None:
    shown = _add(
        subcommands,
        "locks",
        locks.locks,
        summary="show the lock of a file, or all locks in a directory",
        description="Show the lock of the file PATH, or of every locked file in the directory\n"
        "PATH. Status 1 if there is none.",
        example="safeatomic locks /srv/data",
    )
    shown.add_argument("path", metavar="PATH", help="a file or directory")
    options.add_json(shown)

    unlock = _add(
        subcommands,
        "unlock",
        locks.unlock,
        summary="remove a lock that was left behind",
        description="Remove the lock of PATH and say whose it was.\n"
        "Status 1 if nothing was removed.",
        example="safeatomic unlock --stale state.json",
    )
    unlock.add_argument("path", metavar="PATH", help="the file that is locked")
    how = unlock.add_mutually_exclusive_group(required=True)
    how.add_argument("--stale", action="store_true", help="only if its holder is dead")
    how.add_argument("--force", action="store_true", help="even if its holder is alive")
    unlock.add_argument(
        "--max-age",
        type=options.seconds,
        metavar="S",
        help="with --stale: also if that is unknown, and it is older than S seconds",
    )

    clean = _add(
        subcommands,
        "clean",
        locks.clean,
        summary="remove what dead writers left behind",
        description="Remove from the directory DIR the temporary files and the locks whose owners\n"
        "are proven dead, and say whose they were.",
        example="safeatomic clean --dry-run /srv/data",
    )
    clean.add_argument("directory", metavar="DIR", help="the directory to clean")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def _add_checksums(subcommands: _Commands) -> None:
    record = _add(
        subcommands,
        "checksum",
        checksums.checksum,
        summary="record the checksum of files as they are now",
        description="Write a checksum sidecar for each PATH, declaring its present content good.",
        example="safeatomic checksum -r /srv/data",
    )
    record.add_argument("paths", metavar="PATH", nargs="+", help="a file, or with -r a directory")
    record.add_argument("--algo", type=options.algorithm, metavar="ALGO", help="(default: sha256)")
    options.add_recursion(record)
    record.add_argument("-q", "--quiet", action="store_true", help="print no names")
    options.add_lock_options(record)
    options.add_safety(record)
    options.add_progress(record)

    verify = _add(
        subcommands,
        "verify",
        checksums.verify,
        summary="check files against their checksums",
        description="Check each PATH against its sidecar and print OK, MISMATCH, NO SIDECAR or\n"
        "UNREADABLE. Status 1 if one does not match or has no sidecar, else 2 if one\n"
        "could not be checked.",
        example="safeatomic verify -r --ignore-missing --quiet /srv/data",
    )
    verify.add_argument("paths", metavar="PATH", nargs="+", help="a file, or with -r a directory")
    options.add_recursion(verify)
    verify.add_argument(
        "--ignore-missing",
        action="store_true",
        help="skip files without a sidecar, and sidecars without their file",
    )
    verify.add_argument("-q", "--quiet", action="store_true", help="do not print what is OK")
    options.add_json(verify)
    options.add_progress(verify)
