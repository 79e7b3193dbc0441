"""The holder of a lock in another container, whose processes have other numbers there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import safeatomic_core as sa

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces"),
]

HOLDER = """
import os, socket, sys
socket.sethostname("elsewhere")
import safeatomic_core as sa
assert sa.try_acquire_lock(sys.argv[1])
info = sa.inspect_lock(sys.argv[1])
print("held", info.pid, info.hostname, flush=True)
sys.stdin.read()
"""


def test_a_holder_in_another_container_is_alive_until_it_dies(scratch: Path) -> None:
    target = scratch / "target"
    command = ["unshare", "--pid", "--fork", "--uts", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID and UTS namespaces here")
    holder = subprocess.Popen(
        [*command, sys.executable, "-c", HOLDER, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held 1 elsewhere\n"
        info = sa.inspect_lock(target)
        assert (info.alive, info.hostname, info.pid) == ("yes", "elsewhere", 1)
        assert not sa.is_stale_lock(target, max_age_s=0)
        assert not sa.release_stale_lock(target, max_age_s=0)
        assert not sa.try_acquire_lock(target)
        with pytest.raises(sa.LockError, match="host 'elsewhere'"):
            sa.write_atomic_bytes(target, b"new")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.stdout.read()  # until the holder itself is gone
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    assert sa.is_locked(target)
    sa.write_atomic_bytes(target, b"new")
    assert not sa.is_locked(target)
