"""Completions for shells and the manual page, both generated from the parser.

``safeatomic --print-completion SHELL`` prints them; the source distribution contains them as files,
which its build makes with `files`.
"""

from __future__ import annotations

import argparse
import shlex

from .._command_lock import VARIABLE
from .._types import GUARANTEES
from .._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")
_FILES = ("PATH", "FILE", "SRC", "DST", "DIR")
_COMMANDS = ("COMMAND", "FILTER")
_SUGGESTED = {
    "ALGO": ("sha256", "sha512", "blake2b", "sha3_256", "sha1", "md5"),
    "GUARANTEE": GUARANTEES,
}


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of one of the `SHELLS`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](parser)


def files(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the files of the source distribution, by their place below ``share``."""
    return {
        "bash-completion/completions/safeatomic": _bash(parser),
        "zsh/site-functions/_safeatomic": _zsh(parser),
        "fish/vendor_completions.d/safeatomic.fish": _fish(parser),
        "man/man1/safeatomic.1": manual(parser),
    }


def subcommands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Return the parser and the summary of each subcommand."""
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    summaries = {a.dest: a.help or "" for a in action._choices_actions}  # noqa: SLF001
    return {name: (choice, summaries[name]) for name, choice in action.choices.items()}


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.option_strings)  # noqa: SLF001


def _positionals(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]  # noqa: SLF001


def _values(action: argparse.Action) -> list[str]:
    """Return the known values of an option."""
    return [str(choice) for choice in action.choices or _SUGGESTED.get(str(action.metavar), ())]


_BASH_FILES = """\
_safeatomic_files() {
    # Readline's own: the output of compgen cannot hold a name with a line end.
    compopt -o bashdefault -o default
}"""


def _bash(parser: argparse.ArgumentParser) -> str:
    commands = subcommands(parser)
    cases, values = [], []
    for name, (sub, _) in commands.items():
        words = " ".join(option for action in _options(sub) for option in action.option_strings)
        cases.append(f"        {name}) words='{words}' ;;")
    for action in _all_options(parser):
        names = "|".join(action.option_strings)
        if _values(action):
            reply = f'compgen -W "{" ".join(_values(action))}" -- "$word"'
            values.append(f"        {names}) mapfile -t COMPREPLY < <({reply}); return ;;")
        elif action.nargs != 0:
            reply = "_safeatomic_files; " if action.metavar in _FILES else ""
            values.append(f"        {names}) {reply}return ;;")
    words = " ".join(
        [*commands, "help", *(o for action in _options(parser) for o in action.option_strings)]
    )
    return f"""\
# bash completion for safeatomic {__version__}
{_BASH_FILES}
_safeatomic() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${{COMP_WORDS[i]}} == -- ]]; then
            if [[ ${{COMP_WORDS[1]}} == @(lock|edit) ]] && ((i == COMP_CWORD - 1)); then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -c -- "$word")
            else
                _safeatomic_files
            fi
            return
        fi
    done
    # "--option=value" is three words, or two while there is no value.
    if [[ $word == '=' ]]; then
        word=
    elif [[ $before == '=' ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case $before in
{chr(10).join(values)}
    esac
    if [[ ${{COMP_WORDS[1]}} == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W '{" ".join(commands)}' -- "$word")
        return
    elif ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W '{words}' -- "$word")
        return
    fi
    case ${{COMP_WORDS[1]}} in
{chr(10).join(cases)}
        *) return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    else
        _safeatomic_files
    fi
}}
complete -F _safeatomic safeatomic
"""


def _all_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the options of all subcommands and the global ones, each once."""
    found: dict[tuple[str, ...], argparse.Action] = {}
    for one in [parser, *(sub for sub, _ in subcommands(parser).values())]:
        for action in _options(one):
            found.setdefault(tuple(action.option_strings), action)
    return list(found.values())


def _zsh(parser: argparse.ArgumentParser) -> str:
    names, cases = [], []
    for name, (sub, summary) in subcommands(parser).items():
        names.append(f"        {shlex.quote(f'{name}:{summary}')}")
        specs = [*_zsh_options(sub), *_zsh_positionals(sub)]
        lines = " \\\n".join(f"                {shlex.quote(spec)}" for spec in specs)
        runs = any(action.metavar in _COMMANDS for action in _positionals(sub))
        behind = "            _safeatomic_command && return\n" if runs else ""
        body = f"{behind}            _arguments -S \\\n{lines}"
        cases.append(f"        {name})\n{body}\n            ;;")
    globals_ = " ".join(shlex.quote(spec) for spec in _zsh_options(parser))
    return f"""\
#compdef safeatomic
# zsh completion for safeatomic {__version__}
_safeatomic_command() {{
    integer dashes=${{words[(i)--]}}
    (( dashes < CURRENT )) || return
    shift dashes words
    (( CURRENT -= dashes ))
    _normal
    return 0
}}
_safeatomic() {{
    local -a ours  # not "commands", in which zsh has all that there are
    ours=(
{chr(10).join(names)}
        'help:explain a command'
    )
    if (( CURRENT == 2 )); then
        _describe -t commands command ours
        _arguments {globals_}
        return
    fi
    if [[ $words[2] == -* ]]; then
        _arguments {globals_}
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
        help) _describe -t commands command ours ;;
{chr(10).join(cases)}
    esac
}}
_safeatomic "$@"
"""


def _zsh_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _options(parser):
        text = (action.help or "").replace("[", "(").replace("]", ")").replace(":", "\\:")
        again = "*" if isinstance(action.default, list) else ""  # it may be given repeatedly
        for option in action.option_strings:
            yield f"{again}{option}{_zsh_joint(action, option)}[{text}]" + _zsh_value(action)


def _zsh_joint(action: argparse.Action, option: str) -> str:
    """Return the mark by which zsh allows the value in the same word, too."""
    if action.nargs == 0:
        return ""
    return "=" if option.startswith("--") else "+"


def _zsh_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar or action.dest
    if _values(action):
        return f":{name}:({' '.join(_values(action))})"
    return f":{name}:_files" if name in _FILES else f":{name}: "


def _zsh_positionals(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _positionals(parser):
        if action.metavar not in _COMMANDS:
            yield f"{'*' if action.nargs else ''}:{action.metavar}:_files"


# Not __fish_seen_subcommand_from: a file may have the name of a command.
_FISH_USES = """\
function __safeatomic_uses
    set -l words (commandline -opc)
    while string match -q -- '*=*' "$words[1]"
        set -e words[1]
    end
    contains -- "$words[2]" $argv
end"""


def _fish(parser: argparse.ArgumentParser) -> str:
    commands = subcommands(parser)
    lines = [f"# fish completion for safeatomic {__version__}", _FISH_USES]
    lines += [_fish_line("-n __fish_use_subcommand", action) for action in _options(parser)]
    for name, (_, summary) in [*commands.items(), ("help", (parser, "explain a command"))]:
        text = _fish_quoted(summary)
        lines.append(f"complete -c safeatomic -n __fish_use_subcommand -f -a {name} -d {text}")
    names = _fish_quoted(" ".join(commands))
    lines.append(f"complete -c safeatomic -n '__safeatomic_uses help' -f -a {names}")
    for name, (sub, _) in commands.items():
        condition = f"-n '__safeatomic_uses {name}'"
        lines += [_fish_line(condition, action) for action in _options(sub)]
    lines.append(
        "complete -c safeatomic -n '__safeatomic_uses lock edit; and test "
        "(commandline -opc)[-1] = --' -x -a '(__fish_complete_command)'"
    )
    return "\n".join(lines) + "\n"


def _fish_line(condition: str, action: argparse.Action) -> str:
    parts = [f"complete -c safeatomic {condition}"]
    parts += [f"-l {o[2:]}" if o[1] == "-" else f"-s {o[1:]}" for o in action.option_strings]
    if _values(action):
        parts.append(f"-x -a {_fish_quoted(' '.join(_values(action)))}")
    elif action.nargs != 0:
        parts.append("-r -F" if action.metavar in _FILES else "-x")
    return " ".join([*parts, f"-d {_fish_quoted(action.help or '')}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def manual(parser: argparse.ArgumentParser) -> str:
    """Return the manual page, in man(7) macros."""
    description, _, _ = (parser.description or "").partition("\n\n")
    lines = [
        f'.TH SAFEATOMIC 1 "" "safeatomic {__version__}" "User Commands"',
        ".SH NAME",
        f"safeatomic \\- {_roff(description[0].lower() + description[1:]).rstrip('.')}",
        ".SH SYNOPSIS",
        ".B safeatomic",
        "COMMAND [OPTION]... ARGUMENT...",
        ".SH COMMANDS",
    ]
    for name, (sub, _) in subcommands(parser).items():
        usage = sub.format_usage().partition(f"safeatomic {name} ")[2]
        lines += [
            f".SS {name}",
            f".B safeatomic {name}",
            _roff(" ".join(usage.split())),
            ".PP",
            _roff(sub.description or ""),
        ]
        lines += [*_roff_positionals(sub), *_roff_options(sub)]
        example = (sub.epilog or "").partition("\n")[2].strip()
        lines += [".PP", "Example:", ".PP", ".nf", ".RS", _roff(example), ".RE", ".fi"]
    lines += [".SH OPTIONS", *_roff_options(parser), ".SH EXIT STATUS", ".nf"]
    lines += [_roff((parser.epilog or "").partition("Exit status:\n")[2]), ".fi", ".SH ENVIRONMENT"]
    for name, effect in _VARIABLES.items():
        lines += [".TP", f".B {_roff(name)}", _roff(effect)]
    return "\n".join(lines) + "\n"


_VARIABLES = {
    "NO_COLOR": "If it is not empty, the doctor's report has no colours.",
    VARIABLE: "Set by 'lock' for the command that it runs; do not set it yourself.",
}


def _roff_positionals(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _positionals(parser):
        yield ".TP"
        yield f".B {_roff(str(action.metavar))}"
        yield _roff(action.help or "")


def _roff_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _options(parser):
        value = "" if action.nargs == 0 else " " + (action.metavar or "|".join(_values(action)))  # type: ignore[operator]
        yield ".TP"
        yield f".B {_roff(', '.join(action.option_strings) + value)}"
        yield _roff(action.help or "")


def _roff(text: str) -> str:
    """Escape text for roff: no line may begin like a request, and minus signs stay ASCII."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(
        f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n")
    )
