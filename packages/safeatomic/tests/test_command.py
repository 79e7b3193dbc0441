from __future__ import annotations

import importlib
import subprocess
import sys

import safeatomic
from safeatomic_core._cli import main


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "safeatomic", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"safeatomic {safeatomic.__version__}\n"
    assert importlib.import_module("safeatomic.__main__").main is main
