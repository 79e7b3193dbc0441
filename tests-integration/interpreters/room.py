"""A small Debian that holds the interpreters: made by debootstrap, entered by pivot_root."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import debian

if TYPE_CHECKING:
    from collections.abc import Sequence

SUITE = "forky"  # the first one with 3.14, 3.15 and a PyPy of 3.11
PACKAGES = ("python3.14", "python3.15", "pypy3")
_ENTER = Path(__file__).with_name("enter.sh")
# debootstrap has a script of this name for every suite; an older one does not know newer names.
_SCRIPT = "/usr/share/debootstrap/scripts/sid"
# With namespaces of its own: what a program mounts or starts ends with it, whatever ends it.
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")


def obtain() -> Path:
    """Return the root of the room.

    Raises:
        debian.NotPossibleError: It cannot be had.
    """
    debian.require("debootstrap", "unshare", "pivot_root")
    debian.run(*ALONE, "--mount-proc", "true")  # not in a container without the privilege
    return debian.kept(f"interpreters-{SUITE}", _make)


def has(room: Path, interpreter: str) -> bool:
    """Tell whether the room has an interpreter of that name."""
    return (room / "usr/bin" / interpreter).exists()


def command(
    room: Path, checkout: Path, tools: Path, reports: Path, program: Sequence[str]
) -> list[str]:
    """Return the command that runs a program in the room, as root, in ``/checkout``.

    Args:
        room: The root of the room.
        checkout: Seen at ``/checkout``, read-only.
        tools: Seen at ``/tools``, read-only, where Python looks for modules.
        reports: Seen at ``/reports``; the one place that the program can leave something in.
        program: The program and its arguments.
    """
    places = map(str, (room, checkout, tools, reports))
    return [*ALONE, "sh", str(_ENTER), *places, *program]


def _make(folder: Path) -> None:
    debian.run(
        *(*ALONE, "--mount-proc"),
        *("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
        *(SUITE, str(folder), debian.mirror(), _SCRIPT),
    )
    shutil.rmtree(folder / "var/cache/apt/archives", ignore_errors=True)
    folder.chmod(0o755)  # tests change to other users, who must find their interpreter
