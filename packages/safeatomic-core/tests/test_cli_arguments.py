from __future__ import annotations

import pytest

from safeatomic_core._cli import main, options
from safeatomic_core._cli.arguments import build_parser, parse
from safeatomic_core._cli.completion import subcommands


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: COMMAND"),
        (["fly"], "'fly'"),
        (["--verison"], "unknown option '--verison'"),
        (["--verbose=2", "write", "x"], "unknown option '--verbose=2'"),
        (["--verbose", "2", "write", "x"], "unknown option '--verbose'; see 'safeatomic --help'"),
        (["write"], "required: PATH"),
        (["write", "--checksum"], "required: PATH"),
        (["move", "x"], "required: DST"),
        (["write", "x", "--mode", "1000"], "must be an octal number from 0 to 777, not '1000'"),
        (["write", "x", "--algo", "crc"], "'crc' is not a fixed-length hash"),
        (["write", "x", "--retries", "-1"], "must be 0 to 9223372036854775807, not -1"),
        (["write", "x", "--retries", "many"], "must be a number, not 'many'"),
        (["write", "x", "--delay", "soon"], "must be a number, not 'soon'"),
        (["write", "x", "--delay", "nan"], "seconds, not nan"),
        (["write", "x", "--wait", "inf"], "seconds, not inf"),
        (["write", "x", "--wait", "1", "--retries", "2"], "--wait and --retries"),
        (["write", "x", "--safety", "none"], "--safety"),
        (["write", "x", "--mode", "888"], "must be an octal number from 0 to 777, not '888'"),
        (["write", "x", "--mode", "4755"], "must be an octal number"),
        (["write", "x", "--conflict-exit", "256"], "from 0 to 255"),
        (["write", "x", "--no-lok"], "unknown option '--no-lok'"),
        (["write", "x", "--check"], "unknown option '--check'"),  # no abbreviations
        (["read", "x", "y"], "too many arguments: 'y'"),
        (["read", "--chek"], "unknown option '--chek'"),
        (["checksum", "-rq"], "required: PATH"),
        (["write", "-w5"], "required: PATH"),
        (["write", "--checksum=x", "-w5"], "argument --checksum"),
        (["inspect", "x", "--json", "--", "y"], "too many arguments: 'y'"),
        (["verify", "x", "-q", "y", "--chek", "--", "z"], "unknown option '--chek'"),
        (["move", "--", "-odd"], "required: DST"),
        (["read", "-odd"], "unknown option '-odd' (give a file of that name as './-odd')"),
        (["lock", "-odd", "--", "ls"], "as './-odd')"),
        (["write", "x", "-"], "'safeatomic write x --from -'"),
        (["help", "read", "write"], "one command"),
        (["help", "raed"], "'raed'"),
        (["lock", "x"], "no command is given"),
        (["lock", "x", "a", "--", "b"], "too many arguments: 'a'"),
        (["lock", "--wiat", "3", "x", "--", "b"], "unknown option '--wiat'"),
        (["edit", "x", "--algorithm=md5", "--", "b"], "unknown option '--algorithm=md5'"),
        (["lock", "-n", "x", "true"], "unknown option '-n'"),
        (["lock", "x", "--close", "true"], "put '--' before the command"),
        (["edit", "x", "--checksum", "sort"], "put '--' before the command"),
        (["lock", "x", "--wait", "0", "ls", "."], "put '--' before the command"),
        (["lock", "x", "grep", "-w", "5", "f"], "put '--' before the command"),
        (["edit", "x", "grep", "-E", "5"], "put '--' before the command"),
        (["lock", "-E", "256", "x", "--", "ls"], "-E/--conflict-exit"),
        (["lock", "x", "rsync", "--delay", "1"], "put '--' before the command"),
        (["lock", "x", "ls", "-l"], "put '--' before the command"),
        (["unlock", "x"], "--stale --force"),
        (["unlock", "x", "--force", "--max-age", "0"], "--max-age goes with --stale"),
        (["--print-completion", "csh"], "'csh'"),
    ],
)
def test_wrong_usage_is_one_line_that_names_what_is_wrong(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "--help'" in err


def test_every_status_that_a_command_can_have_may_be_asked_for() -> None:
    assert [options.status(text) for text in ("0", "255")] == [0, 255]


def test_all_permission_bits_may_be_given() -> None:
    assert [options.mode(text) for text in ("0", "777")] == [0, 0o777]


def test_two_paths_are_refused_with_both_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["write", "new.conf", "--checksum", "app.conf"]) == 2
    err = capsys.readouterr().err
    assert "'safeatomic write new.conf --from app.conf'" in err
    assert "'safeatomic write app.conf --from new.conf'" in err


@pytest.mark.parametrize(
    ("argv", "paths"),
    [
        (["x", "-q", "y"], ["x", "y"]),
        (["x", "-q", "y", "--progress", "z", "-"], ["x", "y", "z", "-"]),
        (["x", "-q", "--", "-odd"], ["x", "-odd"]),
        (["x", "-q", "y", "--", "-odd", "--"], ["x", "y", "-odd", "--"]),
        (["x", "-q", "--"], ["x"]),
    ],
)
def test_paths_may_stand_on_both_sides_of_an_option(argv: list[str], paths: list[str]) -> None:
    for command in ("verify", "checksum"):
        assert parse([command, *argv]).paths == paths


def test_a_command_s_own_arguments_arrive_unchanged() -> None:
    assert parse(["lock", "f", "--", "cargo", "test", "--", "-x"]).command == [
        *("cargo", "test", "--", "-x"),
    ]
    assert parse(["lock", "f", "cargo", "test"]).command == ["cargo", "test"]
    assert parse(["lock", "--close", "f", "cargo", "test"]).command == ["cargo", "test"]
    assert parse(["edit", "f", "--", "--"]).command == ["--"]


@pytest.mark.parametrize(
    ("options", "retries", "delay"),
    [
        ([], None, None),
        (["--wait", "0"], 0, 0.05),
        (["--wait", "1"], 20, 0.05),
        (["-w", "1"], 20, 0.05),
        (["--wait", "0.3", "--delay", "0.2"], 2, 0.2),
        (["--wait", "5", "--delay", "0"], 100, 0.05),
        (["--wait", "0", "--delay", "0"], 0, 0.05),
        (["--wait", "9e9", "--delay", "1e-300"], 2**63 - 1, 1e-300),
        (["--retries", "3", "--delay", "0.5"], 3, 0.5),
    ],
)
def test_a_time_to_wait_becomes_retries(
    options: list[str], retries: int | None, delay: float | None
) -> None:
    parsed = parse(["write", "f", *options])
    assert (parsed.retries, parsed.delay) == (retries, delay)


def test_every_subcommand_s_help_has_an_example_that_parses() -> None:
    import shlex

    for name, (parser, _) in subcommands(build_parser()).items():
        head, _, example = (parser.epilog or "").partition("Example:\n  ")
        assert head == ""
        words = shlex.split(example)
        assert words[:2] == ["safeatomic", name]
        assert parse(words[1:]).parser.prog == f"safeatomic {name}"
        assert all(len(line) <= 80 for line in parser.format_help().splitlines())
