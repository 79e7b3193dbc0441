"""Kernels and interpreters from suites of Debian other than this machine's.

Nothing is installed. Packages are fetched from apt's configured mirror, with separate settings, so
that neither apt's lists nor dpkg's records change; apt verifies the signatures as usual. The
unpacked packages stay in the folder that ``SAFEATOMIC_CACHE`` names. Without that variable nothing
is fetched, so that a test run fills no disk without permission.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crash.crashlab.isolation import die_with_parent, mounts_under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CACHE_VARIABLE = "SAFEATOMIC_CACHE"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_KEPT_S = 7 * 24 * 3600  # after that a suite is fetched anew
_FETCHING_S = 300
_NO_ANSWER_S = 30


class NotPossibleError(Exception):
    """This machine cannot do it; the message says what it lacks."""


def require(*programs: str) -> None:
    """Check for root on Linux, a cache, Debian's keyring, and programs.

    Raises:
        NotPossibleError: Something is missing.
    """
    lacks = []
    if not sys.platform.startswith("linux"):
        lacks.append("Linux")
    elif os.geteuid() != 0:
        lacks.append("root")
    if not os.environ.get(CACHE_VARIABLE):
        lacks.append(f"{CACHE_VARIABLE} naming a folder for downloads")
    if not os.path.exists(_KEYRING):
        lacks.append("Debian's archive keyring")
    lacks += [name for name in ("apt-get", "dpkg-deb", *programs) if shutil.which(name) is None]
    if lacks:
        raise NotPossibleError(f"this machine lacks {', '.join(lacks)}")


def mirror() -> str:
    """Return the mirror that this machine's apt gets Debian from.

    Raises:
        NotPossibleError: apt has no list of a Debian release.
    """
    filters = ("Identifier: Packages", "Origin: Debian", "Label: Debian")
    found = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *filters).split()
    if not found:
        raise NotPossibleError("apt has no list of Debian's packages (run apt-get update)")
    return found[0]


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; make it if it is not there, or older than a week.

    Args:
        name: Name of the folder.
        make: Fills an empty folder. What it leaves half-done is removed.

    Raises:
        NotPossibleError: It cannot be made. An older one is returned instead, if there is one.
    """
    cache = Path(os.environ[CACHE_VARIABLE])
    cache.mkdir(parents=True, exist_ok=True)
    folder, draft = cache / name, cache / f"{name}.draft"
    with _locked(cache / f"{name}.lock"):
        if folder.exists() and time.time() - folder.stat().st_mtime < _KEPT_S:
            return folder
        _remove(draft)
        draft.mkdir()
        try:
            make(draft)
        except BaseException as error:
            _remove(draft)
            if isinstance(error, NotPossibleError) and folder.exists():
                print(f"{name} is older than a week, and could not be made anew: {error}")
                return folder
            raise
        _remove(folder)
        draft.rename(folder)
        os.utime(folder)
    return folder


class Archive:
    """The packages of one suite.

    Args:
        suite: Its code name.
        folder: An empty folder for lists and packages.
    """

    def __init__(self, suite: str, folder: Path) -> None:
        self._folder = folder
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        source = f"deb [signed-by={_KEYRING}] {mirror()} {suite} main\n"
        (folder / "sources.list").write_text(source, encoding="utf-8")
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "Dir::Cache::archives": folder / "archives",
            "APT::Sandbox::User": "root",  # the folder need not be open to apt's own user
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": _NO_ANSWER_S,
            "Acquire::https::Timeout": _NO_ANSWER_S,
        }
        self._options = [f"-o{key}={value}" for key, value in settings.items()]
        run("apt-get", *self._options, "-qq", "update")

    def depends(self, package: str) -> list[str]:
        """Return what a package depends on, first alternatives, without versions."""
        text = run("apt-cache", *self._options, "show", "--no-all-versions", package)
        names = []
        for line in text.splitlines():
            field, _, value = line.partition(": ")
            if field in ("Depends", "Pre-Depends"):
                names += [re.split(r"[ |(:]", part.strip())[0] for part in value.split(",")]
        return names

    def download(self, packages: list[str]) -> list[Path]:
        """Fetch packages and return their files."""
        run("apt-get", *self._options, "-qq", "download", *packages, cwd=self._folder)
        return sorted(self._folder.glob("*.deb"))


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a program that may fetch something, and return what it prints.

    Raises:
        NotPossibleError: It failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCHING_S,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise NotPossibleError(f"{command[0]} did not end within {_FETCHING_S} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise NotPossibleError(f"{command[0]} failed: {said[-500:]}")
    return done.stdout


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two test runs from filling one folder at the same time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(folder: Path) -> None:
    """Remove a folder, but nothing of what a killed run may have left mounted in it."""
    if mounts_under(str(folder)):
        raise NotPossibleError(f"something is mounted below {folder}")
    shutil.rmtree(folder, ignore_errors=True)
