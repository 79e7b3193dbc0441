"""How a place is made: users, attributes, a directory with a file in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import mounted

OTHER, STRANGER = 3001, 3002


def become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def chattr(flag: str, path: Path) -> None:
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise mounted.NotPossibleError(f"no attributes here: {done.stderr}")


def target_in(place: Path, *, mode: int = 0o755, owner: int = 0, content: bytes = b"old") -> Path:
    """Make a directory with a file in it; ``mode`` is the directory's, ``owner`` the file's."""
    place.mkdir()
    target = place / "f"
    target.write_bytes(content)
    target.chmod(0o666)
    os.chown(target, owner, owner)
    place.chmod(mode)
    return target
