"""A copy of the core inside another package, alone and beside an installed one.

Two copies are two sets of classes and functions, but one protocol: they honour each other's locks,
checksums and temporary files, in one process and across processes.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import safeatomic_core
import vendoring

assert safeatomic_core.__file__ is not None
INSTALLED = Path(safeatomic_core.__file__).parent
NAME = "host._vendor.safeatomic_core"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import ``host`` from, in whose ``_vendor`` the core was copied."""
    folder = tmp_path_factory.mktemp("site")
    vendoring.vendor(INSTALLED.parent, folder)
    return folder


@pytest.fixture(scope="module")
def copy(site: Path) -> Iterator[Any]:
    """The vendored copy, imported in this process beside the installed one."""
    sys.path.insert(0, str(site))
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(site))
        for name in [name for name in sys.modules if name.partition(".")[0] == "host"]:
            del sys.modules[name]


@pytest.fixture(params=["installed first", "vendored first"])
def pair(request: pytest.FixtureRequest, copy: ModuleType) -> tuple[Any, Any]:
    """Both copies, in both orders."""
    both = (safeatomic_core, copy)
    return both if request.param == "installed first" else (both[1], both[0])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def run(site: Path, code: str, *arguments: str, isolated: bool = False) -> str:
    """Run code in another process that can import ``host``, and no installed core if isolated."""
    done = subprocess.run(
        [sys.executable, *(["-S"] if isolated else []), "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_import_within_the_core_is_relative() -> None:
    for path in INSTALLED.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("safeatomic") for alias in node.names), path
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert not (node.module or "").startswith("safeatomic"), path


def test_the_copy_binds_to_itself_alone(site: Path) -> None:
    """With no core installed, every module of the copy imports, and no other package appears."""
    found = (path.relative_to(INSTALLED).with_suffix("") for path in INSTALLED.rglob("*.py"))
    names = (".".join(part for part in path.parts if part != "__init__") for path in found)
    modules = sorted(name for name in names if name != "__main__")
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        f"    importlib.import_module('{NAME}' + ('.' + name if name else ''))\n"
        f"from {NAME} import *\n"
        "print(*(m for m in sys.modules if 'safeatomic' in m))\n"
    )
    loaded = run(site, code, isolated=True).split()
    assert {name for name in loaded if not name.startswith(NAME)} == set()
    assert len(loaded) == len(modules)


def test_the_copys_command_runs(site: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    done = subprocess.run(
        [sys.executable, "-S", "-m", NAME, "read", str(tmp_path / "file")],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "text"


def test_the_copies_are_two(copy: Any) -> None:
    assert copy.__name__ == NAME
    assert copy.__version__ == safeatomic_core.__version__
    for name in safeatomic_core.__all__:
        mine, other = getattr(safeatomic_core, name), getattr(copy, name)
        assert mine is not other
        assert other.__module__.startswith(NAME)


def test_exceptions_of_one_are_not_caught_by_the_other(copy: Any, target: Path) -> None:
    assert not issubclass(copy.LockError, safeatomic_core.SafeAtomicError)
    assert copy.try_acquire_lock(target)
    try:
        with pytest.raises(safeatomic_core.LockError) as caught:
            safeatomic_core.write_atomic(target, "text")
        assert not isinstance(caught.value, copy.SafeAtomicError)
    finally:
        copy.release_lock(target)


def test_defaults_of_one_do_not_reach_the_other(pair: tuple[Any, Any], target: Path) -> None:
    one, other = pair
    with one.safeatomic_config(encoding="utf-16"):
        other.write_atomic(target, "ü")
        assert target.read_bytes() == "ü".encode()
        one.write_atomic(target, "ü")
    assert target.read_bytes() == "ü".encode("utf-16")


def test_a_lock_of_one_excludes_the_other(pair: tuple[Any, Any], target: Path) -> None:
    one, other = pair
    assert one.try_acquire_lock(target, session="s")
    assert not other.try_acquire_lock(target)
    assert other.is_locked(target)
    seen = other.inspect_lock(target)
    assert (seen.pid, seen.alive, seen.corrupt) == (os.getpid(), "yes", False)
    assert not other.is_stale_lock(target)
    assert not other.release_stale_lock(target)
    assert not other.release_lock(target)
    with pytest.raises(other.LockError):
        other.write_atomic(target, "text")
    assert not target.exists()
    assert one.release_lock(target)
    assert other.try_acquire_lock(target)
    assert not one.try_acquire_lock(target)
    assert other.release_lock(target)


def test_a_lock_that_the_other_removed_is_noticed(pair: tuple[Any, Any], target: Path) -> None:
    one, other = pair
    target.write_text("old")
    writer = one.AtomicWriter(target)
    writer.write(b"new")
    assert other.force_release_lock(target)
    with pytest.raises(one.LockError):
        writer.commit()
    assert target.read_text() == "old"


def test_a_checksum_of_one_is_verified_by_the_other(pair: tuple[Any, Any], target: Path) -> None:
    one, other = pair
    one.write_atomic(target, "text", write_checksum=True)
    assert other.read_atomic(target, check_checksum=True) == "text"
    assert other.verify_checksum(target)
    assert other.get_checksum_info(target).hash == one.compute_hash_file(target)
    target.write_text("changed")
    with pytest.raises(other.ChecksumMismatchError):
        other.read_atomic(target, check_checksum=True)


HOLD = """
import importlib, os, signal, sys
core = importlib.import_module(sys.argv[1])
assert core.try_acquire_lock(sys.argv[2])
writer = core.AtomicWriter(sys.argv[2] + '-data', concurrency='none')
writer.write(b'x' * 100_000)
writer.flush()
print('held', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("holder", "contender"),
    [(NAME, "safeatomic_core"), ("safeatomic_core", NAME)],
    ids=["vendored holds", "installed holds"],
)
def test_a_dead_process_is_recovered_by_the_other_copy(
    site: Path, copy: Any, target: Path, holder: str, contender: str
) -> None:
    core = copy if contender == NAME else safeatomic_core
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, holder, str(target)],
        env={**os.environ, "PYTHONPATH": str(site)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            seen = core.inspect_lock(target)
            assert (seen.pid, seen.alive) == (process.pid, "yes")
            assert not core.try_acquire_lock(target)
            with pytest.raises(core.LockError, match=str(process.pid)):
                core.write_atomic(target, "text")
        finally:
            process.kill()
    assert core.inspect_lock(target).alive == "no"
    assert core.is_stale_lock(target)
    orphans = [path for path in target.parent.iterdir() if ".safeatomic-tmp-" in path.name]
    assert len(orphans) == 1
    core.write_atomic(target, "recovered")
    assert target.read_text() == "recovered"
    assert [path.name for path in target.parent.iterdir()] == ["file"]
