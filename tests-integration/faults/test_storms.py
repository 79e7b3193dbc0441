"""Signal handlers that raise, at any instant and many times: nothing doubled, swallowed or lost.

A service that gives each operation a time-out has such a handler. The storms run in processes of
their own, so that a descriptor that is lost shows in their table, and end after a counted number of
operations, never after a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import safeatomic_core as sa

_PREAMBLE = """
import os, random, signal, sys, time
import ctypes, hashlib, json, logging, pathlib, warnings  # a tick inside an import goes nowhere
import safeatomic_core as sa

class Tick(Exception):
    pass

armed, ticks = False, 0

def handler(*_):
    global armed, ticks
    if armed:
        armed = False
        ticks += 1
        raise Tick

signal.signal(signal.SIGALRM, handler)
path, count = sys.argv[1], int(sys.argv[2])
rng = random.Random(int(sys.argv[3]))

def stormy(work, longest):
    # Whether the work was cut short; a tick may also come when it is over.
    global armed
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 1e-6 + rng.random() * longest)
        try:
            work()
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Tick:
        return True
    return False

def duration(work, runs=20, before=lambda: None):
    # The shortest: a machine that was busy meanwhile must not put all ticks behind the end.
    durations = []
    for _ in range(runs):
        before()
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return min(durations)

def open_now():
    return len(os.listdir("/proc/self/fd"))
"""


def storm(code: str, path: Path, count: int, seed: int) -> list[str]:
    """Run a storm in a process of its own and return the words it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PREAMBLE + code, path, str(count), str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ignored" not in done.stderr, done.stderr[-3000:]  # what a finalizer would swallow
    return done.stdout.split()


OPERATIONS = {
    "write": "sa.write_atomic_bytes(path, b'x' * 5000)",
    "write-checked": "sa.write_atomic_bytes(path, b'x' * 5000, write_checksum=True)",
    "read": "sa.read_atomic_bytes(path)",
    "read-checked": "sa.AtomicReader(path, check_checksum=True).close()",
    "stream": "with sa.AtomicWriter(path, write_checksum=True) as f: f.write(b'x' * 9000)",
    "move": "sa.move_atomic(path, path + '2', force=True); sa.move_atomic(path + '2', path)",
    "lock": "sa.try_acquire_lock(path) and sa.release_lock(path)",
    "inspect": "sa.inspect_lock(path); sa.get_checksum_info(path); sa.is_stale_lock(path)",
    "hash": "sa.compute_hash_file(path); sa.verify_checksum(path, '0' * 64)",
    "record": "sa.write_checksum_file(path)",
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_descriptor_is_lost_and_nobody_is_locked_out(
    tmp_path: Path, name: str, tally: Counter[str], long_run: bool, seed: int
) -> None:
    code = f"""
sa.write_atomic_bytes(path, b"x" * 5000, write_checksum=True)
def work():
    {OPERATIONS[name]}
work()
longest = 2 * duration(work)  # so that ticks fall into all of it, also if it is slow at times
before = open_now()
for _ in range(count):
    stormy(work, longest)
    if not os.path.exists(path):  # a move that was cut short half-way
        sa.move_atomic(path + "2", path)
    if {name == "lock"}:
        sa.release_lock(path)
print(ticks, open_now() - before)
sa.write_atomic_bytes(path, b"the end")
"""
    target = tmp_path / "f"
    ticks, lost = map(int, storm(code, target, 20_000 if long_run else 1500, seed))
    assert ticks > 100
    assert lost <= ticks // 500, f"{lost} descriptors lost by {ticks} interrupts"
    assert target.read_bytes() == b"the end"
    tally["interrupts by a signal handler"] += ticks


def test_an_interrupted_examination_leaves_no_descriptor_and_no_probe(
    tmp_path: Path, tally: Counter[str], long_run: bool, seed: int
) -> None:
    code = """
def open_now():  # but for the watch on the mount table, which is not kept while that changes
    links = (os.path.realpath("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd"))
    return sum(not link.endswith("mountinfo") for link in links)
def work():
    sa.doctor(path, destructive=True)
work()
longest = duration(work, 3)
before = open_now()
arrived = sum(stormy(work, longest) for _ in range(count))
work()
print(ticks, ticks - arrived, open_now() - before)
"""
    numbers = storm(code, tmp_path / "f", 5000 if long_run else 400, seed)
    ticks, swallowed, lost = map(int, numbers)
    assert ticks > 50
    assert (swallowed, lost) == (0, 0)
    assert os.listdir(tmp_path) == []
    tally["interrupts by a signal handler"] += ticks


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_time_out_that_counts_as_an_error_of_the_system_arrives(
    tmp_path: Path, name: str, tally: Counter[str], long_run: bool, seed: int
) -> None:
    # TimeoutError is what most programs raise, and it is an OSError.
    code = f"""
Tick = TimeoutError
sa.write_atomic_bytes(path, b"x" * 5000, write_checksum=True)
def work():
    {OPERATIONS[name]}
work()
longest = 2 * duration(work)
before = open_now()
arrived = 0
for _ in range(count):
    arrived += stormy(work, longest)
    if not os.path.exists(path):  # a move that was cut short half-way
        sa.move_atomic(path + "2", path)
    if {name == "lock"}:
        sa.release_lock(path)
print(ticks, ticks - arrived, open_now() - before)
sa.write_atomic_bytes(path, b"the end")
"""
    target = tmp_path / "f"
    ticks, swallowed, lost = map(int, storm(code, target, 20_000 if long_run else 400, seed))
    assert ticks > 50
    assert swallowed == 0
    assert lost <= ticks // 500
    tally["interrupts by a signal handler"] += ticks


_LOOKS = {"guarantees": "sa.inspect_guarantees(path)", "doctor": "sa.doctor(path)"}
_CHANGING_MOUNTS = """
import ctypes
libc = ctypes.CDLL(None)
flags = 0x20000 if os.geteuid() == 0 else 0x20000 | 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
private = ctypes.c_ulong(0x4000 | 0x40000)  # MS_REC | MS_PRIVATE
point = os.fsencode(path + ".mount")
os.mkdir(point)
def mount():
    return libc.mount(b"none", point, b"tmpfs", ctypes.c_ulong(0), b"size=64k") == 0
if libc.unshare(flags) or libc.mount(b"none", b"/", b"none", private, None) or not mount():
    sys.exit("no mounts")
mounted = True
def change():
    global mounted
    mounted = not mounted
    assert mount() if mounted else libc.umount(point) == 0
"""


@pytest.mark.parametrize("name", ["read", "guarantees", "doctor"])
def test_a_changing_mount_table_swallows_and_loses_nothing(
    tmp_path: Path, name: str, tally: Counter[str], long_run: bool, seed: int
) -> None:
    operation = {**OPERATIONS, **_LOOKS}[name]
    code = f"""
{_CHANGING_MOUNTS}
sa.write_atomic_bytes(path, b"x" * 5000)
def work():
    {operation}
longest = 2 * duration(work, before=change)
before = open_now()
arrived = 0
for _ in range(count):
    change()  # so that this discards what the last one remembered
    arrived += stormy(work, longest)
work()
print(ticks, ticks - arrived, open_now() - before)
"""
    count = 500 if name == "doctor" else 2000
    try:
        words = storm(code, tmp_path / "f", 10 * count if long_run else count, seed)
    except AssertionError as error:
        if "no mounts" in str(error):
            pytest.skip("this user may not mount anything, not even in a user namespace")
        raise
    ticks, swallowed, lost = map(int, words)
    assert ticks > count // 20
    assert (swallowed, lost) == (0, 0)
    tally["interrupts by a signal handler"] += ticks


@pytest.mark.parametrize("checked", [False, True])
def test_records_that_were_accepted_are_in_the_file_exactly_once(
    tmp_path: Path, checked: bool, tally: Counter[str], long_run: bool, seed: int
) -> None:
    code = f"""
accepted = []
with sa.AtomicWriter(path, write_checksum={checked}) as file:
    for number in range(count):
        record = b"%08d" % number + b"." * 4087 + b"\\n"
        done = []
        stormy(lambda: done.append(file.write(record)), 2e-4)
        if done:
            accepted.append(number)
with open(path, "rb") as file:
    found = [int(line[:8]) for line in file.read().split(b"\\n") if len(line) == 4095]
wrong = [number for number in accepted if found.count(number) != 1]
print(ticks, len(wrong), int({not checked} or sa.verify_checksum(path)))
"""
    ticks, wrong, verified = map(
        int, storm(code, tmp_path / "f", 20_000 if long_run else 4000, seed)
    )
    assert ticks > 10
    assert wrong == 0
    assert verified
    tally["interrupts by a signal handler"] += ticks


def test_every_stop_request_arrives(tmp_path: Path, tally: Counter[str], long_run: bool) -> None:
    code = """
import subprocess
class Stop(BaseException):
    pass
arrived = 0
def stop(*_):
    raise Stop
signal.signal(signal.SIGUSR1, stop)
sender = subprocess.Popen([sys.executable, "-c",
    "import os, signal, sys, time\\n"
    "for _ in range(int(sys.argv[2])):\\n"
    "    sys.stdin.read(1)\\n"  # one request at a time: signals are not queued
    "    os.kill(int(sys.argv[1]), signal.SIGUSR1)\\n", str(os.getpid()), str(count)],
    stdin=subprocess.PIPE)
written = 0
while arrived < count:
    try:
        sender.stdin.write(b"x")
        sender.stdin.flush()
        for written in range(100_000):
            sa.write_atomic_bytes(path, b"x", write_checksum=True)
        print("swallowed after", arrived)
        sys.exit()
    except Stop:
        arrived += 1
sender.wait()
print(arrived)
"""
    count = 2000 if long_run else 300
    assert storm(code, tmp_path / "f", count, 0) == [str(count)]
    tally["stop requests"] += count


def test_a_time_out_for_each_write_leaves_a_sweepable_directory(
    tmp_path: Path, long_run: bool, seed: int
) -> None:
    code = """
for _ in range(count):
    stormy(lambda: sa.write_atomic_bytes(path, b"x" * 5000, write_checksum=True), 0.0015)
print(ticks)
"""
    target = tmp_path / "f"
    storm(code, target, 5000 if long_run else 500, seed)
    # A write that was interrupted between Publish and Settle leaves its lock on purpose, dead.
    assert not sa.is_locked(target) or sa.is_stale_lock(target)
    sa.write_atomic_bytes(target, b"next", write_checksum=True)
    assert sorted(os.listdir(tmp_path)) == ["f", "f.sha256"]
