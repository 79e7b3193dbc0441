"""Running a job in a guest, and ending the guest whatever happens.

QEMU runs as a child that the kernel kills with us, with a deadline, without network and without a
disk besides those of the job. With hardware virtualization if a guest really boots under it: a
``/dev/kvm`` inside another virtual machine may be there and yet refuse a stock kernel.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crash.crashlab.isolation import die_with_parent

from . import initramfs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .debian_kernels import Kernel

QEMU = "qemu-system-x86_64"
_MEMORY_MB = 768
_PROBE_S = 30
_UP, _ENDED = "GUEST IS UP", "GUEST JOB ENDED WITH"
# Without the machine's clock sources, serial probing and mitigations a boot takes half as long.
_KERNEL_LINE = (
    "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on tsc=reliable no_timer_check "
    "mitigations=off"
)


class Result(NamedTuple):
    """What came of a job.

    Attributes:
        status: Exit status of the job; None if the guest ended without it.
        release: The kernel's release as the guest says it; empty if it did not get that far.
        seconds: From the start of QEMU to its end.
        console: Everything that was printed.
    """

    status: int | None
    release: str
    seconds: float
    console: str


def run(
    kernel: Kernel,
    job: str,
    out: Path,
    *,
    modules: Iterable[str] = (),
    disks: Sequence[str] = (),
    deadline_s: float,
) -> Result:
    """Boot a kernel, run a shell script in the guest as root, and power it off.

    Args:
        kernel: What to boot.
        job: The script; it finds the host's root at ``/``, read-only.
        out: A folder of the host that the guest sees at ``/run/out`` and writes to.
        modules: Modules to load.
        disks: QEMU arguments for the job's disks.
        deadline_s: Seconds after which the guest is killed.
    """
    accelerator = ("-accel", "kvm", "-cpu", "host") if _kvm_works(kernel) else _EMULATED
    return _run(kernel, job, out, modules, disks, deadline_s, accelerator)


_EMULATED = ("-accel", "tcg,thread=single", "-cpu", "max")


@functools.cache
def _kvm_works(kernel: Kernel) -> bool:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="safeatomic-kvm-") as out:
        accelerator = ("-accel", "kvm", "-cpu", "host")
        return _run(kernel, "true", Path(out), (), (), _PROBE_S, accelerator).status == 0


def _run(
    kernel: Kernel,
    job: str,
    out: Path,
    modules: Iterable[str],
    disks: Sequence[str],
    deadline_s: float,
    accelerator: Sequence[str],
) -> Result:
    (out / "job.sh").write_text(_script(job), encoding="utf-8")
    (out / "initramfs").write_bytes(initramfs.build(kernel.modules, modules))
    started = time.monotonic()
    process = subprocess.Popen(
        _command(kernel, out, disks, accelerator),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    alarm = threading.Timer(deadline_s, process.kill)
    alarm.start()
    try:
        console = process.stdout.read().decode(errors="replace").replace("\r", "")
    finally:
        alarm.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    return Result(
        *(_status(console), _release(console)),
        seconds=time.monotonic() - started,
        console=console,
    )


def _script(job: str) -> str:
    return (
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        "export HOME=/run TMPDIR=/run/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1\n"
        f'echo "{_UP} $(uname -r)"\n'
        f"({job}\n)\n"
        f'echo "{_ENDED} $?"\n'
        "echo o > /proc/sysrq-trigger\n"
        "sleep 60\n"  # the power goes off meanwhile; the first process must not end
    )


def _command(
    kernel: Kernel, out: Path, disks: Sequence[str], accelerator: Sequence[str]
) -> list[str]:
    program = shutil.which(QEMU)
    assert program is not None, f"{QEMU} is looked for before a laboratory is made"
    shared = "security_model=none,multidevs=remap"
    return [
        *(program, *accelerator, "-M", "pc,hpet=off,vmport=off,graphics=off,usb=off"),
        *("-m", str(_MEMORY_MB), "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci"),
        *("-kernel", str(kernel.image), "-initrd", str(out / "initramfs"), "-append", _KERNEL_LINE),
        *("-virtfs", f"local,path=/,mount_tag=root,readonly=on,{shared}"),
        *("-virtfs", f"local,path={out},mount_tag=out,{shared}"),
        *disks,
    ]


def _status(console: str) -> int | None:
    _, found, rest = console.rpartition(_ENDED)
    with contextlib.suppress(ValueError, IndexError):
        return int(rest.split()[0]) if found else None
    return None


def _release(console: str) -> str:
    _, found, rest = console.partition(_UP)
    return rest.split()[0] if found else ""
