"""The completions in the shells themselves, each in a terminal of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from safeatomic_core._cli.arguments import build_parser
from safeatomic_core._cli.completion import completion

LIMIT = 60  # seconds for a shell to start and complete a line
# A command that is completed like ours, and prints what it is given.
BASH = """\
source ./script
show() { printf '<%q>' "$@"; echo; }
complete -F _safeatomic show
"""
ZSH = """\
autoload -Uz compinit; compinit -u -D
fpath=($PWD/functions $fpath)
autoload -Uz _safeatomic
show() { print -r -- "<${(j:><:)${(q@)@}}>"; }
compdef _safeatomic show
bindkey -e
"""


def typed(shell: list[str], setup: str, line: str, directory: Path) -> str:
    """Return what ``show`` printed once a line was typed into a shell in a terminal."""
    master, slave = os.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory / ".home"), "TERM": "dumb"}
    environment |= {"LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null", "PS1": "", "PROMPT": ""}
    command = ["timeout", str(LIMIT), "setsid", "--ctty", *shell]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=directory, env=environment
    ) as process:
        os.close(slave)
        try:
            for text in (f"{setup}echo rea''dy\n", f"{line}\necho do''ne\n"):
                os.write(master, text.encode())
                seen = _until(master, b"ready" if "rea''dy" in text else b"done")
        finally:
            process.kill()
            os.close(master)
    shown = [part for part in seen.replace("\r", "\n").split("\n") if part.startswith("<")]
    assert shown, seen
    return shown[-1]


def _until(fd: int, mark: bytes) -> str:
    seen = b""
    while mark not in seen:
        try:
            chunk = os.read(fd, 65536)
        except OSError:  # the shell has ended
            break
        seen += chunk
    return seen.decode(errors="replace")


def in_bash(line: str, directory: Path) -> str:
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    (directory / "script").write_text(completion(build_parser(), "bash"))
    return typed(["bash", "--norc", "--noprofile", "-i"], BASH, line, directory)


def in_zsh(line: str, directory: Path) -> str:
    if shutil.which("zsh") is None:
        pytest.skip("no zsh on this machine")
    functions = directory / "functions"
    functions.mkdir(exist_ok=True)
    (functions / "_safeatomic").write_text(completion(build_parser(), "zsh"))
    return typed(["zsh", "-f", "-i"], ZSH, line, directory)


def in_fish(line: str, directory: Path) -> set[str]:
    if shutil.which("fish") is None:
        pytest.skip("no fish on this machine")
    script = completion(build_parser(), "fish") + f"complete -C '{line}'\n"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("show read new\t", r"<read><$'new\nline'>"),  # it was two names, "line" and "new"
        ("show read 'my\t", r"<read><my\ file>"),
        ("show read $INPUTR\t", "<read></dev/null>"),
        ("show write x --safety=w\t", "<write><x><--safety=warn>"),  # it was the file "write"
        ("show write x --safety w\t", "<write><x><--safety><warn>"),
        ("show write x --from=my\t", r"<write><x><--from=my\ file>"),
        ("show write x --wait=\t", "<write><x><--wait=>"),
        ("show lock x -- cat my\t", r"<lock><x><--><cat><my\ file>"),
        ("show lock x -- truncat\t", "<lock><x><--><truncate>"),
        ("show help --ver\t", "<help><--ver>"),  # there is no help on an option
    ],
)
def test_bash_completes_in_a_terminal(line: str, wanted: str, tmp_path: Path) -> None:
    for name in ("new\nline", "my file", "write", "other"):
        (tmp_path / name).touch()
    assert in_bash(line, tmp_path) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("show read my\t", r"<read><my\ file>"),
        ("show write x --from=my\t", r"<write><x><--from=my\ file>"),
        ("show write x --safety=w\t", "<write><x><--safety=warn>"),
        ("show write x --safety w\t", "<write><x><--safety><warn>"),
        (
            "show doctor x --require AtomicVisibility --require Wr\t",
            "<doctor><x><--require><AtomicVisibility><--require><WriterExclusion>",
        ),
        ("show lock x --cl\t", "<lock><x><--close>"),
        ("show lock x --close -- truncat\t", "<lock><x><--close><--><truncate>"),
        ("show lock x -- cat my\t", r"<lock><x><--><cat><my\ file>"),
        ("show edit x -- show verify --js\t", "<edit><x><--><show><verify><--json>"),
    ],
)
def test_zsh_completes_in_a_terminal(line: str, wanted: str, tmp_path: Path) -> None:
    for name in ("my file", "write", "other"):
        (tmp_path / name).touch()
    assert in_zsh(line, tmp_path) == wanted


def test_fish_takes_no_argument_for_the_command(tmp_path: Path) -> None:
    assert in_fish("safeatomic read write --che", tmp_path) == {"--check"}
    assert in_fish("NAME=value safeatomic read write --che", tmp_path) == {"--check"}
    assert in_fish("safeatomic verify help --quie", tmp_path) == {"--quiet"}
    assert "unlock" in in_fish("safeatomic help unl", tmp_path)


def test_fish_completes_commands_behind_the_dashes(tmp_path: Path) -> None:
    assert "true" in in_fish("safeatomic lock f -- tru", tmp_path)
    assert "--safety" in in_fish("safeatomic write f --sa", tmp_path)
