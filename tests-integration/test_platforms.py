"""Platforms without ``fcntl``: importing works, strict refuses, nothing is touched.

Simulated in a process of its own, where those modules and constants are missing that CPython lacks
on Windows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What os and sys have on POSIX and not on Windows, as far as a library could touch it.
SIMULATE = """
import argparse, shutil, sys  # the standard library itself is not under test
for name in ("fcntl", "grp", "pwd", "resource", "termios", "posix"):
    sys.modules[name] = None
import os
sys.platform = "win32"
for name in ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_TMPFILE", "O_PATH",
             "O_SYNC", "fchmod", "fchown", "chown", "lchown", "geteuid", "getuid", "getgid", "fork",
             "register_at_fork", "getxattr", "setxattr", "listxattr", "removexattr", "uname",
             "posix_fadvise", "posix_fallocate", "fstatvfs", "statvfs", "pread", "pwrite",
             "preadv", "pwritev", "sendfile", "sync", "fdatasync", "mkfifo", "openpty"):
    if hasattr(os, name):
        delattr(os, name)
os.supports_dir_fd.clear()
os.supports_fd.clear()
os.supports_follow_symlinks.clear()
"""


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SIMULATE + code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["safeatomic_core", "safeatomic_formats", "safeatomic"])
def test_importing_works(tmp_path: Path, module: str) -> None:
    run(f"import {module}\nfor name in {module}.__all__: getattr({module}, name)\n", tmp_path)


def test_the_report_says_that_nothing_is_promised(tmp_path: Path) -> None:
    code = (
        "import safeatomic\n"
        "report = safeatomic.inspect_guarantees('file')\n"
        "print(report.environment.platform)\n"
        "print(*(name for name in report.guarantees if report.is_guaranteed(name)))\n"
    )
    assert run(code, tmp_path).split() == ["win32"]


CALLS = {
    "write_atomic": "safeatomic.write_atomic('file', 'new')",
    "write_atomic_bytes": "safeatomic.write_atomic_bytes('file', b'new')",
    "AtomicWriter": "safeatomic.AtomicWriter('file')",
    "read_atomic": "safeatomic.read_atomic('file')",
    "AtomicReader": "safeatomic.AtomicReader('file')",
    "move_atomic": "safeatomic.move_atomic('file', 'elsewhere')",
    "try_acquire_lock": "safeatomic.try_acquire_lock('file')",
    "atomic_json_dump": "safeatomic.atomic_json_dump('file', {})",
    "atomic_toml_load": "safeatomic.atomic_toml_load('file')",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_strict_refuses_and_touches_nothing(tmp_path: Path, call: str) -> None:
    (tmp_path / "file").write_text("old")
    code = (
        "import safeatomic\n"
        f"try: {call}\n"
        "except safeatomic.UnsupportedEnvironmentError as error: print(error)\n"
        "else: raise SystemExit('not refused')\n"
    )
    assert "Nothing was touched" in run(code, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_the_doctor_reports_instead_of_raising(tmp_path: Path) -> None:
    code = (
        "import safeatomic\n"
        "report = safeatomic.doctor('file', require=['CrashDurability'])\n"
        "print(report.ok)\n"
    )
    assert run(code, tmp_path) == "False\n"


def test_the_command_answers(tmp_path: Path) -> None:
    code = (
        "from safeatomic_core._cli import main\n"
        "code = main(['write', 'file', '--from', 'missing'])\n"
        "assert code == 2, code\n"
        "assert main(['inspect', 'file']) in (0, 1)\n"
    )
    run(code, tmp_path)
    assert list(tmp_path.iterdir()) == []
