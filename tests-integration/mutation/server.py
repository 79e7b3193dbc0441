"""A plugin of pytest that collects the tests once and then runs some of them on many mutants.

``python -m pytest -p mutation.server -s TESTS``, started by `pool`, which sets the variables below.
In the mode ``map`` it runs the tests as ever and leaves how long each took, under coverage, which
notes for each test the lines of the core that it executes. In the mode ``serve`` it forks a child
for each request that it reads: the child puts the mutant's bytecode into the functions that are
there already, and runs what it is told. So a mutant costs no start of an interpreter and no
collection.

Only the body of a function can be exchanged that way. A request for any other point, or for one
that changes which variables a function shares with another, is answered with `UNFIT`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.tmpdir import TempPathFactory

MODE, MAP_VARIABLE = "SAFEATOMIC_MUTATION", "SAFEATOMIC_MUTATION_MAP"
SETTINGS_VARIABLE, TEST_VARIABLE = "SAFEATOMIC_MUTATION_SETTINGS", "SAFEATOMIC_MUTATION_TEST"
CHANNELS, PACKAGE_VARIABLE = "SAFEATOMIC_MUTATION_CHANNELS", "SAFEATOMIC_MUTATION_PACKAGE"
PASSED, FAILED, DEADLINE, UNFIT = "", "failed", "deadline", "unfit"
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tell coverage, in other processes too, which test is running, and note how long it takes."""
    if os.environ.get(MODE) != "map":
        yield
        return
    import coverage

    current = coverage.Coverage.current()
    assert current is not None
    current.switch_context(item.nodeid)
    os.environ[TEST_VARIABLE] = item.nodeid
    os.environ["COVERAGE_PROCESS_START"] = os.environ[SETTINGS_VARIABLE]
    started = time.monotonic()
    yield
    _seconds[item.nodeid] = time.monotonic() - started
    current.switch_context("")


_seconds: dict[str, float] = {}


def pytest_sessionfinish() -> None:
    """Leave the durations."""
    if os.environ.get(MODE) == "map":
        Path(os.environ[MAP_VARIABLE]).write_text(json.dumps(_seconds), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Serve requests instead of running the tests."""
    if os.environ.get(MODE) != "serve":
        return None
    inward, outward = map(int, os.environ[CHANNELS].split(","))
    root = os.environ[PACKAGE_VARIABLE]
    functions = [
        found
        for found in gc.get_objects()
        if isinstance(found, FunctionType) and found.__code__.co_filename.startswith(root)
    ]
    served = _Served(session, {item.nodeid: item for item in session.items}, functions)
    gc.freeze()
    with os.fdopen(inward, "rb") as requests:
        for line in requests:
            how = _serve(served, json.loads(line))
            os.write(outward, json.dumps({"how": how}).encode() + b"\n")
    return True


class _Served(NamedTuple):
    """What a child inherits.

    Attributes:
        session: The session that collected the tests.
        items: The tests, by their name.
        functions: Every function of the core.
    """

    session: pytest.Session
    items: dict[str, pytest.Item]
    functions: list[FunctionType]


def _serve(served: _Served, request: dict[str, Any]) -> str:
    """Run a request in a process of its own, and return how it ended."""
    progress = mmap.mmap(-1, 8)  # shared with the child: how many tests it has begun
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="safeatomic-mutant-", dir=memory)
    child = os.fork()
    if child == 0:
        try:
            status = _alone(served, request, folder, progress)
        except BaseException:
            status = _STATUS[FAILED]
        os._exit(status)
    try:
        begun, since = 0, time.monotonic()
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return next((how for how, known in _STATUS.items() if known == code), FAILED)
            number = int.from_bytes(progress[:], "little")
            if number != begun:
                begun, since = number, time.monotonic()
            if time.monotonic() > since + [_PREPARING_S, *request["limits_s"]][begun]:
                break
            time.sleep(0.01)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return DEADLINE
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_PREPARING_S = 60.0
_STATUS = {PASSED: 0, FAILED: 1, UNFIT: 77}


def _alone(served: _Served, request: dict[str, Any], folder: str, progress: mmap.mmap) -> int:
    """As root, in namespaces of its own, which end with the child: run the tests."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    if os.geteuid() == 0 and _libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS) == 0:
        _libc.prctl(1, signal.SIGKILL)
        first = os.fork()
        if first:
            _, status = os.waitpid(first, 0)
            return os.waitstatus_to_exitcode(status)
        _libc.prctl(1, signal.SIGKILL)
        _libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None)
        _libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None)
    try:
        code = _run(served, request, Path(folder), progress)
    except BaseException:
        code = _STATUS[FAILED]
    os._exit(code)


def _run(served: _Served, request: dict[str, Any], folder: Path, progress: mmap.mmap) -> int:
    session, items, functions = served
    root = Path(os.environ[PACKAGE_VARIABLE])
    copy = folder / "src" / root.name
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if request["module"] is not None:
        (copy / request["module"]).write_text(request["source"], encoding="utf-8")
        _redirect(root.name, copy)
        name = ".".join([root.name, *Path(request["module"]).with_suffix("").parts])
        known = sys.modules.get(name.removesuffix(".__init__"))
        path, source = str(root / request["module"]), request["source"]
        if known is not None and not _exchange(functions, path, source):
            return _STATUS[UNFIT]
    os.chdir(folder)  # a relative path is not to reach the checkout
    # For the processes that tests start.
    os.environ["PYTHONPATH"] = str(copy.parent)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    factory: TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    factory._basetemp = folder / "tests"
    factory._basetemp.mkdir()
    chosen = [items[name] for name in request["tests"]]
    for number, item in enumerate(chosen, 1):
        progress[:] = number.to_bytes(8, "little")
        following = chosen[number] if number < len(chosen) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return _STATUS[FAILED]
    return _STATUS[PASSED]


def _redirect(package: str, copy: Path) -> None:
    """Let what is imported from now on come from the copy, in packages inside the package too."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == package and hasattr(module, "__path__"):
            module.__path__ = [str(copy.joinpath(*name.split(".")[1:]))]


def _exchange(functions: list[FunctionType], path: str, source: str) -> bool:
    """Put the bytecode of a changed source into the functions that were made from the old one.

    Returns:
        Whether something changed; if not, the change is not in the body of a living function.
    """
    new = dict(_codes(compile(source, path, "exec")))
    changed = False
    for function in functions:
        code = function.__code__
        if code.co_filename != path:
            continue
        other = new.get((code.co_qualname, code.co_firstlineno))
        if other is None or other == code:
            continue
        try:
            function.__code__ = other
        except ValueError:  # other free variables
            return False
        changed = True
    return changed


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield (constant.co_qualname, constant.co_firstlineno), constant
            yield from _codes(constant)
