"""A file that the machine swaps to: nobody replaces it, and doctor and errors say why."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import mounted
from mounting import MARKS, privately
from safeatomic_core import doctor, move_atomic, write_atomic_bytes

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        shutil.which("mkswap") is None or shutil.which("mkfs.ext4") is None,
        reason="mkswap and mkfs.ext4 are needed",
    ),
]


def test_a_swap_file_is_recognised(tmp_path: Path) -> None:
    def body(work: Path) -> tuple[bool, list[str], list[str]]:
        disk, root = work / "disk", work / "m"
        with disk.open("wb") as file:
            file.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
        root.mkdir()
        subprocess.run(["mount", "-o", "loop", disk, root], check=True)
        target = root / "swap file"
        target.write_bytes(bytes(1 << 20))
        target.chmod(0o600)
        subprocess.run(["mkswap", target], check=True, capture_output=True)
        if subprocess.run(["swapon", target], capture_output=True).returncode != 0:
            raise mounted.NotPossibleError("no swap files here")
        try:
            report = doctor(target)
            failures = [check.detail for check in report.checks if check.status == "fail"]
            with pytest.raises(PermissionError) as write:
                write_atomic_bytes(target, b"new")
            with pytest.raises(PermissionError) as move:
                move_atomic(target, root / "moved")
        finally:
            subprocess.run(["swapoff", target], check=True)
        return report.ok, failures, [str(write.value), str(move.value)]

    ok, failures, said = privately(tmp_path, body)
    assert not ok
    assert ["swaps to the file" in failure for failure in failures] == [True]
    assert ["swaps to that file" in text for text in said] == [True, True]
