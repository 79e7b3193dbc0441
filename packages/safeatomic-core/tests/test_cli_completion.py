from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from safeatomic_core._cli import main
from safeatomic_core._cli.arguments import build_parser
from safeatomic_core._cli.completion import SHELLS, _roff, completion, files, manual, subcommands


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_s_completions_know_every_subcommand_and_option(
    shell: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["--print-completion", shell]) == 0
    script = capfdbinary.readouterr().out.decode()
    for name, (parser, _) in subcommands(build_parser()).items():
        assert name in script
        for action in parser._actions:
            for option in action.option_strings:
                assert option.lstrip("-") in script


def complete(*words: str, directory: Path) -> list[str]:
    script = completion(build_parser(), "bash")
    # In a terminal Readline completes a file.
    script += '_safeatomic_files() { mapfile -t COMPREPLY < <(compgen -f -- "$word"); }\n'
    script += "compopt() { :; }\n"
    quoted = " ".join(f"'{word}'" for word in words)
    script += f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _safeatomic\n"
    script += "printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(
        ["bash", "-euc", script], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    assert complete("safeatomic", "unl", directory=tmp_path) == ["unlock"]
    assert complete("safeatomic", "help", "ver", directory=tmp_path) == ["verify"]
    assert complete("safeatomic", "write", "--if", directory=tmp_path) == ["--if-changed"]
    assert complete("safeatomic", "write", "n", "--safety", "w", directory=tmp_path) == ["warn"]
    assert complete("safeatomic", "read", "no", directory=tmp_path) == ["notes"]
    assert complete("safeatomic", "write", "x", "--from", "no", directory=tmp_path) == ["notes"]
    assert complete("safeatomic", "write", "--no-lock", "no", directory=tmp_path) == ["notes"]
    for option in ("--wait", "-w", "-E"):
        assert complete("safeatomic", "write", "x", option, "", directory=tmp_path) == []
    assert "bash" in complete("safeatomic", "lock", "x", "--", "bas", directory=tmp_path)
    assert complete("safeatomic", "lock", "x", "--", "cat", "no", directory=tmp_path) == ["notes"]
    assert complete("safeatomic", "fly", "", directory=tmp_path) == []
    assert complete("safeatomic", "doctor", "x", "--require", "Cr", directory=tmp_path) == [
        *("CrashDurability", "CrossDeviceSafety"),
    ]
    assert complete("safeatomic", "write", "x", "--algo", "sha5", directory=tmp_path) == ["sha512"]
    assert complete("safeatomic", "verify", "--", "no", directory=tmp_path) == ["notes"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_what_has_no_completion_is_not_completed_to_nothing(tmp_path: Path) -> None:
    script = completion(build_parser(), "bash")
    script += "COMP_WORDS=(safeatomic write x --safety x); COMP_CWORD=4; _safeatomic\n"
    script += 'echo "${#COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"0\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_accept_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    script = tmp_path / "script"
    script.write_text(completion(build_parser(), shell))
    subprocess.run([shell, "-n", str(script)], check=True)


def test_zsh_knows_what_follows_an_option_and_which_arguments_are_files() -> None:
    script = completion(build_parser(), "zsh")
    for line in (
        "'--from=[input (default, and '\"'\"'-'\"'\"'\\: stdin)]:FILE:_files' ",
        "'--if-changed[leave PATH alone if the content is the same]' ",
        "(default\\: strict)]:safety:(strict warn best_effort)' ",
        "'--mode=[permissions of a new file, such as 600]:OCTAL: ' ",
        ":SRC:_files ",
        "'*:PATH:_files'",
        "'*--require=[a guarantee",
    ):
        assert line in script
    for name, (_, summary) in subcommands(build_parser()).items():
        assert f"        {shlex.quote(f'{name}:{summary}')}\n" in script


def test_fish_knows_what_follows_an_option() -> None:
    lines = completion(build_parser(), "fish").split("\n")
    for wanted in (
        "-s h -l help -d 'show this help message and exit'",
        "-l if-changed -d 'leave PATH alone if the content is the same'",
        "-l from -r -F -d 'input (default, and \\'-\\': stdin)'",
        "-l mode -x -d 'permissions of a new file, such as 600'",
        (
            "-l safety -x -a 'strict warn best_effort' "
            "-d 'what to do where a guarantee does not hold (default: strict)'"
        ),
    ):
        assert f"complete -c safeatomic -n '__safeatomic_uses write' {wanted}" in lines
    names = " ".join(subcommands(build_parser()))
    after_help = "complete -c safeatomic -n '__safeatomic_uses help'"
    assert f"{after_help} -f -a '{names}'" in lines
    assert (
        "complete -c safeatomic -n __fish_use_subcommand -f -a unlock "
        "-d 'remove a lock that was left behind'"
    ) in lines


def test_the_manual_page_says_what_follows_an_option() -> None:
    lines = manual(build_parser()).split("\n")
    for line in (
        ".B \\-h, \\-\\-help",
        ".B \\-\\-from FILE",
        ".B \\-\\-safety strict|warn|best_effort",
    ):
        assert line in lines
    at = lines.index(".B \\-\\-no\\-clobber")
    assert lines[at + 1] == "fail if PATH exists"


def test_no_line_of_text_is_a_request_of_the_manual_page() -> None:
    assert _roff(".TH\n'br\na-b\\") == "\\&.TH\n\\&'br\na\\-b\\e"


def test_the_manual_page_has_every_subcommand_and_the_statuses() -> None:
    page = manual(build_parser())
    for name in subcommands(build_parser()):
        assert f".SS {name}\n" in page
    for sub, _ in subcommands(build_parser()).values():
        assert _roff(str(sub.description)) in page
        assert _roff(str(sub.epilog).partition("\n")[2].strip()) in page
    assert ".SH EXIT STATUS" in page
    assert ".SH ENVIRONMENT" in page
    assert ".B DIR\nthe directory to clean" in page
    assert "128+N" in page
    assert not [line for line in page.split("\n") if line.startswith("'")]
    if shutil.which("groff") is not None:
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww"],
            input=page,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""


def test_the_source_distribution_s_files_are_named_as_the_shells_look_for_them() -> None:
    made = files(build_parser())
    assert {Path(name).name for name in made} == {
        *("safeatomic", "_safeatomic", "safeatomic.fish", "safeatomic.1"),
    }
    assert all(text.endswith("\n") for text in made.values())
